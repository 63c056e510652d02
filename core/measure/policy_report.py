"""What each cache policy costs in quality and saves in memory, on the same text."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from kvtui.core.cache import KINDS, CachePolicy, parse_policy
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError, counted
from kvtui.core.layers import Array, IntArray
from kvtui.core.logits import log_softmax
from kvtui.core.model import Model
from kvtui.core.overflow import check_finite

FEWEST_TOKENS = 16


@dataclass(frozen=True)
class PolicyReport:
    """A policy compared with ``full``, over all scored tokens.

    Attributes:
        policy: as given to ``--policy``.
        kl_mean: divergence of its next-token distribution from full's in nats, KL(full ‖ policy): the mean; then the
            median, the 99th percentile and the largest.
        top1_agreement: share of tokens after which both agree on the most likely token, 0 to 1.
        loss: of the text under the policy, in nats per token.
        cache_bytes: in use at the end of a window, where it is largest.
        compression: full's bytes then, divided by these.
        seconds_per_token: median time of a decode step.
        tokens: number scored.
        dropped: positions that each head had dropped by the end of a window, of all windows together; 0 if the policy
            never had to drop anything on this text, so that its figures tell nothing; None if it never drops any.
    """

    policy: str
    kl_mean: float
    kl_median: float
    kl_p99: float
    kl_max: float
    top1_agreement: float
    loss: float
    cache_bytes: int
    compression: float
    seconds_per_token: float
    tokens: int
    dropped: int | None

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)


def default_policies(config: ModelConfig) -> list[CachePolicy]:
    """Every policy by name that this model can have, keeping a quarter of its context where it has a size; and two
    combinations."""
    quarter = max(2, config.context_length // 4)
    sized = {kind.name: kind.keeping(quarter) for kind in KINDS}
    specs = (*sized.values(), f"int8,{sized['window']}", f"int4,{sized['sink']}")
    return [policy for policy in map(parse_policy, specs) if _possible(policy, config)]


def _possible(policy: CachePolicy, config: ModelConfig) -> bool:
    try:
        policy.check(config)
    except KvtuiError:
        return False
    return True


@dataclass
class _Lane:
    """Running sums of a policy's report."""

    policy: CachePolicy
    kl: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    agreed: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cache_bytes: int = 0
    dropped: int = 0

    def score(self, predicted: Array, reference: Array, target: int) -> None:
        """Add one prediction, as log-probabilities under the policy and under full. (V,), (V,)."""
        self.kl.append(max(0.0, float(np.exp(reference) @ (reference - predicted))))
        self.agreed.append(bool(predicted.argmax() == reference.argmax()))
        self.losses.append(-float(predicted[target]))

    def report(self, full_bytes: int) -> PolicyReport:
        """The averages, compared with a full cache of this many bytes."""
        return PolicyReport(
            policy=self.policy.spec,
            kl_mean=float(np.mean(self.kl)),
            kl_median=float(np.median(self.kl)),
            kl_p99=float(np.quantile(self.kl, 0.99)),
            kl_max=max(self.kl),
            top1_agreement=float(np.mean(self.agreed)),
            loss=float(np.mean(self.losses)),
            cache_bytes=self.cache_bytes,
            compression=full_bytes / self.cache_bytes,
            seconds_per_token=statistics.median(self.seconds),
            tokens=len(self.kl),
            dropped=None if self.policy.policy.keeps_all else self.dropped,
        )


def compare_policies(
    model: Model,
    ids: IntArray,
    policies: Sequence[CachePolicy],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[PolicyReport]:
    """Run a text with each policy, token by token, and compare every prediction with that of the full cache.

    The text is cut into windows of the model's context. The first half of a window is a prompt, run in one pass; each
    token of the second half is a decode step whose prediction is scored. The policies alternate token by token, so that
    a slow moment of the machine affects them all.

    Args:
        model: the decoder.
        ids: (N,) the text, at least :data:`FEWEST_TOKENS`.
        policies: ``full`` is put first if it is not among them.
        on_progress: called with (tokens run, tokens to run).

    Raises:
        KvtuiError: the text is too short, the model does not allow a policy, or it overflows.
    """
    if len(ids) < FEWEST_TOKENS:
        raise KvtuiError(
            f"the text has {counted(len(ids), 'token')}: nothing to compare; give at least {FEWEST_TOKENS}"
        )
    full = parse_policy("full")
    lanes = [_Lane(policy) for policy in (full, *(policy for policy in policies if policy.spec != full.spec))]
    for lane in lanes:
        lane.policy.check(model.config)
    context = model.config.context_length
    windows = [ids[start : start + context] for start in range(0, len(ids), context)]
    windows = [window for window in windows if len(window) >= FEWEST_TOKENS] or windows[:1]
    model.prepare()  # so that it is not timed with the first step
    done = 0
    for window in windows:
        done = _run_window(model, window, lanes, lambda count: on_progress(count, sum(map(len, windows))), done)
    return [lane.report(lanes[0].cache_bytes) for lane in lanes]


def _run_window(
    model: Model, window: IntArray, lanes: list[_Lane], on_progress: Callable[[int], None], done: int
) -> int:
    """Score the second half of a window in all lanes, of which the first is ``full``; return the tokens run so far."""
    prompt = len(window) // 2
    caches = [model.new_cache(lane.policy) for lane in lanes]
    for cache in caches:
        model.forward(window[:prompt], cache, last=True)
    reference: Array = np.empty(0)
    for place in range(prompt, len(window) - 1):
        for number, (lane, cache) in enumerate(zip(lanes, caches, strict=True)):
            started = perf_counter()
            logits = model.decode(int(window[place]), cache)
            lane.seconds.append(perf_counter() - started)
            check_finite(model, logits, window[: place + 1])
            predicted = log_softmax(logits)
            if number == 0:
                reference = predicted
            lane.score(predicted, reference, int(window[place + 1]))
        on_progress(done + place + 1)
    for lane, cache in zip(lanes, caches, strict=True):
        lane.cache_bytes = max(lane.cache_bytes, cache.bytes_used)
        lane.dropped += cache.length - cache.num_held
    return done + len(window)
