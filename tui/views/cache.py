"""View 3: the cache as a map, and what it weighs."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from kvtui.tui.views.view import View


class CacheView(View):
    """View 3: the cache as a map, and what it weighs."""

    TITLE = "Cache"
    SUMMARY = "The cache as a map of layers, heads and positions."
    PARAGRAPHS = (("Cache", "The cache will stand here as a map: layers, heads and positions."),)

    def compose(self) -> ComposeResult:
        """What will stand here."""
        yield Static("The cache will stand here as a map: layers, heads and positions.", classes="placeholder")
