"""What the generation loop tells: one frozen dataclass an event. The dashboard, ``--json`` and the notebook read these.

Times are seconds of model time (DESIGN: measured around the model's step alone), sizes are bytes, positions count from
0 at the first token of the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kvtui.core.layers import Array, IntArray

Shade = Literal["value", "key", "read", "why"]
EndReason = Literal["length", "stop", "cancelled"]
EvictReason = Literal["context", "policy"]
Cut = Literal["top-k", "top-p", "greedy"]


@dataclass(frozen=True)
class Parts:
    """Seconds of one token by part.

    Attributes:
        embedding: looking up the vectors.
        qkv: norm, query, key and value projections, rotation.
        attention: scores, softmax, weighted values, output projection.
        mlp: norm and MLP.
        output: final norm and logits.
        sampling: drawing the token.
    """

    embedding: float = 0.0
    qkv: float = 0.0
    attention: float = 0.0
    mlp: float = 0.0
    output: float = 0.0
    sampling: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return self.embedding + self.qkv + self.attention + self.mlp + self.output + self.sampling


@dataclass(frozen=True)
class Prefill:
    """The prompt has been run through the model.

    Attributes:
        tokens: positions that were run.
        seconds: model time.
        cache: whether keys and values were stored.
        cache_bytes: bytes of keys and values in use afterwards.
        prompt: the text that was run: the end of the prompt where that was longer than the context.
        dropped: tokens of the prompt that did not fit.
        parts: where the time went, a ``Parts``, if asked for with ``parts=True``; else left out.
        cached_positions: positions that a head has in the cache afterwards.
    """

    tokens: int
    seconds: float
    cache: bool
    cache_bytes: int
    prompt: str
    dropped: int = 0
    parts: Parts | None = None
    cached_positions: int = 0


@dataclass(frozen=True)
class Token:
    """One token has been sampled and run through the model.

    Attributes:
        step: number of the token, from 0.
        position: its place in the whole text, the prompt included.
        id: the token.
        text: what it adds to the text; empty for a special token, and for one that ends within a character, which the
            token that completes it brings.
        logprob: log-probability in nats under the model itself (temperature 1, nothing cut off).
        seconds: model time of this token: sampling it and running it.
        cache: whether the cache was on.
        context: positions that the model could attend to, this one included.
        computed: positions that were run in this step: 1 with a warm cache; all of them without a cache, and once when
            the cache was just turned on or the window just moved.
        cached_positions: positions that a head has in the cache afterwards.
        cache_bytes: bytes of keys and values in use afterwards, and of all else that the cache policy needs.
        parts: where the time went, a ``Parts``, if asked for with ``parts=True``; else left out.
        max_logit_error: greatest difference between these logits and an uncached run's, if asked for with
            ``verify=True``; else left out. Under a policy that includes what the policy changes.
        argmax_agrees: whether both runs find the same token likeliest, or so nearly alike that rounding decides, if
            asked for with ``verify=True``; else left out.
        logit_tolerance: the greatest difference that rounding may explain: a two-thousandth of the largest logit, if
            asked for with ``verify=True``; else left out.
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


@dataclass(frozen=True)
class Evict:
    """Positions were dropped.

    Because of ``context``: it was full, and the oldest are gone; the next token runs what is kept once more. Because of
    the ``policy``: by the prompt that was just run, or to make room for the next token.

    Attributes:
        dropped: positions that are gone from each head.
        kept: positions that remain in each head.
        position: place in the whole text of the oldest one that any head has kept.
        reason: ``context`` or ``policy``.
        positions: (layers, key/value heads, dropped) places in the whole text, where a policy dropped them; else left
            out.
    """

    dropped: int
    kept: int
    position: int
    reason: EvictReason = "context"
    positions: IntArray | None = None


