"""What a lane of a race stands for, and so the colour and the texture that it has everywhere."""

from __future__ import annotations

from typing import Literal

from kvtui.tui.drawing.lines import solid
from kvtui.tui.session.race import RaceRecord

Way = Literal["cached", "uncached", "other"]

_HALF, _DOTTED = "⡇", "⣿"  # as the bars of uncached tokens in Watch


def way_of(race: RaceRecord, number: int) -> Way:
    """Of a lane, counted from 0: without the cache, with it, or with it after another lane that has one as well."""
    lane, before = race.lanes[number], race.lanes[:number]
    if not lane.cache:
        return "uncached"
    return "other" if any(lane.cache for lane in before) else "cached"


def lane_bar(way: Way, eighths: int) -> str:
    """A bar of so many eighths of a cell: solid with the cache, dotted in half cells without."""
    if way != "uncached":
        return solid(eighths)
    whole, rest = divmod(eighths, 8)
    return _DOTTED * (whole + (rest > 4)) + (_HALF if 0 < rest <= 4 else "")
