"""View 2: the same text with the cache and without, in two lanes that take turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from kvtui.core.config import ModelConfig
from kvtui.core.race import LANES, Lane
from kvtui.tui.actions import Action
from kvtui.tui.drawing.chart import Drawing
from kvtui.tui.messages import Tell
from kvtui.tui.notices import Notice
from kvtui.tui.panes.chart import Chart
from kvtui.tui.panes.policy_screen import OFF, PolicyScreen
from kvtui.tui.session.race import RaceRecord
from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update
from kvtui.tui.views.race.draw_charts import times_drawing, totals_drawing
from kvtui.tui.views.race.lane import LanePane
from kvtui.tui.views.race.score import ScorePane
from kvtui.tui.views.race.verdict import estimate_words, verdict
from kvtui.tui.views.view import View
from kvtui.tui.worker.protocol import RACE_TOKENS

LENGTHS: tuple[int | None, ...] = (None, 64, 128, 256, 512, 1024)  # tokens; None: to the end of the context
HINT = """\
The same prompt and seed in two lanes, one with the cache and one without. They take turns token by token in one \
process, so that a slow moment of the machine affects both.

Both texts will appear here with a mark for every token that agrees, the time that each lane has taken, the time per \
token against position, with the prediction from counted operations, and at the end a summary in numbers.

[b]Enter[/b] starts it from the prompt above; [b]s[/b] stops it early. Starting a race stops the text in view 1.
[b]n[/b] changes the length (now {length}).
[b]O[/b] and [b]o[/b] choose the lanes, to compare cache policies (now {lanes})."""
ASK = """\
{estimate}

