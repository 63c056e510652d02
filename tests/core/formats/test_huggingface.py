"""Hugging Face folders: every number in its place, whatever dtype and shards, and clear words about bad ones."""

import json
from typing import Any

import numpy as np
import pytest
from hf_folder import (
    LLAMA,
    TOKENS,
    as_bfloat16,
    llama_config,
    llama_tensors,
    random_parameters,
    tokenizer_spec,
    write_folder,
)

from kvtui.core import KvtuiError, generate, load
from kvtui.core.config import parameter_count
from kvtui.core.events import End, Prefill, Token
from kvtui.core.formats.families import FAMILIES as FAMILIES_READ

pytest.importorskip("tokenizers", reason="needs the package tokenizers: pip install 'kvtui[hf]'")

KINDS = {
    "F64": lambda tensors: {name: value.astype(np.float64) for name, value in tensors.items()},
    "F32": lambda tensors: tensors,
    "F16": lambda tensors: {name: value.astype(np.float16) for name, value in tensors.items()},
    "BF16": as_bfloat16,
}
QWEN2 = {"architectures": ["Qwen2ForCausalLM"]}
QWEN3 = {"architectures": ["Qwen3ForCausalLM"]}
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "llama": ({}, {}),
    "llama with biases": ({"attention_bias": True, "mlp_bias": True}, {"bias": True}),
    "tied": ({"tie_word_embeddings": True}, {"tied_output": True}),
    "mistral": ({"architectures": ["MistralForCausalLM"], "sliding_window": 5}, {"sliding_window": 5}),
    "mistral without window": ({"architectures": ["MistralForCausalLM"], "sliding_window": None}, {}),
    "qwen2": (
        QWEN2 | {"use_sliding_window": False, "sliding_window": 7},
        {"qkv_bias": True},
    ),
    "qwen2 window": (
        {
            "architectures": ["Qwen2ForCausalLM"],
            "use_sliding_window": True,
            "sliding_window": 7,
            "max_window_layers": 0,
        },
        {"qkv_bias": True, "sliding_window": 7},
    ),
    "qwen3": (QWEN3 | {"rope_theta": 1e6}, {"query_key_norm": True, "rotary_base": 1e6}),
    "linear": ({"rope_scaling": {"type": "linear", "factor": 2.0}}, {"rotary_divisors": (2.0,) * 4}),
    "new rope": ({"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}, {"rotary_base": 500.0}),
}


def check(model, expected):
    assert list(model.parameters) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(model.parameters[name], value, err_msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_configs_and_parameters_of_every_family(tmp_path, family):
    theirs, ours = FAMILIES[family]
    config = llama_config(**ours)
    parameters = random_parameters(config)
    model = load(write_folder(tmp_path / "v1.5-small", LLAMA | theirs, llama_tensors(config, parameters)))
    assert model.config == config
    assert model.name == "v1.5-small"
    check(model, parameters)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", [1, 3])
def test_every_dtype_and_any_number_of_files(tmp_path, kind, shards):
    config = llama_config()
    parameters = random_parameters(config)
    folder = write_folder(tmp_path / "m", LLAMA, KINDS[kind](llama_tensors(config, parameters)), shards)
    progress = []
    model = load(folder, on_progress=lambda done, total: progress.append((done, total)))
    check(model, parameters)
    assert {value.dtype for value in model.parameters.values()} == {np.dtype(np.float32)}
    assert model.source == f"Hugging Face LlamaForCausalLM, {kind}"
    assert progress == sorted(progress)
    assert progress[-1][0] == progress[-1][1]


def test_float32_weights_stay_in_the_file(tmp_path):
    config = llama_config()
    model = load(write_folder(tmp_path / "m", LLAMA, llama_tensors(config, random_parameters(config))))
    copied = {name for name, value in model.parameters.items() if value.flags.owndata or value.flags.writeable}
    assert {name for name in copied if ".query." not in name and ".key." not in name} == set()


GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 40,
    "n_positions": 24,
    "n_layer": 2,
    "n_head": 3,
    "n_embd": 18,
    "activation_function": "gelu_new",
    "bos_token_id": 1,
    "eos_token_id": 1,
}


def gpt2(prefix: str, tied: bool, mlp: str = "gelu"):
    config = llama_config(
        num_heads=3, num_kv_heads=3, head_dim=6, mlp_dim=72, norm="layer", position="learned", mlp=mlp, bias=True,
        tied_output=tied,
    )  # fmt: skip
    parameters = random_parameters(config)
    names = {"attention_norm": "ln_1", "mlp_norm": "ln_2", "attention.output": "attn.c_proj", "mlp.up": "mlp.c_fc"}
    tensors = {
        f"{prefix}wte.weight": parameters["token_embedding"],
        f"{prefix}wpe.weight": parameters["position_embedding"],
    }
    for kind, end in (("gain", "weight"), ("bias", "bias")):
        tensors[f"{prefix}ln_f.{end}"] = parameters[f"final_norm.{kind}"]
    for layer in range(2):
        block = f"blocks.{layer}"
        for end in ("weight", "bias"):
            for ours, theirs in (names | {"mlp.down": "mlp.c_proj"}).items():
                kind = "gain" if "norm" in ours and end == "weight" else end
                tensors[f"{prefix}h.{layer}.{theirs}.{end}"] = parameters[f"{block}.{ours}.{kind}"]
            parts = [parameters[f"{block}.attention.{part}.{end}"] for part in ("query", "key", "value")]
            tensors[f"{prefix}h.{layer}.attn.c_attn.{end}"] = np.concatenate(parts, axis=-1)
        tensors[f"{prefix}h.{layer}.attn.bias"] = np.ones((1, 1, 24, 24), np.float32)
    if not tied:
        tensors["lm_head.weight"] = np.ascontiguousarray(parameters["output.weight"].T)
    return config, parameters, tensors


@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize("tied", [True, False])
def test_gpt2(tmp_path, prefix, tied):
    config, parameters, tensors = gpt2(prefix, tied)
    model = load(write_folder(tmp_path / "m", GPT2 | ({} if tied else {"tie_word_embeddings": False}), tensors))
    assert model.config == config
    check(model, parameters)


@pytest.mark.parametrize(
    ("name", "mlp"), [("gelu", "gelu_erf"), ("gelu_new", "gelu"), ("gelu_pytorch_tanh", "gelu"), (None, "gelu")]
)
def test_the_exact_gelu_is_not_taken_for_its_tanh_form(tmp_path, name, mlp):
    config, _, tensors = gpt2("", True, mlp)
    assert load(write_folder(tmp_path / "m", GPT2 | {"activation_function": name}, tensors)).config == config


@pytest.mark.parametrize(
    ("architecture", "said", "options"),
    [
        ("MistralForCausalLM", {}, {"num_kv_heads": 8, "sliding_window": 4096}),
        ("Qwen2ForCausalLM", {"max_window_layers": 0, "use_sliding_window": True}, {"sliding_window": 4096}),
        ("Qwen2ForCausalLM", {"use_sliding_window": True}, {"num_kv_heads": 32, "sliding_window": None}),
        ("Qwen3ForCausalLM", {}, {"head_dim": 128}),
    ],
)
def test_what_a_config_leaves_out_is_what_transformers_takes(architecture, said, options):
    """The defaults of its configuration_mistral.py, configuration_qwen2.py and configuration_qwen3.py."""
    values = {name: value for name, value in LLAMA.items() if name not in ("num_key_value_heads", "head_dim")}
    values |= {"num_attention_heads": 32, "hidden_size": 64} | said
    config = FAMILIES_READ[architecture].read_config(values)
    assert {name: getattr(config, name) for name in options} == options


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 64}


