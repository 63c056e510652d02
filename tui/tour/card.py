"""The card of the tour, below the view, where it hides nothing: what to look at and what to try."""

from __future__ import annotations

from rich.text import Text
from textual.app import RenderResult
from textual.widget import Widget

from kvtui.tui.tour.chapters import CHAPTERS, Chapter
from kvtui.tui.tour.scene import Scene

ENDED = "The text has ended: press r to write it again. "


class TourCard(Widget):
    """One chapter at a time. It takes no focus: every key but its own reaches the dashboard, and the prompt if that has
    the focus. Its height is the stylesheet's, whatever it says, so that nothing moves while a chapter is read."""

    COMPONENT_CLASSES = {"tour--look", "tour--task", "tour--done"}  # noqa: RUF012

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.display = False
        self._place = 0
        self._began: Scene | None = None
        self._words = ("", "")  # as drawn: the text, and what to try
        self._done: set[int] = set()

    @property
    def chapter(self) -> Chapter:
        """The chapter that is shown."""
        return CHAPTERS[self._place]

    @property
    def done(self) -> bool:
        """Whether the task of the chapter has been done."""
        return self._place in self._done

    @property
    def at_end(self) -> bool:
        """Whether this is the last chapter."""
        return self._place == len(CHAPTERS) - 1

    def open(self) -> None:
        """Show the chapter where the user left, at first the first one."""
        self.display = True
        self._enter(self._place)

    def turn(self, pages: int) -> None:
        """Go forward (1) or back (-1) by one chapter."""
        self._enter(min(max(self._place + pages, 0), len(CHAPTERS) - 1))

    def leave(self) -> None:
        """Hide the card; after the last chapter the next tour starts at the first."""
        self.display = False
        if self.at_end:
            self._place, self._done = 0, set()

    def _enter(self, place: int) -> None:
        self._place, self._began = place, None
        self.border_title = f"Tour {place + 1} of {len(CHAPTERS)} · {self.chapter.title}"

    def show(self, now: Scene) -> None:
        """Take the current state: the text quotes it, and the task is ticked off once it has been done.

        First called when the chapter's view has just been shown: that is when the chapter starts.
        """
        if self._began is None:
            self._began = now
        if now.run and not self.done and self.chapter.done(self._began, now):
            self._done.add(self._place)
        self.border_subtitle = self._keys(now)
        words = (self.chapter.text(now), self._what_to_do(now))  # of the same moment as the panes
        if words != self._words:
            self._words = words
            self.refresh()

    def render(self) -> RenderResult:
        """The text, then the task."""
        look, done, task = (
            self.get_component_rich_style(f"tour--{name}", partial=True) for name in ("look", "done", "task")
        )
        text, to_do = self._words
        return Text.assemble((f"▲ {self.chapter.look}: ", look), f"{text}\n", (to_do, done if self.done else task))

    def _keys(self, now: Scene) -> str:
        """What the keys do where the focus is."""
        if now.typing:
            return "Enter: write · Esc: leave the prompt"
        return f"Space: {'end' if self.at_end else 'next'} · Backspace: back · Esc: leave"

    def _what_to_do(self, now: Scene) -> str:
        """The task, what must come before it, or that it is done."""
        if self.done:
            return f"✔ Done: {self.chapter.task}"
        if not now.run:
            return f"▷ First {'' if now.typing else 'press p, '}type a prompt such as ROMEO: and press Enter."
        ended = ENDED if self.chapter.writing and now.state.phase == "ended" else ""
        return f"▷ Try it: {ended}{self.chapter.task}"
