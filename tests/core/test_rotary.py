"""Rotary positions against the paper's formulas, and the table that goes on past a model's context."""

import math

import numpy as np
import pytest

from kvtui.core import ModelConfig, rotary


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize(("head_dim", "base"), [(2, 10_000.0), (8, 10_000.0), (6, 500.0)])
def test_rotary_table_holds_the_angles_of_the_paper(head_dim, base):
    table = rotary.rotary_table(5, head_dim, base, np.float64)
    assert table.shape == (5, head_dim // 2)
    for position in range(5):
        for pair in range(head_dim // 2):
            angle = position * base ** (-2 * pair / head_dim)
            assert table[position, pair] == pytest.approx(complex(math.cos(angle), math.sin(angle)), abs=1e-14)


def test_rotary_table_follows_the_precision():
    assert rotary.rotary_table(2, 4, 1e4).dtype == np.complex64
    assert rotary.rotary_table(2, 4, 1e4, np.float64).dtype == np.complex128


def test_divisors_slow_the_rotation_down():
    plain, slowed = rotary.rotary_table(9, 4, 1e4), rotary.rotary_table(9, 4, 1e4, divisors=(1.0, 4.0))
    np.testing.assert_array_equal(slowed[:, 0], plain[:, 0])
    np.testing.assert_allclose(slowed[::4, 1], plain[:3, 1], rtol=0, atol=1e-6)


def test_llama3_divisors_are_those_of_the_reference_formula():
    frequencies = rotary.rotary_frequencies(64, 500_000.0)
    divisors = rotary.llama3_divisors(frequencies, factor=8.0, low=1.0, high=4.0, original_context=8192)
    for frequency, divisor in zip(frequencies, divisors, strict=True):  # apply_scaling of llama-models, pair by pair
        wavelength = 2 * math.pi / frequency
        if wavelength < 8192 / 4.0:
            expected = 1.0
        elif wavelength > 8192 / 1.0:
            expected = 8.0
        else:
            smooth = (8192 / wavelength - 1.0) / (4.0 - 1.0)
            expected = 1 / ((1 - smooth) / 8.0 + smooth)
        assert divisor == pytest.approx(expected, rel=1e-12)
    assert len(set(divisors)) > 2


def test_rotate_is_the_paper_s_matrix():
    heads, head_dim, positions = 3, 6, 5
    x = normal(positions, heads, head_dim)
    table = rotary.rotary_table(positions, head_dim, 1e4, np.float64)
    rotated = rotary.rotate(x, table)
    for m in range(positions):
        matrix = np.zeros((head_dim, head_dim))
        for pair in range(head_dim // 2):
            angle = m * 1e4 ** (-2 * pair / head_dim)
            cos, sin = math.cos(angle), math.sin(angle)
            matrix[2 * pair : 2 * pair + 2, 2 * pair : 2 * pair + 2] = [[cos, -sin], [sin, cos]]
        for head in range(heads):
            np.testing.assert_allclose(rotated[m, head], matrix @ x[m, head], atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rotate_keeps_norms_and_position_zero(dtype):
    x = normal(9, 3, 8, dtype=dtype)
    before = x.copy()
    rotated = rotary.rotate(x, rotary.rotary_table(9, 8, 1e4, dtype))
    assert rotated.dtype == dtype
    assert rotated.shape == x.shape
    np.testing.assert_allclose(np.linalg.norm(rotated, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(rotated[0], x[0])
    np.testing.assert_array_equal(x, before)
    assert np.abs(rotated[1:] - x[1:]).max() > 0.1


def test_rotated_products_depend_on_the_distance_only():
    length, head_dim = 12, 8
    table = rotary.rotary_table(length, head_dim, 1e4, np.float64)
    q, k = normal(head_dim, seed=1), normal(head_dim, seed=2)

    def everywhere(vector):
        return rotary.rotate(np.tile(vector, (length, 1, 1)), table)[:, 0]  # (T, D)

    products = everywhere(q) @ everywhere(k).T  # (m, n)
    for distance in range(-length + 1, length):
        diagonal = np.diagonal(products, -distance)  # m - n = distance
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-12)
    assert np.ptp(products) > 0.1  # and they do depend on it


def test_rotating_by_the_conjugate_goes_back():
    x, table = normal(5, 2, 4), rotary.rotary_table(5, 4, 1e4, np.float64)
    np.testing.assert_allclose(rotary.rotate(rotary.rotate(x, table), table.conj()), x, atol=1e-14)


# --- the table of a model ---


def table_of(context=10, **options):
    return rotary.RotaryTable(ModelConfig(13, context, 1, 2, 2, 6, 12, 12, position="rotary", **options), np.float64)


@pytest.mark.parametrize("options", [{}, {"rotary_base": 500.0, "rotary_divisors": (1.0, 2.5, 8.0)}], ids=str)
def test_a_model_s_table_is_the_same_within_the_context_and_past_it(options):
    table = table_of(**options)
    whole = rotary.rotary_table(
        1_000, 6, options.get("rotary_base", 10_000.0), np.float64, options.get("rotary_divisors", ())
    )
    for position in (0, 9, 10, 63, 64, 500, 999):
        np.testing.assert_allclose(table.at(position), whole[position], rtol=0, atol=1e-12)
    for start, count in ((0, 10), (4, 6), (4, 7), (10, 3), (70, 200)):
        np.testing.assert_allclose(table.rows(start, count), whole[start : start + count], rtol=0, atol=1e-12)


def test_a_model_s_table_stays_small_however_far_the_text_goes():
    table = table_of()
    for position in range(0, 100_000, 50):
        table.at(position)
    assert len(table._past) <= 8