def test_llama3_scaling_becomes_divisors(tmp_path):
    config = llama_config()
    folder = write_folder(
        tmp_path / "m", LLAMA | {"rope_scaling": LLAMA3}, llama_tensors(config, random_parameters(config))
    )
    divisors = load(folder).config.rotary_divisors
    assert len(divisors) == 4
    assert divisors[0] == 1.0
    assert divisors[-1] == pytest.approx(8.0)


def test_of_a_long_context_only_so_many_positions_are_used(tmp_path):
    config = llama_config()
    values = LLAMA | {"max_position_embeddings": 1_010_000}
    folder = write_folder(tmp_path / "m", values, llama_tensors(config, random_parameters(config)))
    model = load(folder)
    assert model.config.context_length == 4096
    assert model.source.endswith("; 4,096 of its 131,072 positions are used")
    assert load(folder, context=7000).config.context_length == 7000
    assert load(folder, context=10).forward([1, 2, 3]) == pytest.approx(model.forward([1, 2, 3]))


def test_learned_positions_are_cut_too(tmp_path):
    _, parameters, tensors = gpt2("", True)
    model = load(write_folder(tmp_path / "m", GPT2, tensors), context=10)
    check(model, parameters | {"position_embedding": parameters["position_embedding"][:10]})


LLAMA_KEYS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
PUBLISHED: dict[str, Any] = {
    # sizes and choices from the models' own config.json, and their published numbers of parameters
    "SmolLM2-135M": (
        "LlamaForCausalLM", (49152, 576, 30, 9, 3, 1536), 134_515_008,
        {"tie_word_embeddings": True, "rope_theta": 100000, "rope_interleaved": False, "rope_scaling": None},
    ),
    "TinyLlama-1.1B": (
        "LlamaForCausalLM", (32000, 2048, 22, 32, 4, 5632), 1_100_048_384,
        {"attention_bias": False, "pretraining_tp": 1, "tie_word_embeddings": False},
    ),
    "Llama-3.2-1B": (
        "LlamaForCausalLM", (128256, 2048, 16, 32, 8, 8192), 1_235_814_400,
        {
            "tie_word_embeddings": True, "head_dim": 64, "attention_bias": False, "mlp_bias": False,
            "rope_theta": 500000.0, "rope_scaling": {
                "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192, "rope_type": "llama3",
            },
        },
    ),
    "Mistral-7B-v0.1": (
        "MistralForCausalLM", (32000, 4096, 32, 32, 8, 14336), 7_241_732_096,
        {"sliding_window": 4096, "tie_word_embeddings": False},
    ),
    "Qwen2.5-0.5B": (
        "Qwen2ForCausalLM", (151936, 896, 24, 14, 2, 4864), 494_032_768,
        {
            "tie_word_embeddings": True, "rope_theta": 1000000.0, "use_sliding_window": False,
            "sliding_window": 32768, "max_window_layers": 24, "use_mrope": False,
        },
    ),
    "Qwen3-0.6B": (
        "Qwen3ForCausalLM", (151936, 1024, 28, 16, 8, 3072), 596_049_920,
        {
            "tie_word_embeddings": True, "head_dim": 128, "attention_bias": False, "rope_scaling": None,
            "use_sliding_window": False, "sliding_window": None, "max_window_layers": 28, "rope_theta": 1000000,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_configs_of_published_models_are_taken(name):
    architecture, sizes, parameters, more = PUBLISHED[name]
    values = dict(zip((*LLAMA_KEYS, "intermediate_size"), sizes, strict=True))
    values |= {"hidden_act": "silu", "max_position_embeddings": 8192, "rms_norm_eps": 1e-5} | more
    config = FAMILIES_READ[architecture].read_config(values)
    assert parameter_count(config) == parameters
    assert config.sliding_window == (4096 if "Mistral" in name else None)
    assert bool(config.rotary_divisors) == ("3.2" in name)


def test_the_config_of_gpt2_is_taken():
    values: dict[str, Any] = {"vocab_size": 50257, "n_layer": 12, "n_head": 12, "n_embd": 768}
    values |= {"n_positions": 1024, "n_ctx": 1024, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-05}
    assert parameter_count(FAMILIES_READ["GPT2LMHeadModel"].read_config(values)) == 124_439_808


# --- text ---


@pytest.fixture
def folder(tmp_path):
    config = llama_config()
    return write_folder(tmp_path / "model", LLAMA, llama_tensors(config, random_parameters(config)), 2)


def test_an_empty_prompt_starts_from_the_beginning_and_an_end_ends_it(folder):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, *range(3, 20)]}))
    model = load(folder)
    assert model.tokenizer.start_id == 1
    assert model.tokenizer.stop_ids == {2, *range(3, 20)}
    first, *tokens, end = generate(model, "", max_new_tokens=300, seed=1)
    assert isinstance(first, Prefill)
    assert first.tokens == 1
    assert isinstance(end, End)
    assert end.reason == "stop"
    assert isinstance(tokens[-1], Token)
    assert tokens[-1].id in model.tokenizer.stop_ids


