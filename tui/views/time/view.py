"""View 5: where a token's time goes, with the cache and without, compared with what the machine can do."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from kvtui.core.commands import MeasureLimits, MeasureParts
from kvtui.core.events import Breakdown, Limits
from kvtui.tui.actions import Action
from kvtui.tui.messages import Tell
from kvtui.tui.notices import Notice
from kvtui.tui.panes.chart import Chart
from kvtui.tui.session.runs import Origin
from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update
from kvtui.tui.views.time.costs import CostsPane, Rates, Ways
from kvtui.tui.views.time.draw_roofline import LEGEND, roofline
from kvtui.tui.views.time.part_times import Measured, Pair, PartTimes, conclusion, of_token, rates
from kvtui.tui.views.time.parts import PartsPane
from kvtui.tui.views.time.runs import RunsPane
from kvtui.tui.views.view import View

UNKNOWN = "Press m to measure the limits of this machine: how fast it reads, and how fast it computes."
ROOFLINE = "The speed of each part will appear here, below the limits of this machine: press m."
MEASURING = "Measuring …"
RACING = "A race is running: measure after it ends, or stop it with s."


class TimeView(View):
    """The parts of a token's time, what they cost, and what limits them."""

    TITLE = "Time"
    SUMMARY = "Where a token's time goes, and what limits it."
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action(
            "measure",
            "m",
            "m",
            "Measure here",
            "Measure one token with the cache and without, at this length, and this machine's limits; takes a second "
            "or two.",
            "Measure",
        ),
        Action("runs", "e", "e", "Earlier runs", "The texts of this session, instead of the counted work.", "Runs"),
    )
    PARAGRAPHS = (
        (
            "Where a token's time goes",
            "Median time of the newest tokens at one length, and the mean share of each part: embedding lookup; "
            "queries, keys and values; attention with its output projection; the MLP; the logits; sampling. Each bar "
            "is 100 % of its own time. The ratio is that of view 1, and only given at the same length. Press t for the "
            "other mode, or m to measure one token in both, with the full cache (*): that stays until m is pressed "
            "again or another text begins. Below is the newest token, or the one that the arrow keys select.",
        ),
        (
            "Counted work and measured speed",
            "Floating-point operations of the matrix products, two per multiply-add, and bytes of weights, keys and "
            "values, each counted once. Their ratio says what limits a part: with few operations per byte it waits for "
            "memory, with many for arithmetic. With the cache, every weight is read for a single position; prefill, or "
            "a token without the cache, shares each read among all positions.",
        ),
        (
            "Roofline",
            "Speed against operations per byte. The line is what this machine can do at most: the slope is the "
            "bandwidth of matrix-vector products over as many bytes as the model has weights, the flat part the rate "
            "of products of large matrices. Small letters are parts with the cache, capitals without.",
        ),
        (
            "Runs of this session",
            "Every text with its settings and tokens, the median and 95th percentile of their times, and the total. "
            "The speed-up says how many times as fast the cache makes a token, from medians at the length named: as in "
            "view 1; of a race, from all of its tokens. Where a text has only one of both, the other comes from texts "
            "of the same model (*). In a small terminal, e shows it.",
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self._session: Session | None = None
        self._times = PartTimes()
        self._text: Origin | None = None  # the text that they are of
        self._pair = Pair()
        self._ways: Ways = (None, None)
        self._limits: Limits | None = None
        self._concluded: object = None  # what the text and the roofline were made from

    def compose(self) -> ComposeResult:
        """The bars, then the table and, where it fits, the roofline."""
        yield PartsPane(id="parts")
        with Horizontal(id="work"):
            with Vertical(id="work-left"):
                yield CostsPane(id="costs")
                yield Static(UNKNOWN, id="conclusion", markup=False)
            yield Chart("Roofline · GFLOP/s against FLOP per byte", LEGEND, ROOFLINE, id="roofline")
        yield RunsPane(id="runs")

    def show(self, update: Update, session: Session) -> None:
        """Take in new measurements, and draw."""
        super().show(update, session)
        self._session = session
        if session.runs.text is not self._text:
            self._text = session.runs.text
            self._times.clear()
        elif update.reset:
            self._times.forget_tokens()
        if update.model is not None:
            self._limits = None
            self.query_one("#conclusion", Static).update(UNKNOWN)
        self._times.add(update.tokens)
        breakdown = update.answer(Breakdown)
        if breakdown is not None:
            self._times.take(breakdown)
        if update.news or update.model is not None or breakdown is not None:
            self._pair = self._times.pair(session.timeline.times)
            self._ways = self._rates(self._pair.cached), self._rates(self._pair.uncached)
        self._limits = update.answer(Limits) or self._limits
        chosen = session.cursor.token
        token = chosen or session.timeline.newest
        parts = of_token(token) if token else None
        self.query_one(PartsPane).show(self._pair, parts, chosen is not None, session.state.policy)
        self.query_one(CostsPane).show(self._pair, self._ways, self._limits)
        self._conclude()

    def _conclude(self) -> None:
        """What the numbers mean: in words, and as a roofline."""
        ways, limits, chart = self._ways, self._limits, self.query_one(Chart)
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
        """Switch between the table of runs and the counted work."""
        self.toggle_class("-runs")

    def action_measure(self) -> None:
        """Ask the worker for both measurements."""
        session = self._session
        if session is None:
            return
        if not session.answering:
            words = RACING if session.racing else "Enter a prompt first: press p."
            self.post_message(Tell(Notice(words, "warning", "measure", lambda: self.display and not session.answering)))
            return
        self.query_one("#conclusion", Static).update(MEASURING)
        self._limits = self._concluded = None
        session.put_question(MeasureLimits())
        session.put_question(MeasureParts())
