"""Measured limits and parts: not their size, which is the machine's, but that they are of the right things."""

from __future__ import annotations

import numpy as np
import pytest

from kvtui.core import GenerationLoop, GenerationSettings, KvtuiError, Model, load
from kvtui.core.config import parameter_count
from kvtui.core.events import Prefill, Token
from kvtui.core.inspection.limits import measure_limits, measure_parts


@pytest.fixture(scope="module")
def model(tiny_model_file) -> Model:
    return load(tiny_model_file)


def test_limits(model: Model) -> None:
    limits = measure_limits(model, 0.0)
    assert limits.bandwidth > 0
    assert limits.flops > 0
    assert limits.threads >= 1
    assert abs(limits.bytes_read - 4 * parameter_count(model.config)) < 4096


@pytest.mark.parametrize("context", [1, 2, 32])
def test_parts_of_both_ways(model: Model, context: int) -> None:
    breakdown = measure_parts(model, [1] * context, 0.0)
    assert (breakdown.context, breakdown.rounds) == (context, 1)
    for parts in (breakdown.cached, breakdown.uncached):
        assert all(seconds > 0 for seconds in vars(parts).values())
        assert parts.total == pytest.approx(sum(vars(parts).values()))


@pytest.mark.parametrize("context", [0, 33])
def test_contexts_that_the_model_does_not_have(model: Model, context: int) -> None:
    with pytest.raises(KvtuiError, match="1 to 32 positions"):
        measure_parts(model, [1] * context)


def test_measuring_between_two_tokens_changes_nothing(model: Model) -> None:
    plain, loop = (GenerationLoop(model, "Hello", GenerationSettings(max_new_tokens=12, seed=1)) for _ in range(2))
    measured = loop.generation
    expected = [event.id for event in plain.run() if isinstance(event, Token)]
    found = []
    for event in loop.run():
        if isinstance(event, Token):
            found.append(event.id)
            before = measured.logits.copy()
            measure_parts(model, measured.window, 0.0)
            np.testing.assert_array_equal(measured.logits, before)
    assert found == expected


def test_parts_of_a_prefill(model: Model) -> None:
    prefill = next(iter(GenerationLoop(model, "Hello", GenerationSettings(parts=True)).run()))
    assert isinstance(prefill, Prefill)
    assert prefill.parts is not None
    assert 0 < prefill.parts.total <= prefill.seconds
    assert prefill.parts.sampling == 0
