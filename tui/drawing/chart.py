"""What a chart shows: curves, points and axes. Does not import Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """Points in order, joined or not.

    Attributes:
        points: (x, y) pairs.
        style: component class of the chart that colours it, such as ``chart--first``.
        marker: ``braille``, or a character to draw every point with.
        joined: whether lines lead from point to point.
        label: written at the last point, so that curves can be distinguished without colour.
    """

    points: Sequence[Point]
    style: str = "chart--first"
    marker: str = "braille"
    joined: bool = True
    label: str = ""


@dataclass(frozen=True)
class Axis:
    """One axis. If ``low`` and ``high`` are None it fits the points, from 0 or, if logarithmic, in whole decades."""

    low: float | None = None
    high: float | None = None
    logarithmic: bool = False


@dataclass(frozen=True)
class Drawing:
    """The curves of a chart and its axes."""

    curves: tuple[Curve, ...] = ()
    x: Axis = Axis()
    y: Axis = Axis()