[b]Enter[/b] starts it anyway. [b]n[/b] changes the length (now {length})."""
LANE_HINT = (
    "With a cache in both lanes, the second writes no text of its own: it follows the first one's text, and KL shows "
    "at every token how far its prediction differs."
)
PREPARING = "Timing a few passes to estimate how long the race will take …"


class RaceView(View):
    """Cache on against cache off, or one cache policy against another."""

    TITLE = "Race"
    SUMMARY = "Cache on against cache off, or two cache policies, in two lanes."
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("race", "enter", "Enter", "Race", "Start a race from the prompt, with the cache and without.", "Race"),
        Action(
            "length", "n", "n", "Length of the race", "How many tokens each lane of the next race writes.", "Length"
        ),
        Action(
            "first_lane",
            "O",
            "O",
            "First lane",
            "The first lane of the next race: a cache policy, or off.",
            "-",
        ),
        Action(
            "second_lane",
            "o",
            "o",
            "Second lane",
            "The second lane of the next race: off, or a cache policy. With a policy it follows the first lane's text, "
            "and KL shows how far its predictions differ.",
            "Lanes",
        ),
        Action("time_scale", "l", "l", "Logarithmic or linear time", "The axis of the time per token.", "Scale"),
    )
    PARAGRAPHS = (
        (
            "Race",
            "The same prompt and seed in two lanes, one with the cache and one without, which take turns token by "
            "token. ✓ marks a token that is the same in both. Space pauses, . writes one token in each lane, - and + "
            "change the pace. A race of more than a minute is estimated first, and needs your confirmation.",
        ),
        (
            "Race of two cache policies",
            "o and O choose the lanes. With a cache in both, the second follows the first one's text: the marks show "
            "whether it would have chosen the same token, the strip below how far its prediction differs, as KL "
            "divergence from 0.0001 to 1 nats, half a decade per step.",
        ),
        (
            "Time per token of a race",
            "Dots are measured; dashes are predicted from counted operations: a fixed time plus a time per "
            "multiply-add, fitted to the lane. With the cache it grows linearly, without it quadratically.",
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self._session: Session | None = None
        self._length: int | None = None
        self._lanes = ("full", OFF)
        self._logarithmic = False
        self._shown = (0, 0)  # number and lanes of the race whose prompt the panes show
        self._drawn: dict[str, object] = {}
        self._scored: object = None  # the state that score and verdict show
        self._hint = ""

    def compose(self) -> ComposeResult:
        """The hint; and the score, both texts, both charts and, at the end, the verdict."""
        yield Static(id="race-hint")
        with Vertical(id="race"):
            yield ScorePane(id="score")
            yield Static(id="verdict", markup=False)
            with Horizontal(id="lanes"):
                yield LanePane(classes="lane")
                yield LanePane(classes="lane")
            with Horizontal(id="race-charts"):
                yield Chart("Time so far · s against tokens", id="race-totals")
                yield Chart("Token time · ms against position", "-- predicted from op counts", id="race-times")

    def start(self, session: Session, prompt: str, seed: int | None = None) -> bool:
        """Start a race, not a text."""
        return session.start_race(prompt, self._length, seed, lanes_of(*self._lanes))

    def show(self, update: Update, session: Session) -> None:
        """Draw the newest race."""
        super().show(update, session)
        self._session = session
        race = session.race
        self.set_class(bool(race.lanes), "-racing")
        self.set_class(race.end is not None, "-ended")
        self.set_class(race.follows, "-follows")
        if len(race.lanes) < 2:
            if (words := self._words(session)) != self._hint:
                self._hint = words
                self.query_one("#race-hint", Static).update(words)
            return
        for pane, lane in zip(self.query(LanePane), race.lanes, strict=False):
            if self._shown != (race.number, len(race.lanes)):
                pane.start(lane)
            pane.show(lane, session.racing)
        self._shown = race.number, len(race.lanes)
        state = race.number, len(race.lanes), race.steps, race.end
        if state != self._scored:
            self._scored = state
            self.query_one(ScorePane).show(race)
            self._show_verdict(race)
        self._draw(race)

    def _words(self, session: Session) -> str:
        """The text that is shown while there is no race."""
        length = length_words(self._length, session.model.config)
        if session.race.estimate is not None:
            return ASK.format(estimate=estimate_words(session.race.estimate), length=length)
        return PREPARING if session.racing else HINT.format(length=length, lanes=_versus(*self._lanes))

    def _show_verdict(self, race: RaceRecord) -> None:
        words = verdict(race) if race.end else ""
        pane = self.query_one("#verdict", Static)
        pane.display = bool(words)
        pane.update(words)

    def _draw(self, race: RaceRecord) -> None:
        """Draw one chart that is due and out of date; only one at a time, so that keys do not wait long."""
        assert self._session is not None
        config = self._session.model.config
        state = (race.number, race.steps, race.end is not None, self._logarithmic)
        drawings: dict[str, Callable[[], Drawing]] = {
            "race-totals": lambda: totals_drawing(race),
            "race-times": lambda: times_drawing(race, config, self._logarithmic),
        }
        for name, drawing in drawings.items():
            chart = self.query_one(f"#{name}", Chart)
            if chart.due and self._drawn.get(name) != state:
                chart.show(drawing())
                self._drawn[name] = state
                return

    def action_race(self) -> None:
        """Start a race, or confirm an estimate."""
        session = self._session
        if session is not None and session.race.estimate is not None and session.prompt is not None:
            tokens, lanes = session.race.estimate.tokens, session.race.plan
            session.start_race(session.prompt, tokens, lanes=lanes, confirmed=True)
        else:
            self.call_later(self.run_action, "screen.submit_prompt")

    def action_length(self) -> None:
        """Choose the next length."""
        self._length = LENGTHS[(LENGTHS.index(self._length) + 1) % len(LENGTHS)]
        session = self._session
        if session is None:
            return
        context = session.model.config.context_length
        past = self._length is not None and self._length >= context
        moves = f" They exceed the context of {context:,}: the window moves, in both lanes." if past else ""
        self._announce(f"{length_words(self._length, session.model.config)}.{moves}")
        session.race.estimate = None

    def _announce(self, words: str) -> None:
        """Announce the next race, until it starts or another view is shown."""
        assert self._session is not None
        race, number = self._session.race, self._session.race.number

        def holds() -> bool:
            return self.display and race.number == number

        self.post_message(Tell(Notice(f"Next race: {words}", about="next race", holds=holds)))

    def action_first_lane(self) -> None:
        """Choose the first lane of the next race."""
        self._choose_lane(0, "First lane of the next race")

    def action_second_lane(self) -> None:
        """Choose the second lane of the next race."""
        self._choose_lane(1, "Second lane of the next race")

    def _choose_lane(self, number: int, title: str) -> None:
        if self._session is None:
            return

        def chosen(spec: str | None) -> None:
            if spec is not None:
                self._lanes = (spec, self._lanes[1]) if number == 0 else (self._lanes[0], spec)
                self._announce(f"{_versus(*self._lanes)}. Enter starts it.")

        config = self._session.model.config
        self.app.push_screen(PolicyScreen(self._lanes[number], config, title, LANE_HINT, off=True), chosen)

    def action_time_scale(self) -> None:
        """Switch between a logarithmic and a linear axis of time."""
        self._logarithmic = not self._logarithmic


def lanes_of(first: str, second: str) -> tuple[Lane, Lane]:
    """Two lanes from policies, ``off`` for no cache. With two caches the second follows the text of the first."""
    if {first, second} == {"full", OFF}:
        return (LANES[0], LANES[1]) if second == OFF else (LANES[1], LANES[0])
    lanes = [Lane("uncached", False) if spec == OFF else Lane(spec, True, spec) for spec in (first, second)]
    return lanes[0], replace(lanes[1], follow=True)


def length_words(tokens: int | None, config: ModelConfig) -> str:
    """The length of a race as text. None is to the end of the context."""
    if tokens is not None:
        return f"{tokens:,} tokens"
    most = f", {RACE_TOKENS:,} tokens at most" if config.context_length > RACE_TOKENS else ""
    return f"to the end of the context{most}"


def _versus(first: str, second: str) -> str:
    """Two lanes as text: ``full against sink:4+124``."""
    names = ["no cache" if spec == OFF else spec for spec in (first, second)]
    return " against ".join(names)
