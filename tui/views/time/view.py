"""View 5: where the time of a token goes, with the cache and without, against what the machine can do."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from kvtui.core.commands import MeasureLimits, MeasureParts
from kvtui.core.events import Breakdown, Limits
from kvtui.tui.actions import Action
from kvtui.tui.panes.chart import Chart
from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update
from kvtui.tui.views.time.costs import CostsPane, Rates, Ways
from kvtui.tui.views.time.draw_roofline import LEGEND, roofline
from kvtui.tui.views.time.part_times import Measured, PartTimes, conclusion, of_token, rates
from kvtui.tui.views.time.parts import PartsPane
from kvtui.tui.views.time.runs import RunsPane
from kvtui.tui.views.view import View

UNKNOWN = "m measures what this machine can do at most: how fast it reads, and how fast it computes."
ROOFLINE = "The speed of each part will stand here, under the limit of this machine: press m."
MEASURING = "Measuring …"
RACING = "A race is being run: measure after its end, or end it with s."


class TimeView(View):
    """Parts of a token's time, what they cost, and what holds them up."""

    TITLE = "Time"
    SUMMARY = "Where the time of a token goes, and what holds it up."
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action(
            "measure",
            "m",
            "m",
            "Measure here",
            "Measure one token with the cache and without, and what this machine can do at most: a second or two.",
            "Measure",
        ),
        Action("runs", "e", "e", "Earlier runs", "The texts of this session, in place of the counted work.", "Runs"),
    )
    PARAGRAPHS = (
        (
            "Where the time of a token goes",
            "Medians of the newest tokens by part: looking up the embedding; queries, keys and values; attention with "
            "its output projection; the MLP; the logits; drawing the token. Each bar is 100 % of its own time. Press t "
            "for the other way of writing, or m to measure one token both ways (*). Left and right choose a token.",
        ),
        (
            "Counted work and measured speed",
            "Floating-point operations of the matrix products, two for each multiply-add, and bytes of weights, keys "
            "and values, each counted once. Their ratio says what holds a part up: with few operations a byte it waits "
            "for memory, with many for arithmetic. Writing with the cache reads every weight for one position; a "
            "prefill, or a token without the cache, shares it among all of them.",
        ),
        (
            "Roofline",
            "Speed against operations a byte. The line is what this machine can do at most: the slope is the bandwidth "
            "of matrix-vector products over as many bytes as the model has weights, the flat the rate of products of "
            "large matrices. Small letters are parts with the cache, capitals without.",
        ),
        (
            "Runs of this session",
            "Every text with its settings, tokens, median and 95th percentile of their times, and their sum. Saves is "
            "how many times as fast the cache makes a token, from medians at the same length; what a text has not "
            "measured itself comes from the others of the same model. In a small terminal e shows the table.",
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self._session: Session | None = None
        self._times = PartTimes()
        self._limits: Limits | None = None
        self._concluded: object = None  # what the words and the roofline are about

    def compose(self) -> ComposeResult:
        """The bars, then the table and, where there is room, the roofline."""
        yield PartsPane(id="parts")
        with Horizontal(id="work"):
            with Vertical(id="work-left"):
                yield CostsPane(id="costs")
                yield Static(UNKNOWN, id="conclusion", markup=False)
            yield Chart("Speed · GFLOP/s by FLOP a byte", LEGEND, ROOFLINE, id="roofline")
        yield RunsPane(id="runs")

    def show(self, update: Update, session: Session) -> None:
        """Take in what was measured, and draw."""
        super().show(update, session)
        self._session = session
        if update.reset:
            self._times.clear()
        if update.model is not None:
            self._limits = None
            self.query_one("#conclusion", Static).update(UNKNOWN)
        self._times.add(update.tokens)
        if breakdown := update.answer(Breakdown):
            self._times.take(breakdown)
        self._limits = update.answer(Limits) or self._limits
        cached, uncached = self._times.measured(True), self._times.measured(False)
        looking = session.cursor.token
        self.query_one(PartsPane).show(cached, uncached, of_token(looking) if looking else None)
        ways = self._rates(cached), self._rates(uncached)
        self.query_one(CostsPane).show(ways, self._limits)
        self._conclude(ways)

    def _conclude(self, ways: Ways) -> None:
        """What the numbers mean: in words, and as a roofline."""
        limits, chart = self._limits, self.query_one(Chart)
        if limits is None or not chart.due or self._concluded == (ways, limits):
            return
        self._concluded = ways, limits
        totals = [way["total"] if way else None for way in ways]
        self.query_one("#conclusion", Static).update(conclusion(totals[0], totals[1], limits))
        chart.show(roofline(limits, *ways))

    def _rates(self, measured: Measured | None) -> Rates | None:
        assert self._session is not None
        model = self._session.model
        return rates(model.config, measured, model.itemsize) if measured else None

    def action_runs(self) -> None:
        """The table of runs, or the counted work again."""
        self.toggle_class("-runs")

    def action_measure(self) -> None:
        """Ask for both measurements."""
        session = self._session
        if session is None or not session.answering:
            racing = session is not None and session.racing
            self.notify(RACING if racing else "Write a prompt first: press p.", severity="warning")
            return
        self.query_one("#conclusion", Static).update(MEASURING)
        self._limits = self._concluded = None
        session.put_question(MeasureLimits())
        session.put_question(MeasureParts())
