"""The one random model of the tests, in the shapes that most of them want."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kvtui.core.config import Mlp, ModelConfig, Norm, Position, parameter_shapes
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
ODD = ModelConfig(13, 24, 2, 4, 4, 6, 20, 28)  # sizes that differ: an axis taken for another one does not fit


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


def odd_model(
    norm: Norm = "layer",
    position: Position = "rotary",
    mlp: Mlp = "gelu",
    num_kv_heads: int = 4,
    tied: bool = False,
    bias: bool = False,
    dtype: DTypeLike = np.float64,
    seed: int = 3,
    **options: Any,
) -> Model:
    """A model of the shape :data:`ODD`, with any options of the config; in float64, for comparisons."""
    choices = {"norm": norm, "position": position, "mlp": mlp, "num_kv_heads": num_kv_heads}
    config = replace(ODD, **choices, tied_output=tied, bias=bias, **options)  # type: ignore[arg-type]
    return random_model(config, seed, 0.4, dtype, "abcdefghijklm")
