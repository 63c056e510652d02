"""Each piece of the decoder against its definition, written the slow and plain way in float64."""

import math

import numpy as np
import pytest

from kvtui.core import layers

EPSILON = 1e-5


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def close(dtype):
    return {"rtol": 0, "atol": 1e-12 if dtype is np.float64 else 1e-5}


# --- norms ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 8), (7,)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_layer_norm_is_its_definition(shape, with_bias, dtype):
    x, gain, bias = 3 * normal(*shape, dtype=dtype) + 2, normal(shape[-1], seed=1, dtype=dtype), None
    if with_bias:
        bias = normal(shape[-1], seed=2, dtype=dtype)
    before = x.copy()
    y = layers.layer_norm(x, gain, bias, EPSILON)

    rows = x.reshape(-1, shape[-1]).astype(np.float64)
    expected = np.empty_like(rows)
    for row, numbers in enumerate(rows):
        mean = math.fsum(numbers) / len(numbers)
        variance = math.fsum((number - mean) ** 2 for number in numbers) / len(numbers)
        expected[row] = [(number - mean) / math.sqrt(variance + EPSILON) for number in numbers]
    expected = expected * gain + (0 if bias is None else bias)
    np.testing.assert_allclose(y, expected.reshape(shape), **close(dtype))
    assert y.dtype == dtype
    assert y.shape == shape
    np.testing.assert_array_equal(x, before)


def test_layer_norm_gives_zero_mean_and_unit_variance():
    y = layers.layer_norm(100 + 9 * normal(4, 64), np.ones(64), None, 1e-12)
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=-1), 1, atol=1e-12)


def test_layer_norm_of_a_constant_row_is_finite():
    np.testing.assert_array_equal(layers.layer_norm(np.full((2, 4), 3.0), np.ones(4), None, EPSILON), np.zeros((2, 4)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 8), (7,)])
def test_rms_norm_is_its_definition(shape, dtype):
    x, gain = 3 * normal(*shape, dtype=dtype) + 2, normal(shape[-1], seed=1, dtype=dtype)
    before = x.copy()
    y = layers.rms_norm(x, gain, EPSILON)
    rows = x.reshape(-1, shape[-1]).astype(np.float64)
    expected = np.array(
        [
            [number / math.sqrt(math.fsum(a * a for a in row) / len(row) + EPSILON) for number in row]
            for row in rows.tolist()
        ]
    )
    np.testing.assert_allclose(y, expected.reshape(shape) * gain, **close(dtype))
    assert y.dtype == dtype
    np.testing.assert_array_equal(x, before)


def test_rms_norm_gives_unit_root_mean_square_and_ignores_scale():
    x = normal(4, 64)
    y = layers.rms_norm(x, np.ones(64), 1e-15)
    np.testing.assert_allclose(np.sqrt((y * y).mean(axis=-1)), 1, atol=1e-12)
    np.testing.assert_allclose(layers.rms_norm(5 * x, np.ones(64), 1e-15), y, atol=1e-12)
    assert np.isfinite(layers.rms_norm(np.zeros((1, 4)), np.ones(4), EPSILON)).all()


# --- activations ---

GRID = np.linspace(-8, 8, 1601)


def test_gelu_is_the_tanh_formula():
    expected = [0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) for x in GRID.tolist()]
    # A few units in the last place of the sum 1 + tanh, not of a tail that is the difference of two near-equals.
    np.testing.assert_allclose(layers.gelu(GRID), expected, rtol=1e-15, atol=4e-15)


def test_gelu_is_as_near_to_the_exact_one_as_the_approximation_is():
    exact = np.array([0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in GRID.tolist()])
    error = np.abs(layers.gelu(GRID) - exact).max()
    assert 4e-4 < error < 5e-4  # the known largest error of the tanh form, 4.7e-4 near |x| = 2.3


