"""The cells of the screen: those that the app has drawn, and those that the terminal shows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len

_TOKEN = re.compile(
    r"\x1b\[(?P<line>\d+);(?P<column>\d+)H|\x1b\[(?P<style>[\d;:]*)m|(?P<text>[^\x1b]+)|(?P<stray>\x1b)"
)
_CONTROL = dict.fromkeys((*range(32), *range(127, 160)), "·")
_GAP = 4  # unchanged cells that are written rather than skipped: moving the cursor takes about as many bytes

Cell = tuple[str, str]  # text and style; the cells that a wide character covers after its first have no text


class Canvas:
    """Takes what is drawn, and says what must be written for the terminal to show it.

    Textual writes whole panes, though few of their cells change, and a slow terminal need not show every frame. What is
    drawn can do nothing but fill cells: a control character in it is shown as a dot.

    Args:
        columns: width in cells.
        lines: height in cells.
    """

    def __init__(self, columns: int, lines: int) -> None:
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int) -> None:
        """Start with another size; the terminal shows nothing that is known."""
        self._columns, self._lines = columns, lines
        self._drawn: list[list[Cell | None]] = [[None] * columns for _ in range(lines)]
        self._cursor = (0, 0)
        self._shown: list[list[Cell | None]] = [[None] * columns for _ in range(lines)]
        self._changed = set(range(lines))

    def draw(self, frame: str) -> None:
        """Take in text, styles and moves of the cursor; what is outside the screen is left out."""
        x, y, style = *self._cursor, ""
        for token in _TOKEN.finditer(frame):
            kind = token.lastgroup
            if kind == "column":
                x, y = int(token["column"]) - 1, int(token["line"]) - 1
            elif kind == "style":
                style = _joined(style, token["style"])
            elif kind == "stray":
                x = self._put(x, y, "·", style)
            elif text := token["text"].replace("\n", ""):  # a move follows each
                x = self._put(x, y, text.translate(_CONTROL), style)
        self._cursor = (x, y)

    def _put(self, x: int, y: int, text: str, style: str) -> int:
        """Draw text; returns the column after it."""
        cells: list[Cell]
        if text.isascii() or (cell_len(text) == len(text) and all(cell_len(character) == 1 for character in text)):
            cells = [(character, style) for character in text]
        else:
            cells = _wide_cells(text, style)
        if 0 <= y < self._lines and 0 <= x < self._columns:
            self._replace(self._drawn[y], x, cells)
            self._changed.add(y)
        return x + len(cells)

    def _replace(self, line: list[Cell | None], x: int, cells: list[Cell]) -> None:
        """Draw cells over others; what is left of a wide character that is drawn over, or cut off, is blank."""
        end = min(x + len(cells), self._columns)
        if end == x:
            return
        if end < x + len(cells) and not cells[end - x][0]:
            cut, _ = _whole(list(cells), end - x)
            cells = [*cells[:cut], *[(" ", "")] * (end - x - cut)]
        first, _ = _whole(line, x)
        _, last = _whole(line, end - 1)
        line[first:x] = [(" ", "")] * (x - first)
        line[end:last] = [(" ", "")] * (last - end)
        line[x:end] = cells[: end - x]

    def changes(self) -> str:
        """What to write so that the terminal shows what has been drawn; it counts as written."""
        parts: list[str] = []
        style = ""
        for y in sorted(self._changed):
            at = None  # column of the cursor, if it is in this line
            for x, end in self._runs(y):
                if at != x:
                    parts.append(f"\x1b[{y + 1};{x + 1}H")
                text, wanted = self._drawn[y][x] or (" ", "")
                if wanted != style:
                    parts.append(f"\x1b[0;{wanted}m" if wanted else "\x1b[0m")
                    style = wanted
                parts.append(text)
                at = end if len(text) == end - x else None  # terminals differ in the width of what is not plain
        self._changed.clear()
        if style:
            parts.append("\x1b[0m")
        parts.append(f"\x1b[{self._cursor[1] + 1};{self._cursor[0] + 1}H")
        return "".join(parts)

    def _runs(self, y: int) -> Iterator[tuple[int, int]]:
        """Characters of a line that must be written, each as its first cell and the one after it."""
        drawn, shown = self._drawn[y], self._shown[y]
        written = 0
        for x in range(self._columns):
            if x < written or drawn[x] is None or drawn[x] == shown[x]:
                continue
            first, end = _whole(drawn, x)
            if 0 < first - written <= _GAP and all(_plain(cell, drawn[first]) for cell in drawn[written:first]):
                for skipped in range(written, first):
                    yield skipped, skipped + 1
            yield first, end
            shown[first:end] = drawn[first:end]
            written = end


def _whole(cells: list[Cell | None], x: int) -> tuple[int, int]:
    """The first cell of the character at ``x``, and the one after it."""
    first, end = x, x + 1
    while first and (cell := cells[first]) is not None and not cell[0]:
        first -= 1
    while end < len(cells) and (cell := cells[end]) is not None and not cell[0]:
        end += 1
    return first, end


def _plain(cell: Cell | None, other: Cell | None) -> bool:
    """Whether a cell can be written on the way to the other: one character, same style."""
    return cell is not None and other is not None and len(cell[0]) == 1 and cell[1] == other[1]


def _joined(style: str, more: str) -> str:
    """The style after another one is set on top of it."""
    if more in ("", "0") or more.startswith("0;"):
        return more[2:]
    return f"{style};{more}" if style else more


def _wide_cells(text: str, style: str) -> list[Cell]:
    """The cells of text of which some characters take two or none."""
    cells: list[Cell] = []
    for character in text:
        width = cell_len(character)
        if not width and cells:
            last = max(index for index, cell in enumerate(cells) if cell[0])
            cells[last] = (cells[last][0] + character, style)
        elif width:
            cells += [(character, style), *[("", style)] * (width - 1)]
    width = cell_len(text)
    if len(cells) != width:  # characters that join, such as those of a family: nobody knows where each one ends
        cells = [(text, style), *[("", style)] * (width - 1)][:width]
    return cells
