"""What the generation loop reports, one frozen dataclass per event. Dashboard, ``--json`` and notebook read these.

Times are seconds of model time (measured around the model's step alone), sizes are bytes, and positions count from 0 at
the first token of the prompt. :mod:`kvtui.core.event_json` writes and reads them as JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kvtui.core.layers import Array, IntArray
from kvtui.core.observe import Parts as Parts

Quantity = Literal["value", "key", "attention", "reason"]
EndReason = Literal["length", "stop", "cancelled"]
EvictReason = Literal["context", "policy"]
Cut = Literal["top-k", "top-p", "greedy"]


@dataclass(frozen=True)
class Prefill:
    """The prompt has been run through the model.

    Attributes:
        tokens: positions run.
        seconds: model time.
        cache: whether keys and values were stored.
        cache_bytes: bytes of keys and values in use afterwards.
        prompt: the text that was run: the end of the prompt if that left no room to write in the context.
        dropped: tokens removed from the beginning of the prompt, because it left no room to write.
        parts: where the time went, a ``Parts``, if requested with ``parts=True``; otherwise omitted.
        cached_positions: positions that a head has in the cache afterwards.
        window_start: index in the whole text of the first token in the model's window.
        room: tokens that can be written before the context is full; None if unknown.
    """

    tokens: int
    seconds: float
    cache: bool
    cache_bytes: int
    prompt: str
    dropped: int = 0
    parts: Parts | None = None
    cached_positions: int = 0
    window_start: int = 0
    room: int | None = None


@dataclass(frozen=True)
class Token:
    """One token has been sampled and run through the model.

    Attributes:
        step: number of the token, from 0.
        position: its index in the whole text, including the prompt.
        id: the token.
        text: what it adds to the text; empty for a special token, and for one that ends within a character, which
            comes with the token that completes it.
        logprob: log-probability in nats under the model itself (temperature 1, nothing cut off).
        seconds: model time of this token: sampling it and running it.
        cache: whether the cache was on.
        context: positions that the model could attend to, this one included.
        computed: positions run in this step: 1 with a warm cache; all of them without a cache, and once after the cache
            was switched on or the window moved.
        cached_positions: positions that a head has in the cache afterwards.
        cache_bytes: bytes of keys and values in use afterwards, and of everything else that the cache policy needs.
        parts: where the time went, a ``Parts``, if requested with ``parts=True``; otherwise omitted.
        max_logit_error: largest difference between these logits and an uncached run's, if requested with
            ``verify=True``; otherwise omitted. Under a policy this includes the policy's own effect.
        argmax_agrees: whether both runs agree on the most likely token, or find two so close that rounding decides, if
            requested with ``verify=True``; otherwise omitted.
        logit_tolerance: the largest difference that rounding may explain: a two-thousandth of the largest logit, if
            requested with ``verify=True``; otherwise omitted.
        window_start: index in the whole text of the first token in the model's window; a cache policy may have dropped
            it nevertheless.
    """

    step: int
    position: int
    id: int
    text: str
    logprob: float
    seconds: float
    cache: bool
    context: int
    computed: int
    cached_positions: int
    cache_bytes: int
    parts: Parts | None = None
    max_logit_error: float | None = None
    argmax_agrees: bool | None = None
    logit_tolerance: float | None = None
    window_start: int = 0

    @property
    def beyond_rounding(self) -> bool:
        """Whether the logits differ from those of a run without the cache by more than rounding explains."""
        return (self.max_logit_error or 0.0) > (self.logit_tolerance or 0.0)


@dataclass(frozen=True)
class Evict:
    """Positions were dropped.

    Because of the ``context``: it was full, and the oldest are gone; the next token recomputes the rest. Because of the
    ``policy``: by the prompt that was just run, or to make room for the next token.

    Attributes:
        dropped: number of positions dropped from each head.
        kept: number of positions that remain in each head.
        position: index in the whole text of the oldest position kept by any head.
        reason: ``context`` or ``policy``.
        positions: (layers, key/value heads, dropped) indices in the whole text, if a policy dropped them; otherwise
            omitted.
    """

    dropped: int
    kept: int
    position: int
    reason: EvictReason = "context"
    positions: IntArray | None = None


@dataclass(frozen=True)
class State:
    """The settings of the loop after a command.

    Attributes:
        cache: whether the cache is on.
        paused: whether it waits before the next token.
        pace: tokens per second, None for unlimited.
        heads_off: (layer, head) pairs switched off; empty for the whole model.
        verify: whether every token is run without the cache as well.
        policy: of the cache, as given to ``--policy``.
    """

    cache: bool
    paused: bool
    pace: float | None
    heads_off: tuple[tuple[int, int], ...] = ()
    verify: bool = False
    policy: str = "full"


@dataclass(frozen=True)
class Branch:
    """Another continuation of the text is written from now on: a new one, or an earlier one again.

    Attributes:
        number: of the branch; 0 is the original text.
        parent: the branch written before.
        position: index in the whole text of the first token that differs.
        length: number of tokens in the whole text of this branch so far.
        reused: positions that stayed in the cache.
        computed: positions run: the rest of the window, and at least its newest, because the prediction after it is
            needed.
        seconds: model time of running them.
    """

    number: int
    parent: int
    position: int
    length: int
    reused: int
    computed: int
    seconds: float


class Answer:
    """Base class of events that answer a question (:class:`kvtui.core.commands.Question`)."""


@dataclass(frozen=True)
class Attention(Answer):
    """Attention weights, sent on request (see :class:`kvtui.core.commands.ShowAttention`).

    Attributes:
        layer: counted from 0.
        heads: the heads in ``weights``.
        first_row: index in the window of the first query row.
        weights: (heads, rows, keys) float32; a row sums to 1, and keys after it are 0. If a policy holds positions
            from before the window, they have the remainder of a row.
        keys: the tokens of all keys, as labels.
        position: index in the whole text of the first key.
        dropped: (heads, rows, keys) which keys a cache policy had dropped when the query was computed; None if none.
        mean: whether the mean of the heads was requested; the arrays then have one head, and ``dropped`` marks a key
            that every head had dropped.
    """

    layer: int
    heads: tuple[int, ...]
    first_row: int
    weights: Array
    keys: tuple[str, ...]
    position: int
    dropped: NDArray[np.bool_] | None = None
    mean: bool = False


@dataclass(frozen=True)
class Candidate:
    """A token that could have been chosen.

    Attributes:
        rank: 0 for the likeliest.
        id: the token.
        text: the token as a label.
        probability: under the model itself (temperature 1, nothing cut off), 0 to 1.
        sampled: probability under the sampling settings, 0 to 1.
        cut_by: what ruled it out: ``top-k``, ``top-p``, or ``greedy`` at temperature 0; None if it could be chosen.
        chosen: whether it is the token that was written.
    """

    rank: int
    id: int
    text: str
    probability: float
    sampled: float
    cut_by: Cut | None
    chosen: bool


@dataclass(frozen=True)
class LensLayer:
    """What the model would predict if it ended after a layer (the logit lens, nostalgebraist 2020).

    Attributes:
        id: the likeliest token.
        text: the token as a label.
        probability: of it, 0 to 1.
        chosen_probability: of the token that was written, 0 to 1.
    """

    id: int
    text: str
    probability: float
    chosen_probability: float


@dataclass(frozen=True)
class WithoutHeads:
    """The prediction of the model without some heads: their contribution to the residual is zero at every position.

    Attributes:
        heads: (layer, head) pairs that are off.
        kl: KL(whole ‖ without) in nats: how much worse it predicts what the whole model would write.
        candidates: the whole model's candidates, with their probabilities in this model.
        continuation: what would follow if the likeliest token is always taken; empty if not requested.
        continuation_with: the same from the whole model.
    """

    heads: tuple[tuple[int, int], ...]
    kl: float
    candidates: tuple[Candidate, ...]
    continuation: str
    continuation_with: str


@dataclass(frozen=True)
class Inspection(Answer):
    """How a token came about, sent on request (see :class:`kvtui.core.commands.Inspect`).

    The model is run again over the text before the token, with its own cache and all of its heads.

    Attributes:
        position: index of the token in the whole text.
        id: the token.
        text: the token as a label.
        written: false for a token of the prompt, which was given, not chosen.
        context: positions that the prediction could attend to.
        before: the end of the text before it.
        candidates: the ten likeliest tokens and the one written, each a ``Candidate``.
        lens: a ``LensLayer`` for the embedding, and one for each layer.
        entropy: (layers, heads) entropy in nats of the attention weights of the position before the token.
        without: a ``WithoutHeads`` if heads were named, otherwise None.
        seconds: time taken by this answer; not part of any token's time.
        query: the token before as a label: its position made the prediction, so the lens and the heads are those of it.
    """

    position: int
    id: int
    text: str
    written: bool
    context: int
    before: str
    candidates: tuple[Candidate, ...]
    lens: tuple[LensLayer, ...]
    entropy: Array
    without: WithoutHeads | None
    seconds: float
    query: str = ""


@dataclass(frozen=True)
class CacheContents(Answer):
    """What is in the cache, sent on request (see :class:`kvtui.core.commands.ShowCache`).

    Attributes:
        quantity: what the numbers are: norms of the ``value`` or ``key`` vectors; ``attention`` of the newest query,
            the mean over the query heads that share a key/value head; or the ``reason`` why a position is kept, as an
            index into ``reasons``.
        first_layer: the first layer in ``numbers``.
        kept: (layers, key/value heads, kept) the positions that each head holds, ascending.
        numbers: (layers, key/value heads, kept) float32, one number for each of them.
        length: positions run; those not among ``kept`` were dropped.
        position: index in the whole text of position 0.
        written: number of positions written by the newest step, which are the last ones.
        process_bytes: memory of the process as measured by the system (its resident set); None if not available.
        reasons: for ``reason``, a phrase for each number, chosen by the policy; the first means "cache not full".
    """

    quantity: Quantity
    first_layer: int
    kept: IntArray
    numbers: Array
    length: int
    position: int
    written: int
    process_bytes: int | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Breakdown(Answer):
    """Where the time of one more token goes, with the cache and without, measured on request, alternately.

    Attributes:
        context: positions, including that token.
        cached: a ``Parts`` of one position that finds the others in the cache.
        uncached: a ``Parts`` of running all positions, which is also what a prefill of that length does.
        rounds: number of uncached runs behind the median.
    """

    context: int
    cached: Parts
    uncached: Parts
    rounds: int


@dataclass(frozen=True)
class Limits(Answer):
    """The machine's limits, measured on request.

    Attributes:
        bandwidth: bytes per second read by matrix-vector products.
        flops: floating-point operations per second reached by products of large matrices.
        bytes_read: bytes read at a time to measure the bandwidth: as many as the model has weights.
        threads: used by the matrix library.
    """

    bandwidth: float
    flops: float
    bytes_read: int
    threads: int


@dataclass(frozen=True)
class Unanswered(Answer):
    """A question that cannot be answered, such as one about a row that has left the window, or a command that cannot be
    carried out, such as a fork at a token that does not exist.

    Attributes:
        question: the question or command.
        reason: one line.
    """

    question: object
    reason: str


@dataclass(frozen=True)
class End:
    """Generation is over.

    Attributes:
        reason: ``length``, ``stop`` or ``cancelled``.
        tokens: number of tokens written.
        seconds: model time of all tokens, without the prefill.
        tokens_per_second: ``tokens`` / ``seconds``.
    """

    reason: EndReason
    tokens: int
    seconds: float
    tokens_per_second: float


@dataclass(frozen=True)
class RaceEstimate:
    """How long a race would take, from a few timed passes and counted operations; sent before a race that takes long.

    Attributes:
        tokens: number to write in each lane.
        labels: of the lanes.
        seconds: model time of each lane, its prefill included.
        moves: how many times the window would move, if the race is longer than the context.
    """

    tokens: int
    labels: tuple[str, ...]
    seconds: tuple[float, ...]
    moves: int


@dataclass(frozen=True)
class RacePrefill:
    """A lane of a race has run the prompt.

    Attributes:
        lane: counted from 0; the others are compared with lane 0.
        label: its name.
        prefill: a ``Prefill``.
        tokens: number to write in each lane, None for unlimited.
        kl: divergence of its next-token distribution from lane 0's, D(lane 0 ‖ this), in nats.
        max_logit_difference: largest difference between its logits and lane 0's.
        multiply_adds: counted, of this pass.
    """

    lane: int
    label: str
    prefill: Prefill
    tokens: int | None
    kl: float
    max_logit_difference: float
    multiply_adds: int


@dataclass(frozen=True)
class RaceToken:
    """A lane of a race has written a token. Lane 0 goes first, and all write token n before any writes n + 1.

    Attributes:
        lane: counted from 0.
        token: a ``Token``.
        agrees: whether this lane's own sampler picked lane 0's token, whether or not it was written.
        kl: divergence of its next-token distribution from lane 0's, in nats; None where the texts have diverged.
        max_logit_difference: largest difference between its logits and lane 0's; None where the texts have diverged.
        multiply_adds: counted, of this token.
        evicted: positions dropped before it because the context was full; otherwise 0.
    """

    lane: int
    token: Token
    agrees: bool
    kl: float | None
    max_logit_difference: float | None
    multiply_adds: int
    evicted: int = 0


@dataclass(frozen=True)
class RaceEnd:
    """A race is over. The tuples hold one value per lane.

    Attributes:
        reason: ``length``, ``stop`` or ``cancelled``, as for a single text.
        tokens: number written in each lane.
        seconds: model time of the tokens, without the prefill.
        prefill_seconds: model time of the prompt.
        agreed: number of tokens equal to lane 0's.
        kl_mean: mean divergence from lane 0 where the texts had not diverged, in nats per token.
        max_logit_difference: the largest of all.
        multiply_adds: counted, over all tokens; the prompt's are in its ``RacePrefill``.
    """

    reason: EndReason
    tokens: int
    seconds: tuple[float, ...]
    prefill_seconds: tuple[float, ...]
    agreed: tuple[int, ...]
    kl_mean: tuple[float, ...]
    max_logit_difference: tuple[float, ...]
    multiply_adds: tuple[int, ...]


RaceEvent = RaceEstimate | RacePrefill | RaceToken | RaceEnd
Event = Prefill | Token | Evict | State | Branch | End | Answer | RaceEvent
