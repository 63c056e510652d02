"""The score of a race: a bar of model time per lane, a mark for every token that agrees, and the speed-up so far.

Where the second lane follows the first one's text, a strip shows how far its predictions differ, token by token."""

from __future__ import annotations

import math
from typing import ClassVar, get_args

from textual.app import RenderResult
from textual.strip import Strip
from textual.widget import Widget

from kvtui.tui.drawing.lines import Line
from kvtui.tui.drawing.words import duration, three_digits
from kvtui.tui.panes.lines import strip
from kvtui.tui.session.comparison import lengths_words
from kvtui.tui.session.race import LaneRecord, RaceRecord
from kvtui.tui.views.race.ways import Way, lane_bar, way_of

_KL_BARS = "▁▂▃▄▅▆▇█"
_WIDE = 110  # cells: from here on the counted operations fit as well
_LEAST_BAR = 8


class ScorePane(Widget):
    """A line for each lane, one for the marks, and one for the figures of both."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"score--{way}" for way in get_args(Way)),
        "score--agrees",
        "score--differs",
        "score--label",
        "score--figure",
    }

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Model time so far"
        self._race = RaceRecord()

    def show(self, race: RaceRecord) -> None:
        """Draw the current state of this race."""
        self._race = race
        self.border_title = "Model time" if race.end else "Model time so far"
        self.refresh()

    def render(self) -> RenderResult:
        """Unused, as render_line draws; defined so that nothing else is drawn."""
        return ""

    def render_line(self, y: int) -> Strip:
        """Return a lane, the marks, or the figures."""
        race, width = self._race, self.size.width
        pieces: Line = []
        if y < len(race.lanes):
            pieces = self._lane(y, width)
        elif race.lanes and y == len(race.lanes):
            pieces = self._marks(width)
        elif race.lanes and y == len(race.lanes) + 1:
            pieces = self._strip(width) if race.follows else self._figures(width)
        elif race.lanes and y == len(race.lanes) + 2 and race.follows:
            pieces = self._figures(width)
        return strip(self, pieces)

    @property
    def _label_width(self) -> int:
        return max([len("agree"), *(len(lane.label) for lane in self._race.lanes)]) + 2

    def _lane(self, number: int, width: int) -> Line:
        lane = self._race.lanes[number]
        words = _lane_words(lane, width >= _WIDE)
        room = max(width - self._label_width - len(words), _LEAST_BAR)
        longest = max(lane.seconds for lane in self._race.lanes)
        eighths = min(math.ceil(8 * room * lane.seconds / longest), 8 * room) if longest else 0
        way, style = way_of(self._race, number), self._style(number)
        bar = lane_bar(way, eighths).ljust(room)
        return [(lane.label.ljust(self._label_width), style), (bar, style), (words, "score--figure")]

    def _style(self, number: int) -> str:
        return f"score--{way_of(self._race, number)}"

    def _marks(self, width: int) -> Line:
        """A mark for every token, or for a few neighbours together if there are too many."""
        lane, steps = self._race.lanes[1], self._race.steps
        words = f"  {lane.agreed:,} of {steps:,} agree"
        room = max(width - self._label_width - len(words), 1)
        each = max(1, math.ceil(steps / room))
        pieces: Line = [("agree".ljust(self._label_width), "score--label")]
        agrees = [entry.agrees for entry in lane.tokens]
        marks = [all(agrees[place : place + each]) for place in range(0, steps, each)]
        for mark in marks:
            pieces.append(("✓", "score--agrees") if mark else ("✗", "score--differs"))
        return [*pieces, (" " * (room - len(marks)), ""), (words, "score--figure")]

    def _strip(self, width: int) -> Line:
        """The KL divergence of every token, or the largest of a few neighbours, as bars of half a decade each."""
        lane = self._race.lanes[1]
        divergences = [entry.kl if entry.kl is not None else math.nan for entry in lane.tokens]
        mean = lane.kl_total / lane.compared if lane.compared else math.nan
        words = f"  mean {mean:.4f} nats  {_KL_BARS[0]} 0.0001 {_KL_BARS[-1]} 1"
        room = max(width - self._label_width - len(words), 1)
        each = max(1, math.ceil(len(divergences) / room))
        bars = "".join(kl_bar(max(divergences[at : at + each])) for at in range(0, len(divergences), each))
        return [
            ("KL".ljust(self._label_width), "score--label"),
            (bars.ljust(room), self._style(1)),
            (words, "score--figure"),
        ]

    def _figures(self, width: int) -> Line:
        race = self._race
        lane = race.lanes[1]
        if race.faster is None:
            return [("both lanes have run the prompt", "score--label")]
        faster, ratio = race.faster
        planned = f" of {race.planned:,}" if race.planned is not None else ""
        brief = width < _WIDE
        pieces: Line = [
            (f"{race.steps:,}{planned} tokens", "score--label"),
            (f"   {faster.label} is ", "score--label"),
            (f"{ratio:.1f} × as fast", self._style(1 if faster is lane else 0)),
            (f" at {lengths_words(*race.lengths)}{'' if brief else ' positions'}", "score--label"),
        ]
        difference: Line = [
            (f"   {'Δ' if brief else 'largest '}logit{'s' if brief else ' difference'} ", "score--label"),
            (f"{lane.max_logit_difference:.1e}", "score--figure"),
            *([] if brief else self._divergence(lane)),
        ]
        fits = sum(len(text) for text, _ in (*pieces, *difference)) <= width
        return [*pieces, *difference] if fits else pieces

    @staticmethod
    def _divergence(lane: LaneRecord) -> Line:
        if not lane.compared:
            return []
        return [("   KL ", "score--label"), (f"{lane.kl_total / lane.compared:.1e} nats", "score--figure")]


def kl_bar(divergence: float) -> str:
    """A bar from 0.0001 nats to 1, half a decade per step; a blank for NaN."""
    if math.isnan(divergence):
        return " "
    step = round(2 * (math.log10(max(divergence, 1e-12)) + 4))
    return _KL_BARS[min(max(step, 0), len(_KL_BARS) - 1)]


def _lane_words(lane: LaneRecord, wide: bool) -> str:
    """Total, time per token and counted operations, each of fixed width."""
    newest = f"{lane.tokens[-1].token.seconds * 1e3:8.2f}" if lane.tokens else f"{'–':>8}"
    words = f"  {duration(lane.seconds):>11} {newest} ms now"
    return f"{words}  {three_digits(lane.multiply_adds):>6} multiply-adds" if wide else words
