"""How the tour drives the dashboard: it shows a chapter's view, outlines the pane, and starts or pauses the text."""

from __future__ import annotations

from collections.abc import Callable

from textual.screen import Screen

from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update
from kvtui.tui.tour.card import TourCard
from kvtui.tui.tour.chapters import CHAPTERS
from kvtui.tui.tour.scene import scene
from kvtui.tui.views.view import View


class Guide:
    """Leads through the chapters.

    Args:
        main: gives the screen of the panes and of the card, once there is one.
        session: its text is resumed and paused as a chapter requires.
        show_view: shows the view with this title.
    """

    def __init__(self, main: Screen[None], session: Session, show_view: Callable[[str], None]) -> None:
        self._main = main
        self._session = session
        self._show_view = show_view

    @property
    def card(self) -> TourCard:
        """The card, which stays below the view during the tour."""
        return self._main.query_one(TourCard)

    def open(self) -> None:
        """Start at the chapter where the user left, or at the first one."""
        self.card.open()
        self._enter()

    def turn(self, chapters: int) -> None:
        """Go forward by this many chapters, or back if negative; the tour ends after the last one."""
        if chapters > 0 and self.card.at_end:
            self.leave()
        else:
            self.card.turn(chapters)
            self._enter()

    def leave(self) -> None:
        """End the tour; the dashboard stays as it is."""
        self.card.leave()
        self._unspeak()
        self._main.remove_class("-touring")

    def show(self, update: Update, view: View, typing: bool) -> None:
        """Let the card quote the session, and notice what has been tried."""
        if self.card.display:
            questions = view.questions(self._session)
            self.card.show(scene(self._session, questions, update.answers, typing))

    def _enter(self) -> None:
        chapter = self.card.chapter
        self._unspeak()
        self._main.add_class("-touring", f"-speaks-of-{chapter.pane[1:]}")
        self._show_view(chapter.view)
        self._main.query(chapter.pane).add_class("-spoken-of")
        self._session.cursor.look_at(None)
        phase = self._session.state.phase
        if chapter.writing and phase == "paused":
            self._session.resume()
        elif not chapter.writing and phase == "writing":
            self._session.pause()

    def _unspeak(self) -> None:
        """Remove the outline."""
        self._main.query(".-spoken-of").remove_class("-spoken-of")
        self._main.remove_class(*(f"-speaks-of-{chapter.pane[1:]}" for chapter in CHAPTERS))
