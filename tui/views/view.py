"""What every view is: a screenful of panes that the dashboard can switch to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.containers import Vertical

from kvtui.core.commands import Question
from kvtui.tui.actions import Action
from kvtui.tui.panes.pane import Pane
from kvtui.tui.session.session import Session
from kvtui.tui.session.timeline import Mark
from kvtui.tui.session.update import Update


class View(Vertical):
    """Composes panes and feeds them. Only the visible view is called, so a hidden one costs nothing.

    Attributes:
        TITLE: on its tab; its id is ``view-`` and the same in small letters.
        ASKS: whether it asks something of the model. Such a view is not shown for another program's stream of events.
        SUMMARY: a sentence for the palette and the help screen.
        ACTIONS: keys that work while it is visible, each with a method ``action_…`` of the view.
        PARAGRAPHS: for the help screen, a name and a paragraph for each pane.
        mark: how much of the session it has shown; the app keeps it.
    """

    TITLE: ClassVar[str] = ""
    ASKS: ClassVar[bool] = True
    SUMMARY: ClassVar[str] = ""
    ACTIONS: ClassVar[tuple[Action, ...]] = ()
    PARAGRAPHS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self) -> None:
        super().__init__(id=f"view-{self.TITLE.lower()}")
        self.mark = Mark()

    def show(self, update: Update, session: Session) -> None:
        """Feed every :class:`~kvtui.tui.panes.pane.Pane` in the view, twelve times a second while it is visible, and at
        once when it becomes visible.

        What happened while the view was hidden comes with the first call; see
        :class:`~kvtui.tui.session.update.Update`. A view that shows something itself calls this first.
        """
        for widget in self.walk_children():
            if isinstance(widget, Pane):
                widget.feed(update, session)

    def follow(self) -> None:
        """Back at the newest token: scroll to it."""

    def start(self, session: Session, prompt: str, seed: int | None = None) -> bool:
        """Begin what the view is about from this prompt: a text, unless the view says otherwise. False if it cannot."""
        return session.start(prompt, seed)

    def hide(self) -> None:
        """Another view is shown from now on: stop timers, forget what is costly."""

    def questions(self, session: Session) -> Iterable[Question]:
        """What the worker has to be asked so that the panes can show it: at most one question of each kind.

        Asked again when there is something new or when the questions change; the answers come in ``update.answers``.
        """
        return ()

    def focus_first(self) -> None:
        """Give the keys to the view: to its first pane that takes them, or to nothing."""
        panes = [widget for widget in self.query("*") if widget.focusable]
        self.screen.set_focus(panes[0] if panes else None)