# --- refusals ---


def refused(folder, *reasons):
    with pytest.raises(KvtuiError) as caught:
        load(folder)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < len(str(folder)) + 350
    for reason in (str(folder), *reasons):
        assert reason in message


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"architectures": ["MixtralForCausalLM"]},
            "is 'MixtralForCausalLM'; those implemented are GPT2",
        ),
        ({"architectures": [], "model_type": "mamba"}, "the architecture is 'mamba'"),
        ({"architectures": None}, "the architecture is None"),
        ({"architectures": [["LlamaForCausalLM"]]}, "the architecture is ['LlamaForCausalLM']"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', but only 'silu' or 'swish' is implemented"),
        ({"attention_bias": True}, "attention_bias is True and mlp_bias is False, but only both or neither"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ({"rope_interleaved": True}, "rope_interleaved is True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}, but it is not implemented"),
        ({"sliding_window": 8}, "sliding_window is 8, but it is not implemented"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_type is 'yarn', but only 'default'"),
        ({"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "rope_type is 'dynamic'"),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 4.0}},
            "rope_type 'llama3' needs rope_theta, factor",
        ),
        (
            {"rope_scaling": LLAMA3 | {"factor": float("inf")}},
            "rope_type 'llama3' needs rope_theta, factor",
        ),
        (
            {"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}},
            "low_freq_factor is 4.0; it must be below high_freq_factor, 4.0",
        ),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
            "differ from layer to layer",
        ),
        ({"rope_scaling": "llama3"}, "rope_parameters"),
        ({"vocab_size": -1}, "vocab_size is -1"),
        ({"vocab_size": "many"}, "vocab_size is 'many'"),
        ({"num_hidden_layers": None}, "num_layers is None"),
        (
            QWEN2 | {"num_hidden_layers": 10**15, "use_sliding_window": True, "max_window_layers": 0},
            "num_layers is 1000000000000000",
        ),
        (
            {"head_dim": 10**12, "rope_scaling": {"type": "linear", "factor": 2.0}},
            "head_dim is 1000000000000; it must be a whole number from 1 to 4,096",
        ),
        ({"num_attention_heads": 5}, "5 heads cannot share 2"),
        ({"head_dim": None, "num_attention_heads": 4}, "a width of 18 cannot be shared by 4 heads"),
        ({"head_dim": 7}, "head_dim is 7"),
        ({"rms_norm_eps": "small"}, "norm_epsilon is 'small'"),
        ({"rope_theta": None}, "rotary_base is None"),
        ({"num_hidden_layers": 3}, "the weights lack model.layers.2."),
        ({"num_hidden_layers": 1}, "the config has no place for the tensor model.layers.1."),
        ({"tie_word_embeddings": "yes"}, "tied_output is 'yes'"),
        ({"hidden_size": 20}, "model.embed_tokens.weight has shape (40, 18); the config asks for (40, 20)"),
        ({"vocab_size": 39}, "has shape (40, 18); the config asks for (39, 18)"),
        ({"num_key_value_heads": 3}, "k_proj.weight has shape (16, 18); the config asks for (24, 18)"),
        ({"vocab_size": 28}, "tokenizer.json has ids up to 29, but the model's embedding only 28 rows"),
        ({"bos_token_id": "1"}, "config.json: bos_token_id is '1'; it must be the number of a token"),
        ({"eos_token_id": [2, None]}, "config.json: eos_token_id is [2, None]; it must be the number of a token"),
        ({"hidden_size": 10**400}, "embed_dim is 1000000"),
        (QWEN3 | {"attention_bias": True}, "attention_bias is True"),
        (QWEN3, "the weights lack model.layers.0.self_attn.q_norm.weight"),
        (QWEN2, "the weights lack model.layers.0.self_attn.q_proj.bias"),
        (
            QWEN2 | {"layer_types": ["full_attention", "sliding_attention"]},
            "layer_types are full_attention, sliding_attention",
        ),
        (
            QWEN2 | {"use_sliding_window": True, "max_window_layers": 1},
            "layer_types are full_attention, sliding_attention",
        ),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": "wide"}, "sliding_window is 'wide'"),
        (
            QWEN2 | {"use_sliding_window": True, "max_window_layers": "x"},
            "config.json: ",
        ),
    ],
    ids=str,
)
def test_a_config_that_is_not_implemented_or_does_not_fit_is_refused(folder, changes, reason):
    change(folder / "config.json", **changes)
    refused(folder, reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"activation_function": "relu"}, "activation_function is 'relu', but only 'gelu_new'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ({"scale_attn_weights": False}, "scale_attn_weights is False"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"n_head": 4}, "a width of 18 cannot be shared by 4 heads"),
        ({"n_embd": 12}, "has shape"),
    ],
    ids=str,
)
def test_a_gpt2_config_that_is_not_implemented_is_refused(tmp_path, changes, reason):
    _, _, tensors = gpt2("transformer.", True)
    refused(write_folder(tmp_path / "m", GPT2 | changes, tensors), reason)


