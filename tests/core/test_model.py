"""The decoder against a plain one written again from the papers, and its paths against each other."""

from __future__ import annotations

import itertools
import math
import threading

import numpy as np
import pytest
from random_model import odd_model, random_model

from kvtui.core import KvtuiError, Model, generate
from kvtui.core.cache.full import FullCache
from kvtui.core.config import parameter_count
from kvtui.core.events import Token
from kvtui.core.observe import AttentionRecord, Stopwatch

OPTIONS = list(
    itertools.product(
        ["layer", "rms"], ["learned", "rotary"], ["gelu", "swiglu"], [1, 2, 4], [True, False], [True, False]
    )
)


MORE_OPTIONS = [
    {"qkv_bias": True, "norm": "rms", "mlp": "swiglu"},
    {"query_key_norm": True, "norm": "rms"},
    {"query_key_norm": True, "bias": True, "position": "learned"},
    {"query_key_norm": True, "sliding_window": 3, "norm": "rms"},
    {"sliding_window": 1},
    {"sliding_window": 5, "position": "learned"},
    {"sliding_window": 100},
    {"rotary_divisors": (1.0, 2.5, 8.0)},
    {"mlp": "gelu_erf", "bias": True},
]


def reference_logits(model: Model, ids: list[int]) -> np.ndarray:
    """One position, one head and one number at a time, in Python floats: nothing shared with the library."""
    config, parameters = model.config, model.parameters

    def norm(x, name, centred=config.norm == "layer"):
        x = [float(value) for value in x]
        mean = sum(x) / len(x) if centred else 0.0
        scale = 1 / math.sqrt(sum((value - mean) ** 2 for value in x) / len(x) + config.norm_epsilon)
        bias = parameters.get(f"{name}.bias", np.zeros(len(x)))
        return [(value - mean) * scale * g + b for value, g, b in zip(x, parameters[f"{name}.gain"], bias, strict=True)]

    def linear(x, name):
        weight = parameters[f"{name}.weight"]
        bias = parameters.get(f"{name}.bias", np.zeros(weight.shape[1]))
        return [sum(x[i] * weight[i, j] for i in range(len(x))) + bias[j] for j in range(weight.shape[1])]

    def turned(head, position):
        if config.position != "rotary":
            return head
        out = []
        for j in range(0, len(head), 2):
            angle = position * config.rotary_base ** (-j / len(head))
            angle /= config.rotary_divisors[j // 2] if config.rotary_divisors else 1
            cos, sin = math.cos(angle), math.sin(angle)
            out += [head[j] * cos - head[j + 1] * sin, head[j] * sin + head[j + 1] * cos]
        return out

    def split(flat, position=None, norm_name=""):
        heads = [flat[i : i + config.head_dim] for i in range(0, len(flat), config.head_dim)]
        if norm_name and config.query_key_norm:
            heads = [norm(head, norm_name, centred=False) for head in heads]
        return heads if position is None else [turned(head, position) for head in heads]

    residuals = []
    for position, token in enumerate(ids):
        x = parameters["token_embedding"][token].copy()
        if config.position == "learned":
            x += parameters["position_embedding"][position]
        residuals.append(x)
    for layer in range(config.num_layers):
        block = f"blocks.{layer}"
        normed = [norm(x, f"{block}.attention_norm") for x in residuals]
        queries = [
            split(linear(x, f"{block}.attention.query"), p, f"{block}.attention.query_norm")
            for p, x in enumerate(normed)
        ]
        keys = [
            split(linear(x, f"{block}.attention.key"), p, f"{block}.attention.key_norm") for p, x in enumerate(normed)
        ]
        values = [split(linear(x, f"{block}.attention.value")) for x in normed]
        for position in range(len(ids)):
            oldest = max(0, position + 1 - (config.sliding_window or len(ids)))
            mixed = []
            for head in range(config.num_heads):
                shared = head * config.num_kv_heads // config.num_heads
                scores = [
                    sum(q * k for q, k in zip(queries[position][head], keys[other][shared], strict=True))
                    / math.sqrt(config.head_dim)
                    for other in range(oldest, position + 1)
                ]
                weights = [math.exp(score) for score in scores]
                mixed += [
                    sum(w * values[other][shared][d] for other, w in enumerate(weights, oldest)) / sum(weights)
                    for d in range(config.head_dim)
                ]
            residuals[position] = residuals[position] + linear(mixed, f"{block}.attention.output")
        for position in range(len(ids)):
            normed_x = norm(residuals[position], f"{block}.mlp_norm")
            up = linear(normed_x, f"{block}.mlp.up")
            if config.mlp == "swiglu":
                gate = linear(normed_x, f"{block}.mlp.gate")
                hidden = [g / (1 + math.exp(-g)) * u for g, u in zip(gate, up, strict=True)]
            elif config.mlp == "gelu_erf":
                hidden = [0.5 * u * math.erfc(-u / math.sqrt(2)) for u in up]
            else:
                hidden = [0.5 * u * (1 + math.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3))) for u in up]
            residuals[position] = residuals[position] + linear(hidden, f"{block}.mlp.down")
    final = [norm(x, "final_norm") for x in residuals]
    if config.tied_output:
        return np.array(
            [
                [sum(x * e for x, e in zip(row, word, strict=True)) for word in parameters["token_embedding"]]
                for row in final
            ]
        )
    return np.array([linear(row, "output") for row in final])


