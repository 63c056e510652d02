"""The backward pass by hand against central differences in float64, for every kind of parameter."""

import itertools

import numpy as np
import pytest
from random_model import random_parameters

from kvtui.core import rotary
from kvtui.core.config import ModelConfig, parameter_shapes
from kvtui.core.errors import KvtuiError
from kvtui.core.model import Model
from kvtui.core.tokenizer import CharTokenizer
from kvtui.core.training import gradients
from kvtui.core.training.gradients import Pass, window_loss

LARGEST_ERROR = 1e-6
STEP = 2e-4  # with five points: truncation of the order of STEP^4, and rounding of 1e-15 / STEP, both far below 1e-6
IDS = np.array([3, 0, 4, 1, 1, 3, 0])  # one id never comes, some come twice
TARGETS = np.array([0, 4, 1, 1, 3, 0, 2])

CHOICES = [
    {"norm": norm, "position": position, "mlp": mlp, "num_kv_heads": kv_heads, "tied_output": tied, "bias": bias}
    for norm, position, mlp, kv_heads, tied, bias in itertools.product(
        ("layer", "rms"), ("rotary", "learned"), ("gelu", "swiglu"), (4, 2), (False, True), (False, True)
    )
]


def name_of(choices):
    tied = "tied" if choices["tied_output"] else "untied"
    bias = "bias" if choices["bias"] else "plain"
    return "-".join([choices["norm"], choices["position"], choices["mlp"], f"kv{choices['num_kv_heads']}", tied, bias])


def make_config(num_layers=1, **choices):
    return ModelConfig(
        vocab_size=5,
        context_length=9,
        num_layers=num_layers,
        num_heads=4,
        head_dim=2,
        embed_dim=6,
        mlp_dim=7,
        **{"num_kv_heads": 4} | choices,
    )


def parameters_of(config, dtype=np.float64):
    return random_parameters(config, scale=0.5, dtype=dtype)


def make_pass(config, parameters, dropout=0.0, seed=5):
    dtype = parameters["token_embedding"].dtype
    zeros = {name: np.zeros_like(value) for name, value in parameters.items()}
    rotation = rotary.rotary_table(config.context_length, config.head_dim, config.rotary_base, dtype)
    return Pass(config, parameters, zeros, rotation, dropout, np.random.default_rng(seed))


def loss_of(config, parameters, dropout=0.0):
    """The same dropout every time: its generator starts anew."""
    return window_loss(IDS, TARGETS, make_pass(config, parameters, dropout), None)


def slope(config, parameters, name, direction, dropout):
    """Derivative of the loss along a direction of one parameter array, by five-point central differences."""
    losses = {
        steps: loss_of(config, parameters | {name: parameters[name] + steps * STEP * direction}, dropout)
        for steps in (-2, -1, 1, 2)
    }
    return (8 * (losses[1] - losses[-1]) - (losses[2] - losses[-2])) / (12 * STEP)


def check_gradients(config, parameters, dropout, entries=3):
    """Single entries and a random direction of every array.

    The error of an entry is measured against that entry, or against the root mean square of its array's gradient
    where that is larger (some entries are next to zero by chance); that of a direction against the slope that
    would be usual along it, the norm of the gradient, for the same reason.
    """
    run = make_pass(config, parameters, dropout)
    window_loss(IDS, TARGETS, run)
    rng = np.random.default_rng(1)
    for name, gradient in run.gradients.items():
        typical = np.sqrt(np.mean(gradient**2))
        if name.endswith("key.bias") and config.position == "learned":
            # It adds the same to every score of a query, which softmax takes away again: the gradient is zero.
            assert np.abs(gradient).max() < 1e-13, name
            assert abs(slope(config, parameters, name, rng.normal(size=gradient.shape), dropout)) < 1e-10, name
            continue
        assert typical > 1e-4, f"{name}: there is nothing to check"
        places = {int(np.abs(gradient).argmax()), *rng.choice(gradient.size, entries - 1, replace=False).tolist()}
        for place in places:
            direction = np.zeros(gradient.shape)
            direction.flat[place] = 1.0
            expected = slope(config, parameters, name, direction, dropout)
            error = abs(gradient.flat[place] - expected) / max(abs(expected), typical)
            assert error <= LARGEST_ERROR, f"{name}[{place}]: {gradient.flat[place]} by hand, {expected} by difference"
        direction = rng.normal(size=gradient.shape)
        direction /= np.linalg.norm(direction)
        expected, found = slope(config, parameters, name, direction, dropout), float(np.vdot(gradient, direction))
        error = abs(found - expected) / max(abs(expected), typical)  # norm / √size is typical along a unit direction
        assert error <= LARGEST_ERROR, f"{name} along a direction: {found} by hand, {expected} by difference"


