"""A chart with axes, drawn by plotext in braille: curves and points in the colours of the theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import ClassVar

from rich.text import Text
from textual_plotext import PlotextPlot

from kvtui.tui.drawing.chart import Axis, Curve, Drawing, Point
from kvtui.tui.panes.bars import round_up

LEAST_SECONDS = 0.25  # between two redraws: one takes up to 15 ms, during which keys wait
_MOST_POINTS = 160  # per curve; longer ones are thinned out


class Chart(PlotextPlot):
    """Draws what it was last given, at most four times per second: :meth:`show` may be called at any rate.

    Call it only while the chart is visible, so that a hidden chart costs nothing.

    Args:
        title: in the upper border: what is plotted against what.
        subtitle: in the lower border: what the symbols mean.
        hint: what to show before there is anything to draw.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "chart--first",
        "chart--second",
        "chart--third",
        "chart--axis",
    }

    def __init__(
        self,
        title: str = "",
        subtitle: str = "",
        hint: str = "",
        *,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.border_title = title
        self.border_subtitle = subtitle
        self._hint = hint
        self._wanted = self._shown = Drawing()
        self._drawn_at = -math.inf
        self._built: tuple[object, Text] | None = None

    @property
    def due(self) -> bool:
        """Whether enough time has passed since the last drawing."""
        return monotonic() - self._drawn_at >= LEAST_SECONDS

    def show(self, drawing: Drawing) -> None:
        """Draw this if a redraw is due; otherwise a later call draws it."""
        self._wanted = drawing
        if self.due and drawing is not self._shown:
            self._shown, self._drawn_at = drawing, monotonic()
            self.refresh()

    @property
    def up_to_date(self) -> bool:
        """Whether the latest data has been drawn."""
        return self._shown is self._wanted

    def render(self) -> Text:
        """The chart; redrawn only if something has changed."""
        key = (self._shown, self.size, self.app.theme)
        if self._built is None or self._built[0] != key:
            self._built = key, self._build()
        return self._built[1]

    def _build(self) -> Text:
        """The drawing as characters."""
        width, height = self.size
        if width < 12 or height < 4:
            return Text("")
        if self._hint and not self._shown.curves:
            return Text(self._hint, style=self.get_component_rich_style("chart--axis"))
        drawing, plot = self._shown, self.plt
        plot.clear_figure()
        plot.plotsize(width, height)
        plot._set_size(width, height)
        background = self.background_colors[1].rgb
        plot.canvas_color(background)
        plot.axes_color(background)
        plot.ticks_color(self._colour("chart--axis"))
        plot.xaxes(True, False)
        plot.yaxes(True, False)
        xs, ys = (_scale(axis, drawing.curves, place) for place, axis in enumerate((drawing.x, drawing.y)))
        for curve in drawing.curves:
            self._draw(curve, xs, ys)
        plot.xlim(xs.low, xs.high)
        plot.ylim(ys.low, ys.high)
        plot.xticks(*xs.ticks(max(2, width // 12)))
        plot.yticks(*ys.ticks(max(2, height // 3)))
        return Text.from_ansi(plot.build())

    def _draw(self, curve: Curve, xs: _Scale, ys: _Scale) -> None:
        points = [(xs.place(x), ys.place(y)) for x, y in _thin(curve.points)]
        if not points:
            return
        draw = self.plt.plot if curve.joined and len(points) > 1 else self.plt.scatter
        colour = self._colour(curve.style)
        draw([x for x, _ in points], [y for _, y in points], marker=curve.marker, color=colour)
        if curve.label:
            x, y = points[-1]
            late = x > (xs.low + xs.high) / 2
            self.plt.text(
                f"{curve.label} " if late else f" {curve.label}",
                x,
                y,
                color=colour,
                alignment="right" if late else "left",
            )

    def _colour(self, name: str) -> tuple[int, int, int]:
        colour = self.get_component_rich_style(name).color
        return tuple(colour.get_truecolor()) if colour else (128, 128, 128)  # type: ignore[return-value]


@dataclass(frozen=True)
class _Scale:
    """Maps values to positions on an axis: the values themselves, or their base-10 logarithms."""

    low: float
    high: float
    logarithmic: bool

    def place(self, value: float) -> float:
        """The position of a value; values outside the axis move to its end."""
        place = math.log10(max(value, 1e-12)) if self.logarithmic else value
        return min(max(place, self.low), self.high)

    def ticks(self, most: int) -> tuple[list[float], list[str]]:
        """Positions and labels of at most ``most + 1`` ticks."""
        if self.logarithmic:
            decades = max(1, math.ceil((self.high - self.low) / most))
            places = [float(power) for power in range(math.ceil(self.low), math.floor(self.high) + 1, decades)]
            return places, [_words(10**place) for place in places]
        step = round_up((self.high - self.low) / most)
        count = math.floor((self.high - self.low) / step + 1e-9)
        places = [self.low + step * number for number in range(count + 1)]
        return places, [_words(place) for place in places]


def _words(value: float) -> str:
    return f"{value:,.0f}" if value >= 999.9995 else f"{value:.6g}"


def _scale(axis: Axis, curves: Sequence[Curve], place: int) -> _Scale:
    """The scale that holds all points of all curves."""
    values = [point[place] for curve in curves for point in curve.points]
    if axis.logarithmic:
        positive = [value for value in values if value > 0] or [1.0, 10.0]
        bottom = math.floor(math.log10(min(positive) if axis.low is None else axis.low))
        top = math.ceil(math.log10(max(positive) if axis.high is None else axis.high))
        return _Scale(bottom, max(top, bottom + 1), True)
    low = 0.0 if axis.low is None else axis.low
    high = max([*values, low]) if axis.high is None else axis.high
    return _Scale(low, high if high > low else low + 1.0, False)


def _thin(points: Sequence[Point]) -> Sequence[Point]:
    """At most this many points, including the last one."""
    step = max(1, math.ceil(len(points) / _MOST_POINTS))
    return points if step == 1 else [*points[::step], points[-1]]
