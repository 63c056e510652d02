"""What every screen over the dashboard is that shows something of the text: it is fed and asks as a view does."""

from __future__ import annotations

from collections.abc import Iterable

from textual.screen import ModalScreen

from kvtui.core.commands import Question
from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update


class Overlay(ModalScreen[None]):
    """Stands over the visible view, which goes on behind it; only the screen on top asks questions."""

    def show(self, update: Update, session: Session) -> None:
        """Hand on what is new, twelve times a second."""

    def questions(self, session: Session) -> Iterable[Question]:
        """What the worker has to be asked."""
        return ()
