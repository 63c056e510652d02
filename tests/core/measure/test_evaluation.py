from __future__ import annotations

import numpy as np
import pytest
from random_model import odd_model

from kvtui.core import KvtuiError
from kvtui.core.measure.benchmark import benchmark
from kvtui.core.measure.evaluation import evaluate


@pytest.mark.parametrize("first", [0, 1, 30, 99])
@pytest.mark.parametrize("length", [100, 25, 2])
def test_loss_is_the_mean_over_windows_with_half_a_context(length, first):
    model = odd_model()
    ids = np.random.default_rng(0).integers(13, size=length)
    first = min(first, length - 1)
    start = max(1, first)
    expected = []
    for index in range(start, length):
        end = min(start + (index - start) // 12 * 12 + 12, length)  # the end of the window that scores this token
        begin = max(0, end - 25)
        assert index - begin >= min(12, index)
        logits = model.forward(ids[begin:index])[-1]
        expected.append(np.log(np.exp(logits).sum()) - logits[ids[index]])
    seen = []
    result = evaluate(model, ids, first, lambda done, total: seen.append((done, total)))
    assert result.loss == pytest.approx(np.mean(expected), abs=1e-9)
    assert result.tokens == length - start
    assert result.perplexity == pytest.approx(np.exp(result.loss))
    assert seen[-1] == (length - start, length - start)


def test_windows_are_no_longer_than_memory_allows(monkeypatch):
    model, ids = odd_model(), np.random.default_rng(0).integers(13, size=60)
    monkeypatch.setattr("kvtui.core.measure.evaluation.LONGEST_WINDOW", 10)
    result = evaluate(model, ids)
    assert result.method.startswith("windows of 10 tokens, each scoring its last 5,")
    assert result.tokens == 59


def test_every_window_begins_with_the_token_that_begins_texts():
    model = odd_model()
    ids = np.random.default_rng(0).integers(1, 13, size=100)
    ids[0] = 0
    expected = []
    for index in range(1, 100):
        end = min(1 + (index - 1) // 12 * 12 + 12, 100)
        begin = max(0, end - 25)
        logits = model.forward([0, *ids[begin + 1 : index]])[-1]
        expected.append(np.log(np.exp(logits).sum()) - logits[ids[index]])
    result = evaluate(model, ids, start_id=0)
    assert result.loss == pytest.approx(np.mean(expected), abs=1e-9)
    assert result.loss != pytest.approx(evaluate(model, ids).loss, abs=1e-6)
    assert result.method.endswith(f"; every window begins with {model.tokenizer.piece(0)}, which is not scored")
    assert "begins with" not in evaluate(model, ids).method
    assert ids[75] != 0  # the text itself is as it was


@pytest.mark.parametrize(("length", "first"), [(0, 0), (1, 0), (5, 5)])
def test_nothing_to_score_is_refused(length, first):
    with pytest.raises(KvtuiError, match="nothing to score"):
        evaluate(odd_model(), np.zeros(length, int), first)


def test_what_the_model_holds_for_impossible_is_lost_for_its_logits_and_not_infinite():
    model = odd_model()
    model.parameters["output.weight"] *= 1e4
    ids = np.random.default_rng(0).integers(13, size=24)
    logits = model.forward(ids[:-1])
    expected = logits.max(axis=-1) - logits[np.arange(23), ids[1:]]
    assert expected.max() > 1_000  # exp(-1000) is 0
    assert evaluate(model, ids).loss == pytest.approx(expected.mean(), rel=1e-6)


def test_benchmark_measures_every_context_on_both_sides():
    result = benchmark(odd_model(tied=True), [3, 24], repeats=2)
    for side in (result.cached_seconds, result.uncached_seconds):
        assert [context for context, _ in side] == [3, 24]
        assert all(seconds > 0 for _, seconds in side)
    assert result.floor_seconds > 0
    assert result.threads >= 1
    assert [context for context, _ in benchmark(odd_model(), repeats=1).cached_seconds] == [16, 24]


@pytest.mark.parametrize(("contexts", "repeats"), [([25], 1), ([0], 1), ([4], 0)])
def test_benchmark_refuses_what_the_model_does_not_have(contexts, repeats):
    with pytest.raises(KvtuiError, match="1 to 24"):
        benchmark(odd_model(), contexts, repeats)
