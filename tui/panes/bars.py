"""Bars in eighths of a cell, their axis, and the band below them. Text and numbers only; the panes add colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kvtui.tui.session.timings import Columns, Floats, Kind

SOLID = " ▁▂▃▄▅▆▇█"
DOTTED = " ⣀⣀⣤⣤⣶⣶⣿⣿"  # the uncached bars differ in shape, not only in colour
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
    """A scale with round ends that holds all of these times."""
    if not len(milliseconds):
        return Scale(0.1, 0.1 * _SPREAD, logarithmic)
    high = round_up(float(milliseconds.max()))
    low = round_down(max(float(milliseconds.min()), 1e-4) * 0.8)
    return Scale(low, max(high, low * _SPREAD) if logarithmic else high, logarithmic)


def round_up(value: float) -> float:
    """The smallest of … 1, 2, 5, 10 … that is not below."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-6)))
    return next(step * power for step in (1, 2, 5, 10, 20) if step * power >= value * (1 - 1e-9))


def round_down(value: float) -> float:
    """The largest of … 1, 2, 5, 10 … that is not above."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-6)))
    return next(step * power for step in (10, 5, 2, 1, 0.5) if step * power <= value * (1 + 1e-9))


def short(milliseconds: float) -> str:
    """A round time without trailing zeros: ``50 µs``, ``0.2 ms``, ``10 s``."""
    scale, unit = _unit(milliseconds)
    return f"{milliseconds * scale:g} {unit}"


def figure(milliseconds: float) -> str:
    """A measured time: three digits and a unit, always eight cells, so that numbers do not jump. NaN is a dash."""
    if math.isnan(milliseconds):
        return "    –   "
    scale, unit = _unit(milliseconds)
    value = milliseconds * scale
    digits = 2 if value < 9.995 else 1 if value < 999.95 else 0
    return f"{value:5.{digits}f} {unit:2}"


def _unit(milliseconds: float) -> tuple[float, str]:
    """The factor from milliseconds to a suitable unit, and the unit."""
    if 0 < milliseconds < 0.09995:
        return 1e3, "µs"
    return (1.0, "ms") if milliseconds < 999.95 else (1e-3, "s")


def bars(columns: Columns, scale: Scale, rows: int) -> npt.NDArray[np.str_]:
    """(rows, columns): characters, top row first."""
    eighths = np.maximum(np.ceil(scale.fractions(columns.milliseconds) * rows * 8), 1).astype(int)
    floors = 8 * np.arange(rows - 1, -1, -1)[:, None]
    fill = np.clip(eighths[None, :] - floors, 0, 8)
    solid, dotted = np.array(list(SOLID)), np.array(list(DOTTED))
    return np.where(columns.kinds[None, :] == Kind.UNCACHED, dotted[fill], solid[fill])


def line(milliseconds: Floats, scale: Scale, rows: int) -> npt.NDArray[np.bool_]:
    """(rows, columns): the cells in which these times end; none for NaN."""
    known = np.nan_to_num(milliseconds, nan=1.0)
    from_top = rows - 1 - (np.ceil(scale.fractions(known) * rows * 8).clip(1).astype(int) - 1) // 8
    cells: npt.NDArray[np.bool_] = (np.arange(rows)[:, None] == from_top[None, :]) & ~np.isnan(milliseconds)[None, :]
    return cells


def runs(values: Sequence[int] | npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Start and end of each run of equal values."""
    array = np.asarray(values)
    if not len(array):
        return []
    edges = np.flatnonzero(array[1:] != array[:-1]) + 1
    bounds = [0, *(int(edge) for edge in edges), len(array)]
    return list(pairwise(bounds))


def explain(computed: int, moved: bool) -> str:
    """Why one token with the cache cost as much as one without."""
    return f"cache rebuilt: {computed} positions" if moved else f"cache refilled: {computed} positions"


def band(columns: Columns, left: int = 0) -> tuple[str, npt.NDArray[np.int64]]:
    """One line below the graph: which stretches ran with the cache, what caused the last spike, and each cell's kind.

    As wide as the graph plus the ``left`` empty cells before it, into which an explanation may extend.
    """
    kinds = np.concatenate((np.full(left, int(Kind.CACHED)), columns.kinds))
    line = [" "] * left + ["─"] * len(columns.kinds)
    uncached = (columns.kinds == Kind.UNCACHED).astype(np.int64)
    stretches = runs(uncached)
    for start, _ in stretches[1:]:
        line[left + start] = "┼"
    refills = [int(place) for place in np.flatnonzero(columns.kinds == Kind.REFILL)]
    for place in refills:
        line[left + place] = "^"
    taken = (len(line), len(line))
    if refills:
        words = f" {explain(int(columns.computed[refills[-1]]), bool(columns.moved[refills[-1]]))} "
        taken = _write_beside(line, left + refills[-1], words)
        kinds[taken[0] : taken[1]] = Kind.REFILL
    for start, end in stretches:
        name = " uncached " if uncached[start] else " cached "
        _write_centred(line, name, _largest_gap(left + start + 1, left + end, taken))
    return "".join(line), kinds


def _write_beside(line: list[str], place: int, words: str) -> tuple[int, int]:
    """Write text after a mark, or before it if the line ends too soon. Returns the cells used by both."""
    if place + 1 + len(words) <= len(line):
        taken = (place, place + 1 + len(words))
        line[place + 1 : taken[1]] = list(words)
    elif place >= len(words):
        taken = (place - len(words), place + 1)
        line[taken[0] : place] = list(words)
    else:
        taken = (place, place + 1)
    return taken


def _largest_gap(start: int, end: int, taken: tuple[int, int]) -> tuple[int, int]:
    """The longer part of start..end outside ``taken``."""
    left, right = (start, min(end, taken[0])), (max(start, taken[1]), end)
    return max(left, right, key=lambda gap: gap[1] - gap[0])


def _write_centred(line: list[str], name: str, gap: tuple[int, int]) -> None:
    room = gap[1] - gap[0]
    if room >= len(name) and "^" not in line[gap[0] : gap[1]]:
        start = gap[0] + (room - len(name)) // 2
        line[start : start + len(name)] = list(name)
