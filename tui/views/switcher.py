"""Holds all views, one of which is visible."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import ContentSwitcher

from kvtui.tui.views.stream import StreamView
from kvtui.tui.views.table import VIEWS
from kvtui.tui.views.view import View


class ViewSwitcher(ContentSwitcher):
    """The views in the order of their keys, and a message in place of one that another program's stream cannot
    fill."""

    def __init__(self, *, id: str | None = None) -> None:
        self.views: list[View] = [view() for view in VIEWS]
        super().__init__(id=id, initial=self.views[0].id)

    def compose(self) -> ComposeResult:
        """All views."""
        yield from self.views
        yield StreamView()

    @property
    def view(self) -> View:
        """The visible view."""
        view = self.visible_content
        assert isinstance(view, View)
        return view

    def show(self, number: int, stream: bool) -> bool:
        """Make a view visible; False if it already was. ``stream``: another program writes the text."""
        view: View = self.views[number]
        if stream and view.ASKS:
            instead = self.query_one(StreamView)
            instead.explain(view)
            view = instead
        elif view is self.view:
            return False
        self.view.hide()
        self.current = view.id
        return True
