"""Convert lines of pieces to what Textual draws."""

from __future__ import annotations

from collections.abc import Iterable

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from kvtui.tui.drawing.lines import Line


def strips(widget: Widget, lines: Iterable[Line], width: int | None = None) -> list[Strip]:
    """Convert each line to the width of the widget's content, or ``width`` cells; pieces are coloured by the widget's
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
    """Convert one line; see :func:`strips`."""
    return strips(widget, [line], width)[0]
