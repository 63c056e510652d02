"""A pane whose cells stand for numbers: it asks the worker for those it shows, and names the one under the mouse."""

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
    """What the attention weights and the map of the cache have in common.

    A subclass lays out its cells in ``lay_out``, fills ``strips`` in Textual's ``render_lines``, and calls ``announce``
    when something else is to be shown.

    Attributes:
        ramp: number of the characters that stand for the numbers.
        strips: the lines of the content.

    Args:
        title: in the border until something has been laid out.
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
        """Ask for the numbers that this pane shows now."""
        raise NotImplementedError

    def lay_out(self) -> None:
        """Lay the cells out for the size and the choices of this moment."""
        raise NotImplementedError

    def titles(self, pointed: Offset | None) -> tuple[str, str]:
        """Words for the border above and below; the one below tells of the cell that is pointed at."""
        raise NotImplementedError

    def announce(self) -> None:
        """Draw what is there, and ask for other numbers if the choice changed."""
        if not self.is_running:
            return
        self.redraw()
        if self.size.height and self._asked != (question := self.question):
            self._asked = question
            self.post_message(QuestionChanged())

    def ask_again(self) -> None:
        """Forget what was asked for: it was of another model."""
        self._asked = None

    def redraw(self) -> None:
        """Lay everything out again."""
        self.lay_out()
        self._describe()
        self.refresh()

    def _describe(self) -> None:
        """Label the border, if the words have changed."""
        titles = self.titles(self._pointed)
        if self._titles != titles:
            self._titles = titles
            # Content, not str: a label such as [ is not markup.
            self.border_title, self.border_subtitle = Content(titles[0]), Content(titles[1])

    def watch_ramp(self) -> None:
        """Redraw with the other characters."""
        self.announce()

    def on_resize(self) -> None:
        """Ask again, as more or fewer rows fit."""
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
