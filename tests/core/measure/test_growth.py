"""Fitted growth: known polynomials come back, and no term is negative."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtui.core import KvtuiError
from kvtui.core.measure.growth import Growth, fit_growth, fit_operations

CONTEXTS = (16, 32, 64, 128, 256, 512)


def test_known_polynomial() -> None:
    growth = fit_growth([(n, 1e-3 + 2e-5 * n + 3e-8 * n * n) for n in CONTEXTS], 2)
    np.testing.assert_allclose(growth.coefficients, [1e-3, 2e-5, 3e-8], rtol=1e-6)
    assert growth.seconds(100) == pytest.approx(3.3e-3)
    assert str(growth) == "1 ms + 20 µs·n + 30 ns·n²"


def test_a_hiccup_among_many_tokens_moves_little() -> None:
    times = [(n, 5e-4 + 1e-6 * n) for n in range(1, 501)]
    times[250] = (251, 3.0)
    growth = fit_growth(times, 1)
    np.testing.assert_allclose(growth.coefficients, [5e-4, 1e-6], rtol=0.01)


@given(st.lists(st.tuples(st.integers(1, 4096), st.floats(1e-6, 10.0)), min_size=1, max_size=80), st.integers(0, 3))
def test_never_negative(times: list[tuple[int, float]], degree: int) -> None:
    growth = fit_growth(times, degree)
    assert min(growth.coefficients) >= 0
    assert (growth.seconds([n for n, _ in times]) > 0).all()


def test_falling_times_become_a_constant() -> None:
    assert fit_growth([(1, 2.0), (2, 1.0)], 1).coefficients[1] == 0


@pytest.mark.parametrize("times", [[], [(1, 0.0)]])
def test_nothing_to_fit(times: list[tuple[int, float]]) -> None:
    with pytest.raises(KvtuiError, match="above 0"):
        fit_growth(times, 1)


def test_words() -> None:
    assert str(Growth((0.0, 4.2e-7))) == "420 ns·n"
    assert str(Growth((0.0,))) == "0 s"


def test_counted_operations_give_the_shape() -> None:
    def operations(context: int) -> int:
        return 1000 * context + context * context

    prediction = fit_operations([(n, 2e-3 + 3e-9 * operations(n)) for n in CONTEXTS], operations)
    assert (prediction.fixed, prediction.per_operation) == (pytest.approx(2e-3), pytest.approx(3e-9))
    assert prediction.seconds(100) == pytest.approx(2e-3 + 3e-9 * 110_000)
    assert fit_operations([(5, 1.0), (5, 1.0)], operations).seconds(5) == pytest.approx(1.0)
    with pytest.raises(KvtuiError, match="above 0"):
        fit_operations([], operations)
