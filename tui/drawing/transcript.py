"""A growing text, wrapped to a width, with a mark for every character. Does not import Textual."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

from rich.cells import cell_len

from kvtui.tui.characters import symbol

LIMIT = 60_000  # characters kept; older ones are dropped
_SLACK = 10_000  # dropped at a time, so that wrapping everything again is rare
PROMPT = 255  # the mark of characters that the user typed


@lru_cache(maxsize=4096)
def _visible(character: str) -> str:
    """The character as it is drawn: control characters as pictures, all others unchanged."""
    return character if character == "\n" or character.isprintable() else symbol(character)


@lru_cache(maxsize=4096)
def _width(before: str, character: str) -> int:
    """Cells that a character adds to a line: a mark may make the one before it wider, as in ❤ and its red form."""
    return max(cell_len(before + character) - cell_len(before), 0)


class Transcript:
    """Text as lines of at most ``width`` cells, broken after spaces and wide characters if there are any.

    Attributes:
        lines: start and end of each line as indices into the kept text; a newline belongs to no line.
        let_go: number of characters dropped.
    """

    def __init__(self, width: int = 80) -> None:
        self.lines: list[tuple[int, int]] = [(0, 0)]
        self._width = max(width, 2)
        self._characters: list[str] = []
        self._marks = (bytearray(), bytearray())
        self._dropped = 0
        self.let_go = 0

    def __len__(self) -> int:
        return len(self._characters)

    @property
    def text(self) -> str:
        """All characters kept."""
        return "".join(self._characters)

    def clear(self) -> None:
        """Clear the text."""
        self._characters.clear()
        for marks in self._marks:
            marks.clear()
        self.lines = [(0, 0)]
        self._dropped = self.let_go = 0

    def resize(self, width: int) -> None:
        """Wrap everything again to another width."""
        if max(width, 2) != self._width:
            self._width = max(width, 2)
            self._wrap_from(0)

    def append(self, text: str, first: int = PROMPT, second: int = PROMPT) -> None:
        """Add characters without wrapping them yet. They carry two marks, one for each tint."""
        for character in text:
            # A combining mark looks like the character that it is drawn on.
            upon = character > "\x7f" and bool(self._characters) and not cell_len(character)
            self._characters.append(_visible(character))
            for marks, mark in zip(self._marks, (first, second), strict=True):
                marks.append(marks[-1] if upon else mark)

    def wrap(self) -> None:
        """Update ``lines``, in time proportional to what is new, and drop text that is too old."""
        self._wrap_from(len(self.lines) - 1)
        if len(self._characters) > LIMIT + _SLACK:
            self._let_go()

    def take_dropped(self) -> int:
        """Number of lines dropped since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def line(self, number: int, colouring: int, cuts: tuple[int, ...] = ()) -> list[tuple[str, int, int]]:
        """Pieces of a line, each with the mark shared by its characters and the place of its first character.

        No piece crosses one of the ``cuts``, indices into the kept text.
        """
        start, end = self.lines[number]
        marks = self._marks[colouring]
        pieces: list[tuple[str, int, int]] = []
        first = start
        for place in range(start, end):
            if place + 1 == end or marks[place + 1] != marks[first] or place + 1 in cuts:
                pieces.append(("".join(self._characters[first : place + 1]), marks[first], first))
                first = place + 1
        return pieces

    def place_at(self, x: int, y: int) -> int | None:
        """The index of the character in cell x of line y; None if there is none."""
        if not 0 <= y < len(self.lines):
            return None
        start, end = self.lines[y]
        place = start
        while place < end and x >= 0:
            x -= self._cells(place, start)
            if x < 0:
                return place
            place += 1
        return None

    def _cells(self, place: int, start: int) -> int:
        """Cells that a character adds to its line, which begins at ``start``."""
        character = self._characters[place]
        if character < "\x7f":
            return 1
        return _width(self._characters[place - 1] if place > start else "", character)

    def line_of(self, place: int) -> int:
        """The line that contains the character at an index."""
        return max(bisect_right(self.lines, place, key=lambda line: line[0]) - 1, 0)

    def _let_go(self) -> None:
        """Drop whole lines from the front."""
        excess = len(self._characters) - LIMIT
        count = next((number for number, (start, _) in enumerate(self.lines) if start >= excess), len(self.lines) - 1)
        start = self.lines[count][0]
        del self._characters[:start]
        self.let_go += start
        for marks in self._marks:
            del marks[:start]
        self._dropped += count
        self._wrap_from(0)

    def _wrap_from(self, number: int) -> None:
        """Wrap again from the start of a line on."""
        start = self.lines[number][0] if number else 0
        del self.lines[number:]
        width, cells, space = self._width, 0, -1
        place, characters = start, self._characters
        while place < len(characters):
            character = characters[place]
            if character == "\n":
                self.lines.append((start, place))
                start, cells, space = place + 1, 0, -1
            else:
                added = self._cells(place, start)
                cells += added
                if cells > width and not (character == " " and cells == width + 1):
                    stop = space + 1 if space >= start else max(place, start + 1)
                    self.lines.append((start, stop))
                    place, start, cells, space = stop - 1, stop, 0, -1
                elif character == " " or added == 2:  # lines of Chinese, Japanese and Korean break anywhere
                    space = place
            place += 1
        self.lines.append((start, len(characters)))