@pytest.fixture
def small_blocks(monkeypatch):
    """Seven rows in blocks of three, so that attention goes through whole blocks and a rest."""
    monkeypatch.setattr(gradients, "_BLOCK", 3)


@pytest.mark.parametrize("dropout", [0.0, 0.25], ids=["", "dropout"])
@pytest.mark.parametrize("choices", CHOICES, ids=name_of)
@pytest.mark.usefixtures("small_blocks")
def test_gradients_agree_with_central_differences(choices, dropout):
    config = make_config(**choices)
    check_gradients(config, parameters_of(config), dropout)


@pytest.mark.parametrize("dropout", [0.0, 0.25], ids=["", "dropout"])
@pytest.mark.parametrize(
    "choices",
    [{"num_kv_heads": 1}, {"norm": "rms", "position": "learned", "mlp": "swiglu", "tied_output": True, "bias": True}],
    ids=["trained", "other"],
)
def test_gradients_through_several_blocks_of_the_model(choices, dropout):
    """With the block of query rows as large as in training."""
    config = make_config(num_layers=3, **choices)
    check_gradients(config, parameters_of(config), dropout, entries=6)


def test_the_check_notices_a_wrong_gradient(monkeypatch):
    """Otherwise all of the above would say nothing."""
    right = gradients.gelu

    def slightly_wrong(x):
        y, backward = right(x)
        return y, lambda dy: backward(dy) * (1 + 1e-5)

    monkeypatch.setattr(gradients, "gelu", slightly_wrong)
    config = make_config(bias=True)
    with pytest.raises(AssertionError, match="by hand"):
        check_gradients(config, parameters_of(config), 0.0)


@pytest.mark.parametrize("choices", CHOICES, ids=name_of)
def test_the_loss_is_that_of_the_model_that_generates(choices):
    config = make_config(num_layers=2, **choices)
    parameters = parameters_of(config)
    logits = Model(config, CharTokenizer("abcde"), parameters).forward(IDS)
    largest = logits.max(axis=-1, keepdims=True)
    log_sums = np.log(np.exp(logits - largest).sum(axis=-1)) + largest[:, 0]
    expected = (log_sums - logits[np.arange(len(TARGETS)), TARGETS]).sum()
    assert loss_of(config, parameters) == pytest.approx(expected, rel=1e-12)


def test_every_parameter_gets_a_gradient():
    """The names come from the list that checkpoints and optimizer go by; none may be left out."""
    config = make_config(bias=True, norm="layer", mlp="swiglu", num_layers=2)
    run = make_pass(config, parameters_of(config))
    window_loss(IDS, TARGETS, run)
    assert set(run.gradients) == set(parameter_shapes(config))
    assert all(np.abs(gradient).max() > 0 for gradient in run.gradients.values())


def test_gradients_are_added_and_scaled():
    config = make_config()
    parameters = parameters_of(config)
    once, twice, scaled = (make_pass(config, parameters) for _ in range(3))
    loss = window_loss(IDS, TARGETS, once)
    for _ in range(2):
        window_loss(IDS, TARGETS, twice)
    assert window_loss(IDS, TARGETS, scaled, 0.25) == loss
    for name, gradient in once.gradients.items():
        np.testing.assert_allclose(twice.gradients[name], 2 * gradient, rtol=1e-12)
        np.testing.assert_allclose(scaled.gradients[name], 0.25 * gradient, rtol=1e-9, atol=1e-14)


