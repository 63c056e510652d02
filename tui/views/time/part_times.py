"""Where the time of tokens goes: the newest measurements with the cache and without, and conclusions from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from kvtui.core.config import ModelConfig
from kvtui.core.events import Breakdown, Limits, Parts, Token
from kvtui.core.measure.operations import Cost, part_costs
from kvtui.tui.session.timings import Kind, kind_of

NAMES = tuple(field.name for field in fields(Parts))  # in the order of the pass
_MOST_REST = 0.7  # share of the limit; below it, overhead is worth a remark
_RECENT = 16  # tokens per median


@dataclass(frozen=True)
class Measured:
    """Time by part of a token, with the cache or without.

    Attributes:
        seconds: by part.
        context: positions that the token attends to.
        computed: positions that were run.
        count: tokens or runs in these medians.
        asked: measured on request; otherwise taken from the text being written.
        cache_bytes: size of the keys and values that were read; None if none were.
    """

    seconds: dict[str, float]
    context: int
    computed: int
    count: int
    asked: bool
    cache_bytes: int | None = None

    @property
    def total(self) -> float:
        """Seconds of all parts together."""
        return sum(self.seconds.values())


def of_token(token: Token) -> Measured | None:
    """The time of one token by part; None if it was not measured."""
    if token.parts is None:
        return None
    return Measured(vars(token.parts), token.context, token.computed, 1, False)


class PartTimes:
    """The newest measurement of each way, from tokens or on request."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all measurements."""
        self._tokens: dict[Kind, deque[Token]] = {}
        self._asked: dict[Kind, Measured] = {}

    def add(self, tokens: Sequence[Token]) -> None:
        """Add new tokens; they replace what was measured on request in the same way, with the cache or without."""
        for token in tokens:
            kind = kind_of(token)
            if token.parts is not None and kind is not Kind.PREFILL:
                self._tokens.setdefault(kind, deque(maxlen=_RECENT)).append(token)
                self._asked.pop(kind, None)

    def take(self, breakdown: Breakdown) -> None:
        """Take a measurement that was made on request."""
        context = breakdown.context
        ways = ((Kind.CACHED, breakdown.cached, 1), (Kind.UNCACHED, breakdown.uncached, context))
        for kind, parts, computed in ways:
            self._asked[kind] = Measured(vars(parts), context, computed, breakdown.rounds, True)

    def measured(self, cached: bool) -> Measured | None:
        """The newest measurement of one way; None if there is none."""
        kind = Kind.CACHED if cached else Kind.UNCACHED
        if kind in self._asked:
            return self._asked[kind]
        tokens = self._tokens.get(kind)
        if not tokens:
            return None
        times = np.array([[getattr(token.parts, name) for name in NAMES] for token in tokens])  # (tokens, parts)
        seconds = dict(zip(NAMES, np.median(times, axis=0).tolist(), strict=True))
        context = int(np.median([token.context for token in tokens]))
        kept = int(np.median([token.cache_bytes for token in tokens])) if cached else None
        return Measured(seconds, context, 1 if cached else context, len(tokens), False, kept)


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
    threads = f"{limits.threads} thread{'s' if limits.threads != 1 else ''}"
    ridge = limits.flops / limits.bandwidth
    lines = [
        f"This machine, {threads}: reads {limits.bandwidth / 1e9:.0f} GB/s, computes {limits.flops / 1e9:.0f} GFLOP/s "
        f"at most. Below {ridge:.2g} FLOP per byte memory is the limit, above it arithmetic."
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