def test_broken_json_is_refused(folder):
    for name in ("config.json", "model.safetensors.index.json", "tokenizer.json"):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(before[:40])
        refused(folder, name)
        (folder / name).write_text("[" * 100_000)
        refused(folder, name)
        (folder / name).write_text("[]")
        refused(folder, name)
        (folder / name).write_bytes(before)
    load(folder)


def test_a_missing_shard_is_named(folder):
    (folder / "model-00002-of-00002.safetensors").unlink()
    refused(folder, "names model-00002-of-00002.safetensors, which is missing")


def test_an_index_that_names_absent_tensors_is_refused(folder):
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    index["model.layers.7.x"] = "model-00001-of-00002.safetensors"
    change(folder / "model.safetensors.index.json", weight_map=index)
    refused(folder, "says that model-00001-of-00002.safetensors holds model.layers.7.x, but it does not")


@pytest.mark.parametrize("name", ["../other/model.safetensors", "/etc/passwd", "sub/model.safetensors", "..", ""])
def test_an_index_cannot_lead_out_of_the_folder(folder, name):
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    change(folder / "model.safetensors.index.json", weight_map=index | {"lm_head.weight": name})
    refused(folder, "which is not in the folder" if name not in ("", "..") else "model.safetensors.index.json")


@pytest.mark.parametrize("weight_map", [None, {}, [], {"a": 1}])
def test_an_index_without_a_map_is_refused(folder, weight_map):
    change(folder / "model.safetensors.index.json", weight_map=weight_map)
    refused(folder, "has no weight_map")


