"""A pane whose cells represent numbers: asks the worker for the visible ones, describes the one under the mouse."""

from __future__ import annotations

from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Offset
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from kvtui.core.commands import Question
from kvtui.tui.messages import QuestionChanged


class GridPane(Widget, can_focus=True):
    """Base class of the attention grid and the cache map.

    A subclass lays out its cells in ``lay_out``, fills ``strips`` in Textual's ``render_lines``, and calls ``announce``
    when something else should be shown.

    Attributes:
        ramp: index of the set of characters that represent the numbers.
        strips: lines of the content.

    Args:
        title: shown in the border until something has been laid out.
    """

    ALLOW_SELECT = False  # a drawing, not text: dragging selects nothing

    ramp: reactive[int] = reactive(0)

    def __init__(self, title: str, *, id: str | None = None, classes: str | None = None) -> None:
        self.strips: list[Strip] = []
        self._pointed: Offset | None = None
        self._titles = ("", "")
        self._asked: Question | None = None
        super().__init__(id=id, classes=classes)
        self.border_title = title

    @property
    def question(self) -> Question:
        """The question for the numbers visible now."""
        raise NotImplementedError

    def lay_out(self) -> None:
        """Lay out the cells for the current size and choices."""
        raise NotImplementedError

    def titles(self, pointed: Offset | None) -> tuple[str, str]:
        """Labels for the border above and below; the lower one describes the cell under the mouse."""
        raise NotImplementedError

    def announce(self) -> None:
        """Draw the numbers at hand, and ask for others if the choice changed."""
        if not self.is_running:
            return
        self.redraw()
        if self.size.height and self._asked != (question := self.question):
            self._asked = question
            self.post_message(QuestionChanged())

    def ask_again(self) -> None:
        """Forget the last question: it was about another model."""
        self._asked = None

    def redraw(self) -> None:
        """Lay everything out again."""
        self.lay_out()
        self._describe()
        self.refresh()

    def _describe(self) -> None:
        """Label the border if the labels have changed."""
        titles = self.titles(self._pointed)
        if self._titles != titles:
            self._titles = titles
            # Content, not str: a label such as [ is not markup.
            self.border_title, self.border_subtitle = Content(titles[0]), Content(titles[1])

    def watch_ramp(self) -> None:
        """Redraw with the other characters."""
        self.announce()

    def on_resize(self) -> None:
        """Ask again, because more or fewer rows fit."""
        self.announce()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Show the cell under the mouse in figures."""
        self._pointed = event.get_content_offset(self)
        self._describe()

    def on_leave(self) -> None:
        """Show the legend again."""
        self._pointed = None
        self._describe()

    def render(self) -> RenderResult:
        """Unused, as render_line draws; defined so that nothing else is drawn."""
        return ""

    def render_line(self, y: int) -> Strip:
        """Return one line of the content."""
        return self.strips[y] if y < len(self.strips) else Strip.blank(self.size.width, self.rich_style)