@dataclass(frozen=True)
class State:
    """The loop has obeyed a command: this is how it stands now.

    Attributes:
        cache: whether the cache is on.
        paused: whether it waits before the next token.
        pace: tokens a second, None for unlimited.
        heads_off: (layer, head) pairs that it writes without; empty for the whole model.
        verify: whether every token is run without the cache as well.
        policy: of the cache, as ``--policy`` has it.
    """

    cache: bool
    paused: bool
    pace: float | None
    heads_off: tuple[tuple[int, int], ...] = ()
    verify: bool = False
    policy: str = "full"


@dataclass(frozen=True)
class Branch:
    """Another continuation of the text is being written from now on: a new one, or an earlier one again.

    Attributes:
        number: of the branch; 0 is the text that was there first.
        parent: the branch that was being written before.
        position: the first token of the whole text in which the two differ.
        length: tokens of the whole text of this branch so far.
        reused: positions that stayed in the cache.
        computed: positions that were run: the rest of the window, and at least its newest, for what the model expects
            after it.
        seconds: model time of that.
    """

    number: int
    parent: int
    position: int
    length: int
    reused: int
    computed: int
    seconds: float


class Answer:
    """What an event is that answers a question (:class:`kvtui.core.commands.Question`)."""


@dataclass(frozen=True)
class Attention(Answer):
    """Attention weights, sent on request (see :class:`kvtui.core.commands.ShowAttention`).

    Attributes:
        layer: counted from 0.
        heads: the heads in ``weights``.
        first_row: place in the window of the first query row.
        weights: (heads, rows, keys) float32; a row sums to 1, and keys after it are 0. Where a policy holds positions
            from before the window, they have what a row lacks to 1.
        keys: the tokens of all keys, as labels.
        position: place in the whole text of the first key.
        dropped: (heads, rows, keys) which keys a cache policy had dropped when the query came; None if none.
        mean: whether the mean of the heads was asked for; then it stands for one head in the arrays, and in ``dropped``
            a key that every head had dropped.
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
        sampled: the chance that it had with the sampling settings, 0 to 1.
        cut_by: what left it no chance: ``top-k``, ``top-p``, or ``greedy`` at temperature 0; None if it had one.
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
    """The prediction of the model without some heads: what they add to the residual is zero at every position.

    Attributes:
        heads: (layer, head) pairs that are off.
        kl: KL(whole ‖ without) in nats: how much worse the prediction is for what the whole model would write.
        candidates: as those of the whole model, and what becomes of each of those.
        continuation: what would follow if the likeliest token is always taken; empty if it was not asked for.
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

    The model is run over the text before the token once more, with a cache of its own and all of its heads.

    Attributes:
        position: place of the token in the whole text.
        id: the token.
        text: the token as a label.
        written: false for a token of the prompt, which was given and not chosen.
        context: positions that the prediction could attend to.
        before: the end of the text before it.
        candidates: the ten likeliest tokens and the one that was written, each a ``Candidate``.
        lens: a ``LensLayer`` for the embedding, and one for each layer.
        entropy: (layers, heads) entropy in nats of the attention weights of the position before the token.
        without: a ``WithoutHeads`` if heads were named, else None.
        seconds: what this answer took; no part of any token's time.
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


@dataclass(frozen=True)
class CacheContents(Answer):
    """What is in the cache, sent on request (see :class:`kvtui.core.commands.ShowCache`).

    Attributes:
        shade: what the numbers are: norms of the ``value`` or ``key`` vectors; the weight with which each was ``read``
            by the newest query, the mean over the query heads that share a key/value head; or ``why`` it is kept: 0
            there is room, 1 a sink, 2 recent, 3 a heavy hitter, 4 packed in few bits.
        first_layer: the first layer in ``shades``.
        kept: (layers, key/value heads, kept) the positions that each head holds, ascending.
        shades: (layers, key/value heads, kept) float32, a number for each of them.
        length: positions that have been run; those that are not among ``kept`` were dropped.
        position: place in the whole text of position 0.
        written: how many positions the newest step wrote: the last so many.
        process_bytes: memory of the process as the system measures it (its resident set); None where it does not tell.
    """

    shade: Shade
    first_layer: int
    kept: IntArray
    shades: Array
    length: int
    position: int
    written: int
    process_bytes: int | None


