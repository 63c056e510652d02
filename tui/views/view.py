"""The base class of views: a screenful of panes that the dashboard can switch to."""

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
        TITLE: on its tab; its id is ``view-`` and the title in lower case.
        ASKS: whether it asks the model anything. If so, it is not shown for another program's stream of events.
        SUMMARY: a sentence for the palette and the help screen.
        ACTIONS: keys that work while it is visible, each with a method ``action_…`` of the view.
        PARAGRAPHS: for the help screen: a name and a text for each pane.
        mark: how much of the session it has shown; kept by the app.
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
        """Feed every :class:`~kvtui.tui.panes.pane.Pane` in the view, twelve times per second while it is visible, and
        immediately when it becomes visible.

        What happened while the view was hidden comes with the first call; see
        :class:`~kvtui.tui.session.update.Update`. A view that shows something itself calls this first.
        """
        for widget in self.walk_children():
            if isinstance(widget, Pane):
                widget.feed(update, session)

    def follow(self) -> None:
        """Return to the newest token: scroll to it."""

    def start(self, session: Session, prompt: str, seed: int | None = None) -> bool:
        """Start what the view shows from this prompt: by default a text. False if that is impossible."""
        return session.start(prompt, seed)

    def hide(self) -> None:
        """Called when another view becomes visible: stop timers, release what is expensive to keep."""

    def questions(self, session: Session) -> Iterable[Question]:
        """The questions to the worker whose answers the panes show, at most one of each kind.

        Asked again when there is something new or when the questions change; answers arrive in ``update.answers``.
        """
        return ()

    def focus_first(self) -> None:
        """Focus the first pane of the view that can take the focus, or nothing."""
        panes = [widget for widget in self.query("*") if widget.focusable]
        self.screen.set_focus(panes[0] if panes else None)
