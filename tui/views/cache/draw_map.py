"""The cache as a map: a row per layer and head, a column per position, as lines. Does not import Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from kvtui.core.events import CacheContents, Quantity
from kvtui.core.layers import IntArray
from kvtui.tui.drawing.lines import Line, Piece
from kvtui.tui.panes.bars import runs
from kvtui.tui.views.cache.map_layout import Axis, CacheMapLayout, Floats, Integers, binned, fits, placed

RAMPS = ("░▒▓█", "▁▂▃▄▅▆▇█")
ATTENTION_RAMPS = (" ░▒▓█", " .:-=+*#%@")  # as in the attention grid: what is hardly read is blank
QUANTITIES: tuple[Quantity, ...] = ("value", "key", "attention", "reason")
NAMES: dict[Quantity, str] = {
    "value": "value norm",
    "key": "key norm",
    "attention": "√ of attention weight",
    "reason": "why it is kept",
}
ROOM_SIGNS = ("■", "▪")  # cache not full: for a cell kept as a whole, and for one kept in part
EMPTY = (
    "The cache will appear here as a map: a row for every layer and head,",
    "a mark for every position that is kept.",
    "Type a prompt and press Enter.",
)
FREE, DROPPED, GAP, WRITTEN, READ = "·", "×", "┆", "▲", "─"
_TICK = 10  # cells between two numbers of the ruler, at least


class Look(IntEnum):
    """What a cell is coloured by; its character says the same."""

    FREE = 0
    FAINT = 1
    MIDDLING = 2
    STRONG = 3
    WRITTEN = 4
    DROPPED = 5


_REASON_LOOKS = np.array([Look.MIDDLING, Look.STRONG, Look.MIDDLING, Look.STRONG, Look.FAINT])  # in turn
STYLES = {look: f"cache-map--{look.name.lower()}" for look in Look}


@dataclass
class MapDrawing:
    """Lines from top to bottom, and the least and largest number in them (None if there are none)."""

    lines: list[Line] = field(default_factory=list)
    scale: tuple[float, float] | None = None


def draw(layout: CacheMapLayout) -> MapDrawing:
    """The rows, the line of what the newest step read and wrote, and the ruler."""
    if layout.contents is None and not layout.context:
        return MapDrawing([[(text, "cache-map--hint")] for text in EMPTY])
    values = binned(layout)
    drawing = MapDrawing(scale=scale_of(layout, values))
    columns = _Columns(layout)
    characters, looks = _signs(layout, columns, values, drawing.scale)
    for row, number in enumerate(range(layout.first_row, layout.last_row)):
        pieces = [
            ("".join(characters[row, start:end]), STYLES[Look(int(looks[row, start]))])
            for start, end in runs(looks[row])
        ]
        drawing.lines.append([(_label(layout, number), "cache-map--label"), *pieces])
    drawing.lines.append([(" " * layout.gutter, ""), *_step_line(layout, columns)])
    drawing.lines.append([(_ruler(layout, columns.axis), "cache-map--label")])
    return drawing


class _Columns:
    """What all rows share: the axis, and for each cell whether any of its positions was run, was read and was written
    by the newest step."""

    def __init__(self, layout: CacheMapLayout) -> None:
        self.axis = axis = layout.axis
        self.run = np.array([axis.positions(cell).start for cell in range(axis.cells)]) < layout.length
        self.read = np.zeros(axis.cells, bool)
        self.written = np.zeros(axis.cells, bool)
        if layout.contents is not None and layout.length:
            self._mark(self.read, layout.contents.kept.reshape(-1))
            count = layout.contents.written if layout.written is None else layout.written
            self._mark(self.written, np.arange(max(layout.length - count, 0), layout.length))

    def _mark(self, marks: npt.NDArray[np.bool_], positions: IntArray) -> None:
        cells = self.axis.cells_of(positions)
        marks[cells[cells >= 0]] = True


def reason_signs(words: Sequence[str]) -> list[tuple[str, str]]:
    """For each reason, a sign for a cell kept as a whole and one for a cell kept in part.

    The first reason, that the cache is not full, has squares; any other has the first free letter of its phrase.
    """
    signs: list[tuple[str, str]] = [ROOM_SIGNS]
    taken = set[str]()
    for word in words[1:]:
        letter = next((letter for letter in word.upper() if letter.isalpha() and letter not in taken), "?")
        taken.add(letter)
        signs.append((letter, letter.lower()))
    return signs


def reasons(layout: CacheMapLayout) -> tuple[npt.NDArray[np.str_], Integers, Integers]:
    """(rows shown, cells): a sign for why most of a cell is kept, a space where nothing is; the looks; the reasons."""
    assert layout.contents is not None
    places, codes, (rows, cells) = placed(layout, layout.contents)
    kinds = len(layout.contents.reasons)
    counts = np.bincount(places * kinds + codes.astype(np.int64), minlength=rows * cells * kinds)
    counts = counts.reshape(rows, cells, kinds)
    kept, most = counts.sum(axis=2), counts.argmax(axis=2)
    axis = layout.axis
    ends = np.array([axis.positions(cell).stop for cell in range(cells)])
    starts = np.array([axis.positions(cell).start for cell in range(cells)])
    run = np.clip(np.minimum(ends, layout.length) - starts, 0, None)  # positions of each cell that have been run
    signs = np.array(reason_signs(layout.contents.reasons))
    characters = np.where(kept > 0, signs[most, (kept < run).astype(int)], " ")
    return characters, _REASON_LOOKS[most % len(_REASON_LOOKS)], most


def scale_of(layout: CacheMapLayout, values: Floats | None) -> tuple[float, float] | None:
    """What the first and the last character of the ramp mean: 0 and 1 for weights, the extremes shown for norms."""
    if values is None or not np.isfinite(values).any():
        return None
    if layout.quantity == "reason":
        return None
    if layout.quantity == "attention":
        return 0.0, 1.0
    return float(np.nanmin(values)), float(np.nanmax(values))


def levels(values: Floats, scale: tuple[float, float], steps: int, roots: bool) -> Integers:
    """Places in a ramp of ``steps`` characters; NaN is -1. ``roots``: of the square root, as in the attention grid."""
    low, high = scale
    fractions = (values - low) / (high - low) if high > low else np.zeros_like(values)
    fractions = np.sqrt(np.clip(fractions, 0.0, 1.0)) if roots else np.clip(fractions, 0.0, 1.0)
    places = np.minimum(np.floor(np.nan_to_num(fractions) * steps), steps - 1).astype(np.int64)
    return np.where(np.isfinite(values), places, -1)


def _signs(
    layout: CacheMapLayout, columns: _Columns, values: Floats | None, scale: tuple[float, float] | None
) -> tuple[npt.NDArray[np.str_], Integers]:
    """(rows shown, cells): characters of the map and their looks."""
    shape = (layout.last_row - layout.first_row, columns.axis.cells)
    absent = DROPPED if values is not None else " "  # until the answer arrives, positions already run are unknown
    values = np.full(shape, np.nan) if values is None else values
    kept = np.isfinite(values)
    if layout.quantity == "reason" and layout.contents is not None and fits(layout):
        characters, looks, _ = reasons(layout)
    else:
        places = levels(values, scale or (0.0, 1.0), len(layout.ramp), layout.quantity == "attention")
        characters = np.array([*layout.ramp, FREE])[places]
        looks = Look.FAINT + np.minimum(places * 3 // len(layout.ramp), 2)
    looks = np.where(kept, np.where(columns.written, Look.WRITTEN, looks), Look.FREE)
    dropped = ~kept & columns.run
    looks[dropped] = Look.DROPPED
    characters = np.where(kept, characters, np.where(dropped, absent, FREE))
    if columns.axis.gap is not None:
        characters[:, columns.axis.gap], looks[:, columns.axis.gap] = GAP, Look.FREE
    return characters, looks


def _step_line(layout: CacheMapLayout, columns: _Columns) -> list[Piece]:
    """What the newest step wrote and read, below the columns: what any head keeps counts as read."""
    if not layout.cache:
        words = f"off: nothing is kept, all {layout.context} positions are recomputed for each token"
        return [(words[: layout.room], "cache-map--off")]
    if layout.gone:
        return [(layout.gone[: layout.room], "cache-map--off")]
    looks = np.where(columns.written, 2, np.where(columns.read, 1, 0))
    signs = ((" ", ""), (READ, STYLES[Look.FAINT]), (WRITTEN, STYLES[Look.WRITTEN]))
    return [(signs[looks[start]][0] * (end - start), signs[looks[start]][1]) for start, end in runs(looks)]


def _ruler(layout: CacheMapLayout, axis: Axis) -> str:
    """Positions below the cells, counted from 0 at the first that was run."""
    line = [" "] * (layout.gutter + axis.cells)
    step = _round_step(_TICK * axis.per_cell)
    first = -(-axis.base // step) * step
    ticks = [*range(0, axis.early, step), *range(first, axis.positions(axis.cells - 1).stop, step)]
    free = 0
    for position in ticks:
        place = layout.gutter + int(axis.cells_of(np.array(position)))
        text = str(position)
        if free <= place and place + len(text) <= len(line):
            line[place : place + len(text)] = text
            free = place + len(text) + 1
    return "".join(line)


def _round_step(least: int) -> int:
    """The smallest of 10, 20, 50, 100 … or of the powers of two times ten that is not less."""
    power = 10
    while True:
        for factor in (1, 2, 5):
            if factor * power >= least:
                return factor * power
        power *= 10


def _label(layout: CacheMapLayout, row: int) -> str:
    """Name of a row, ``L1 H2 ``; the layer only at its first head and at the top."""
    layer, head = divmod(row, layout.heads)
    digits = len(str(layout.layers))
    name = f"L{layer + 1:<{digits}}" if head == 0 or row == layout.first_row else " " * (digits + 1)
    return f"{name} {'G' if layout.grouped else 'H'}{head + 1:<{len(str(layout.heads))}} "


def title(layout: CacheMapLayout, drawing: MapDrawing) -> str:
    """What the marks mean, as far as it fits."""
    positions = "1 position" if layout.per_cell == 1 else f"{layout.per_cell} positions"
    scale, name = "", NAMES[layout.quantity]
    if layout.quantity == "attention" and layout.query:
        name += f", query “{layout.query}”"
    if drawing.scale is not None:
        low, high = drawing.scale
        norms = f" {layout.ramp[0]} {low:.1f} to {layout.ramp[-1]} {high:4.1f}"
        scale = f", 0 to 1 {layout.ramp}" if layout.quantity == "attention" else norms
    choices = (
        f"Cache map · {name}{scale} · a cell is {positions}",
        f"{name}{scale} · a cell is {positions}",
        f"{name} · a cell is {positions}",
        f"a cell is {positions}",
    )
    return next((choice for choice in choices if len(choice) + 4 <= layout.width), choices[-1])


def legend(layout: CacheMapLayout) -> str:
    """What the signs mean, as far as it fits."""
    rows = f"rows {layout.first_row + 1}–{layout.last_row} of {layout.total_rows}"
    if layout.quantity == "reason":
        meaning = _kept_for(layout.contents) if layout.contents is not None and fits(layout) else ""
        small = "small: in part" if layout.dropped and layout.per_cell > 1 else ""
    else:
        step = "the newest step" if layout.written is None else "the chosen token’s step"
        meaning, small = f"{READ} read, {WRITTEN} written by {step}", ""
    free, dropped = f"{FREE} free", f"{DROPPED} dropped" if layout.dropped else ""
    rows = rows if layout.total_rows > layout.rows else ""
    choices = [
        " · ".join(sign for sign in signs if sign)
        for signs in ((free, dropped, meaning, small, rows), (free, dropped, meaning, rows), (dropped, meaning, rows))
    ]
    return next((choice for choice in choices if len(choice) + 4 <= layout.width), choices[-1])


def _kept_for(contents: CacheContents) -> str:
    """The reasons that occur, each after its sign; empty if nothing is kept."""
    found = np.unique(contents.numbers).astype(int).tolist()
    signs = reason_signs(contents.reasons)
    if found == [0]:
        return f"{signs[0][0]} kept: cache not full"
    kept = ", ".join(f"{signs[code][0]} {contents.reasons[code]}" for code in found)
    return f"kept: {kept}" if kept else ""


def pointed(layout: CacheMapLayout, x: int, y: int) -> str:
    """What a cell holds, in figures; empty where there is nothing."""
    values, axis = binned(layout), layout.axis
    cell = x - layout.gutter
    if values is None or layout.contents is None or not (0 <= y < len(values) and 0 <= cell < axis.cells):
        return ""
    layer, head = divmod(layout.first_row + y, layout.heads)
    positions = axis.positions(cell)
    first, last = positions.start, min(positions.stop, layout.length) - 1
    if last < first:
        return ""
    where = f"layer {layer + 1} {'key/value head' if layout.grouped else 'head'} {head + 1}, " + (
        f"position {first}" if first == last else f"positions {first}–{last}"
    )
    if not np.isfinite(values[y, cell]):
        return f"{where}: dropped"
    if layout.quantity == "reason":
        return f"{where}: {layout.contents.reasons[reasons(layout)[2][y, cell]]}"
    what = {"value": "value norm", "key": "key norm", "attention": "attention weight"}[layout.quantity]
    mean = "mean " if first != last and layout.quantity != "attention" else ""
    return f"{where}: {mean}{what} {values[y, cell]:.3g}"