def test_a_truncated_shard_is_refused(folder):
    path = folder / "model-00001-of-00002.safetensors"
    whole = path.read_bytes()
    for size in (0, 7, 60, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(folder, "model-00001-of-00002.safetensors is not a whole safetensors file")


def test_a_dtype_that_is_not_read_is_refused(tmp_path):
    config = llama_config()
    tensors = llama_tensors(config, random_parameters(config))
    tensors["model.norm.weight"] = tensors["model.norm.weight"].astype(np.int8)
    refused(write_folder(tmp_path / "m", LLAMA, tensors), "model.norm.weight has dtype I8; it must be one")


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path, kind, value):
    config = llama_config()
    tensors = llama_tensors(config, random_parameters(config))
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    refused(write_folder(tmp_path / "m", LLAMA, KINDS[kind](tensors)), "up_proj.weight holds a NaN or an infinity")


def test_weights_in_a_pickle_are_refused(folder):
    (folder / "model.safetensors.index.json").unlink()
    refused(folder, "neither model.safetensors nor model.safetensors.index.json")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02")
    refused(folder, "only as a PyTorch pickle (pytorch_model.bin)", "save_pretrained")


def test_a_missing_tokenizer_is_named(folder):
    (folder / "tokenizer.json").unlink()
    refused(folder, "has no tokenizer.json")


