"""Where a token's time goes: its parts side by side, in one bar with the cache and one without."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from textual.app import RenderResult
from textual.strip import Strip
from textual.widget import Widget

from kvtui.tui.drawing.lines import Line
from kvtui.tui.panes.bars import figure
from kvtui.tui.panes.lines import strip
from kvtui.tui.session.comparison import lengths_words
from kvtui.tui.views.time.part_times import NAMES, Measured, Pair

_LABEL = 10  # cells left of a bar
_WIDE = 100  # cells: from here on the unit fits after it
_WAYS = ("cached", "uncached")
MISSING = {
    "cached": "none yet: t turns the cache on, m measures a token",
    "uncached": "none yet: t turns the cache off, m measures a token",
}
EMPTY = (
    "Where a token's time goes will appear here, with the cache and without.",
    "Type a prompt and press Enter; then m measures one token both ways.",
)


class PartsPane(Widget):
    """Bars of equal length that show shares of each token's own time, with the times in figures: one with the cache,
    one without, and one for the selected token or the newest."""

    ALLOW_SELECT = False  # a drawing, not text
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"parts--{name}" for name in NAMES),
        "parts--label",
        "parts--figure",
        "parts--hint",
    }

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Where a token's time goes · each bar is 100 %"
        self._pair = Pair()
        self._token: Measured | None = None
        self._chosen = False

    def show(self, pair: Pair, token: Measured | None = None, chosen: bool = False, policy: str = "full") -> None:
        """Show these measurements.

        Args:
            pair: both ways.
            token: the newest token, or the one that is ``chosen``.
            chosen: whether it is.
            policy: of the cache, which a measurement on request does not have.
        """
        if (pair, token, chosen) != (self._pair, self._token, self._chosen):
            self._pair, self._token, self._chosen = pair, token, chosen
            self.set_class(chosen and token is not None, "-chosen")
            self.border_subtitle = _ratio(pair, policy)
            self.refresh()

    def render(self) -> RenderResult:
        """Unused, as render_line draws; defined so that nothing else is drawn."""
        return ""

    def render_line(self, y: int) -> Strip:
        """A bar, or what to press where there is none."""
        width = self.size.width
        pieces: Line = []
        ways = self._pair.cached, self._pair.uncached
        if ways == (None, None):
            pieces = [(EMPTY[y], "parts--hint")] if y < len(EMPTY) else []
        elif y in (0, 1):
            pieces = self._bar(_WAYS[y], ways[y], width)
        elif y == 2 and self._token is not None:
            pieces = self._bar("chosen" if self._chosen else "newest", self._token, width)
        return strip(self, pieces)

    def _bar(self, name: str, measured: Measured | None, width: int) -> Line:
        label = name.ljust(_LABEL)
        if measured is None:
            return [(label, "parts--label"), (MISSING[name], "parts--hint")]
        where = f"at {lengths_words(*measured.lengths)}{' positions' if width >= _WIDE else ''}"
        words = f" {figure(1e3 * measured.total)} {where}{' *' if measured.asked else '  '}"
        room = max(width - _LABEL - len(words), 1)
        shares = [measured.seconds[name] / measured.total for name in NAMES]
        cells = [
            (_segment(name, share, size), f"parts--{name}")
            for name, share, size in zip(NAMES, shares, portions(shares, room), strict=True)
        ]
        return [(label, "parts--label"), *cells, (words, "parts--figure")]


def portions(shares: list[float], room: int) -> list[int]:
    """Divide ``room`` cells by shares that add up to 1: each edge is at the nearest cell."""
    edges, so_far = [0], 0.0
    for share in shares:
        so_far += share
        edges.append(round(room * so_far))
    return [end - start for start, end in pairwise(edges)]


def _segment(name: str, share: float, size: int) -> str:
    """The cells of a part: its name and share as far as they fit; an edge separates neighbours without colour."""
    inside = size - 1
    words = next((text for text in (f"{name} {share:.0%}", name, f"{share:.0%}", name[0]) if len(text) <= inside), "")
    return f"▏{words.ljust(inside)}" if size else ""


def _ratio(pair: Pair, policy: str) -> str:
    """How much longer a token takes without the cache, if both were measured at the same length."""
    comparison = pair.comparison
    if comparison is None:
        return "not at the same length: m measures both at one" if pair.cached and pair.uncached else ""
    words = f"uncached takes {comparison.times:.1f} × as long at {comparison.lengths} positions"
    if pair.cached is not None and pair.cached.asked:
        words += " · * measured with m" if policy == "full" else " · * with m: full cache"
    return words
