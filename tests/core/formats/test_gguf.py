"""GGUF files against Hugging Face folders of the same random model, and quantised ones against their numbers."""

import json
import sys
from typing import Any

import numpy as np
import pytest
from hf_folder import LLAMA, TOKENS, as_halves, llama_config, llama_tensors, random_parameters, write_folder

from kvtui.core import KvtuiError, Model, generate, load
from kvtui.core.events import Prefill
from kvtui.core.formats.library_tokenizer import byte_letters
from kvtui.core.loading.library import find_models

gguf: Any = pytest.importorskip("gguf", reason="needs the package gguf: pip install 'kvtui[gguf]'")
tokenizers = pytest.importorskip("tokenizers", reason="needs the package tokenizers: pip install 'kvtui[hf]'")

Kind = gguf.GGMLQuantizationType
WIDE = {"head_dim": 64, "embed_dim": 256, "mlp_dim": 512, "num_heads": 4, "num_kv_heads": 2}  # rows of whole blocks
OPTIONS = {"llama": {}, "qwen2": {"qkv_bias": True}, "qwen3": {"query_key_norm": True}}
NAMES = {
    "token_embedding": "token_embd.weight",
    "position_embedding": "position_embd.weight",
    "final_norm.gain": "output_norm.weight",
    "final_norm.bias": "output_norm.bias",
    "output.weight": "output.weight",
    "attention_norm.gain": "attn_norm.weight",
    "attention_norm.bias": "attn_norm.bias",
    "attention.query_norm.gain": "attn_q_norm.weight",
    "attention.key_norm.gain": "attn_k_norm.weight",
    "mlp_norm.gain": "ffn_norm.weight",
    "mlp_norm.bias": "ffn_norm.bias",
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.output": "attn_output",
    "mlp.gate": "ffn_gate",
    "mlp.up": "ffn_up",
    "mlp.down": "ffn_down",
}


def gguf_tensors(architecture, config, parameters):
    """Our parameters as llama.cpp's converter would leave them."""
    tensors = {}
    for ours, value in parameters.items():
        if architecture.startswith("qwen") and any(part in ours for part in ("query", "key")):
            value = as_halves(value, config.head_dim)
        if ours.endswith(".weight"):
            value = np.ascontiguousarray(value.T)
        name, place = ours, ""
        if ours.startswith("blocks."):
            _, layer, name = ours.split(".", 2)
            place = f"blk.{layer}."
        theirs = NAMES.get(name) or f"{NAMES[name.rsplit('.', 1)[0]]}.{name.rsplit('.', 1)[1]}"
        tensors[place + theirs] = value
    if architecture == "gpt2":
        for layer in range(config.num_layers):
            for end in ("weight", "bias"):
                parts = [tensors.pop(f"blk.{layer}.attn_{part}.{end}") for part in "qkv"]
                tensors[f"blk.{layer}.attn_qkv.{end}"] = np.concatenate(parts)
    return tensors


