"""The race so far: times and counts of every lane. Does not import Textual."""

from __future__ import annotations

from dataclasses import dataclass, field

from kvtui.core.config import ModelConfig
from kvtui.core.events import RaceEnd, RaceEstimate, RaceEvent, RacePrefill, RaceToken, Token
from kvtui.core.measure.growth import Prediction, fit_operations
from kvtui.core.measure.operations import multiply_adds
from kvtui.core.race import LANES, Lane
from kvtui.tui.session.comparison import Comparison, length_of

LEAST_FIT = 8  # tokens needed before a prediction is fitted


@dataclass
class LaneRecord:
    """What one lane has done.

    Attributes:
        label: its name.
        cache: whether its cache is on.
        prompt: the text it continues, ``prompt_tokens`` long.
        tokens: in order.
        totals: cumulative model seconds at each token, without the prompt.
        agreed: number of tokens equal to the first lane's.
        multiply_adds: counted over all tokens; like ``totals``, without the prompt.
        max_logit_difference: the largest so far.
        kl_total: sum of the divergences of ``compared`` tokens, in nats.
    """

    label: str
    cache: bool
    prompt: str
    prompt_tokens: int
    max_logit_difference: float
    multiply_adds: int = 0
    tokens: list[RaceToken] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)
    agreed: int = 0
    kl_total: float = 0.0
    compared: int = 0

    @property
    def seconds(self) -> float:
        """Model time of all tokens."""
        return self.totals[-1] if self.totals else 0.0

    def add(self, token: RaceToken) -> None:
        """The lane has written a token."""
        self.tokens.append(token)
        self.totals.append(self.seconds + token.token.seconds)
        self.agreed += token.agrees
        self.multiply_adds += token.multiply_adds
        if token.kl is not None:
            self.kl_total += token.kl
            self.compared += 1
        if token.max_logit_difference is not None:
            self.max_logit_difference = max(self.max_logit_difference, token.max_logit_difference)

    @property
    def kept(self) -> int | None:
        """Positions its policy keeps, once a token saw no more than the one before it; None while the cache grows."""
        contexts = [entry.token.context for entry in self.tokens[-2:]]
        return contexts[0] if len(contexts) == 2 and contexts[0] == contexts[1] else None

    @property
    def typical(self) -> list[Token]:
        """The tokens whose time is typical of the lane: no refill after the window moved."""
        tokens = [entry.token for entry in self.tokens]
        return [token for token in tokens if token.seconds > 0 and not (self.cache and token.computed > 1)]

    def times(self) -> list[tuple[int, float]]:
        """(context, seconds) of the lane's typical tokens."""
        return [(token.context, token.seconds) for token in self.typical]

    def prediction(self, config: ModelConfig) -> Prediction | None:
        """Time per token in the shape given by the counted operations, fitted to this lane; None for too few tokens."""
        times = self.times()
        if len(times) < LEAST_FIT:
            return None
        return fit_operations(times, lambda context: multiply_adds(config, 1 if self.cache else context, context).total)


class RaceRecord:
    """The newest race.

    Attributes:
        number: counts races, so that observers notice a new one.
        lanes: in order; empty before their prompts have run.
        plan: the lanes as requested.
        planned: tokens to write in each lane; None is unlimited.
        estimate: expected duration, if the user must confirm it before the race starts.
        end: once the race is over.
    """

    def __init__(self) -> None:
        self.number = 0
        self.start()

    def start(self, plan: tuple[Lane, ...] = LANES) -> None:
        """A new race starts."""
        self.number += 1
        self.plan = plan
        self.lanes: list[LaneRecord] = []
        self._round: list[RaceToken] = []  # of the token that not every lane has written yet
        self.planned: int | None = None
        self.estimate: RaceEstimate | None = None
        self.end: RaceEnd | None = None

    def take(self, event: RaceEvent) -> None:
        """Take in an event of the race."""
        match event:
            case RaceEstimate():
                self.estimate = event
            case RacePrefill(_, label, prefill, tokens, _, difference):
                self.planned = tokens
                self.lanes.append(LaneRecord(label, prefill.cache, prefill.prompt, prefill.tokens, difference))
            case RaceToken():
                self._round.append(event)
                if len(self._round) == len(self.lanes):  # so that all figures are of the same tokens
                    for token in self._round:
                        self.lanes[token.lane].add(token)
                    self._round.clear()
            case RaceEnd():
                self.end = event

    @property
    def steps(self) -> int:
        """Tokens that every lane has written."""
        return len(self.lanes[0].tokens) if self.lanes else 0

    @property
    def moves(self) -> int:
        """How many times the window has moved."""
        return sum(entry.evicted > 0 for entry in self.lanes[0].tokens) if self.lanes else 0

    @property
    def follows(self) -> bool:
        """Whether the second lane follows the first lane's tokens, so that every token has a divergence."""
        return self.plan[1].follow

    def speed_up(self) -> float | None:
        """How many times as fast the first lane is as the second, over all tokens; None before the first."""
        return self.lanes[1].seconds / self.lanes[0].seconds if self.steps and self.lanes[0].seconds else None

    @property
    def faster(self) -> tuple[LaneRecord, float] | None:
        """The faster one of the first two lanes, and how many times as fast it is; None before the first token."""
        speed_up = self.speed_up()
        if not speed_up:
            return None
        return (self.lanes[0], speed_up) if speed_up >= 1 else (self.lanes[1], 1 / speed_up)

    @property
    def lengths(self) -> tuple[int, int]:
        """The shortest and the longest text at a token, in positions; there has to be one."""
        lengths = [length_of(entry.token) for entry in self.lanes[0].tokens]
        return min(lengths), max(lengths)

    @property
    def comparison(self) -> Comparison | None:
        """The cached lane's mean time per token and the uncached lane's, whose ratio is :meth:`speed_up`; None before
        the first token, or if the lanes do not differ in the cache."""
        if not self.steps or len({lane.cache for lane in self.lanes}) != 2:
            return None
        uncached, cached = (1e3 * lane.seconds / self.steps for lane in sorted(self.lanes, key=lambda one: one.cache))
        return Comparison(cached, uncached, *self.lengths) if cached else None
