"""The config refuses what no decoder can have, and its list of parameters adds up."""

import dataclasses
import itertools
import json
import math
from typing import Any

import pytest

from kvtui.core.config import ModelConfig, parameter_count, parameter_shapes
from kvtui.core.errors import KvtuiError

GOOD: dict[str, Any] = {
    "vocab_size": 11,
    "context_length": 16,
    "num_layers": 3,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 6,
    "embed_dim": 20,
    "mlp_dim": 28,
}
SIZES = tuple(GOOD)
CHOICES = [
    {"norm": norm, "position": position, "mlp": mlp, "tied_output": tied, "bias": bias, "num_kv_heads": kv}
    for norm, position, mlp, tied, bias, kv in itertools.product(
        ("layer", "rms"), ("learned", "rotary"), ("gelu", "swiglu"), (False, True), (False, True), (1, 4)
    )
]


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, "4", None, True, [4], math.nan, (1 << 24) + 1, 10**400])
def test_a_size_has_to_be_a_positive_whole_number(name, value):
    with pytest.raises(KvtuiError, match=rf"^{name} is .*; it must be a whole number from 1 to [\d,]+$"):
        ModelConfig(**GOOD | {name: value})


@pytest.mark.parametrize(
    ("name", "largest"), [("num_layers", 1 << 12), ("context_length", 1 << 17), ("head_dim", 1 << 12)]
)
def test_layers_context_and_heads_have_lower_bounds(name, largest):
    assert getattr(ModelConfig(**GOOD | {name: largest}), name) == largest
    with pytest.raises(KvtuiError, match=f"{name} is {largest + 1}; .* from 1 to {largest:,}"):
        ModelConfig(**GOOD | {name: largest + 1})


@pytest.mark.parametrize(
    ("name", "choices"), [("norm", "layer, rms"), ("position", "learned, rotary"), ("mlp", "gelu, gelu_erf, swiglu")]
)
@pytest.mark.parametrize("value", ["", "Layer", "relu", None, 1, True, ["rms"], {}])
def test_a_choice_has_to_be_one_of_its_names(name, choices, value):
    with pytest.raises(KvtuiError, match=f"^{name} is .*; it must be one of {choices}$"):
        ModelConfig(**GOOD, **{name: value})


@pytest.mark.parametrize("name", ["tied_output", "bias", "qkv_bias", "query_key_norm"])
@pytest.mark.parametrize("value", [0, 1, None, "true", [], 1.0])
def test_a_switch_has_to_be_true_or_false(name, value):
    with pytest.raises(KvtuiError, match=f"^{name} is .*; it must be true or false$"):
        ModelConfig(**GOOD, **{name: value})


@pytest.mark.parametrize("name", ["norm_epsilon", "rotary_base"])
@pytest.mark.parametrize("value", [0, 0.0, -1e-5, math.nan, math.inf, -math.inf, True, "1e-5", None, 1e13, 1e-300])
def test_a_number_has_to_be_positive_and_finite(name, value):
    with pytest.raises(KvtuiError, match=f"^{name} is .*; it must be a number from 1e-30 to 1e12$"):
        ModelConfig(**GOOD, **{name: value})


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 3), (4, 8), (1, 2), (6, 4)])
def test_kv_heads_have_to_divide_the_heads(heads, kv_heads):
    with pytest.raises(KvtuiError, match=f"{heads} heads cannot share {kv_heads} key/value heads evenly"):
        ModelConfig(**GOOD | {"num_heads": heads, "num_kv_heads": kv_heads})


def test_rotary_positions_need_an_even_head():
    with pytest.raises(KvtuiError, match="head_dim is 5; rotary positions turn pairs, so it must be even"):
        ModelConfig(**GOOD | {"head_dim": 5}, position="rotary")
    assert ModelConfig(**GOOD | {"head_dim": 5}, position="learned").head_dim == 5


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "8"])
def test_a_sliding_window_has_to_be_a_size(value):
    with pytest.raises(KvtuiError, match=r"^sliding_window is .*; it must be a whole number from 1 to"):
        ModelConfig(**GOOD, sliding_window=value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ((1.0, 2.0), "rotary_divisors has 2 numbers; a head of 6 has 3 pairs"),
        ((1.0, 0.0, 2.0), "must be a list of numbers from 1e-30 to 1e12"),
        ((1.0, math.nan, 2.0), "must be a list of numbers"),
        ((1.0, True, 2.0), "must be a list of numbers"),
        ("abc", "must be a list of numbers"),
        ({"a": 1}, "must be a list of numbers"),
    ],
)
def test_rotary_divisors_have_to_be_one_positive_number_a_pair(value, words):
    with pytest.raises(KvtuiError, match=words):
        ModelConfig(**GOOD, rotary_divisors=value)


def test_the_message_is_one_line():
    with pytest.raises(KvtuiError) as caught:
        ModelConfig(**GOOD | {"norm": "a\nb"})
    assert len(str(caught.value).splitlines()) == 1


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig(**GOOD).num_layers = 2  # type: ignore[misc]


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_dict_and_json_round_trip(choices):
    config = ModelConfig(**GOOD | choices)
    assert ModelConfig.from_dict(config.to_dict()) == config
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", SIZES)
def test_from_dict_names_a_missing_field(name):
    values = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(KvtuiError, match=rf"missing fields \['{name}'\]"):
        ModelConfig.from_dict(values)


