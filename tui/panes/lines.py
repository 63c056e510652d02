"""Converts lines of pieces to Textual strips, and a pane of lines that a function lays out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from rich.segment import Segment
from textual.app import RenderResult
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from kvtui.tui.drawing.lines import Line

Draw = Callable[[int, int], list[Line]]


def strips(widget: Widget, lines: Iterable[Line], width: int | None = None) -> list[Strip]:
    """The lines as strips as wide as the widget's content, or ``width`` cells; pieces are coloured by the widget's
    component classes."""
    width = widget.size.width if width is None else width
    plain, style = widget.rich_style, widget.get_component_rich_style
    return [
        Strip(Segment(text, style(name) if name else plain) for text, name in line if text).adjust_cell_length(
            width, plain
        )
        for line in lines
    ]


def strip(widget: Widget, line: Line, width: int | None = None) -> Strip:
    """One line; see :func:`strips`."""
    return strips(widget, [line], width)[0]


class LinesPane(Widget):
    """Shows what a function of width and height returns. Pieces are coloured by component classes.

    Args:
        draw: the lines for a width and a height in cells, until :meth:`show` replaces it.
        title: in the border.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "lines--label",
        "lines--figure",
        "lines--bar",
        "lines--chosen",
        "lines--selected",
        "lines--cut",
        "lines--hint",
    }

    def __init__(self, draw: Draw, title: str = "", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = title
        self._draw = draw
        self._lines: list[Strip] = []

    def show(self, draw: Draw) -> None:
        """Draw with this function from the next refresh on."""
        self._draw = draw
        self.refresh()

    def render(self) -> RenderResult:
        """Unused, as render_line draws; defined so that nothing else is drawn."""
        return ""

    def render_lines(self, crop: Region) -> list[Strip]:
        """Lay out once per refresh; render_line returns the lines."""
        self._lines = strips(self, self._drawn(self.size))
        return super().render_lines(crop)

    def _drawn(self, size: Size) -> list[Line]:
        return self._draw(size.width, size.height)[: size.height] if size.width and size.height else []

    def render_line(self, y: int) -> Strip:
        """Return one line of the content."""
        return self._lines[y] if y < len(self._lines) else Strip.blank(self.size.width, self.rich_style)
