"""How one token came about: the candidates it was chosen from, what each layer would have predicted, how widely each
head attended, and what the prediction would have been without some heads.

Everything is computed afterwards, by running the text before the token through the model again. It has no effect on
writing, and is not part of any measured time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from time import perf_counter

import numpy as np

from kvtui.core.cache import FullCache
from kvtui.core.commands import Inspect
from kvtui.core.errors import KvtuiError
from kvtui.core.events import Candidate, Cut, Inspection, LensLayer, WithoutHeads
from kvtui.core.generation import Generation
from kvtui.core.layers import Array
from kvtui.core.logits import kl_divergence, log_softmax
from kvtui.core.model import Head, Model
from kvtui.core.observe import AttentionRecord, ResidualRecord
from kvtui.core.sampling import SamplingSettings, survivors
from kvtui.core.sequence import common_length
from kvtui.core.tokenizer import TextStream, Tokenizer

CANDIDATES = 10
CONTINUATION_SECONDS = 0.25  # a large model must not keep the user waiting
BEFORE = 60  # tokens of preceding text to report


def entropy(weights: Array) -> Array:
    """Entropy in nats over the last axis: 0 if all weight is on one key, log(keys) if it is spread evenly."""
    logs = np.log(weights, out=np.zeros(weights.shape, np.float64), where=weights > 0)
    return np.maximum(-(weights * logs).sum(axis=-1), 0.0)


def candidates(
    logits: Array,
    settings: SamplingSettings,
    tokenizer: Tokenizer,
    chosen: int | None = None,
    count: int = CANDIDATES,
    also: Collection[int] = (),
) -> tuple[Candidate, ...]:
    """The likeliest tokens, before and after the settings, always including ``chosen``.

    Args:
        logits: (V,).
        settings: how the sampler chooses.
        tokenizer: gives the tokens' text.
        chosen: the token that was written.
        count: how many, in addition to ``chosen`` and ``also`` if those are not among them.
        also: ids to include as well.
    """
    logs = log_softmax(logits)
    order = np.argsort(-logs, kind="stable")
    if settings.temperature == 0:
        weights, left = np.ones_like(logs), {int(order[0])}
    else:
        weights = np.exp((logs - logs.max()) / settings.temperature)
        left = set(survivors(weights, settings).tolist())
    total = weights[list(left)].sum()
    ranked = [(rank, int(token)) for rank, token in enumerate(order[:count])]
    missing = {*also, *(() if chosen is None else (chosen,))} - {token for _, token in ranked}
    ranked += sorted((int(np.flatnonzero(order == token)[0]), token) for token in missing)

    def cut_by(rank: int, token: int) -> Cut | None:
        if token in left:
            return None
        if settings.temperature == 0:
            return "greedy"
        return "top-k" if settings.top_k is not None and rank >= settings.top_k else "top-p"

    return tuple(
        Candidate(
            rank=rank,
            id=token,
            text=tokenizer.piece(token),
            probability=float(np.exp(logs[token])),
            sampled=float(weights[token] / total) if token in left else 0.0,
            cut_by=cut_by(rank, token),
            chosen=token == chosen,
        )
        for rank, token in ranked
    )


def logit_lens(model: Model, residuals: Array, chosen: int) -> tuple[LensLayer, ...]:
    """What the model would predict if it ended after each layer.

    The final norm and the output projection are applied to the residual as it leaves the embedding and each block
    (nostalgebraist 2020, "interpreting GPT: the logit lens").

    Args:
        model: the decoder.
        residuals: (layers + 1, E) of one position, see :class:`~kvtui.core.observe.ResidualRecord`.
        chosen: the token whose probability is reported as well.
    """
    logs = log_softmax(model.unembed(residuals))  # (layers + 1, V)
    tops = logs.argmax(axis=-1)
    return tuple(
        LensLayer(
            id=int(top),
            text=model.tokenizer.piece(int(top)),
            probability=float(np.exp(row[top])),
            chosen_probability=float(np.exp(row[chosen])),
        )
        for row, top in zip(logs, tops, strict=True)
    )


class Follower:
    """Predicts the continuation of a growing text, with its own cache: only what is new is run.

    Kept apart from the generation's cache, so that inspecting changes nothing there.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._cache = FullCache(model.config, dtype=model.dtype)
        self._record = AttentionRecord(model.config, model.dtype)
        self._ids: list[int] = []

    def follow(self, ids: Sequence[int]) -> tuple[Array, Array]:
        """Logits (V,) after the last id, and the residuals (layers + 1, E) of its position."""
        shared = common_length(self._ids, ids[:-1])  # the last one is always run: its residuals are needed
        self._cache.truncate(shared)
        residuals = ResidualRecord()
        logits = self.model.forward(ids[shared:], self._cache, last=True, record=self._record, residuals=residuals)[0]
        self._ids = list(ids)
        return logits, residuals.stacked()

    def attention_entropy(self) -> Array:
        """Entropy of the last position's attention weights, (layers, H) in nats."""
        last = len(self._ids)
        layers = range(self.model.config.num_layers)
        return entropy(np.stack([self._record.weights(layer, last - 1, last)[:, 0] for layer in layers]))

    def continuation(self, logits: Array, count: int) -> str:
        """Up to ``count`` tokens that follow if the likeliest is always taken, limited by context and time."""
        length, written = self._cache.length, []
        deadline = perf_counter() + CONTINUATION_SECONDS
        for _ in range(min(count, self._cache.capacity - length)):
            if perf_counter() > deadline:
                break
            written.append(int(logits.argmax()))
            logits = self.model.decode(written[-1], self._cache)
        self._cache.truncate(length)
        stream = TextStream(self.model.tokenizer, self._ids)
        return "".join(map(stream.add, written))


