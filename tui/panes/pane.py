"""The interface of a pane to its view."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update


@runtime_checkable
class Pane(Protocol):
    """A widget that takes what it shows from the session by itself: its view only has to compose it.

    The view itself fills a widget that has no ``feed``.
    """

    def feed(self, update: Update, session: Session) -> None:
        """Take in what is new, and refresh if it is visible.

        Called twelve times per second while the view is visible, and at once when it becomes visible. The first call
        then brings everything that happened while the view was hidden.
        """
        ...
