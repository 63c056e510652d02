"""What stands in place of a view that a stream of another program's events cannot fill."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from kvtui.tui.views.view import View


class StreamView(View):
    """Says why the view that was asked for is not there."""

    TITLE = "Stream"

    def compose(self) -> ComposeResult:
        """Words in the middle."""
        yield Static(classes="placeholder")

    def explain(self, view: View) -> None:
        """Stand in for this view."""
        self.query_one(Static).update(
            f"{view.TITLE}: {view.SUMMARY}\n\n"
            "It asks the model itself, which runs in another program.\n"
            "Press 1 for what that program tells. To see this view, open the model here: kvtui --model M"
        )
