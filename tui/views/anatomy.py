"""View 4: why this token."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from kvtui.tui.views.view import View


class AnatomyView(View):
    """View 4: why this token."""

    TITLE = "Anatomy"
    SUMMARY = "Why this token: candidates, layers and heads."
    PARAGRAPHS = (("Anatomy", "The candidates for the chosen token will stand here, layer by layer."),)

    def compose(self) -> ComposeResult:
        """What will stand here."""
        yield Static("The candidates for the chosen token will stand here, layer by layer.", classes="placeholder")