def test_without_the_library_the_way_to_install_it_is_named(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(KvtuiError, match=r"needs the package 'tokenizers': pip install 'kvtui\[hf\]'"):
        load(folder)


def test_a_tokenizer_that_does_not_fit_is_refused(folder):
    (folder / "tokenizer.json").write_text(
        json.dumps(
            tokenizer_spec()
            | {"decoder": {"type": "CTC", "pad_token": "a", "word_delimiter_token": "|"} | {"cleanup": True}}
        )
    )
    refused(folder, "tokenizer.json: tokens are joined by 'CTC', which is not implemented")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_spec([*TOKENS, *map(str, range(100))])))
    refused(folder, "ids up to 129")


def test_a_folder_that_only_leads_to_a_model_says_where_it_is(tmp_path):
    refused(tmp_path, "there is no model file", "nor a config.json", "kvtui models --models-dir")
    (tmp_path / "snapshots" / "abc").mkdir(parents=True)
    (tmp_path / "snapshots" / "abc" / "config.json").write_text("{}")
    refused(tmp_path, "Hugging Face cache: give the snapshot", "snapshots/abc")
    (tmp_path / "b.gguf").write_bytes(b"")
    refused(tmp_path, "give the file, such as", "b.gguf")


def test_a_single_file_of_a_folder_is_told_to_be_one(tmp_path):
    config = llama_config()
    folder = write_folder(tmp_path / "m", LLAMA, llama_tensors(config, random_parameters(config)))
    with pytest.raises(KvtuiError, match="not a kvtui model"):
        load(folder / "model.safetensors")


# --- what transformers takes, and what it forgives ---


def notes_of(folder):
    notes = []
    model = load(folder, on_note=notes.append)
    assert all(words in model.source for words in notes)
    return model, notes


@pytest.mark.parametrize("with_old_shards", [False, True])
def test_a_whole_file_wins_over_an_index_beside_it(tmp_path, with_old_shards):
    config = llama_config()
    new, old = random_parameters(config, 1), random_parameters(config, 2)
    folder = write_folder(tmp_path / "m", LLAMA, llama_tensors(config, old), shards=2)
    write_folder(folder, LLAMA, llama_tensors(config, new))
    if not with_old_shards:
        for path in folder.glob("model-*.safetensors"):
            path.unlink()
    model, notes = notes_of(folder)
    check(model, new)
    assert notes == ["model.safetensors.index.json is ignored: the weights are all in model.safetensors"]


