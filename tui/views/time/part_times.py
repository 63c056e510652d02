"""Where the time of tokens goes: the newest measurements with the cache and without, and conclusions from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from kvtui.core.config import ModelConfig
from kvtui.core.errors import counted
from kvtui.core.events import Breakdown, Limits, Parts, Token
from kvtui.core.measure.operations import Cost, part_costs
from kvtui.tui.session.comparison import Comparison, bin_lengths, bins_of, length_of, nearest
from kvtui.tui.session.timings import Kind, TimingHistory, kind_of

NAMES = tuple(field.name for field in fields(Parts))  # in the order of the pass
_MOST_REST = 0.7  # share of the limit; below it, overhead is worth a remark
_SAMPLES = 128  # the newest tokens of a length and kind, whose shares are averaged


@dataclass(frozen=True)
class Measured:
    """Time by part of a token, with the cache or without.

    Attributes:
        seconds: by part.
        lengths: the shortest and the longest text that it was measured at, in positions.
        context: positions that the token attends to; the median, if there are several.
        computed: positions that were run.
        count: tokens or runs in these medians.
        asked: measured on request; otherwise taken from the text being written.
        cache_bytes: size of the keys and values that were read; None if none were.
    """

    seconds: dict[str, float]
    lengths: tuple[int, int]
    context: int
    computed: int
    count: int
    asked: bool
    cache_bytes: int | None = None

    @property
    def total(self) -> float:
        """Seconds of all parts together."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Pair:
    """A token with the cache and one without; None where there is none yet.

    Attributes:
        comparison: of both, if they are of the same length; otherwise they have no ratio.
    """

    cached: Measured | None = None
    uncached: Measured | None = None
    comparison: Comparison | None = None


def of_token(token: Token) -> Measured | None:
    """The time of one token by part; None if it was not measured."""
    if token.parts is None:
        return None
    length = length_of(token)
    return Measured(vars(token.parts), (length, length), token.context, token.computed, 1, False)


class PartTimes:
    """The parts of both ways at one length: measured on request, otherwise those of the text that is being written.

    What was measured on request stays until it is measured again: tokens that are written meanwhile, at other lengths,
    never take the place of one side.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all measurements: another text begins."""
        self._asked: Pair | None = None
        self.forget_tokens()

    def forget_tokens(self) -> None:
        """Forget the tokens, but not what was measured on request."""
        self._tokens: dict[tuple[int, Kind], deque[Token]] = {}  # by bin of length
        self._newest: dict[Kind, int] = {}  # length at the newest token

    def add(self, tokens: Sequence[Token]) -> None:
        """Add new tokens of the text."""
        for token in tokens:
            kind = kind_of(token)
            if token.parts is not None and token.parts.total and kind is not Kind.PREFILL:
                for number in bins_of(length_of(token)):
                    self._tokens.setdefault((number, kind), deque(maxlen=_SAMPLES)).append(token)
                self._newest[kind] = length_of(token)

    def take(self, breakdown: Breakdown) -> None:
        """Take a measurement that was made on request."""
        context = breakdown.context
        cached, uncached = (
            Measured(vars(parts), (context, context), context, computed, breakdown.rounds, True)
            for parts, computed in ((breakdown.cached, 1), (breakdown.uncached, context))
        )
        times = Comparison(1e3 * cached.total, 1e3 * uncached.total, context, context) if cached.total else None
        self._asked = Pair(cached, uncached, times)

    def pair(self, times: TimingHistory) -> Pair:
        """Both ways, if possible at one length: that at which the other panes compare the ``times`` of the text."""
        if self._asked is not None:
            return self._asked
        comparison, number = times.comparison(), times.shared_bin()
        if comparison is not None and number is not None:
            cached = self._measured(number, Kind.CACHED, comparison.cached)
            uncached = self._measured(number, Kind.UNCACHED, comparison.uncached)
            if cached is not None and uncached is not None:
                return Pair(cached, uncached, comparison)
        return Pair(self._of_newest(Kind.CACHED, times), self._of_newest(Kind.UNCACHED, times))

    def _of_newest(self, kind: Kind, times: TimingHistory) -> Measured | None:
        length = self._newest.get(kind)
        number = None if length is None else nearest(bins_of(length), length)
        return None if number is None else self._measured(number, kind, times.median(number, kind))

    def _measured(self, number: int, kind: Kind, milliseconds: float) -> Measured | None:
        """The median time of tokens in a bin, divided by the mean share of each part."""
        tokens = self._tokens.get((number, kind))
        if not tokens:
            return None
        parts = np.array([tuple(vars(token.parts).values()) for token in tokens])  # (tokens, parts)
        shares = (parts / parts.sum(axis=1, keepdims=True)).mean(axis=0)
        seconds = dict(zip(NAMES, (1e-3 * milliseconds * shares).tolist(), strict=True))
        context = int(np.median([token.context for token in tokens]))
        cached = kind is Kind.CACHED
        kept = int(np.median([token.cache_bytes for token in tokens])) if cached else None
        return Measured(seconds, bin_lengths(number), context, 1 if cached else context, len(tokens), False, kept)


