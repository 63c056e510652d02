"""Which positions each cell of the cache map covers, and the number that it shows. Does not import Textual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvtui.core.events import CacheContents, Quantity
from kvtui.core.layers import Array, IntArray

LINES_BELOW = 2  # below the rows: what the newest step did, and the ruler

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CacheMapLayout:
    """What is to be drawn, and in how many cells.

    Attributes:
        width, height: cells.
        layers, heads: of the model; heads are key/value heads.
        grouped: whether several query heads share a key/value head.
        capacity: positions that fit into the cache.
        top: the first row shown, of layers × heads.
        fitted: all positions in the width, several per cell if necessary; else one per cell, the newest at the right.
        quantity: what the cells show.
        ramp: characters from the least to the largest.
        cache: whether the cache is on.
        context: positions of the text that the newest token could attend to.
        contents: the worker's answer; None before it arrives.
        written: positions that the step wrote, if another step than the newest is shown.
        gone: why the cache of that step cannot be shown; empty if it can.
        query: label of the token whose step it is, and whose attention; empty if it is not known.
    """

    width: int
    height: int
    layers: int
    heads: int
    grouped: bool
    capacity: int
    top: int = 0
    fitted: bool = True
    quantity: Quantity = "value"
    ramp: str = "░▒▓█"
    cache: bool = True
    context: int = 0
    contents: CacheContents | None = None
    written: int | None = None
    gone: str = ""
    query: str = ""

    @property
    def rows(self) -> int:
        """Number of rows of the map that fit."""
        return max(self.height - LINES_BELOW, 1)

    @property
    def total_rows(self) -> int:
        """Number of rows in total."""
        return self.layers * self.heads

    @property
    def first_row(self) -> int:
        """The first row shown, clamped so that the rows fill the map."""
        return max(0, min(self.top, self.total_rows - self.rows))

    @property
    def last_row(self) -> int:
        """The row after the last one shown."""
        return min(self.first_row + self.rows, self.total_rows)

    @property
    def shown_layers(self) -> tuple[int, int]:
        """The layers that the rows belong to, as a range."""
        return self.first_row // self.heads, -(-self.last_row // self.heads)

    @property
    def gutter(self) -> int:
        """Number of cells left of the map: ``L12 H12 ``."""
        return len(str(self.layers)) + len(str(self.heads)) + 4

    @property
    def room(self) -> int:
        """Number of cells for positions."""
        return max(self.width - self.gutter, 1)

    @property
    def per_cell(self) -> int:
        """Number of positions per cell."""
        return max(1, -(-self.capacity // self.room)) if self.fitted else 1

    @property
    def length(self) -> int:
        """Number of positions that have been run, as far as is known."""
        return self.contents.length if self.contents is not None else 0

    @property
    def dropped(self) -> bool:
        """Whether any head has dropped a position."""
        return self.contents is not None and self.contents.kept.shape[2] < self.length

    @property
    def axis(self) -> Axis:
        """Which positions the columns show."""
        per_cell, room, length = self.per_cell, self.room, self.length
        cells = min(room, -(-self.capacity // per_cell))
        if length <= cells * per_cell:
            return Axis(0, 0, per_cell, cells)
        early = min(self._beginning, room // 4 * per_cell)
        late = room - (-(-early // per_cell)) - 1
        return Axis(early, -(-(length - late * per_cell) // per_cell) * per_cell, per_cell, room)

    @property
    def _beginning(self) -> int:
        """How many first positions are kept although later ones were dropped, by the first head."""
        if self.contents is None or not self.contents.kept.size:
            return 0
        first = self.contents.kept[0, 0]
        others = np.flatnonzero(first != np.arange(len(first)))
        return int(others[0]) if len(others) else 0


@dataclass(frozen=True)
class Axis:
    """Columns of the map: the ``early`` first positions if they are kept, a gap, and those from ``base`` on.

    Attributes:
        early: positions before the gap.
        base: the first position after it; 0 without a gap.
        per_cell: positions per cell.
        cells: columns, including the gap.
    """

    early: int
    base: int
    per_cell: int
    cells: int

    @property
    def gap(self) -> int | None:
        """The cell of the gap."""
        return -(-self.early // self.per_cell) if self.base else None

    @property
    def offset(self) -> int:
        """The cell of ``base``."""
        return 0 if self.gap is None else self.gap + 1

    def cells_of(self, positions: IntArray) -> Integers:
        """The cell of each position; -1 where it is not shown."""
        late = self.offset + (positions - self.base) // self.per_cell
        cells = np.where(positions < self.early, positions // self.per_cell, np.where(positions < self.base, -1, late))
        return np.where(cells < self.cells, cells, -1)

    def positions(self, cell: int) -> range:
        """The positions in a cell."""
        if cell == self.gap:
            return range(self.early, self.base)
        first = cell * self.per_cell if cell < self.offset else self.base + (cell - self.offset) * self.per_cell
        last = min(first + self.per_cell, self.early) if cell < self.offset else first + self.per_cell
        return range(first, last)


def fits(layout: CacheMapLayout) -> bool:
    """Whether the contents match what is shown: the answer to an earlier question may not."""
    contents, (first, last) = layout.contents, layout.shown_layers
    return (
        contents is not None
        and contents.quantity == layout.quantity
        and contents.first_layer <= first
        and contents.first_layer + contents.numbers.shape[0] >= last
    )


def binned(layout: CacheMapLayout) -> Floats | None:
    """(rows shown, cells): the mean of the positions kept in a cell, NaN where there are none; None before an answer.

    Attention weights are summed instead: a row's cells sum to 1.
    """
    if layout.contents is None or not fits(layout):
        return None
    places, numbers, shape = placed(layout, layout.contents)
    counts = np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)
    sums = np.bincount(places, numbers, shape[0] * shape[1]).reshape(shape)
    return np.where(counts > 0, sums / np.maximum(counts, 1) if layout.quantity != "attention" else sums, np.nan)


def placed(layout: CacheMapLayout, contents: CacheContents) -> tuple[Integers, Array, tuple[int, int]]:
    """For every position kept and shown: its cell, counted through all rows, and its number; then rows and cells."""
    axis = layout.axis
    skipped = layout.first_row - contents.first_layer * layout.heads
    rows = slice(skipped, skipped + layout.last_row - layout.first_row)
    flat = (contents.kept.shape[0] * layout.heads, contents.kept.shape[2])
    cells = axis.cells_of(contents.kept.reshape(flat)[rows])  # (rows, K)
    shown = cells >= 0
    places = (np.arange(len(cells))[:, None] * axis.cells + cells)[shown]
    return places, contents.numbers.reshape(flat)[rows][shown], (len(cells), axis.cells)
