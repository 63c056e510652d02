"""Attention weights as rows of characters, and how grids and tabs share the space. Does not import Textual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvtui.core.layers import Array

RAMPS = (" .:-=+*#%@", " ░▒▓█")
INTENSITIES = 3  # colours of a grid in addition to the ramp: faint, medium, strong
_LEAST_WIDTH, _LEAST_HEIGHT = 8, 2


def levels(weights: Array, steps: int) -> npt.NDArray[np.int64]:
    """(rows, keys): indices into a ramp of ``steps`` characters.

    The square root of the weight, because a head that spreads over a hundred keys would otherwise be blank. The scale
    is absolute, so that rows, heads and moments can be compared.
    """
    roots = np.sqrt(np.clip(weights, 0.0, 1.0))
    return np.rint(roots * (steps - 1)).astype(np.int64)


def paint(weights: Array, ramp: str) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Rows of characters, and the (rows, keys) intensity of each from 0 to ``INTENSITIES`` - 1."""
    places = levels(weights, len(ramp))
    rows, keys = places.shape
    if not rows or not keys:
        return [""] * rows, places
    characters = np.ascontiguousarray(np.array(list(ramp))[places])
    lines = [str(line) for line in characters.view(f"<U{keys}")[:, 0]]
    return lines, np.minimum(places * INTENSITIES // len(ramp), INTENSITIES - 1)


def window(total: int, width: int, first: int | None) -> tuple[int, int]:
    """The keys shown: the newest that fit, or those from ``first`` on."""
    newest = max(total - width, 0)
    start = newest if first is None else min(max(first, 0), newest)
    return start, min(start + width, total)


@dataclass(frozen=True)
class Tiling:
    """Equal tiles side by side, one cell apart."""

    columns: int
    rows: int
    width: int
    height: int

    @property
    def count(self) -> int:
        """Number of tiles that fit."""
        return self.columns * self.rows


def arrange(count: int, width: int, height: int) -> Tiling:
    """Tiles for ``count``, as square as a terminal's cells (twice as high as wide) allow; fewer if they do not fit."""
    best, score = Tiling(1, 1, max(width, 1), max(height, 1)), 0.0
    for shown in range(count, 1, -1):
        for columns in range(1, shown + 1):
            rows = math.ceil(shown / columns)
            tiling = Tiling(columns, rows, (width + 1) // columns - 1, height // rows)
            if tiling.width < _LEAST_WIDTH or tiling.height < _LEAST_HEIGHT:
                continue
            if (value := min(tiling.width / 2, tiling.height)) > score:
                best, score = tiling, value
        if score:
            break
    return best


@dataclass(frozen=True)
class Tab:
    """One choice of a row of tabs, in cells ``start`` up to ``end``."""

    start: int
    end: int
    index: int
    text: str


def tabs(names: Sequence[str], selected: int, width: int, start: int = 0) -> list[Tab]:
    """As many tabs as fit ``width`` cells, around the selected one, which is in brackets, so colour is not needed.

    ``…`` replaces the tabs that do not fit, and leads to the nearest of them.
    """
    first, last = 0, len(names)
    while last - first > 1 and _length(names, first, last) > width:
        if selected - first > last - 1 - selected:
            first += 1
        else:
            last -= 1
    texts = [(index, f"[{names[index]}]" if index == selected else f" {names[index]} ") for index in range(first, last)]
    if first:
        texts.insert(0, (first - 1, "…"))
    if last < len(names):
        texts.append((last, "…"))
    result = []
    for index, text in texts:
        result.append(Tab(start, start + len(text), index, text))
        start += len(text)
    return result


def _length(names: Sequence[str], first: int, last: int) -> int:
    """Number of cells of the tabs ``first`` up to ``last``, including the signs for those left out."""
    return sum(len(name) + 2 for name in names[first:last]) + (first > 0) + (last < len(names))