@pytest.mark.parametrize("options", OPTIONS)
def test_forward_equals_the_plain_decoder(options):
    check_against_the_plain_decoder(odd_model(*options))


@pytest.mark.parametrize("options", MORE_OPTIONS, ids=str)
def test_forward_equals_the_plain_decoder_with_more_options(options):
    check_against_the_plain_decoder(odd_model(num_kv_heads=2, **options))


def check_against_the_plain_decoder(model):
    ids = [1, 5, 2, 12, 0, 7, 7, 3]
    atol = 1e-5 if model.config.mlp == "gelu_erf" else 1e-10  # its erfc is right to seven places
    np.testing.assert_allclose(model.forward(ids), reference_logits(model, ids), rtol=0, atol=atol)


@pytest.mark.parametrize("options", OPTIONS)
def test_every_way_through_the_cache_gives_the_same_logits(options):
    check_every_way_through_the_cache(odd_model(*options))


@pytest.mark.parametrize("options", MORE_OPTIONS, ids=str)
def test_every_way_through_the_cache_gives_the_same_logits_with_more_options(options):
    check_every_way_through_the_cache(odd_model(num_kv_heads=2, **options))


def check_every_way_through_the_cache(model):
    ids = np.random.default_rng(0).integers(13, size=24)
    whole = model.forward(ids)
    for cut in (1, 7, 23):
        cache = model.new_cache()
        parts = [model.forward(ids[:cut], cache), model.forward(ids[cut:], cache)]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-10)
    cache = model.new_cache()
    stepped = [model.decode(int(token), cache).copy() for token in ids]
    np.testing.assert_allclose(stepped, whole, rtol=0, atol=1e-10)
    assert cache.length == 24


def test_decode_equals_forward_in_float32():
    model = odd_model(bias=True, dtype=np.float32)
    ids = np.random.default_rng(1).integers(13, size=24)
    cache = model.new_cache()
    stepped = np.array([model.decode(int(token), cache).copy() for token in ids])
    assert stepped.dtype == np.float32
    assert np.abs(stepped - model.forward(ids)).max() <= 1e-5


def test_a_large_model_decodes_without_a_second_copy_of_its_weights(monkeypatch):
    small = odd_model(num_kv_heads=2, bias=True)
    monkeypatch.setattr("kvtui.core.model.LARGEST_STEP", parameter_count(small.config) - 1)
    large = odd_model(num_kv_heads=2, bias=True)
    caches = small.new_cache(), large.new_cache()
    large.prepare()
    stepped = [large.decode(token, caches[1]) for token in (1, 5, 2)]
    assert not large._steps
    np.testing.assert_allclose(stepped, [small.decode_step(token, caches[0]).copy() for token in (1, 5, 2)], atol=1e-10)
    assert caches[1].length == 3


