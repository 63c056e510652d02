"""Attention weights of a whole text, including the generated part, and attention rollout. Arrays only; drawing is in
:mod:`kvtui.core.figures`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvtui.core.commands import ShowAttention
from kvtui.core.control import GenerationLoop
from kvtui.core.errors import KvtuiError
from kvtui.core.events import Prefill
from kvtui.core.inspection.attention import attention
from kvtui.core.layers import Array
from kvtui.core.model import Model
from kvtui.core.sampling import SamplingSettings
from kvtui.core.settings import GenerationSettings

LARGEST_WEIGHTS = 1 << 30  # bytes of attention weights that may be collected at once


@dataclass(frozen=True)
class AttentionMaps:
    """What every head attended to.

    Attributes:
        weights: (layers, H, S, S) float32; row = query, column = key, a row sums to 1, later keys are 0.
        tokens: (S,): the tokens as text.
        prompt_tokens: how many of ``tokens`` belong to the prompt; the others were generated.
        model: its name.
    """

    weights: Array
    tokens: tuple[str, ...]
    prompt_tokens: int
    model: str = "model"

    def check_layer(self, layer: int) -> None:
        """Raise KvtuiError unless this layer exists."""
        check_index("layer", layer, self.weights.shape[0])

    def check_head(self, head: int) -> None:
        """Raise KvtuiError unless this head exists."""
        check_index("head", head, self.weights.shape[1])


def check_index(kind: str, index: int, count: int) -> None:
    """Raise KvtuiError, naming the existing ones, unless ``index`` is from 0 to ``count`` - 1."""
    if not 0 <= index < count:
        raise KvtuiError(f"there is no {kind} {index}: the model has {kind}s 0 to {count - 1}")


def attention_maps(
    model: Model, prompt: str, max_new_tokens: int = 0, seed: int = 0, sampling: SamplingSettings | None = None
) -> AttentionMaps:
    """Generate, and collect the attention of every layer and head among the tokens in the context at the end.

    The newest token is run as well, so that it has a row too.

    Raises:
        KvtuiError: an unknown character, a number out of range, or more weights than :data:`LARGEST_WEIGHTS`.
    """
    config = model.config
    settings = GenerationSettings(max_new_tokens, seed, sampling or SamplingSettings(), observe=True)
    loop = GenerationLoop(model, prompt, settings)
    generation = loop.generation
    size = min(len(generation.window) + max_new_tokens, config.context_length)
    needed = 4 * config.num_layers * config.num_heads * size**2
    if needed > LARGEST_WEIGHTS:
        raise KvtuiError(
            f"attention among {size:,} tokens takes {needed / 2**30:.1f} GiB, more than "
            f"{LARGEST_WEIGHTS / 2**30:.0f} GiB: use a shorter prompt or fewer tokens"
        )
    prompt_end = 0
    for event in loop.run():
        if isinstance(event, Prefill):
            prompt_end = event.dropped + event.tokens
    answers = [attention(generation, ShowAttention(layer, first_row=0)) for layer in range(config.num_layers)]
    weights = np.stack([answer.weights for answer in answers])
    return AttentionMaps(weights, answers[0].keys, max(0, prompt_end - answers[0].position), model.name)


def rollout(weights: Array) -> Array:
    """How much of each input token reaches each output position (Abnar & Zuidema 2020, sec. 3, "attention rollout").

    Heads are averaged, the residual connection counts for half (0.5 · A + 0.5 · I), and the layers are multiplied.

    Args:
        weights: (layers, H, S, S).

    Returns:
        (S, S), a row sums to 1.
    """
    mixed = 0.5 * weights.mean(axis=1) + 0.5 * np.eye(weights.shape[-1], dtype=weights.dtype)  # (layers, S, S)
    reached: Array = mixed[0]
    for layer in mixed[1:]:
        reached = layer @ reached
    return reached
