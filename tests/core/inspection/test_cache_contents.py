"""What is in the cache, against arrays that are computed otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_model import random_model

from kvtui.core import Generation, GenerationLoop, GenerationSettings, KvtuiError, Model, load
from kvtui.core.commands import SetCache, ShowAttention, ShowCache
from kvtui.core.config import ModelConfig
from kvtui.core.events import CacheContents
from kvtui.core.inspection.attention import attention
from kvtui.core.inspection.cache_contents import cache_contents

GROUPED = ModelConfig(27, 16, 3, 4, 2, 6, 24, 24)


@pytest.fixture(scope="module")
def grouped() -> Model:
    """Four query heads share two key/value heads."""
    return random_model(GROUPED, seed=2, scale=0.4)


def written(model: Model, count: int, **settings: Any) -> Generation:
    """A text of three characters and ``count`` more."""
    loop = GenerationLoop(model, "abc", GenerationSettings(max_new_tokens=count, seed=1, observe=True, **settings))
    generation = loop.generation
    for _ in loop.run():
        pass
    return generation


@pytest.mark.parametrize("quantity", ["key", "value"])
def test_norms_are_those_of_a_run_over_the_whole_text(grouped: Model, quantity: str) -> None:
    generation = written(grouped, 6)
    event = cache_contents(generation, ShowCache(quantity, 1))  # type: ignore[arg-type]
    cache: Any = grouped.new_cache()
    grouped.forward(generation.window, cache)
    kept = (cache.keys if quantity == "key" else cache.values)[1:, :, :9]
    expected = [[[np.linalg.norm(vector) for vector in head] for head in layer] for layer in kept]
    np.testing.assert_allclose(event.numbers, expected, rtol=1e-4)
    assert (event.first_layer, event.position, event.written, event.length) == (1, 0, 1, 9)
    np.testing.assert_array_equal(event.kept, np.broadcast_to(np.arange(9), (2, 2, 9)))


def test_what_was_read_is_the_attention_of_the_newest_query(grouped: Model) -> None:
    generation = written(grouped, 6)
    event = cache_contents(generation, ShowCache("attention", 0, 2))
    assert event.numbers.shape == (2, 2, 9)
    for layer in range(2):
        weights = attention(generation, ShowAttention(layer)).weights[:, -1]  # (H, S)
        np.testing.assert_allclose(event.numbers[layer, 0], (weights[0] + weights[1]) / 2, rtol=1e-5)
        np.testing.assert_allclose(event.numbers[layer, 1], (weights[2] + weights[3]) / 2, rtol=1e-5)
    np.testing.assert_allclose(event.numbers.sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize("quantity", ["key", "value", "attention"])
def test_the_cache_as_it_was(grouped: Model, quantity: str) -> None:
    then = cache_contents(written(grouped, 2), ShowCache(quantity))  # type: ignore[arg-type]
    now = cache_contents(written(grouped, 6), ShowCache(quantity, length=5))  # type: ignore[arg-type]
    np.testing.assert_allclose(now.numbers, then.numbers, rtol=1e-5)


def test_more_than_there_is_and_nothing(grouped: Model) -> None:
    assert cache_contents(written(grouped, 2), ShowCache(length=99)).numbers.shape == (3, 2, 5)
    off = cache_contents(written(grouped, 2, cache=False), ShowCache("attention"))
    assert (off.numbers.shape, off.written) == ((3, 2, 0), 0)


def test_after_the_window_has_moved(grouped: Model) -> None:
    event = cache_contents(written(grouped, 14), ShowCache())  # 16 positions, 8 dropped, 9 kept with the new one
    assert (event.position, event.written, event.numbers.shape) == (8, 9, (3, 2, 9))


@pytest.mark.parametrize("layers", [(3, None), (-1, None), (2, 2)])
def test_no_such_layers(grouped: Model, layers: tuple[int, int | None]) -> None:
    with pytest.raises(KvtuiError, match="no layers"):
        cache_contents(written(grouped, 1), ShowCache("value", *layers))


def test_read_needs_a_record(grouped: Model) -> None:
    with pytest.raises(KvtuiError, match="observe"):
        cache_contents(Generation(grouped, "abc"), ShowCache("attention"))


def test_asked_between_tokens(tiny_model_file: Path) -> None:
    class Plan:
        """A question before the first token, and one when the cache is off."""

        def __init__(self) -> None:
            self.left = [ShowCache(), None, SetCache(False), None, ShowCache("key"), None]

        def poll(self, timeout: float | None) -> object:
            return self.left.pop(0) if self.left else None

    model = load(tiny_model_file)
    run = GenerationLoop(model, "Romeo", GenerationSettings(max_new_tokens=4, seed=1), source=Plan()).run()  # type: ignore[arg-type]
    first, second = [event for event in run if isinstance(event, CacheContents)]
    assert (first.quantity, first.numbers.shape, first.written) == ("value", (2, 2, 5), 5)
    assert (second.quantity, second.numbers.shape, second.written) == ("key", (2, 2, 0), 0)


@pytest.mark.parametrize("policy", ["window:4", "sink:2+3", "heavy:2+3"])
@pytest.mark.parametrize("quantity", ["key", "attention"])
def test_what_a_policy_held_then(grouped: Model, policy: str, quantity: str) -> None:
    """Looking back gives what was told when it was the newest."""

    def told(count: int, length: int | None = None) -> CacheContents:
        loop = GenerationLoop(
            grouped, "abc", GenerationSettings(policy=policy, max_new_tokens=count, seed=1, observe=True)
        )
        generation = loop.generation
        for _ in loop.run():
            pass
        return cache_contents(generation, ShowCache(quantity, length=length))  # type: ignore[arg-type]

    for count, now in ((6, 11), (9, 30)):  # at 30 the window of 16 has moved, but only a rolling cache goes on
        if now == 30 and policy.startswith("heavy"):
            continue
        then = told(now - 4 if now == 30 else count)
        back = told(now, then.length)
        np.testing.assert_array_equal(back.kept, then.kept)
        np.testing.assert_allclose(back.numbers, then.numbers, rtol=1e-3, atol=1e-5)
        assert back.length == then.length


def test_values_dropped_since_are_gone(grouped: Model) -> None:
    loop = GenerationLoop(grouped, "abc", GenerationSettings(policy="window:4", max_new_tokens=9, seed=1, observe=True))
    generation = loop.generation
    for _ in loop.run():
        pass
    with pytest.raises(KvtuiError, match="values dropped since are gone"):
        cache_contents(generation, ShowCache("value", length=8))
