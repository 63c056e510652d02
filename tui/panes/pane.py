"""What a pane is to its view."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update


@runtime_checkable
class Pane(Protocol):
    """A widget that takes what it shows from the session by itself: its view composes it, and that is all.

    A widget without ``feed`` is shown what it shows by the view that has composed it.
    """

    def feed(self, update: Update, session: Session) -> None:
        """Take in what is new, and refresh if that is seen.

        Called twelve times a second while the view is visible, and at once when it becomes visible. What happened
        while the view was hidden comes with that first call.
        """
        ...
