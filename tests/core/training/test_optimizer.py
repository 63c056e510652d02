"""Muon, Adam and clipping against their definitions."""

import math

import numpy as np
import pytest

from kvtui.core.layers import Array
from kvtui.core.training.optimizer import (
    ADAM_BETAS,
    ADAM_EPSILON,
    MUON_MOMENTUM,
    Optimizer,
    clip,
    is_hidden_matrix,
    orthogonalise,
)


def matrix_with(singular_values, shape, seed=0):
    """A matrix with these singular values, in random directions."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(shape[0], len(singular_values))))[0]
    right = np.linalg.qr(rng.normal(size=(shape[1], len(singular_values))))[0]
    return left * singular_values @ right.T


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("shape", [(64, 16), (16, 64), (24, 24), (1, 8), (8, 1), (192, 48)])
def test_orthogonalise_brings_singular_values_near_one(shape, scale, dtype):
    values = np.geomspace(0.05, 1.0, min(shape))
    y = orthogonalise((scale * matrix_with(values, shape)).astype(dtype))
    assert y.dtype == dtype
    assert y.shape == shape
    found = np.linalg.svd(y, compute_uv=False)
    assert found.min() > 0.6
    assert found.max() < 1.3


@pytest.mark.parametrize("shape", [(64, 16), (16, 64)])
def test_orthogonalise_of_a_random_matrix(shape):
    found = np.linalg.svd(orthogonalise(np.random.default_rng(0).normal(size=shape)), compute_uv=False)
    assert found.min() > 0.6
    assert found.max() < 1.3


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (7, 7)])
def test_orthogonalise_keeps_the_singular_directions(shape):
    x = matrix_with(np.linspace(0.2, 1.0, min(shape)), shape)
    left, _, right = np.linalg.svd(x, full_matrices=False)
    inside = left.T @ orthogonalise(x) @ right.T
    np.testing.assert_allclose(inside, np.diag(np.diag(inside)), atol=1e-10)
    assert (np.diag(inside) > 0.6).all()


def test_orthogonalise_leaves_its_input_and_stands_zeros():
    x = np.random.default_rng(0).normal(size=(4, 3))
    before = x.copy()
    orthogonalise(x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(orthogonalise(np.zeros((4, 3))), np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("blocks.0.attention.query.weight", True),
        ("blocks.11.mlp.down.weight", True),
        ("blocks.0.mlp.down.bias", False),
        ("blocks.0.mlp_norm.gain", False),
        ("token_embedding", False),
        ("position_embedding", False),
        ("output.weight", False),
        ("final_norm.gain", False),
    ],
)
def test_muon_moves_the_matrices_inside_the_blocks(name, hidden):
    assert is_hidden_matrix(name) is hidden
    state = Optimizer({name: np.zeros((2, 2))}, 0.0).state
    assert set(state) == ({f"muon.{name}"} if hidden else {f"adam.first.{name}", f"adam.second.{name}"})


def test_adam_is_a_computation_by_hand():
    start, rate, slopes = [1.0, -2.0, 0.5], 0.1, [[0.5, -0.25, 3.0], [0.1, -1.0, -3.0], [0.0, 2.0, 1e-3]]
    parameter = np.array(start)
    optimizer = Optimizer({"final_norm.gain": parameter}, weight_decay=0.5)
    expected, first, second = list(start), [0.0] * 3, [0.0] * 3
    beta1, beta2 = ADAM_BETAS
    for step, gradient in enumerate(slopes, start=1):
        optimizer.step({"final_norm.gain": np.array(gradient)}, step, muon_rate=9.0, adam_rate=rate)
        for i, g in enumerate(gradient):
            first[i] = beta1 * first[i] + (1 - beta1) * g
            second[i] = beta2 * second[i] + (1 - beta2) * g * g
            unbiased_first, unbiased_second = first[i] / (1 - beta1**step), second[i] / (1 - beta2**step)
            expected[i] -= rate * unbiased_first / (math.sqrt(unbiased_second) + ADAM_EPSILON)
        np.testing.assert_allclose(parameter, expected, rtol=1e-12)


def test_adam_s_first_step_is_the_rate_whatever_the_size_of_the_gradient():
    parameter = np.zeros(4)
    Optimizer({"token_embedding": parameter}, 0.0).step(
        {"token_embedding": np.array([1e-3, -1.0, 1e3, 0.0])}, 1, muon_rate=0.0, adam_rate=0.01
    )
    np.testing.assert_allclose(parameter, [-0.01, 0.01, -0.01, 0.0], rtol=1e-4)


@pytest.mark.parametrize("shape", [(4, 4), (3, 12), (12, 3)])
def test_muon_is_a_computation_by_hand(shape):
    rng = np.random.default_rng(0)
    name, decay, rate = "blocks.0.mlp.up.weight", 0.5, 0.02
    parameter = rng.normal(size=shape)
    expected, momentum = parameter.copy(), np.zeros(shape)
    optimizer = Optimizer({name: parameter}, decay)
    for step in (1, 2, 3):
        gradient = rng.normal(size=shape)
        optimizer.step({name: gradient}, step, muon_rate=rate, adam_rate=9.0)
        momentum = MUON_MOMENTUM * momentum + (1 - MUON_MOMENTUM) * gradient
        ahead = MUON_MOMENTUM * momentum + (1 - MUON_MOMENTUM) * gradient
        size = math.sqrt(max(1.0, shape[1] / shape[0]))  # stored as inputs x outputs
        expected = (1 - rate * decay) * expected - rate * size * orthogonalise(ahead)
        np.testing.assert_allclose(parameter, expected, rtol=1e-10, atol=1e-14)


def test_steps_work_in_place_and_keep_the_precision():
    parameters = {"blocks.0.mlp.up.weight": np.ones((2, 3), np.float32), "output.weight": np.ones((3, 2), np.float32)}
    originals = dict(parameters)
    optimizer = Optimizer(parameters, 0.1)
    slopes = {name: np.full(value.shape, 0.5, np.float32) for name, value in parameters.items()}
    optimizer.step(slopes, 1, 0.02, 0.003)
    for name, value in parameters.items():
        assert value is originals[name]
        assert value.dtype == np.float32
        assert (value < 1).all()
        np.testing.assert_array_equal(slopes[name], np.full(value.shape, 0.5))
    assert all(average.dtype == np.float32 for average in optimizer.state.values())


def test_at_rate_zero_nothing_moves():
    parameters: dict[str, Array] = {"blocks.0.mlp.up.weight": np.ones((2, 3)), "output.weight": np.ones((3, 2))}
    Optimizer(parameters, 0.1).step({name: value.copy() for name, value in parameters.items()}, 1, 0.0, 0.0)
    assert all((value == 1).all() for value in parameters.values())


def test_clip_scales_all_gradients_together():
    slopes = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    assert clip(slopes, 1.0) == pytest.approx(5.0)
    np.testing.assert_allclose(slopes["a"], [0.6, 0.0])
    np.testing.assert_allclose(slopes["b"], [[0.8]])


@pytest.mark.parametrize("largest", [5.0, 6.0])
def test_clip_leaves_gradients_that_are_small_enough(largest):
    slopes = {"a": np.array([3.0], np.float32), "b": np.array([4.0], np.float32)}
    assert clip(slopes, largest) == pytest.approx(5.0)
    assert (slopes["a"], slopes["b"]) == (3.0, 4.0)
    assert slopes["a"].dtype == np.float32


def test_clip_of_zeros():
    slopes: dict[str, Array] = {"a": np.zeros(3)}
    assert clip(slopes, 1.0) == 0.0
    assert (slopes["a"] == 0).all()
