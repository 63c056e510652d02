"""How well a model predicts a text."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import exp

import numpy as np

from kvtui.core.errors import KvtuiError, counted
from kvtui.core.layers import Array, IntArray
from kvtui.core.logits import log_softmax
from kvtui.core.model import Model
from kvtui.core.overflow import check_finite

LONGEST_WINDOW = 1024  # tokens: the logits of a window are kept, and a large vocabulary makes them large


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats per token over ``tokens`` scored tokens, and how it was measured."""

    loss: float
    tokens: int
    seconds: float
    method: str

    @property
    def perplexity(self) -> float:
        """exp(loss): the number of equally likely tokens that would be as hard to guess."""
        return exp(self.loss)


def token_losses(logits: Array, targets: IntArray) -> Array:
    """-log p(target) in nats. (T, V), (T,) -> (T,) float64."""
    return -log_softmax(logits)[np.arange(len(targets)), targets]


def evaluate(
    model: Model,
    ids: IntArray,
    first_scored: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    start_id: int | None = None,
) -> Evaluation:
    """Loss of a text, in windows of the model's whole context (at most ``LONGEST_WINDOW``) that overlap by half.

    Each window scores its last half, so that every token is predicted from at least half a context of preceding text,
    or from all of it near the start.

    Args:
        model: the decoder.
        ids: (N,) the text.
        first_scored: the first token to score; those before it are only context. The very first token of the text has
            no context and is never scored.
        on_progress: called with (tokens scored, tokens to score).
        start_id: the token that begins every text of the model, in the place of each window's first token: a model that
            has always seen it predicts badly without it. It is never scored. As in llama.cpp's perplexity.cpp. None if
            texts begin with no such token.

    Raises:
        KvtuiError: there is nothing to score, or the model overflows.
    """
    context = min(model.config.context_length, LONGEST_WINDOW)
    half = max(1, context // 2)
    first = max(1, first_scored)
    if first >= len(ids):
        if len(ids) > 1:
            raise KvtuiError(f"nothing to score: the text of {len(ids):,} tokens ends before token {first + 1:,}")
        raise KvtuiError(f"nothing to score: the text has {counted(len(ids), 'token')}, and the first has no context")
    started = time.perf_counter()
    total = 0.0
    for start in range(first, len(ids), half):
        end = min(start + half, len(ids))
        begin = max(0, end - 1 - context)  # inputs begin .. end-2 predict begin+1 .. end-1
        window = ids[begin : end - 1].copy()
        if start_id is not None and len(window) > 1:
            window[0] = start_id
        logits = model.forward(window)[start - 1 - begin :]
        check_finite(model, logits, window)
        total += float(token_losses(logits, ids[start:end]).sum())
        on_progress(end - first, len(ids) - first)
    method = (
        f"windows of {context} tokens, each scoring its last {half}, "
        f"so with at least {context - half} tokens of context (fewer only at the start of the text)"
    )
    if start_id is not None:
        method += f"; every window begins with {model.tokenizer.piece(start_id)}, which is not scored"
    return Evaluation(total / (len(ids) - first), len(ids) - first, time.perf_counter() - started, method)