@dataclass(frozen=True)
class Rate:
    """The speed of one part, or of the total, and what limits it.

    Attributes:
        cost: counted operations and bytes.
        seconds: measured.
    """

    cost: Cost
    seconds: float

    @property
    def flops(self) -> float:
        """Floating-point operations per second."""
        return self.cost.operations / self.seconds if self.seconds else 0.0

    @property
    def bandwidth(self) -> float:
        """Bytes read per second."""
        return self.cost.bytes_read / self.seconds if self.seconds else 0.0

    def memory_bound(self, limits: Limits) -> bool:
        """Whether reading alone would take longer than computing alone."""
        return self.cost.bytes_read / limits.bandwidth > self.cost.operations / limits.flops

    def reached(self, limits: Limits) -> float:
        """Share of the limit that was reached: 1 is as fast as the machine can."""
        best = max(self.cost.bytes_read / limits.bandwidth, self.cost.operations / limits.flops)
        return best / self.seconds if self.seconds else 0.0


def rates(config: ModelConfig, measured: Measured, itemsize: int) -> dict[str, Rate]:
    """The rate of each part, and of the ``total``."""
    costs = part_costs(config, measured.computed, measured.context, itemsize, measured.cache_bytes)
    parts = {name: Rate(costs[name], measured.seconds[name]) for name in NAMES}
    whole = Cost(sum(cost.operations for cost in costs.values()), sum(cost.bytes_read for cost in costs.values()))
    return {**parts, "total": Rate(whole, measured.total)}


def conclusion(cached: Rate | None, uncached: Rate | None, limits: Limits) -> str:
    """What limits each way of writing, one line each, after the machine's limits."""
    ridge = limits.flops / limits.bandwidth
    lines = [
        f"This machine, {counted(limits.threads, 'thread')}: reads {limits.bandwidth / 1e9:.0f} GB/s, "
        f"computes {limits.flops / 1e9:.0f} GFLOP/s at most. "
        f"Below {ridge:.2g} FLOP per byte memory is the limit, above it arithmetic."
    ]
    for name, rate in (("Cached", cached), ("Uncached", uncached)):
        if rate is not None:
            lines.append(_sentence(name, rate, limits))
    return "\n".join(lines)


def _sentence(name: str, rate: Rate, limits: Limits) -> str:
    if rate.memory_bound(limits):
        bound, speed = "memory-bound", f"{rate.bandwidth / 1e9:.1f} GB/s"
    else:
        bound, speed = "compute-bound", f"{rate.flops / 1e9:.1f} GFLOP/s"
    reached = rate.reached(limits)
    rest = "; the rest is overhead" if reached < _MOST_REST else ""
    return (
        f"{name}: {rate.cost.intensity:.3g} FLOP per byte, {bound}. {speed}, {100 * reached:.0f} % of the limit{rest}."
    )