def test_gelu_in_single_precision_and_in_the_tails():
    x = GRID.astype(np.float32)
    before = x.copy()
    y = layers.gelu(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, layers.gelu(GRID), atol=2e-6)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(layers.gelu(np.array([-1e4, 0.0, 1e4])), [0.0, 0.0, 1e4])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_exact_gelu_is_its_definition(dtype):
    x = GRID.astype(dtype)
    before = x.copy()
    y = layers.gelu_erf(x)
    assert y.dtype == dtype
    expected = [0.5 * x * math.erfc(-x / math.sqrt(2)) for x in GRID.tolist()]
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(layers.gelu_erf(np.array([-1e4, 0.0, 1e4], dtype)), [0.0, 0.0, 1e4])


def test_silu_is_its_definition_and_never_overflows():
    np.testing.assert_allclose(layers.silu(GRID), [x / (1 + math.exp(-x)) for x in GRID.tolist()], rtol=1e-14)
    tails = layers.silu(np.array([-1e4, -90, 0, 1e4], np.float32))
    assert tails.dtype == np.float32
    np.testing.assert_allclose(tails, [0, 0, 0, 1e4], atol=1e-30)


def test_softmax_is_its_definition_and_works_in_place():
    scores = 3 * normal(2, 3, 5)
    expected = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    weights = layers.softmax(scores)
    assert weights is scores
    np.testing.assert_allclose(weights, expected, rtol=1e-14)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-14)


def test_softmax_ignores_a_shift_and_survives_large_and_hidden_scores():
    scores = normal(4, 6)
    np.testing.assert_allclose(layers.softmax(scores + 1000.0), layers.softmax(scores.copy()), rtol=1e-12)
    weights = layers.softmax(np.array([[1e30, -np.inf, 0.0], [-1e30, -1e30, -np.inf]]))
    np.testing.assert_array_equal(weights, [[1, 0, 0], [0.5, 0.5, 0]])


# --- attention ---


def naive_attention(query, key, value):
    """One number after the other. Returns (T, H·D) and the weights (H, T, S)."""
    num_heads, num_new, head_dim = query.shape
    num_kv_heads, num_seen, _ = key.shape
    out, all_weights = np.zeros((num_new, num_heads, head_dim)), np.zeros((num_heads, num_new, num_seen))
    for head in range(num_heads):
        group = head // (num_heads // num_kv_heads)
        for row in range(num_new):
            position = num_seen - num_new + row
            scores = [query[head, row] @ key[group, s] / math.sqrt(head_dim) for s in range(position + 1)]
            largest = max(scores)
            exponentials = [math.exp(score - largest) for score in scores]
            for s, exponential in enumerate(exponentials):
                weight = exponential / math.fsum(exponentials)
                all_weights[head, row, s] = weight
                out[row, head] += weight * value[group, s]
    return out.reshape(num_new, -1), all_weights


SHAPES = [  # H, G, T, S
    (1, 1, 1, 1),
    (2, 2, 5, 5),
    (4, 2, 5, 5),
    (4, 1, 6, 9),
    (6, 3, 1, 8),
    (3, 3, 7, 8),
    (2, 1, 9, 9),
]


@pytest.mark.parametrize("block", [1, 2, 3, 4, 9, layers.QUERY_BLOCK])
@pytest.mark.parametrize(("heads", "kv_heads", "new", "seen"), SHAPES)
def test_causal_attention_agrees_with_a_naive_loop(heads, kv_heads, new, seen, block):
    head_dim = 4
    query = 2 * normal(heads, new, head_dim, seed=1)
    key, value = 2 * normal(kv_heads, seen, head_dim, seed=2), normal(kv_heads, seen, head_dim, seed=3)
    inputs = [array.copy() for array in (query, key, value)]
    expected, expected_weights = naive_attention(query, key, value)
    weights = np.zeros((heads, new, seen))
    firsts = []

    def on_weights(first, rows):
        firsts.append(first)
        assert rows.shape[0] == heads
        weights[:, first : first + rows.shape[1], : rows.shape[2]] = rows

    out = layers.causal_attention(query, key, value, on_weights, block)
    assert out.shape == (new, heads * head_dim)
    np.testing.assert_allclose(out, expected, atol=1e-13)
    np.testing.assert_allclose(weights, expected_weights, atol=1e-14)
    assert firsts == list(range(0, new, block))
    for after, before in zip((query, key, value), inputs, strict=True):
        np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(layers.causal_attention(query, key, value, None, block), out)


