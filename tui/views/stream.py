"""What is shown instead of a view that another program's stream of events cannot fill."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from kvtui.tui.views.view import View


class StreamView(View):
    """Says why the chosen view is not available."""

    TITLE = "Stream"

    def compose(self) -> ComposeResult:
        """A message at the top, where no notice covers it."""
        yield Static(classes="placeholder")

    def explain(self, view: View) -> None:
        """Take the place of this view."""
        self.query_one(Static).update(
            f"{view.TITLE}: {view.SUMMARY}\n\n"
            "This view needs the model, which runs in another program.\n"
            "Press 1 to watch that program. To see this view, open the model here: kvtui --model M"
        )