class Inspector:
    """Answers how tokens of a text came about, one after another."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._whole = Follower(model)
        self._heads_off: tuple[Head, ...] = ()
        self._reduced: Follower | None = None

    def inspect(
        self,
        context: Sequence[int],
        token: int,
        settings: SamplingSettings,
        heads_off: Collection[Head] = (),
        continuation: int = 0,
        *,
        position: int,
        written: bool = True,
    ) -> Inspection:
        """How ``token`` was chosen after ``context``.

        Args:
            context: the ids that the model saw.
            token: the id that was chosen.
            settings: how it was chosen.
            heads_off: (layer, head) pairs to switch off.
            continuation: number of tokens to write greedily, with those heads and without them.
            position: of the token in the whole text, for the answer.
            written: False if the token is one of the prompt's, for the answer.

        Raises:
            KvtuiError: an empty context, or no such head.
        """
        if not context:
            raise KvtuiError("the first token was not predicted: there is no text before it")
        started = perf_counter()
        logits, residuals = self._whole.follow(context)
        choose = partial(candidates, settings=settings, tokenizer=self._model.tokenizer, chosen=token)
        lens = logit_lens(self._model, residuals, token)
        spread = self._whole.attention_entropy()
        off = tuple(sorted(set(heads_off)))
        without = self._without(context, logits, choose, off, continuation) if off else None
        return Inspection(
            position=position,
            id=token,
            text=self._model.tokenizer.piece(token),
            written=written,
            context=len(context),
            before=self._model.tokenizer.decode(context[-BEFORE:]),
            candidates=choose(logits),
            lens=lens,
            entropy=spread,
            without=without,
            seconds=perf_counter() - started,
            query=self._model.tokenizer.piece(context[-1]),
        )

    def _without(
        self,
        context: Sequence[int],
        whole: Array,
        choose: Callable[..., tuple[Candidate, ...]],
        heads_off: tuple[Head, ...],
        continuation: int,
    ) -> WithoutHeads:
        if self._reduced is None or self._heads_off != heads_off:
            self._reduced, self._heads_off = Follower(self._model.without_heads(heads_off)), heads_off
        logits, _ = self._reduced.follow(context)
        return WithoutHeads(
            heads=heads_off,
            kl=kl_divergence(whole, logits),
            candidates=choose(logits, also=[candidate.id for candidate in choose(whole)]),
            continuation=self._reduced.continuation(logits, continuation),
            continuation_with=self._whole.continuation(whole, continuation),
        )


def inspect(generation: Generation, wanted: Inspect) -> Inspection:
    """How a token of a generation came about; works after the end of the text as well.

    Raises:
        KvtuiError: no prediction was made of that token, or there is no such head.
    """
    sequence = generation.sequence
    position = sequence.position if wanted.position is None else wanted.position
    context = sequence.context_of(position)
    if Inspector not in generation.memory:  # it remembers what it has run, so that the next answer is faster
        generation.memory[Inspector] = Inspector(generation.whole_model)
    inspector: Inspector = generation.memory[Inspector]
    return inspector.inspect(
        context,
        sequence.ids[position],
        sequence.sampler.settings,
        wanted.heads_off,
        wanted.continuation,
        position=position,
        written=position >= sequence.prompt_tokens,
    )
