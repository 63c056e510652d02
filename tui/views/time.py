"""View 5: where the time goes."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from kvtui.tui.views.view import View


class TimeView(View):
    """View 5: where the time goes."""

    TITLE = "Time"
    SUMMARY = "Where the time of a token goes."
    PARAGRAPHS = (("Time", "Each token's time will stand here in its parts, cached and uncached."),)

    def compose(self) -> ComposeResult:
        """What will stand here."""
        yield Static("Each token's time will stand here in its parts, cached and uncached.", classes="placeholder")