def test_without_a_scale_nothing_is_added_and_nothing_changes():
    config = make_config()
    parameters = parameters_of(config)
    before = {name: value.copy() for name, value in parameters.items()}
    run = make_pass(config, parameters)
    loss = window_loss(IDS, TARGETS, run, None)
    assert all((gradient == 0).all() for gradient in run.gradients.values())
    assert window_loss(IDS, TARGETS, run) == loss
    for name, value in parameters.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("choices", [CHOICES[0], CHOICES[-1]], ids=name_of)
def test_single_precision_stays_single_and_near(choices):
    config = make_config(num_layers=2, **choices)
    parameters = parameters_of(config, dtype=np.float32)
    run = make_pass(config, parameters, 0.25)
    exact = make_pass(config, {name: value.astype(np.float64) for name, value in parameters.items()}, 0.25)
    assert window_loss(IDS, TARGETS, run) == pytest.approx(window_loss(IDS, TARGETS, exact), rel=1e-5)
    for name, gradient in run.gradients.items():
        assert gradient.dtype == np.float32
        largest = np.abs(exact.gradients[name]).max()
        np.testing.assert_allclose(gradient, exact.gradients[name], atol=1e-4 * largest + 1e-5)


@pytest.mark.parametrize("piece", ["linear", "norm", "mlp", "attention"])
def test_pieces_compute_in_the_precision_they_are_given(piece):
    config = make_config(bias=True, mlp="swiglu")
    run = make_pass(config, parameters_of(config, dtype=np.float32))
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    name = {"linear": "blocks.0.mlp.up", "norm": "final_norm"}.get(piece, "blocks.0")
    y, backward = getattr(gradients, piece)(x, name, run)
    assert y.dtype == np.float32
    assert backward(np.ones_like(y)).dtype == np.float32


def test_cross_entropy_is_its_definition():
    logits = np.random.default_rng(0).normal(size=(3, 5))
    before = logits.copy()
    loss, slope_by_hand = gradients.cross_entropy(logits, np.array([1, 4, 0]))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    assert loss == pytest.approx(-np.log(probabilities[[0, 1, 2], [1, 4, 0]]).sum(), rel=1e-13)
    np.testing.assert_allclose(slope_by_hand, probabilities - np.eye(5)[[1, 4, 0]], atol=1e-14)
    np.testing.assert_array_equal(logits, before)


def test_cross_entropy_of_an_impossible_target_is_finite():
    loss, slope_by_hand = gradients.cross_entropy(np.array([[1e4, 0.0]], np.float32), np.array([1]))
    assert 60 < loss < 1e3
    np.testing.assert_array_equal(slope_by_hand, [[1, -1]])


def test_dropout_keeps_the_mean_and_drops_the_same_on_the_way_back():
    config = make_config()
    run = make_pass(config, parameters_of(config), dropout=0.25)
    x = np.ones((200, 50))
    y, backward = gradients.drop(x, run)
    dropped = y == 0
    assert 0.23 < dropped.mean() < 0.27
    np.testing.assert_allclose(y[~dropped], 1 / 0.75)
    np.testing.assert_array_equal(backward(x), y)
    np.testing.assert_array_equal(x, 1)


def test_dropout_comes_from_the_generator_alone():
    config = make_config()
    parameters = parameters_of(config)
    losses = [window_loss(IDS, TARGETS, make_pass(config, parameters, 0.5, seed), None) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_without_a_generator_nothing_is_dropped():
    config = make_config()
    parameters = parameters_of(config)
    run = make_pass(config, parameters, 0.5)
    run.rng = None
    assert window_loss(IDS, TARGETS, run, None) == loss_of(config, parameters)


@pytest.mark.parametrize("choices", [{"query_key_norm": True}, {"sliding_window": 2}, {"mlp": "gelu_erf"}], ids=str)
def test_what_has_no_backward_pass_is_refused(choices):
    config = make_config(**choices)
    with pytest.raises(KvtuiError, match="cannot be trained here"):
        make_pass(config, parameters_of(config))