def test_an_output_that_differs_from_the_embedding_is_not_tied_whatever_the_config_says(tmp_path):
    config = llama_config()
    parameters = random_parameters(config)
    folder = write_folder(tmp_path / "m", LLAMA | {"tie_word_embeddings": True}, llama_tensors(config, parameters))
    model, notes = notes_of(folder)
    assert not model.config.tied_output
    check(model, parameters)
    assert notes == [
        "the output is not tied: lm_head.weight differs from the embedding, whatever the config says",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_tied_output_that_is_stored_all_the_same_is_tied(tmp_path, kind):
    config = llama_config(tied_output=True)
    parameters = random_parameters(config)
    tensors = llama_tensors(config, parameters)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    folder = write_folder(tmp_path / "m", LLAMA | {"tie_word_embeddings": True}, KINDS[kind](tensors))
    model, notes = notes_of(folder)
    assert (model.config, notes) == (config, [])
    check(model, parameters)


def test_rope_scaling_wins_over_rope_parameters(tmp_path):
    config = llama_config()
    tensors = llama_tensors(config, random_parameters(config))
    ours = {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}, "rope_theta": 700.0}
    linear = write_folder(tmp_path / "a", LLAMA | ours | {"rope_scaling": {"type": "linear", "factor": 2.0}}, tensors)
    assert (load(linear).config.rotary_divisors, load(linear).config.rotary_base) == ((2.0,) * 4, 700.0)
    own = {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 300.0}}
    refused(write_folder(tmp_path / "b", LLAMA | ours | own, tensors), "rope_type is 'dynamic', but only")
    assert load(write_folder(tmp_path / "c", LLAMA | ours | {"rope_scaling": None}, tensors)).config.rotary_base == 500


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int64"])
def test_the_dtype_of_what_is_not_used_does_not_matter(tmp_path, dtype):
    config, parameters, tensors = gpt2("transformer.", True)
    mask = np.tril(np.ones((1, 1, 24, 24))).astype(dtype)
    tensors |= {f"transformer.h.{layer}.attn.bias": mask for layer in range(2)}
    tensors |= {"transformer.h.0.attn.masked_bias": np.array(1, dtype), "position_ids": np.arange(24)[None]}
    model = load(write_folder(tmp_path / "m", GPT2, tensors))
    check(model, parameters)
    assert model.config == config
    assert model.source == "Hugging Face GPT2LMHeadModel, F32"


@pytest.mark.parametrize("architecture", FAMILIES_READ)
def test_without_architectures_the_model_type_tells_the_architecture(tmp_path, architecture):
    """The names that transformers has for them (modeling_auto.py)."""
    types = {"GPT2": "gpt2", "Llama": "llama", "Mistral": "mistral", "Qwen2": "qwen2", "Qwen3": "qwen3"}
    model_type = types.get(architecture.removesuffix("LMHeadModel").removesuffix("ForCausalLM"))
    if model_type is None:
        pytest.skip("the name is not listed here")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(KvtuiError) as caught:
        load(tmp_path)
    assert "the architecture is" not in str(caught.value)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": None}))
    refused(tmp_path, "the architecture is 'bert'; those implemented are")


def test_beginnings_and_ends_outside_the_vocabulary_are_ignored_in_one_line_each(folder):
    change(folder / "config.json", bos_token_id=50256, eos_token_id=[50256, 2, -1])
    model, notes = notes_of(folder)
    assert model.tokenizer.stop_ids == {2}
    assert notes == [
        "config.json: eos_token_id 50256 is ignored: the vocabulary has only 40 tokens",
        "config.json: bos_token_id 50256 is ignored: the vocabulary has only 40 tokens",
    ]
    assert all("\n" not in words for words in notes)


def test_an_added_token_beyond_the_embedding_is_not_used(tmp_path):
    config = llama_config(vocab_size=30)
    folder = write_folder(tmp_path / "m", LLAMA | {"vocab_size": 30}, llama_tensors(config, random_parameters(config)))
    spec = tokenizer_spec()
    spec["added_tokens"] += [spec["added_tokens"][0] | {"id": 30, "content": "[PAD]"}]
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    tokenizer = load(folder).tokenizer
    assert tokenizer.vocab_size == 30
    assert tokenizer.encode("ab") == [4, 5]
    assert tokenizer.piece(30) == "<30>"
    with pytest.raises(KvtuiError, match=r"^the model's embedding has no row for the token '\[PAD\]': remove it$"):
        tokenizer.encode("a[PAD]b")


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 123456\n"


@pytest.mark.parametrize("name", ["config.json", "model-00001-of-00002.safetensors", "tokenizer.json"])
def test_a_git_lfs_pointer_is_told_from_a_damaged_file(folder, name):
    (folder / name).write_text(POINTER)
    refused(folder, f"{name} is only a git-lfs pointer to the file: run 'git lfs pull' in its folder")


@pytest.mark.parametrize("name", ["m.gguf", "m.safetensors", "m.bin"])
def test_a_single_file_may_be_a_git_lfs_pointer_too(tmp_path, name):
    (tmp_path / name).write_text(POINTER)
    refused(tmp_path / name, "git lfs pull")
