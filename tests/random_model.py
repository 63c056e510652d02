"""The one random model of the tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kvtui.core.config import ModelConfig, parameter_shapes
from kvtui.core.model import Model
from kvtui.core.tokenizer import CharTokenizer

LETTERS = "\nabcdefghijklmnopqrstuvwxyz"
SMALL = ModelConfig(
    vocab_size=len(LETTERS),
    context_length=32,
    num_layers=2,
    num_heads=2,
    num_kv_heads=2,
    head_dim=8,
    embed_dim=16,
    mlp_dim=32,
)


def random_parameters(
    config: ModelConfig, seed: int = 0, scale: float = 0.3, dtype: DTypeLike = np.float32
) -> dict[str, NDArray[np.floating]]:
    """Normally distributed parameters, gains around one: no term is zero, so none can drop out unnoticed."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.normal(0, scale, shape) + name.endswith(".gain")).astype(dtype)
        for name, shape in parameter_shapes(config).items()
    }


def random_model(
    config: ModelConfig = SMALL,
    seed: int = 0,
    scale: float = 0.3,
    dtype: DTypeLike = np.float32,
    vocabulary: str = LETTERS,
    name: str = "model",
) -> Model:
    """A character model with :func:`random_parameters`; the vocabulary has as many characters as the config says."""
    return Model(config, CharTokenizer(vocabulary), random_parameters(config, seed, scale, dtype), name)
