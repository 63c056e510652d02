"""The cache's size by formula, against arrays, a config, and figures that were published."""

from __future__ import annotations

import numpy as np
import pytest

from kvtui.core import KVCache, ModelConfig
from kvtui.core.measure.cache_size import KNOWN_MODELS, cache_bytes


def test_formula_is_the_size_of_the_arrays(tiny_config: ModelConfig) -> None:
    cache = KVCache(tiny_config, dtype=np.float64)
    shape = (tiny_config.num_layers, tiny_config.num_kv_heads, tiny_config.head_dim)
    assert cache_bytes(*shape, tiny_config.context_length, 8) == cache.keys.nbytes + cache.values.nbytes
    assert cache_bytes(*shape, 1, 4) == tiny_config.cache_bytes_per_token()


@pytest.mark.parametrize(
    ("name", "kibibytes_per_token"),
    # Worked out by hand: two arrays of layers × key/value width, 2 bytes a number.
    [
        ("GPT-2 124M", 2 * 12 * 768 * 2 / 1024),
        ("GPT-2 XL 1.5B", 2 * 48 * 1600 * 2 / 1024),
        ("Llama-2 7B", 512),
        ("Llama-2 70B", 320),
        ("Mistral 7B v0.3", 128),
        ("Qwen2.5 7B", 56),
        ("Llama-3.1 8B", 128),
        ("Llama-3.1 70B", 320),
    ],
)
def test_known_models(name: str, kibibytes_per_token: float) -> None:
    model = next(model for model in KNOWN_MODELS if model.name == name)
    assert model.cache_bytes(1) == kibibytes_per_token * 1024
    assert model.cache_bytes(model.context) == model.context * model.cache_bytes(1)
    assert model.heads % model.kv_heads == 0


def test_every_known_model_is_tested_and_named_once() -> None:
    assert len({model.name for model in KNOWN_MODELS}) == len({model.source for model in KNOWN_MODELS}) == 8
