"""The roofline (Williams et al. 2009): the speed of each part against its operations per byte, below the limits."""

from __future__ import annotations

from kvtui.core.events import Limits
from kvtui.tui.drawing.chart import Axis, Curve, Drawing, Point
from kvtui.tui.views.time.part_times import Rate

LETTERS = {"qkv": "q", "attention": "a", "mlp": "m", "output": "o"}  # parts with counted operations
LEGEND = "small: cached · CAPITAL: uncached"
_ROOF_POINTS = 80


def roofline(limits: Limits, cached: dict[str, Rate] | None, uncached: dict[str, Rate] | None) -> Drawing:
    """GFLOP/s against FLOP per byte, both logarithmic: bandwidth limits the slope, arithmetic limits the flat part."""
    low, high = 0.1, 1000.0
    roof: list[Point] = []
    for number in range(_ROOF_POINTS):
        intensity = low * (high / low) ** (number / (_ROOF_POINTS - 1))
        roof.append((intensity, min(limits.flops, limits.bandwidth * intensity) / 1e9))
    curves = [Curve(roof, "chart--axis", label="limit")]
    for way, style in ((cached, "chart--first"), (uncached, "chart--second")):
        for name, letter in LETTERS.items():
            rate = way[name] if way else None
            if rate is not None and rate.flops:
                mark = letter if way is cached else letter.upper()
                curves.append(Curve([(rate.cost.intensity, rate.flops / 1e9)], style, mark, joined=False))
    return Drawing(tuple(curves), Axis(low, high, True), Axis(0.1, max(10.0, limits.flops / 1e9), True))
