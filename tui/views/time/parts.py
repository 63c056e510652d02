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
from kvtui.tui.views.time.part_times import NAMES, Measured

_LABEL = 10  # cells left of a bar
_WIDE = 100  # cells: from here on whole words fit after it
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
    one without, and one for the selected token."""

    ALLOW_SELECT = False  # a drawing, not text
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"parts--{name}" for name in NAMES),
        "parts--label",
        "parts--figure",
        "parts--hint",
    }

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Where a token's time goes"
        self._ways: tuple[Measured | None, Measured | None] = (None, None)  # with the cache, without
        self._chosen: Measured | None = None

    def show(self, cached: Measured | None, uncached: Measured | None, chosen: Measured | None = None) -> None:
        """Show these measurements."""
        if ((cached, uncached), chosen) != (self._ways, self._chosen):
            self._ways, self._chosen = (cached, uncached), chosen
            self.set_class(chosen is not None, "-chosen")
            self.border_subtitle = _ratio(cached, uncached)
            self.refresh()

    def render(self) -> RenderResult:
        """Unused, as render_line draws; defined so that nothing else is drawn."""
        return ""

    def render_line(self, y: int) -> Strip:
        """A bar, or what to press where there is none."""
        width = self.size.width
        pieces: Line = []
        if self._ways == (None, None):
            pieces = [(EMPTY[y], "parts--hint")] if y < len(EMPTY) else []
        elif y in (0, 1):
            pieces = self._bar(_WAYS[y], self._ways[y], width)
        elif y == 2 and self._chosen is not None:
            pieces = self._bar("chosen", self._chosen, width)
        return strip(self, pieces)

    def _bar(self, name: str, measured: Measured | None, width: int) -> Line:
        label = name.ljust(_LABEL)
        if measured is None:
            return [(label, "parts--label"), (MISSING[name], "parts--hint")]
        where = f"at {measured.context:,}{' positions' if width >= _WIDE else ' pos.'}"
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


def _ratio(cached: Measured | None, uncached: Measured | None) -> str:
    if cached is None or uncached is None or not cached.total:
        return ""
    times = f"{uncached.total / cached.total:.1f} ×"
    if cached.context != uncached.context:
        return f"uncached at {uncached.context:,} takes {times} as long as cached at {cached.context:,} positions"
    asked = " · * measured on request" if cached.asked or uncached.asked else ""
    return f"shares of each · uncached takes {times} as long{asked}"
