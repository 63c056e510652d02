"""Bars in eighths of a cell, their axis, and the band below them. Text and numbers only; the panes add colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kvtui.core.errors import counted
from kvtui.tui.session.timings import Columns, Floats, Integers, Kind, PrefillTime

SOLID = " ▁▂▃▄▅▆▇█"
DOTTED = " ⣀⣀⣤⣤⣶⣶⣿⣿"  # the uncached bars differ in shape, not only in colour
SOLID_CAPS = " ▄▄▄▄▀▀▀▀"
DOTTED_CAPS = " ⣤⣤⣤⣤⠛⠛⠛⠛"
WHISKER = " ╷╷╷╷││││"
DOT = "•"
PREVIOUS = 3  # the previous text, beside the kinds
_FINE = (1, 1.5, 2, 3, 4, 6, 8, 10, 20)  # ends of a linear axis: more of them, so that the bars use its height
_SPREAD = 50.0  # minimum ratio of a logarithmic axis' ends: leaves space for uncached bars before there are any


@dataclass(frozen=True)
class Scale:
    """A vertical axis in milliseconds from the bottom to the top of the graph."""

    low: float
    high: float
    logarithmic: bool

    def fractions(self, milliseconds: Floats) -> Floats:
        """(n,): heights from 0 to 1."""
        if self.logarithmic:
            heights = np.log(np.maximum(milliseconds, 1e-9) / self.low) / math.log(self.high / self.low)
        else:
            heights = milliseconds / self.high
        return np.clip(heights, 0.0, 1.0)

    def eighths(self, milliseconds: Floats, rows: int) -> Integers:
        """(n,): heights in eighths of a cell, at least one, in a graph of so many rows; 0 for NaN."""
        heights = np.rint(self.fractions(np.nan_to_num(milliseconds)) * rows * 8).astype(np.int64)
        return np.where(np.isnan(milliseconds), 0, np.maximum(heights, 1))

    def label(self, row: int, rows: int) -> str:
        """Label of a row of cells, counted from the top: the axis' ends, and as many round values between as fit."""
        if row == 0 and rows > 1:
            return short(self.high)
        if row == rows - 1:
            return short(self.low if self.logarithmic else 0.0) if rows > 1 else short(self.high)
        if row in (1, rows - 2):
            return ""
        ticks = self._ticks()
        places = (1.0 - self.fractions(np.array(ticks))) * rows
        inside = [tick for tick, place in zip(ticks, places, strict=True) if int(place) == row]
        return short(inside[0]) if inside else ""

    def _ticks(self) -> list[float]:
        if not self.logarithmic:
            return [self.high / 2]
        first = math.ceil(math.log10(self.low) + 1e-9)
        last = math.floor(math.log10(self.high) - 1e-9)
        return [10.0**power for power in range(first, last + 1)]


def scale_for(milliseconds: Floats, logarithmic: bool) -> Scale:
    """A scale with round ends that holds all of these times: from zero, or as wide as they are if logarithmic."""
    if not len(milliseconds):
        return Scale(0.1, 0.1 * _SPREAD, logarithmic)
    greatest = float(milliseconds.max())
    if not logarithmic:
        return Scale(0.0, round_up(greatest, _FINE), False)
    low = round_down(max(float(milliseconds.min()), 1e-4) * 0.8)
    return Scale(low, max(round_up(greatest), low * _SPREAD), True)


def round_up(value: float, steps: Sequence[float] = (1, 2, 5, 10, 20)) -> float:
    """The smallest of … 1, 2, 5, 10 … that is not below, or of other ``steps`` from 1 to 20."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-6)))
    return next(step * power for step in steps if step * power >= value * (1 - 1e-9))


def round_down(value: float) -> float:
    """The largest of … 1, 2, 5, 10 … that is not above."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-6)))
    return next(step * power for step in (10, 5, 2, 1, 0.5) if step * power <= value * (1 + 1e-9))


def short(milliseconds: float) -> str:
    """A round time without trailing zeros: ``50 µs``, ``0.2 ms``, ``10 s``."""
    scale, unit = unit_of(milliseconds)
    return f"{milliseconds * scale:g} {unit}"


def figure(milliseconds: float) -> str:
    """A measured time: three digits and a unit, always eight cells, so that numbers do not jump. NaN is a dash."""
    if math.isnan(milliseconds):
        return "    –   "
    scale, unit = unit_of(milliseconds)
    value = milliseconds * scale
    digits = 2 if value < 9.995 else 1 if value < 999.95 else 0
    return f"{value:5.{digits}f} {unit:2}"


def unit_of(milliseconds: float) -> tuple[float, str]:
    """The factor from milliseconds to a suitable unit, and the unit."""
    if 0 < milliseconds < 0.09995:
        return 1e3, "µs"
    return (1.0, "ms") if milliseconds < 999.95 else (1e-3, "s")