def test_from_dict_names_unknown_fields():
    with pytest.raises(KvtuiError, match=r"unknown fields \['layers', 'n_head'\] and missing fields \[\] in"):
        ModelConfig.from_dict(GOOD | {"n_head": 4, "layers": 1})


def test_from_dict_leaves_the_choices_at_their_defaults():
    assert ModelConfig.from_dict(GOOD) == ModelConfig(**GOOD)


def test_later_options_come_back_from_json_and_may_be_missing_from_it():
    options: dict[str, Any] = {"qkv_bias": True, "query_key_norm": True, "sliding_window": 7}
    options["rotary_divisors"] = (1.0, 2.0, 8.0)
    config = ModelConfig(**GOOD, **options)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    values = {key: value for key, value in ModelConfig(**GOOD).to_dict().items() if key not in options}
    assert ModelConfig.from_dict(values) == ModelConfig(**GOOD)


def independent_count(config: ModelConfig) -> int:
    """The number of parameters, term by term, with no list of names."""
    v, c, n = config.vocab_size, config.context_length, config.num_layers
    e, m = config.embed_dim, config.mlp_dim
    q, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    up_matrices = 2 if config.mlp == "swiglu" else 1
    numbers_in_a_norm = e * (2 if config.bias and config.norm == "layer" else 1)
    attention = e * (q + 2 * kv) + q * e
    mlp = (up_matrices + 1) * e * m
    biases = (q + 2 * kv + e + up_matrices * m + e) if config.bias else 0
    positions = c * e if config.position == "learned" else 0
    output = 0 if config.tied_output else v * e
    return v * e + positions + n * (attention + mlp + biases + 2 * numbers_in_a_norm) + numbers_in_a_norm + output


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_parameter_count_agrees_with_an_independent_formula(choices):
    config = ModelConfig(**GOOD | choices)
    assert parameter_count(config) == independent_count(config)
    assert parameter_count(config) == sum(math.prod(shape) for shape in parameter_shapes(config).values())


def test_gpt2_small_has_its_published_number_of_parameters():
    config = ModelConfig(
        50257,
        1024,
        12,
        12,
        12,
        64,
        768,
        3072,
        norm="layer",
        position="learned",
        mlp="gelu",
        tied_output=True,
        bias=True,
    )
    assert parameter_count(config) == 124_439_808


def test_a_tinyllama_shape_has_its_published_number_of_parameters():
    config = ModelConfig(32000, 2048, 22, 32, 4, 64, 2048, 5632, norm="rms", position="rotary", mlp="swiglu")
    assert parameter_count(config) == 1_100_048_384


def test_qwen_shapes_have_their_published_numbers_of_parameters():
    qwen: dict[str, Any] = {"norm": "rms", "mlp": "swiglu", "tied_output": True}
    qwen2 = ModelConfig(151936, 32768, 24, 14, 2, 64, 896, 4864, qkv_bias=True, **qwen)  # Qwen2-0.5B
    assert parameter_count(qwen2) == 494_032_768
    qwen3 = ModelConfig(151936, 40960, 28, 16, 8, 128, 1024, 3072, query_key_norm=True, **qwen)  # Qwen3-0.6B
    assert parameter_count(qwen3) == 596_049_920


def test_parameter_shapes_of_a_small_model():
    config = ModelConfig(**GOOD | {"num_layers": 1}, norm="rms", position="learned", mlp="swiglu", bias=True)
    assert parameter_shapes(config) == {
        "token_embedding": (11, 20),
        "position_embedding": (16, 20),
        "blocks.0.attention_norm.gain": (20,),
        "blocks.0.attention.query.weight": (20, 24),
        "blocks.0.attention.query.bias": (24,),
        "blocks.0.attention.key.weight": (20, 12),
        "blocks.0.attention.key.bias": (12,),
        "blocks.0.attention.value.weight": (20, 12),
        "blocks.0.attention.value.bias": (12,),
        "blocks.0.attention.output.weight": (24, 20),
        "blocks.0.attention.output.bias": (20,),
        "blocks.0.mlp_norm.gain": (20,),
        "blocks.0.mlp.gate.weight": (20, 28),
        "blocks.0.mlp.gate.bias": (28,),
        "blocks.0.mlp.up.weight": (20, 28),
        "blocks.0.mlp.up.bias": (28,),
        "blocks.0.mlp.down.weight": (28, 20),
        "blocks.0.mlp.down.bias": (20,),
        "final_norm.gain": (20,),
        "output.weight": (20, 11),
    }


def test_widths_and_cache_bytes():
    config = ModelConfig(**GOOD)
    assert (config.query_dim, config.kv_dim) == (24, 12)
    assert config.cache_bytes_per_token() == 2 * 3 * 2 * 6 * 4
    assert config.cache_bytes_per_token(itemsize=8) == 2 * config.cache_bytes_per_token()