def random_inputs(heads, kv_heads, new, seen, head_dim=6):
    """A query, key and value for attention."""
    query = 2 * normal(heads, new, head_dim, seed=1)
    return query, 2 * normal(kv_heads, seen, head_dim, seed=2), normal(kv_heads, seen, head_dim, seed=3)


@pytest.mark.parametrize("window", [None, 1, 3, 100])
@pytest.mark.parametrize("block", [1, 3, layers.QUERY_BLOCK])
@pytest.mark.parametrize(("heads", "kv_heads", "new", "seen"), [*SHAPES, (4, 2, 70, 150), (6, 2, 130, 130)])
def test_the_blocked_form_is_the_formula(heads, kv_heads, new, seen, block, window):
    query, key, value = random_inputs(heads, kv_heads, new, seen)
    expected = layers.attention(query, key, value, window)
    assert expected.shape == (new, heads * 6)
    found = layers.causal_attention(query, key, value, block=block, window=window)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("heads", "kv_heads", "new", "seen"), SHAPES)
def test_the_formula_agrees_with_a_naive_loop(heads, kv_heads, new, seen):
    query, key, value = random_inputs(heads, kv_heads, new, seen)
    inputs = [array.copy() for array in (query, key, value)]
    np.testing.assert_allclose(
        layers.attention(query, key, value), naive_attention(query, key, value)[0], rtol=0, atol=1e-13
    )
    for after, before in zip((query, key, value), inputs, strict=True):
        np.testing.assert_array_equal(after, before)
    assert layers.attention(*(array.astype(np.float32) for array in inputs)).dtype == np.float32


def test_attention_weights_sum_to_one_and_are_causal():
    heads, new, seen = 4, 10, 13
    weights = np.full((heads, new, seen), np.nan)

    def on_weights(first, rows):
        weights[:, first : first + rows.shape[1]] = 0  # keys that are not even scored
        weights[:, first : first + rows.shape[1], : rows.shape[2]] = rows

    query, key, value = normal(heads, new, 4), normal(2, seen, 4, seed=1), normal(2, seen, 4, seed=2)
    layers.causal_attention(query, key, value, on_weights, block=4)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-14)
    later = np.arange(seen) > (seen - new + np.arange(new))[:, None]  # (T, S)
    assert (weights[:, later] == 0).all()
    assert (weights[:, ~later] > 0).all()


def test_attention_does_not_see_later_keys():
    query, key, value = normal(2, 6, 4), normal(2, 6, 4, seed=1), normal(2, 6, 4, seed=2)
    out = layers.causal_attention(query, key, value, block=4)
    key[:, 4:], value[:, 4:] = 1e3, -1e3
    np.testing.assert_array_equal(layers.causal_attention(query, key, value, block=4)[:4], out[:4])


def test_attention_in_single_precision_across_the_default_block():
    length = layers.QUERY_BLOCK + 6
    arrays = [normal(2, length, 4, seed=seed, dtype=np.float32) for seed in (1, 2, 3)]
    out = layers.causal_attention(*arrays)
    assert out.dtype == np.float32
    exact = layers.causal_attention(*(array.astype(np.float64) for array in arrays), block=length)
    np.testing.assert_allclose(out, exact, atol=1e-5)


def test_attention_takes_views():
    """The model hands over transposed views of (T, H, D) and slices of a longer cache."""
    query, key, value = normal(5, 4, 6), normal(2, 20, 6, seed=1), normal(2, 20, 6, seed=2)
    out = layers.causal_attention(query.transpose(1, 0, 2), key[:, :8], value[:, :8], block=2)
    expected, _ = naive_attention(query.transpose(1, 0, 2), key[:, :8], value[:, :8])
    np.testing.assert_allclose(out, expected, atol=1e-13)
