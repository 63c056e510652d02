"""Attention weights on request: the rows and heads that were asked for, or why there are none."""

from __future__ import annotations

import numpy as np
import pytest
from random_model import random_model
from script import run, text

from kvtui.core import Generation, GenerationLoop, GenerationSettings, KvtuiError, Model
from kvtui.core.commands import Command, SetCache, ShowAttention
from kvtui.core.events import Attention
from kvtui.core.inspection.attention import attention


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model(seed=5)


def test_attention_on_request_with_the_cache_on_and_off(model):
    plan: dict[int, list[Command]] = {4: [ShowAttention(1, (0,), -3), SetCache(False)], 6: [ShowAttention(0)]}
    first, second = (event for event in run(model, plan, 8, observe=True) if isinstance(event, Attention))
    assert (first.layer, first.heads, first.first_row, first.weights.shape) == (1, (0,), 6, (1, 3, 9))
    assert "".join(first.keys) == "hello" + text(run(model, {}, 4))
    assert (second.heads, second.weights.shape) == ((0, 1), (2, 1, 11))
    np.testing.assert_allclose(second.weights.sum(axis=-1), 1, atol=1e-5)


def test_the_mean_of_heads_stands_for_one(model):
    loop = GenerationLoop(model, "hello", GenerationSettings(max_new_tokens=3, observe=True))
    generation = loop.generation
    list(loop.run())
    every = attention(generation, ShowAttention(1, None, -4))
    mean = attention(generation, ShowAttention(1, None, -4, mean=True))
    assert (mean.heads, mean.mean, mean.weights.shape) == ((0, 1), True, (1, 4, 8))
    np.testing.assert_allclose(mean.weights[0], every.weights.mean(axis=0), atol=1e-7)
    assert not every.mean


def test_attention_after_the_end(model):
    loop = GenerationLoop(model, "hello", GenerationSettings(max_new_tokens=3, observe=True))
    generation = loop.generation
    list(loop.run())
    assert attention(generation, ShowAttention(0)).first_row == 7


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (ShowAttention(2), "no layer 2"),
        (ShowAttention(-1), "no layer -1"),
        (ShowAttention(0, (2,)), "no heads"),
        (ShowAttention(0, ()), "no heads"),
        (ShowAttention(0, None, 9, 12), "not in the window"),
    ],
)
def test_attention_that_does_not_exist(model, wanted, words):
    loop = GenerationLoop(model, "hello", GenerationSettings(max_new_tokens=0, observe=True))
    generation = loop.generation
    list(loop.run())
    with pytest.raises(KvtuiError, match=words):
        attention(generation, wanted)


def test_attention_needs_observing(model):
    with pytest.raises(KvtuiError, match="observe"):
        attention(Generation(model, "hello"), ShowAttention(0))
