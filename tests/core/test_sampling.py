from __future__ import annotations

import numpy as np
import pytest

from kvtui.core import KvtuiError, SamplingSettings
from kvtui.core.sampling import Sampler

LOGITS = np.log(np.array([0.1, 0.4, 0.05, 0.3, 0.15], np.float32))


def frequencies(settings: SamplingSettings, draws: int = 5_000) -> np.ndarray:
    sampler = Sampler(settings, 1)
    counts = np.bincount([sampler.sample(LOGITS)[0] for _ in range(draws)], minlength=5)
    return counts / draws


def test_greedy_takes_the_likeliest():
    assert {Sampler(SamplingSettings(temperature=0), seed).sample(LOGITS)[0] for seed in range(20)} == {1}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (SamplingSettings(1.0), [0.1, 0.4, 0.05, 0.3, 0.15]),
        (SamplingSettings(0.5), np.array([0.01, 0.16, 0.0025, 0.09, 0.0225]) / 0.285),
        (SamplingSettings(1.0, top_k=2), [0, 4 / 7, 0, 3 / 7, 0]),
        (SamplingSettings(1.0, top_k=50), [0.1, 0.4, 0.05, 0.3, 0.15]),
        (SamplingSettings(1.0, top_p=0.69), [0, 4 / 7, 0, 3 / 7, 0]),
        (SamplingSettings(1.0, top_p=0.72), [0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85]),
        (SamplingSettings(1.0, top_p=1e-9), [0, 1, 0, 0, 0]),
        # top-p counts what top-k left: of 0.4 and 0.3, the first alone has 57 %
        (SamplingSettings(1.0, top_k=2, top_p=0.5), [0, 1, 0, 0, 0]),
    ],
)
def test_frequencies(settings, expected):
    found = frequencies(settings)
    np.testing.assert_allclose(found, expected, atol=0.025)
    assert not found[np.asarray(expected) == 0].any()


def test_logprob_is_the_models_own_whatever_the_settings():
    for settings in (SamplingSettings(0), SamplingSettings(3.0), SamplingSettings(1.0, top_k=1)):
        token, logprob = Sampler(settings, 0).sample(LOGITS + 7)
        assert logprob == pytest.approx(LOGITS[token], abs=1e-6)


def test_one_random_number_a_draw_whatever_the_settings():
    kinds = [SamplingSettings(0), SamplingSettings(1.0), SamplingSettings(1.0, top_k=2, top_p=0.9)]
    samplers = [Sampler(kind, 5) for kind in kinds]
    for sampler in samplers:
        for _ in range(7):
            sampler.sample(LOGITS)
        sampler.settings = SamplingSettings(1.0)
    assert len({tuple(sampler.sample(LOGITS)[0] for _ in range(20)) for sampler in samplers}) == 1


def test_logits_are_left_alone():
    logits = LOGITS.copy()
    Sampler(SamplingSettings(), 0).sample(logits)
    np.testing.assert_array_equal(logits, LOGITS)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_k": 0}, "top-k"),
        ({"top_p": 0.0}, "top-p"),
        ({"top_p": 1.5}, "top-p"),
    ],
)
def test_numbers_out_of_range_are_refused(values, words):
    with pytest.raises(KvtuiError, match=words):
        SamplingSettings(**values)


def test_negative_seed_is_refused():
    with pytest.raises(KvtuiError, match="seed"):
        Sampler(SamplingSettings(), -1)


def test_a_given_token_is_taken_and_uses_up_its_draw():
    logits = np.random.default_rng(1).normal(size=20).astype(np.float32)
    free, told = Sampler(SamplingSettings(), 5), Sampler(SamplingSettings(), 5)
    first = free.sample(logits)
    token, logprob = told.sample(logits, given=(first[0] + 1) % 20)
    assert token == (first[0] + 1) % 20
    assert logprob == pytest.approx(float(logits[token] - np.log(np.exp(logits).sum())), rel=1e-5)
    assert free.sample(logits) == told.sample(logits)


def test_a_temperature_next_to_zero_is_greedy_without_a_warning():
    for temperature in (1e-30, 5e-324):
        assert Sampler(SamplingSettings(temperature), 3).sample(LOGITS)[0] == 1
