"""How a token came about: each number against an obvious computation of its own."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
from random_model import odd_model
from test_model import OPTIONS, reference_logits

from kvtui.core import KvtuiError, Model, SamplingSettings
from kvtui.core.events import Candidate, Inspection
from kvtui.core.inspection.anatomy import CANDIDATES, Follower, Inspector, candidates, entropy, logit_lens
from kvtui.core.logits import kl_divergence
from kvtui.core.observe import ResidualRecord
from kvtui.core.sampling import Sampler

IDS = [1, 5, 2, 12, 0, 7, 7, 3]
GREEDY = SamplingSettings(temperature=0)


def plain_softmax(logits: np.ndarray) -> list[float]:
    powers = [math.exp(float(value)) for value in logits]
    return [power / sum(powers) for power in powers]


# Heads switched off


def silenced(model: Model, heads: set[tuple[int, int]]) -> Model:
    """The slow way: the values of a head are made zero. Only for models with as many key/value heads as heads."""
    config = model.config
    parameters = {name: value.copy() for name, value in model.parameters.items()}
    for layer, head in heads:
        columns = slice(head * config.head_dim, (head + 1) * config.head_dim)
        for name in ("weight", "bias"):
            value = parameters.get(f"blocks.{layer}.attention.value.{name}")
            if value is not None:
                value[..., columns] = 0.0
    return Model(config, model.tokenizer, parameters)


@pytest.mark.parametrize("heads", [{(0, 1)}, {(1, 0), (1, 3)}, {(0, 0), (1, 2)}, {(1, head) for head in range(4)}])
@pytest.mark.parametrize("bias", [False, True])
def test_a_head_that_is_off_is_one_whose_values_are_zero(heads, bias):
    model = odd_model(bias=bias)
    expected = reference_logits(silenced(model, heads), IDS)
    np.testing.assert_allclose(model.without_heads(heads).forward(IDS), expected, rtol=0, atol=1e-10)
    assert np.abs(expected - model.forward(IDS)).max() > 1e-2


@pytest.mark.parametrize("options", OPTIONS)
def test_both_paths_of_a_model_without_heads_agree(options):
    model = odd_model(*options)
    model.decode(1, model.new_cache())  # the step is prepared, and taken over but for the changed block
    for whole in (model, odd_model(*options)):
        reduced = whole.without_heads([(1, 2), (1, 0)])
        cache = reduced.new_cache()
        stepped = [reduced.decode(token, cache).copy() for token in IDS]
        np.testing.assert_allclose(stepped, reduced.forward(IDS), rtol=0, atol=1e-10)


def test_grouped_heads_are_switched_off_one_by_one():
    model = odd_model(num_kv_heads=2)
    logits = [model.without_heads([(0, head)]).forward(IDS) for head in range(4)]
    for first in range(4):
        for second in range(first):
            assert np.abs(logits[first] - logits[second]).max() > 1e-3


def test_switching_heads_off_leaves_the_model_as_it_was_and_shares_the_rest():
    model = odd_model()
    before = model.forward(IDS)
    step = model.decode_step
    reduced = model.without_heads([(0, 1)])
    changed = [name for name, value in model.parameters.items() if reduced.parameters[name] is not value]
    assert changed == ["blocks.0.attention.output.weight"]
    assert reduced.decode_step._blocks[1] is step._blocks[1]
    cache, other = model.new_cache(), reduced.new_cache()
    kept = model.decode(1, cache)
    copied = kept.copy()
    reduced.decode(1, other)  # must not write into what the model's own step returned
    np.testing.assert_array_equal(kept, copied)
    np.testing.assert_array_equal(model.forward(IDS), before)
    np.testing.assert_array_equal(model.without_heads([]).forward(IDS), before)


@pytest.mark.parametrize("head", [(2, 0), (0, 4), (-1, 0), (0, -1)])
def test_a_head_that_there_is_not_is_refused(head):
    with pytest.raises(KvtuiError, match=r"layers 0 to 1 with heads 0 to 3"):
        odd_model().without_heads([head])


# The logit lens


@pytest.mark.parametrize(("norm", "tied", "bias"), [("layer", False, True), ("rms", True, False)])
def test_the_lens_of_a_layer_is_the_model_cut_off_after_it(norm, tied, bias):
    """A decoder of the first blocks alone, with the same final norm and output projection, is what the lens shows."""
    model = odd_model(norm=norm, tied=tied, bias=bias)
    residuals = ResidualRecord()
    logits = model.forward(IDS, residuals=residuals)
    lens = logit_lens(model, residuals.stacked(), chosen=4)
    assert len(lens) == 3
    for blocks, layer in enumerate(lens):
        probabilities = plain_softmax(cut_off(model, blocks))
        assert layer.id == int(np.argmax(probabilities))
        assert layer.text == model.tokenizer.decode([layer.id])
        assert layer.probability == pytest.approx(max(probabilities), abs=1e-12)
        assert layer.chosen_probability == pytest.approx(probabilities[4], abs=1e-12)
    np.testing.assert_array_equal(model.forward(IDS), logits)  # carrying the record changes nothing
    assert lens[-1].probability == pytest.approx(max(plain_softmax(logits[-1])), abs=1e-12)


def cut_off(model: Model, blocks: int) -> np.ndarray:
    """Logits of the newest position when the blocks from ``blocks`` on add nothing."""
    parameters = dict(model.parameters)
    for layer in range(blocks, model.config.num_layers):
        for name in ("attention.output", "mlp.down"):
            for kind in ("weight", "bias"):
                key = f"blocks.{layer}.{name}.{kind}"
                if key in parameters:
                    parameters[key] = np.zeros_like(parameters[key])
    return reference_logits(Model(model.config, model.tokenizer, parameters), IDS)[-1]


# Entropy and divergence


def test_entropy_is_that_of_the_formula_and_knows_zero():
    weights = np.array([[0.5, 0.25, 0.25, 0.0], [0.0, 1.0, 0.0, 0.0], [0.25] * 4], np.float32)
    np.testing.assert_allclose(entropy(weights), [1.5 * math.log(2), 0.0, math.log(4)], atol=1e-7)


def test_divergence_is_the_sum_of_the_definition():
    rng = np.random.default_rng(2)
    first, second = rng.normal(0, 2, 13), rng.normal(0, 2, 13)
    p, q = plain_softmax(first), plain_softmax(second)
    expected = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert kl_divergence(first, second) == pytest.approx(expected, abs=1e-12)
    assert kl_divergence(first, first + 3.0) == 0.0


# Candidates

LOGITS = np.log([0.4, 0.05, 0.3, 0.02, 0.2, 0.03])
TOKENIZER = odd_model().tokenizer


def listed(settings: SamplingSettings, **options) -> dict[int, Candidate]:
    return {candidate.id: candidate for candidate in candidates(LOGITS, settings, TOKENIZER, **options)}


def test_candidates_are_ranked_with_the_probabilities_of_the_model_itself():
    found = candidates(LOGITS, SamplingSettings(temperature=1.0), TOKENIZER)
    assert [candidate.id for candidate in found] == [0, 2, 4, 1, 5, 3]
    assert [candidate.rank for candidate in found] == list(range(6))
    np.testing.assert_allclose([candidate.probability for candidate in found], [0.4, 0.3, 0.2, 0.05, 0.03, 0.02])
    np.testing.assert_allclose([candidate.sampled for candidate in found], [0.4, 0.3, 0.2, 0.05, 0.03, 0.02])
    assert not any(candidate.cut_by or candidate.chosen for candidate in found)


@pytest.mark.parametrize(
    ("settings", "sampled", "cut"),
    [
        (SamplingSettings(0.5), {0: 0.16, 2: 0.09, 4: 0.04, 1: 0.0025, 5: 0.0009, 3: 0.0004}, {}),
        (SamplingSettings(1.0, top_k=2), {0: 0.4, 2: 0.3}, dict.fromkeys([4, 1, 5, 3], "top-k")),
        (SamplingSettings(1.0, top_p=0.65), {0: 0.4, 2: 0.3}, dict.fromkeys([4, 1, 5, 3], "top-p")),
        (SamplingSettings(1.0, 4, 0.9), {0: 0.4, 2: 0.3, 4: 0.2}, {1: "top-p", 5: "top-k", 3: "top-k"}),
        (SamplingSettings(0.0), {0: 1.0}, dict.fromkeys([2, 4, 1, 5, 3], "greedy")),
    ],
)
def test_what_the_settings_leave_and_what_they_cut(settings, sampled, cut):
    found = listed(settings)
    total = sum(sampled.values())
    for token, candidate in found.items():
        assert candidate.sampled == pytest.approx(sampled.get(token, 0.0) / total, abs=1e-12)
        assert candidate.cut_by == cut.get(token)


@pytest.mark.parametrize("settings", [SamplingSettings(0.7, 4, 0.8), SamplingSettings(1.5), SamplingSettings(0.0, 3)])
def test_the_sampler_draws_as_often_as_the_candidates_say(settings):
    found = listed(settings)
    sampler = Sampler(settings, 3)
    drawn = np.bincount([sampler.sample(LOGITS)[0] for _ in range(20_000)], minlength=6) / 20_000
    for token, candidate in found.items():
        assert drawn[token] == pytest.approx(candidate.sampled, abs=0.012)
        assert (candidate.cut_by is None) or not drawn[token]


def test_an_unlikely_chosen_token_is_listed_behind_the_likeliest():
    found = candidates(LOGITS, SamplingSettings(), TOKENIZER, chosen=3, count=2)
    assert [(candidate.id, candidate.rank, candidate.chosen) for candidate in found] == [
        (0, 0, False),
        (2, 1, False),
        (3, 5, True),
    ]


# Inspecting


def test_an_inspection_agrees_with_a_plain_run():
    model = odd_model()
    found = Inspector(model).inspect(
        IDS[:-1], IDS[-1], SamplingSettings(), [(0, 1)], continuation=3, position=7, written=False
    )
    probabilities = plain_softmax(reference_logits(model, IDS[:-1])[-1])
    assert (found.position, found.id, found.text, found.written, found.context) == (7, 3, "d", False, 7)
    assert found.before == model.tokenizer.decode(IDS[:-1])
    assert len(found.candidates) in (CANDIDATES, CANDIDATES + 1)
    assert [candidate.id for candidate in found.candidates if candidate.chosen] == [3]
    for candidate in found.candidates:
        assert candidate.probability == pytest.approx(probabilities[candidate.id], abs=1e-10)
    assert found.lens[-1].id == found.candidates[0].id
    assert found.entropy.shape == (2, 4)
    assert found.seconds > 0
    reduced = plain_softmax(reference_logits(silenced(model, {(0, 1)}), IDS[:-1])[-1])
    assert found.without is not None
    assert found.without.heads == ((0, 1),)
    assert found.without.kl == pytest.approx(
        sum(p * math.log(p / q) for p, q in zip(probabilities, reduced, strict=True)), abs=1e-10
    )
    for candidate in found.without.candidates:
        assert candidate.probability == pytest.approx(reduced[candidate.id], abs=1e-10)
    assert found.without.continuation == greedy(silenced(model, {(0, 1)}), IDS[:-1], 3)
    assert found.without.continuation_with == greedy(model, IDS[:-1], 3)


def greedy(model: Model, ids: list[int], count: int) -> str:
    ids = list(ids)
    for _ in range(count):
        ids.append(int(reference_logits(model, ids)[-1].argmax()))
    return model.tokenizer.decode(ids[len(ids) - count :])


def test_entropy_of_a_head_is_that_of_its_recorded_weights():
    model = odd_model(num_kv_heads=2)
    follower = Follower(model)
    follower.follow(IDS)
    spread = follower.attention_entropy()
    for layer in range(2):
        weights = follower._record.weights(layer, 7, 8)[:, 0]
        for head in range(4):
            expected = -sum(float(w) * math.log(w) for w in weights[head] if w > 0)
            assert spread[layer, head] == pytest.approx(expected, abs=1e-6)
    assert spread.max() <= math.log(8) + 1e-6


def test_looking_here_and_there_gives_the_same_as_looking_anew():
    """Forward, back, elsewhere, with other heads off: the followers' caches never hold what is not so."""
    model = odd_model()
    inspector = Inspector(model)
    texts = [IDS[:3], IDS[:6], IDS, IDS[:4], IDS[:4], [9, *IDS[1:]], IDS[:1], IDS * 3]
    heads = [(), ((0, 1),), ((0, 1),), ((1, 2), (0, 1)), (), ((0, 1),), ((0, 3),), ((0, 3),)]
    for ids, off in zip(texts, heads, strict=True):
        asked = (ids, 5, SamplingSettings(), off)
        found = inspector.inspect(*asked, position=len(ids), continuation=4)
        fresh = Inspector(model).inspect(*asked, position=len(ids), continuation=4)
        assert_same(found, fresh)


def assert_same(found: Inspection, fresh: Inspection) -> None:
    for entry in fields(Inspection):
        if entry.name == "seconds":
            continue
        one, other = getattr(found, entry.name), getattr(fresh, entry.name)
        if entry.name == "entropy":
            np.testing.assert_allclose(one, other, atol=1e-9)
        elif entry.name in ("candidates", "lens"):
            for first, second in zip(one, other, strict=True):
                assert (first.id, first.text) == (second.id, second.text)
                assert first.probability == pytest.approx(second.probability, abs=1e-9)
        elif entry.name == "without" and one is not None:
            assert (one.heads, one.continuation) == (other.heads, other.continuation)
            assert one.kl == pytest.approx(other.kl, abs=1e-9)
        else:
            assert one == other


def test_a_full_context_leaves_no_room_to_write_on():
    model = odd_model()
    ids = [1] * model.config.context_length
    found = Inspector(model).inspect(ids, 2, GREEDY, [(0, 0)], continuation=5, position=24)
    assert found.without is not None
    assert found.without.continuation == ""


def test_the_first_token_was_not_predicted():
    with pytest.raises(KvtuiError, match="first token"):
        Inspector(odd_model()).inspect([], 2, GREEDY, position=0)