def test_only_the_logits_of_the_last_position():
    model = odd_model()
    ids = [1, 5, 2, 12]
    for cache in (None, model.new_cache()):
        logits = model.forward(ids, cache, last=True)
        assert logits.shape == (1, 13)
        np.testing.assert_allclose(logits, model.forward(ids)[-1:], rtol=0, atol=1e-12)


def test_a_later_token_changes_no_earlier_logit():
    model = odd_model()
    first, second = model.forward([1, 2, 3, 4]), model.forward([1, 2, 3, 9])
    np.testing.assert_array_equal(first[:3], second[:3])
    assert np.abs(first[3] - second[3]).max() > 1e-3


def test_truncated_cache_goes_on_as_if_the_rest_had_never_been():
    model = odd_model()
    cache = model.new_cache()
    model.forward([1, 2, 3, 4, 5], cache)
    cache.truncate(2)
    np.testing.assert_allclose(model.forward([9], cache), model.forward([1, 2, 9])[-1:], atol=1e-12)


def test_recorded_attention_is_the_same_on_both_paths_and_causal():
    model = odd_model(num_kv_heads=2)
    ids = [1, 5, 2, 12, 0, 7]
    uncached, stepped = AttentionRecord(model.config, np.float64), AttentionRecord(model.config, np.float64)
    model.forward(ids, record=uncached)
    cache = model.new_cache()
    for token in ids:
        model.decode(token, cache, record=stepped)
    for layer in range(2):
        weights = uncached.weights(layer, 2, 6)
        assert weights.shape == (4, 4, 6)
        np.testing.assert_allclose(weights, stepped.weights(layer, 2, 6), atol=1e-6)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
        for row in range(4):
            assert not weights[:, row, row + 3 :].any()


def test_recorded_attention_ends_at_the_sliding_window():
    model = odd_model(sliding_window=3)
    record = AttentionRecord(model.config, np.float64)
    model.forward([1, 5, 2, 12, 0, 7], record=record)
    for row, weights in enumerate(record.weights(0, 0, 6)[0]):
        assert set(np.flatnonzero(weights)) == set(range(max(0, row - 2), row + 1))


def test_stopwatch_names_every_part_and_changes_nothing():
    model = odd_model()
    cache, plain = model.new_cache(), model.new_cache()
    watch = Stopwatch()
    timed = model.decode(3, cache, stopwatch=watch).copy()
    np.testing.assert_array_equal(timed, model.decode(3, plain))
    parts = watch.parts()
    assert min(parts.embedding, parts.qkv, parts.attention, parts.mlp, parts.output) > 0
    assert parts.sampling == 0


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([], "at least one id"),
        ([[1]], "flat"),
        ([13], "outside the vocabulary of 13"),
        ([-1], "outside"),
        ([1.0], "a whole number"),
        (["a"], "a whole number"),
        ([0] * 25, "context is 24"),
    ],
)
def test_wrong_ids_are_refused(ids, words):
    with pytest.raises(KvtuiError, match=words):
        odd_model().forward(ids)


def test_wrong_parameters_are_refused():
    model = odd_model()
    parameters = dict(model.parameters)
    parameters["output.weight"] = parameters["output.weight"][:, :3]
    with pytest.raises(KvtuiError, match="names and shapes"):
        Model(model.config, model.tokenizer, parameters)


def texts(model, seed):
    return [event.id for event in generate(model, "hello", max_new_tokens=12, seed=seed) if isinstance(event, Token)]


def test_threads_that_share_a_model_write_the_texts_that_each_writes_alone(monkeypatch):
    """Each stops in the middle of every step until the other is there too."""
    model = random_model(seed=5)
    alone = {seed: texts(model, seed) for seed in (1, 2)}
    meeting = threading.Barrier(2, timeout=60)
    write = FullCache.write

    def write_together(self, layer, key, value):
        if layer == 1 and self.length > 5:
            meeting.wait()
        return write(self, layer, key, value)

    monkeypatch.setattr(FullCache, "write", write_together)
    together = {}
    threads = [threading.Thread(target=lambda at=seed: together.update({at: texts(model, at)})) for seed in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
