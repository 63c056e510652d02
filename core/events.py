"""What the generation loop tells: one frozen dataclass an event. The dashboard, ``--json`` and the notebook read these.

Times are seconds of model time (DESIGN: measured around the model's step alone), sizes are bytes, positions count from
0 at the first token of the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from kvtui.core.layers import Array

EndReason = Literal["length", "stop", "cancelled"]


@dataclass(frozen=True)
class Parts:
    """Where the seconds of one token went. ``qkv`` includes the norm before it and the rotation, as ``mlp`` its norm;
    ``attention`` includes the projection of its output; ``output`` is the final norm and the logits."""

    embedding: float = 0.0
    qkv: float = 0.0
    attention: float = 0.0
    mlp: float = 0.0
    output: float = 0.0
    sampling: float = 0.0


@dataclass(frozen=True)
class Prefill:
    """The prompt has been run through the model.

    Attributes:
        tokens: positions that were run.
        seconds: model time.
        cache: whether they were stored.
        cache_bytes: bytes of keys and values in use afterwards.
        prompt: the text that was run, which is the end of the prompt where that was longer than the context.
        dropped: tokens of the prompt that did not fit.
    """

    tokens: int
    seconds: float
    cache: bool
    cache_bytes: int
    prompt: str
    dropped: int = 0


@dataclass(frozen=True)
class Token:
    """One token has been sampled and run through the model.

    Attributes:
        step: from 0.
        position: place in the whole text, the prompt included.
        id: the token, ``text`` as characters.
        logprob: log-probability in nats under the model itself (temperature 1, nothing cut off).
        seconds: model time of this token: sampling it and running it.
        cache: whether the cache was on.
        context: positions that the model could attend to, this one included.
        computed: positions that were run in this step. 1 with a warm cache; the whole context without a cache,
            and once when the cache was just turned on or the window just moved: the spike on the screen.
        cached_positions: positions in the cache afterwards.
        cache_bytes: bytes of keys and values in use afterwards.
        parts: where the time went, if asked for.
        max_logit_error: greatest difference between these logits and an uncached run's, if verifying.
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


@dataclass(frozen=True)
class Evict:
    """The context was full: the oldest positions were dropped. The next token runs what is kept once more.

    Attributes:
        dropped: positions that are gone.
        kept: positions that remain.
        position: place in the whole text of the oldest one kept.
    """

    dropped: int
    kept: int
    position: int


@dataclass(frozen=True)
class State:
    """The loop has obeyed a command: this is how it stands now. ``pace`` in tokens a second, None for unlimited."""

    cache: bool
    paused: bool
    pace: float | None


@dataclass(frozen=True)
class Attention:
    """Attention weights, sent on request (see :class:`kvtui.core.commands.ShowAttention`).

    Attributes:
        layer: counted from 0.
        heads: the heads in ``weights``.
        first_row: place in the window of the first query row.
        weights: (heads, rows, keys) float32; a row sums to 1, and keys after it are 0.
        keys: the characters of all keys, a string or list entry each.
        position: place in the whole text of the first key.
    """

    layer: int
    heads: tuple[int, ...]
    first_row: int
    weights: Array
    keys: tuple[str, ...]
    position: int


@dataclass(frozen=True)
class End:
    """Generation is over. ``seconds`` is the model time of all tokens, without the prefill."""

    reason: EndReason
    tokens: int
    seconds: float
    tokens_per_second: float


Event = Prefill | Token | Evict | State | Attention | End


def to_json(event: Event) -> dict[str, Any]:
    """An event as JSON values, ``event`` naming its kind. Fields that were not asked for are left out."""
    values: dict[str, Any] = {"event": type(event).__name__.lower()}
    for entry in fields(event):
        value = getattr(event, entry.name)
        if value is None and entry.name in ("parts", "max_logit_error"):
            continue
        if isinstance(value, Parts):
            value = {part.name: getattr(value, part.name) for part in fields(value)}
        elif entry.name == "weights":
            value = value.tolist()
        values[entry.name] = value
    return values
