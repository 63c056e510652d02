"""Base class of screens over the dashboard that show something of the text: they are fed like a view."""

from __future__ import annotations

from collections.abc import Iterable

from textual.screen import ModalScreen

from kvtui.core.commands import Question
from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update


class Overlay(ModalScreen[None]):
    """Covers the visible view, which stays live behind it; only the screen on top asks questions."""

    def show(self, update: Update, session: Session) -> None:
        """Pass on what is new, twelve times per second."""

    def questions(self, session: Session) -> Iterable[Question]:
        """The questions to the worker."""
        return ()