@dataclass(frozen=True)
class Breakdown(Answer):
    """Where the time of one more token goes, with the cache and without, measured on request in turns.

    Attributes:
        context: positions, that token included.
        cached: a ``Parts`` of one position that finds the others in the cache.
        uncached: a ``Parts`` of running all positions, which is what a prefill of so many does as well.
        rounds: uncached runs that the median was taken of.
    """

    context: int
    cached: Parts
    uncached: Parts
    rounds: int


@dataclass(frozen=True)
class Limits(Answer):
    """What the machine can do at most, measured on request.

    Attributes:
        bandwidth: bytes a second that matrix-vector products read.
        flops: floating-point operations a second that products of large matrices reach.
        bytes_read: what was read at a time to measure the bandwidth: as much as the model has weights.
        threads: that the matrix library used.
    """

    bandwidth: float
    flops: float
    bytes_read: int
    threads: int


@dataclass(frozen=True)
class Unanswered(Answer):
    """A question that has no answer now, such as one for a row that is not in the window any more, or a command that
    cannot be carried out, such as a fork at a token that there is not.

    Attributes:
        question: the command that asked.
        reason: one line.
    """

    question: object
    reason: str


@dataclass(frozen=True)
class End:
    """Generation is over.

    Attributes:
        reason: ``length``, ``stop`` or ``cancelled``.
        tokens: tokens that were written.
        seconds: model time of all tokens, without the prefill.
        tokens_per_second: ``tokens`` / ``seconds``.
    """

    reason: EndReason
    tokens: int
    seconds: float
    tokens_per_second: float


@dataclass(frozen=True)
class RaceEstimate:
    """What a race would take, from a few timed steps and counted operations; sent when it is too long not to ask.

    Attributes:
        tokens: to be written in each lane.
        labels: of the lanes.
        seconds: model time of each lane, its prefill included.
        moves: times that the window would move, as the race is longer than the context.
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
        label: what to call it.
        prefill: a ``Prefill``.
        tokens: to be written in each lane, None for no end.
        kl: divergence of its next-token distribution from lane 0's, D(lane 0 ‖ this), in nats.
        max_logit_difference: greatest difference between its logits and lane 0's.
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
        agrees: whether what this lane's own sampler drew is lane 0's token, be it written or not.
        kl: divergence of its next-token distribution from lane 0's, in nats; None where the texts have parted.
        max_logit_difference: greatest difference between its logits and lane 0's; None where the texts have parted.
        multiply_adds: counted, of this token.
        evicted: positions that were dropped before it, as the context was full; else 0.
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
    """A race is over. The tuples hold a value a lane.

    Attributes:
        reason: ``length``, ``stop`` or ``cancelled``, as of a text alone.
        tokens: written in each lane.
        seconds: model time of the tokens, without the prefill.
        prefill_seconds: model time of the prompt.
        agreed: tokens that were lane 0's too.
        kl_mean: mean divergence from lane 0 where the texts had not parted, in nats a token.
        max_logit_difference: the greatest there was.
        multiply_adds: counted, of all tokens; the prompt's are in its ``RacePrefill``.
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
_OPTIONAL = ("parts", "max_logit_error", "argmax_agrees", "logit_tolerance", "positions")  # left out of JSON if unasked


def to_json(event: Event) -> dict[str, Any]:
    """An event as JSON values, ``event`` naming its kind. Fields that were not asked for are left out."""
    return {"event": type(event).__name__.lower(), **_plain(event)}


def _plain(value: Any) -> Any:
    """A value as JSON has them: dataclasses as objects, arrays and tuples as lists."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if is_dataclass(value):
        named = ((entry.name, getattr(value, entry.name)) for entry in fields(value))
        return {name: _plain(part) for name, part in named if part is not None or name not in _OPTIONAL}
    return value