def write_gguf(path, architecture, config, tensors, *, kind=Kind.F32, more=None, pieces=None):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.embed_dim)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.mlp_dim)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    if architecture == "gpt2":
        writer.add_layer_norm_eps(config.norm_epsilon)
    else:
        writer.add_layer_norm_rms_eps(config.norm_epsilon)
        writer.add_rope_freq_base(config.rotary_base)
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    pieces = pieces or TOKENS
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([-float(index) for index in range(len(pieces))])
    writer.add_token_types([2, 3, 3] + [1] * (len(pieces) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if more:
        more(writer)
    for name, value in tensors.items():
        if value.ndim == 1 or kind == Kind.F32:
            writer.add_tensor(name, value)
        elif value.dtype == np.uint8:
            writer.add_tensor(name, value, raw_dtype=kind)
        else:
            writer.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def check(model, expected):
    assert list(model.parameters) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(model.parameters[name], value, err_msg=name)


# --- the same model in two formats ---


@pytest.mark.parametrize("architecture", OPTIONS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_same_model_as_gguf_and_as_a_folder(tmp_path, architecture, tied):
    config = llama_config(tied_output=tied, **OPTIONS[architecture])
    parameters = random_parameters(config)
    name = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}[architecture]
    values = LLAMA | {"architectures": [f"{name}ForCausalLM"], "tie_word_embeddings": tied}
    folder = load(write_folder(tmp_path / "m", values, llama_tensors(config, parameters)))
    path = write_gguf(tmp_path / "m.gguf", architecture, config, gguf_tensors(architecture, config, parameters))
    model = load(path)
    check(model, parameters)
    assert model.config == folder.config == config
    assert model.source == f"GGUF {architecture}, F32"
    ids = np.random.default_rng(0).integers(40, size=24)
    np.testing.assert_allclose(model.forward(ids), folder.forward(ids), rtol=0, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_gpt2(tmp_path, tied):
    config = llama_config(
        num_heads=3, num_kv_heads=3, head_dim=6, mlp_dim=72, norm="layer", position="learned", mlp="gelu", bias=True,
        tied_output=tied,
    )  # fmt: skip
    parameters = random_parameters(config)
    model = load(write_gguf(tmp_path / "m.gguf", "gpt2", config, gguf_tensors("gpt2", config, parameters)))
    assert model.config == config
    check(model, parameters)


@pytest.mark.parametrize("kind", [Kind.F32, Kind.F16, Kind.BF16], ids=lambda kind: kind.name)
def test_exact_kinds(tmp_path, kind):
    config = llama_config()
    parameters = random_parameters(config)
    model = load(write_gguf(tmp_path / "m.gguf", "llama", config, gguf_tensors("llama", config, parameters), kind=kind))
    check(model, parameters)
    mapped = [not value.flags.owndata for value in model.parameters.values() if value.ndim == 2]
    assert all(mapped) if kind == Kind.F32 else not any(mapped) or kind == Kind.BF16


def random_blocks(kind, shape, rng):
    """Any bytes are blocks, but for the scales, which must be finite: half floats between 0 and 2."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (shape[0] * shape[1] // block, size), dtype=np.uint8)
    for at in {Kind.Q4_K: (0, 2), Kind.Q6_K: (208,)}[kind]:
        data[:, at : at + 2] = (rng.random((len(data), 1)) * 0.02).astype(np.float16).view(np.uint8)
    return data.reshape(shape[0], -1)


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q4_0, Kind.Q4_K, Kind.Q6_K], ids=lambda kind: kind.name)
def test_quantised_kinds_are_their_dequantised_numbers(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("kvtui.core.formats.gguf._ROWS_AT_ONCE", 3000)  # several pieces, the last one shorter
    config = llama_config(**WIDE)
    rng = np.random.default_rng(1)
    blocks, numbers = {}, {}
    for name, value in gguf_tensors("llama", config, random_parameters(config)).items():
        if value.ndim == 1:
            blocks[name] = numbers[name] = value
        else:
            known = kind in (Kind.Q8_0, Kind.Q4_0)
            blocks[name] = gguf.quants.quantize(value, kind) if known else random_blocks(kind, value.shape, rng)
            numbers[name] = gguf.quants.dequantize(blocks[name], kind)
    quantised = load(write_gguf(tmp_path / "q.gguf", "llama", config, blocks, kind=kind))
    exact = load(write_gguf(tmp_path / "f.gguf", "llama", config, numbers))
    assert quantised.source == f"GGUF llama, F32 and {kind.name}"
    check(quantised, exact.parameters)
    ids = np.random.default_rng(0).integers(40, size=24)
    assert np.ptp(exact.forward(ids)) > 0.1
    np.testing.assert_allclose(quantised.forward(ids), exact.forward(ids), rtol=0, atol=1e-5)


def test_llama3_divisors_come_as_a_tensor_and_linear_scaling_as_a_number(tmp_path):
    config = llama_config()
    tensors = gguf_tensors("llama", config, random_parameters(config))
    tensors["rope_freqs.weight"] = np.array([1, 1, 2.5, 8], np.float32)
    assert load(write_gguf(tmp_path / "a.gguf", "llama", config, tensors)).config.rotary_divisors == (1, 1, 2.5, 8)
    del tensors["rope_freqs.weight"]

    def scaled(writer):
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)

    path = write_gguf(tmp_path / "b.gguf", "llama", config, tensors, more=scaled)
    assert load(path).config.rotary_divisors == (4,) * 4


@pytest.mark.parametrize(
    ("key", "factor"), [("rope.scaling.factor", 4.0), ("rope.scale_linear", 2.0), ("rope.scaling.factor", 0.0)]
)
def test_a_factor_without_a_type_is_linear(tmp_path, key, factor):
    """llama.cpp, llama-model.cpp: the type is linear unless the file says otherwise, and 0 is no factor."""
    config = llama_config()
    tensors = gguf_tensors("llama", config, random_parameters(config))
    path = write_gguf(tmp_path / "m.gguf", "llama", config, tensors, more=lambda w: put(w, f"llama.{key}", factor))
    assert load(path).config.rotary_divisors == ((factor,) * 4 if factor else ())


def test_a_factor_also_stretches_divisors(tmp_path):
    config = llama_config()
    tensors = gguf_tensors("llama", config, random_parameters(config))
    tensors["rope_freqs.weight"] = np.array([1, 1, 2.5, 8], np.float32)
    path = write_gguf(
        tmp_path / "m.gguf", "llama", config, tensors, more=lambda w: put(w, "llama.rope.scaling.factor", 2.0)
    )
    assert load(path).config.rotary_divisors == (2, 2, 5, 16)


def split(folder, count=3):
    """A model in several files, as ``gguf-split`` leaves it: the first has the metadata and some tensors."""
    config = llama_config()
    parameters = random_parameters(config)
    tensors = gguf_tensors("llama", config, parameters)
    paths = [folder / f"m-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
    for place, path in enumerate(paths):
        part = {name: tensors[name] for name in sorted(tensors)[place::count]}

        def numbers(writer, place=place):
            if place:
                writer.kv_data[0].clear()
            writer.add_uint16("split.no", place)
            writer.add_uint16("split.count", count)
            writer.add_int32("split.tensors.count", len(tensors))

        write_gguf(path, "llama", config, part, more=numbers)
    return paths, parameters


def test_a_model_in_several_files(tmp_path):
    paths, parameters = split(tmp_path)
    check(load(paths[0]), parameters)
    [model] = [model for model in find_models(tmp_path) if not model.bundled]
    assert (model.path, model.problem) == (paths[0], "")
    assert model.file_bytes == sum(path.stat().st_size for path in paths)
    refused(paths[1], "is not the first file of its model: give m-00001-of-00003.gguf")
    paths[2].rename(tmp_path / "away")
    refused(paths[0], "needs m-00003-of-00003.gguf in the same folder, which is missing")
    paths[2].write_bytes(paths[1].read_bytes())
    with pytest.raises(KvtuiError, match=r"m-00003-of-00003.gguf does not belong to m-00001-of-00003.gguf"):
        load(paths[0])
    paths[0].rename(tmp_path / "other.gguf")
    refused(tmp_path / "other.gguf", "its name does not end as -00001-of-00003.gguf")


# --- tokenizers ---


def small(path, *, more=None, pieces=None) -> Model:
    config = llama_config(vocab_size=400)
    tensors = gguf_tensors("llama", config, random_parameters(config))
    return load(write_gguf(path, "llama", config, tensors, more=more, pieces=pieces))


def test_pieces_with_scores(tmp_path):
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "b", "▁ab", "ab"]
    model = small(tmp_path / "m.gguf", pieces=pieces)
    tokenizer = model.tokenizer
    ids = tokenizer.encode("ab aé")
    assert [tokenizer.piece(index) for index in ids] == ["<s>", " ab", " a", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(ids) == "ab aé"
    first, *_ = generate(model, "", max_new_tokens=1)
    assert isinstance(first, Prefill)
    assert first.tokens == 1


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_byte_level_tokens_are_those_of_the_library(tmp_path, pre):
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=sorted(byte_letters().values()),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    library.train_from_iterator(["the cat's 1234 café\n\n  the hat"] * 5, trainer)
    model = json.loads(library.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)

    def more(writer):
        for key in ("tokenizer.ggml.model", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
            for part in writer.kv_data:
                part.pop(key, None)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
        writer.add_token_types([3] + [1] * (len(pieces) - 1))
        for name in ("bos", "eos"):
            for part in writer.kv_data:
                part.pop(f"tokenizer.ggml.{name}_token_id", None)
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(0)

    tokenizer = small(tmp_path / "m.gguf", more=more, pieces=pieces).tokenizer
    text = "the cat's 1234 café\n\n  the hat 😀"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert (ids[0] == 0) == (pre == "llama-bpe")
    assert tokenizer.stop_ids == {0}
    if pre == "gpt-2":
        assert ids == library.encode(text).ids
    words = [piece for piece in (tokenizer.piece(index) for index in ids) if piece.strip().isdigit()]
    assert max(map(len, words)) == 1 if pre in ("smollm", "qwen2") else max(map(len, words)) >= 1
    assert tokenizer.encode("a<|end|>")[-1] == 0


# --- refusals ---


def refused(path, *reasons):
    with pytest.raises(KvtuiError) as caught:
        load(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for reason in (str(path), *reasons):
        assert reason in message


def test_a_truncated_file_is_refused(tmp_path):
    config = llama_config()
    tensors = gguf_tensors("llama", config, random_parameters(config))
    whole = write_gguf(tmp_path / "m.gguf", "llama", config, tensors).read_bytes()
    for size in (4, 12, 100, 900, len(whole) // 2, len(whole) - 40):
        (tmp_path / "cut.gguf").write_bytes(whole[:size])
        refused(tmp_path / "cut.gguf", "GGUF")


@pytest.mark.parametrize("length", [2**40, 2**63])
def test_lengths_beyond_the_end_of_the_file_are_refused_at_once(tmp_path, length):
    config = llama_config()
    path = write_gguf(tmp_path / "m.gguf", "llama", config, gguf_tensors("llama", config, random_parameters(config)))
    data = bytearray(path.read_bytes())
    for key in (b"tokenizer.ggml.scores", b"tokenizer.ggml.tokens"):
        changed, at = data.copy(), data.index(key) + len(key) + 8  # behind the kinds of the value and its entries
        changed[at : at + 8] = length.to_bytes(8, "little")
        path.write_bytes(changed)
        refused(path, "is not a whole GGUF file")


def put(writer, key, value):
    """Metadata of a kind that the writer would not take for it."""
    kind = gguf.GGUFValueType.get_type(value)
    writer.kv_data[0][key] = gguf.gguf_writer.GGUFValue(value=value, type=kind)


def as_byte_level(writer):
    put(writer, "tokenizer.ggml.model", "gpt2")
    put(writer, "tokenizer.ggml.merges", ["a b"])
    put(writer, "tokenizer.ggml.pre", ["qwen2"])


def test_the_other_byte_order_is_refused(tmp_path, monkeypatch):
    class Writer(gguf.GGUFWriter):
        def __init__(self, path, architecture):
            super().__init__(path, architecture, endianess=gguf.GGUFEndian.BIG)

    monkeypatch.setattr(gguf, "GGUFWriter", Writer)
    config = llama_config()
    tensors = gguf_tensors("llama", config, random_parameters(config))
    refused(write_gguf(tmp_path / "m.gguf", "llama", config, tensors), "in the other byte order")


def test_scales_that_are_no_numbers_are_refused_without_a_warning(tmp_path):
    config = llama_config(**WIDE)
    tensors = gguf_tensors("llama", config, random_parameters(config))
    blocks = {
        name: value if value.ndim == 1 else gguf.quants.quantize(value, Kind.Q8_0) for name, value in tensors.items()
    }
    blocks["blk.1.ffn_up.weight"][0, :2] = np.array([0x7C00], np.uint16).view(np.uint8)  # an infinite half float
    path = write_gguf(tmp_path / "m.gguf", "llama", config, blocks, kind=Kind.Q8_0)
    refused(path, "blk.1.ffn_up.weight holds a NaN or an infinity")


def test_an_unknown_architecture_is_refused(tmp_path):
    config = llama_config()
    tensors = gguf_tensors("llama", config, random_parameters(config))
    refused(write_gguf(tmp_path / "m.gguf", "gemma", config, tensors), "'gemma'; those implemented are llama, qwen2")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (lambda writer: writer.add_expert_count(8), "expert_count is 8, but only 0"),
        (lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.YARN), "rope.scaling.type is 'yarn'"),
        (lambda writer: writer.add_rope_dimension_count(4), "rope.dimension_count is 4, but only 8"),
        (lambda writer: writer.kv_data[0].pop("llama.block_count"), "num_layers is 0"),
        (lambda writer: writer.kv_data[0].pop("tokenizer.ggml.tokens"), "no tokenizer.ggml.tokens"),
        (lambda writer: writer.kv_data[0].pop("tokenizer.ggml.scores"), "tokenizer.ggml.scores does not have one"),
        (lambda writer: writer.kv_data[0].pop("tokenizer.ggml.model"), "tokenizer.ggml.model is None"),
        (lambda writer: put(writer, "tokenizer.ggml.scores", ["a"] * len(TOKENS)), "have one number for each token"),
        (lambda writer: put(writer, "general.architecture", ["llama"]), "the architecture is ['llama'];"),
        (lambda writer: put(writer, "llama.block_count", "2"), "num_layers is '2'"),
        (as_byte_level, "tokenizer.ggml.pre is ['qwen2'], but only"),
    ],
)
def test_metadata_that_are_missing_or_not_implemented_are_refused(tmp_path, more, reason):
    config = llama_config()
    tensors = gguf_tensors("llama", config, random_parameters(config))
    refused(write_gguf(tmp_path / "m.gguf", "llama", config, tensors, more=more), reason)


def test_tensors_that_do_not_fit_are_refused(tmp_path):
    config = llama_config()
    tensors = gguf_tensors("llama", config, random_parameters(config))
    refused(
        write_gguf(tmp_path / "a.gguf", "llama", config, tensors | {"blk.0.odd": np.ones(3, np.float32)}), "blk.0.odd"
    )
    less = {name: value for name, value in tensors.items() if name != "blk.1.ffn_up.weight"}
    refused(write_gguf(tmp_path / "b.gguf", "llama", config, less), "lack blk.1.ffn_up.weight")
    more = tensors | {"blk.1.ffn_up.weight": np.ones((28, 20), np.float32)}
    refused(write_gguf(tmp_path / "c.gguf", "llama", config, more), "has shape (28, 20); the config asks for (28, 18)")
    nan = tensors | {"output_norm.weight": np.full(18, np.nan, np.float32)}
    refused(write_gguf(tmp_path / "d.gguf", "llama", config, nan), "output_norm.weight holds a NaN")
    many = [*TOKENS, *(f"x{index}" for index in range(20))]
    refused(write_gguf(tmp_path / "e.gguf", "llama", config, tensors, pieces=many), "has ids up to 49", "only 40 rows")


def test_without_the_package_exact_kinds_load_and_for_others_the_way_to_install_it_is_named(tmp_path, monkeypatch):
    config = llama_config(**WIDE)
    tensors = gguf_tensors("llama", config, random_parameters(config))
    exact = write_gguf(tmp_path / "exact.gguf", "llama", config, tensors)
    blocks = {
        name: value if value.ndim == 1 else gguf.quants.quantize(value, Kind.Q8_0) for name, value in tensors.items()
    }
    quantised = write_gguf(tmp_path / "quantised.gguf", "llama", config, blocks, kind=Kind.Q8_0)
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert load(exact).config == config
    with pytest.raises(KvtuiError, match=r"need the package 'gguf': pip install 'kvtui\[gguf\]'"):
        load(quantised)
