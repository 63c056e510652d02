"""The formula for multiply-adds against a count of the products that the decoder really takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from random_model import random_parameters

from kvtui.core import CharTokenizer, KVCache, Model, ModelConfig
from kvtui.core.config import parameter_count, parameter_shapes
from kvtui.core.events import Parts
from kvtui.core.layers import Array
from kvtui.core.measure.operations import multiply_adds, part_costs

CONFIG = ModelConfig(
    vocab_size=7,
    context_length=200,
    num_layers=3,
    num_heads=4,
    num_kv_heads=4,
    head_dim=6,
    embed_dim=20,
    mlp_dim=50,
)


class Counting(np.ndarray):  # type: ignore[type-arg]
    """An array that counts the multiply-adds of every matrix product that it takes part in."""

    total = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [np.asarray(value) if isinstance(value, Counting) else value for value in inputs]
        if "out" in kwargs:
            kwargs["out"] = tuple(np.asarray(value) for value in kwargs["out"])
        result = getattr(ufunc, method)(*plain, **kwargs)
        if ufunc is np.matmul:
            Counting.total += result.size * plain[0].shape[-1]
        return result.view(Counting) if isinstance(result, np.ndarray) else result


@contextmanager
def counted() -> Iterator[type[Counting]]:
    Counting.total = 0
    yield Counting


def counting_model(config: ModelConfig) -> Model:
    parameters: dict[str, Array] = {
        name: value.view(Counting) for name, value in random_parameters(config, scale=0.1).items()
    }
    return Model(config, CharTokenizer("abcdefg"), parameters)


@pytest.mark.parametrize(
    "changes", [{}, {"mlp": "swiglu", "num_kv_heads": 2, "norm": "rms"}, {"tied_output": True}, {"sliding_window": 20}]
)
@pytest.mark.parametrize("context", [1, 5, 64, 65, 200])
def test_uncached_and_cached(changes: dict[str, Any], context: int) -> None:
    config = replace(CONFIG, **changes)
    model = counting_model(config)
    ids = np.zeros(context, dtype=np.int64)
    with counted() as count:
        model.forward(ids, last=True)
    assert count.total == multiply_adds(config, context, context).total
    cache = KVCache(config)
    cache.keys, cache.values = cache.keys.view(Counting), cache.values.view(Counting)
    if context > 1:
        model.forward(ids[:-1], cache)
    with counted() as count:
        model.forward(ids[-1:], cache)
    assert count.total == multiply_adds(config, 1, context).total


def test_exact_pairs_of_the_causal_mask() -> None:
    parts = multiply_adds(CONFIG, 10, 10, block=1)
    assert parts.attention == CONFIG.num_layers * 2 * CONFIG.query_dim * 10 * 11 // 2


def test_a_cached_step_reads_every_weight_once() -> None:
    parts = multiply_adds(CONFIG, 1, 100)
    norms_and_embedding = (2 * CONFIG.num_layers + 1) * CONFIG.embed_dim + CONFIG.vocab_size * CONFIG.embed_dim
    assert parts.total - parts.attention == parameter_count(CONFIG) - norms_and_embedding


@pytest.mark.parametrize("changes", [{}, {"mlp": "swiglu", "num_kv_heads": 2}, {"tied_output": True}])
@pytest.mark.parametrize(("new", "seen"), [(1, 1), (1, 90), (90, 90), (7, 90)])
def test_parts_make_up_the_whole(changes: dict[str, Any], new: int, seen: int) -> None:
    config = replace(CONFIG, **changes)
    costs = part_costs(config, new, seen)
    assert list(costs) == [field.name for field in fields(Parts)]
    assert sum(cost.operations for cost in costs.values()) == 2 * multiply_adds(config, new, seen).total


@pytest.mark.parametrize("changes", [{}, {"mlp": "swiglu", "num_kv_heads": 2}, {"position": "learned"}])
def test_a_cached_step_reads_the_weights_and_the_cache(changes: dict[str, Any]) -> None:
    config = replace(CONFIG, **changes)
    costs = part_costs(config, 1, 90, itemsize=8)
    shapes = parameter_shapes(config)
    products = [name for name, shape in shapes.items() if len(shape) == 2 and not name.endswith("embedding")]
    weights = 8 * sum(int(np.prod(shapes[name])) for name in products)
    looked_up = 8 * config.embed_dim * (2 if config.position == "learned" else 1)
    logits = 8 * config.vocab_size
    cache = 90 * config.cache_bytes_per_token(8)
    assert sum(cost.bytes_read for cost in costs.values()) == weights + looked_up + logits + cache
    assert costs["mlp"].intensity == pytest.approx(2 / 8)
    assert part_costs(config, 90, 90, itemsize=8)["mlp"].intensity == pytest.approx(90 * 2 / 8)
    assert costs["sampling"].intensity == 0
    looking_back_10 = part_costs(replace(config, sliding_window=10), 1, 90, itemsize=8)["attention"]
    assert costs["attention"].bytes_read - looking_back_10.bytes_read == 80 * config.cache_bytes_per_token(8)
    packed = part_costs(config, 1, 90, 8, cache_bytes=1000)
    assert costs["attention"].bytes_read - packed["attention"].bytes_read == cache - 1000
