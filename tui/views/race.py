"""View 2: the same text with the cache and without, in two lanes."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from kvtui.tui.views.view import View


class RaceView(View):
    """View 2: the same text with the cache and without, in two lanes."""

    TITLE = "Race"
    SUMMARY = "Cache on against cache off, in two lanes."
    PARAGRAPHS = (("Race", "Two lanes will run here: the same text with the cache and without."),)

    def compose(self) -> ComposeResult:
        """What will stand here."""
        yield Static("Two lanes will run here: the same text with the cache and without.", classes="placeholder")
