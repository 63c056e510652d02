"""What each part of a token computes and reads, and how fast it ran, compared with the machine's limits."""

from __future__ import annotations

from typing import ClassVar

from textual.app import RenderResult
from textual.strip import Strip
from textual.widget import Widget

from kvtui.core.events import Limits
from kvtui.tui.drawing.lines import Line
from kvtui.tui.drawing.words import three_digits
from kvtui.tui.panes.lines import strip
from kvtui.tui.session.comparison import lengths_words
from kvtui.tui.views.time.part_times import NAMES, Measured, Pair, Rate

_PART = 10  # cells of the parts' names
_COLUMNS = ("ms", "FLOP", "bytes", "GFLOP/s", "GB/s")
_WIDTHS = (7, 7, 7, 8, 5)
_LIMIT = 11  # cells of the column that names the limit and the share of it that was reached, where it fits

Rates = dict[str, Rate]  # of each part, and of the total
Ways = tuple[Rates | None, Rates | None]  # with the cache, without


class CostsPane(Widget):
    """A table with a row for each part and one for the total, with the cache and without."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "costs--head",
        "costs--part",
        "costs--figure",
        "costs--total",
    }

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Counted work and measured speed"
        self._pair = Pair()
        self._ways: Ways = (None, None)
        self._limits: Limits | None = None

    def show(self, pair: Pair, ways: Ways, limits: Limits | None) -> None:
        """Show the rates of a pair of measurements, with the cache and without, beside the machine's limits."""
        if pair != self._pair or limits is not self._limits:
            self._pair, self._ways, self._limits = pair, ways, limits
            self.refresh()

    def render(self) -> RenderResult:
        """Unused, as render_line draws; defined so that nothing else is drawn."""
        return ""

    def render_line(self, y: int) -> Strip:
        """The headings, a row for each part, and one for the total."""
        rows = self._rows(self.size.width)
        return strip(self, rows[y] if y < len(rows) else [])

    def _rows(self, width: int) -> list[Line]:
        limited = self._limits is not None and width >= _PART + 2 * (sum(_WIDTHS) + _LIMIT)
        columns = sum(_WIDTHS) + (_LIMIT if limited else 0)
        headings = "".join(name.rjust(size) for name, size in zip(_COLUMNS, _WIDTHS, strict=True))
        headings += "limit".rjust(_LIMIT) if limited else ""
        rows: list[Line] = [
            [(" " * _PART + "".join(f"  {head}".ljust(columns) for head in _heads(self._pair)), "costs--head")],
            [(" " * _PART + headings * 2, "costs--head")],
        ]
        for name in (*NAMES, "total"):
            style = "costs--total" if name == "total" else "costs--figure"
            cells = "".join(self._cells(way, name, limited).ljust(columns) for way in self._ways)
            rows.append([(name.ljust(_PART), "costs--part"), (cells, style)])
        return rows

    def _cells(self, way: Rates | None, name: str, limited: bool) -> str:
        """The figures of one part, with the cache or without."""
        if way is None:
            return "".join("–".rjust(size) for size in _WIDTHS)
        rate = way[name]
        cost = rate.cost
        texts = (
            milliseconds(rate.seconds),
            three_digits(cost.operations) if cost.operations else "0",
            three_digits(cost.bytes_read),
            billions(rate.flops),
            billions(rate.bandwidth),
        )
        words = "".join(text.rjust(size) for text, size in zip(texts, _WIDTHS, strict=True))
        if limited and self._limits is not None:
            kind = "mem" if rate.memory_bound(self._limits) else "cpu"
            words += f"{kind} {100 * rate.reached(self._limits):3.0f} %".rjust(_LIMIT)
        return words


def _heads(pair: Pair) -> tuple[str, str]:
    """What is run with the cache and without it, and at which lengths."""
    cached, uncached = pair.cached, pair.uncached
    return (
        f"cached: 1 of {_lengths(cached)}" if cached else "cached: 1 position",
        f"uncached: all {_lengths(uncached)}" if uncached else "uncached: all positions",
    )


def _lengths(measured: Measured) -> str:
    return f"{lengths_words(*measured.lengths)} positions{' *' if measured.asked else ''}"


def milliseconds(seconds: float) -> str:
    """A time in ms; what would round to 10.000 is 10.0, however the last digit of a sum was rounded."""
    return f"{1e3 * seconds:.3f}" if seconds < 0.0099995 else f"{1e3 * seconds:.1f}"


def billions(per_second: float) -> str:
    """Billions per second, with at most three digits."""
    value = per_second / 1e9
    return "–" if not value else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