def bars(columns: Columns, before: Floats, scale: Scale, rows: int) -> tuple[npt.NDArray[np.str_], Integers]:
    """The graph: characters, and whose each is: a :class:`Kind` or :data:`PREVIOUS`.

    On a linear scale a bar is filled from zero up to the median, and a thin line continues to the slowest token. A
    logarithmic scale has no zero: only the ends are drawn, the slowest as a dot. The previous text is drawn where there
    is neither.

    Args:
        columns: of the text.
        before: (columns,) milliseconds of the previous text; NaN where there are none.
        scale: of the graph.
        rows: cells of its height.

    Returns:
        (rows, columns) characters, top row first, and (rows, columns) int.
    """
    floors = 8 * np.arange(rows - 1, -1, -1)[:, None]  # (rows, 1) eighths below each row
    ends, tops = scale.eighths(columns.medians, rows), scale.eighths(columns.slowest, rows)
    if scale.logarithmic:
        solid, dotted = SOLID_CAPS, DOTTED_CAPS
        fill = np.where(_ends_in(ends, floors), ends - floors, 0)  # (rows, columns) eighths
        slowest = np.where(_ends_in(tops, floors), DOT, " ")
    else:
        solid, dotted = SOLID, DOTTED
        fill = np.clip(ends - floors, 0, 8)
        slowest = np.array(list(WHISKER))[np.clip(tops - floors, 0, 8)]
    cells = np.where(columns.kinds == Kind.UNCACHED, np.array(list(dotted))[fill], np.array(list(solid))[fill])
    cells, owners = _where_free(cells, np.broadcast_to(columns.kinds, cells.shape), slowest, columns.slowest_kinds)
    previous = np.where(_ends_in(scale.eighths(before, rows), floors), "─", " ")
    return _where_free(cells, owners, previous, np.full(len(ends), PREVIOUS))


def _ends_in(eighths: Integers, floors: Integers) -> npt.NDArray[np.bool_]:
    """(rows, columns): whether a height ends in a row of cells, which begins at its floor; nowhere for 0."""
    return (floors < eighths) & (eighths <= floors + 8)


def _where_free(
    cells: npt.NDArray[np.str_], owners: Integers, over: npt.NDArray[np.str_], kinds: Integers
) -> tuple[npt.NDArray[np.str_], Integers]:
    """Add what is drawn ``over`` a graph, each column of its kind, where the graph is empty."""
    added = (cells == " ") & (over != " ")
    return np.where(added, over, cells), np.where(added, kinds, owners)


def runs(values: Sequence[int] | npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Start and end of each run of equal values."""
    array = np.asarray(values)
    if not len(array):
        return []
    edges = np.flatnonzero(array[1:] != array[:-1]) + 1
    bounds = [0, *(int(edge) for edge in edges), len(array)]
    return list(pairwise(bounds))


def prefill_words(cost: PrefillTime) -> tuple[str, ...]:
    """What a prefill was and cost, from the longest wording to the shortest."""
    what = "prefill" if cost.cause == "prompt" else f"prefill, {cost.cause}"
    run = f"{what}: {counted(cost.tokens, 'token')}"
    time, rate = figure(cost.milliseconds).strip(), cost.tokens_per_second
    words = (run, what, "prefill")
    if math.isnan(rate):
        return words
    return f"{run} in {time}, {rate:,.0f} tok/s", f"{run} in {time}", *words


def band(columns: Columns, left: int = 0, marked: int | None = None) -> tuple[str, Integers]:
    """One line below the graph: which stretches ran with the cache, and what a prefill was. No words cover a mark.

    Args:
        columns: of the graph.
        left: empty cells before it, into which words may extend.
        marked: the column of the selected token.

    Returns:
        As wide as the graph and the empty cells, and (cells,) int, the :class:`Kind` of each.
    """
    kinds = np.concatenate((np.full(left, int(Kind.CACHED)), columns.kinds))
    line = [" "] * left + ["─"] * len(columns.kinds)
    uncached = (columns.kinds == Kind.UNCACHED).astype(np.int64)
    if columns.first < 0:  # the prompt's prefill is no change of the mode
        uncached[:1] = uncached[1:2] if len(uncached) > 1 else 0
    stretches = runs(uncached)
    for start, _ in stretches[1:]:
        line[left + start] = "┼"
    for place, _ in columns.prefills:
        line[left + place] = "^"
    if marked is not None:
        line[left + marked] = "▲"
    if columns.prefills:
        chosen = [(place, cost) for place, cost in columns.prefills if place == marked] or columns.prefills
        place, cost = chosen[-1]
        words = prefill_words(cost)[-1:] if cost.cause == "prompt" else prefill_words(cost)  # the title has the rest
        start, end = _write_beside(line, left + place, words)
        kinds[start:end] = Kind.PREFILL
    for start, end in stretches:
        _write_centred(line, " uncached " if uncached[start] else " cached ", left + start + 1, left + end)
    return "".join(line), kinds


def _free(line: Sequence[str]) -> bool:
    return set(line) <= {" ", "─"}


def _write_beside(line: list[str], place: int, choices: Sequence[str]) -> tuple[int, int]:
    """Write the first of these texts that finds room right after a mark, or right before it. Returns their cells."""
    for words in (f" {choice} " for choice in choices):
        for start in (place + 1, place - len(words)):
            end = start + len(words)
            if start >= 0 and end <= len(line) and _free(line[start:end]):
                line[start:end] = words
                return min(start, place), max(end, place + 1)
    return place, place + 1


def _write_centred(line: list[str], name: str, start: int, end: int) -> None:
    """Write a name into the middle of the longest free part, if it has room for it."""
    free = np.array([cell == "─" for cell in line[start:end]], dtype=np.int64)
    parts = [(first, last) for first, last in runs(free) if free[first]]
    first, last = max(parts, key=lambda part: part[1] - part[0], default=(0, 0))
    if last - first >= len(name):
        place = start + first + (last - first - len(name)) // 2
        line[place : place + len(name)] = name
