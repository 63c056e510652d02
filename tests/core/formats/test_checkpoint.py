"""Model files: what goes in comes out, a failed write changes nothing, and a bad file gets one clear line."""

import json
import os
import pickle
import resource
import struct
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_model import random_parameters

from kvtui.core.config import ModelConfig, parameter_shapes
from kvtui.core.errors import KvtuiError
from kvtui.core.formats.checkpoint import load_checkpoint, save_checkpoint, write_safetensors
from kvtui.core.tokenizer import CharTokenizer

relaxed = settings(max_examples=80)

CONFIG = ModelConfig(
    vocab_size=4, context_length=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=2, embed_dim=4, mlp_dim=8
)
TOKENIZER = CharTokenizer(["\n", "a", "é", "😀"])
TRAINING = {"steps": 7, "curve": [{"step": 7, "loss": 1.5}], "note": "né"}


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, CONFIG, TOKENIZER, random_parameters(CONFIG), TRAINING)
    return path


def take_apart(content):
    """Header and data of a safetensors file."""
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(header, data):
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded + data


def refused(path, *reasons):
    """The message of the refusal: one line that names the file and every one of the reasons."""
    with pytest.raises(KvtuiError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert len(message.splitlines()) == 1
    for reason in reasons:
        assert reason in message
    return message


# --- round trips ---


@pytest.mark.parametrize("stored", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("loaded", [np.float32, np.float64])
def test_values_come_back_as_exactly_as_they_are_stored(tmp_path, stored, loaded):
    parameters = random_parameters(CONFIG, dtype=np.float64)
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, CONFIG, TOKENIZER, parameters, TRAINING, dtype=stored)
    found = load_checkpoint(path, dtype=loaded)
    assert list(found.parameters) == list(parameter_shapes(CONFIG))
    for name, value in parameters.items():
        assert found.parameters[name].dtype == loaded
        np.testing.assert_array_equal(found.parameters[name], value.astype(stored).astype(loaded))
        found.parameters[name] += 1  # writable, and of its own
    assert found.config == CONFIG
    assert isinstance(found.tokenizer, CharTokenizer)
    assert found.tokenizer.vocabulary == TOKENIZER.vocabulary
    assert found.training == TRAINING
    assert found.path == path


def test_files_are_float16_by_default_and_hold_no_pickle(good):
    header, data = take_apart(good.read_bytes())
    metadata = header.pop("__metadata__")
    assert {entry["dtype"] for entry in header.values()} == {"F16"}
    assert len(data) == 2 * sum(np.prod(shape) for shape in parameter_shapes(CONFIG).values())
    assert metadata["format"] == "kvtui-1"
    assert json.loads(metadata["config"]) == CONFIG.to_dict()


@pytest.mark.parametrize(
    "choices",
    [
        {"norm": "rms", "position": "learned", "mlp": "swiglu", "tied_output": True, "bias": True},
        {"norm": "layer", "position": "learned", "bias": True, "rotary_base": 500.0, "norm_epsilon": 1e-6},
    ],
    ids=str,
)
def test_every_choice_comes_back(tmp_path, choices):
    config = ModelConfig.from_dict(CONFIG.to_dict() | choices)
    save_checkpoint(tmp_path / "m", config, TOKENIZER, random_parameters(config))
    found = load_checkpoint(tmp_path / "m")
    assert found.config == config
    assert found.training == {}
    assert {name: value.shape for name, value in found.parameters.items()} == parameter_shapes(config)


def test_a_folder_stands_for_the_model_in_it(good):
    assert load_checkpoint(good.parent).path == good


def test_arrays_that_are_views_come_back_too(tmp_path):
    parameters = {name: np.asfortranarray(value) for name, value in random_parameters(CONFIG).items()}
    save_checkpoint(tmp_path / "m", CONFIG, TOKENIZER, parameters, dtype=np.float32)
    found = load_checkpoint(tmp_path / "m").parameters
    for name, value in parameters.items():
        np.testing.assert_array_equal(found[name], value)


@relaxed
@given(text=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30))
def test_any_vocabulary_comes_back(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any-vocabulary.safetensors"
    tokenizer = CharTokenizer.from_text(text)
    config = ModelConfig.from_dict(CONFIG.to_dict() | {"vocab_size": tokenizer.vocab_size})
    save_checkpoint(path, config, tokenizer, random_parameters(config))
    found = load_checkpoint(path).tokenizer
    assert isinstance(found, CharTokenizer)
    assert found.vocabulary == tokenizer.vocabulary


# --- writing ---


@contextmanager
def files_limited_to(size):
    """As on a full disk: no file of this process may grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(good, size):
    before = good.read_bytes()
    failure = pytest.raises(KvtuiError, match=r"cannot write .*model\.safetensors: ")
    with failure, files_limited_to(size):
        save_checkpoint(good, CONFIG, TOKENIZER, random_parameters(CONFIG), dtype=np.float64)
    assert good.read_bytes() == before
    assert os.listdir(good.parent) == [good.name]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_a_write_broken_off_leaves_the_old_file_and_nothing_else(good, monkeypatch, error):
    before = good.read_bytes()

    def half_written(descriptor):
        os.ftruncate(descriptor, 4)
        raise error

    monkeypatch.setattr(os, "fsync", half_written)
    with pytest.raises(KvtuiError if isinstance(error, OSError) else type(error)):
        save_checkpoint(good, CONFIG, TOKENIZER, random_parameters(CONFIG))
    assert good.read_bytes() == before
    assert os.listdir(good.parent) == [good.name]


def test_a_failed_move_leaves_nothing(good, monkeypatch):
    before = good.read_bytes()

    def refuse(source, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(KvtuiError, match=r"cannot write .*: Permission denied"):
        save_checkpoint(good, CONFIG, TOKENIZER, random_parameters(CONFIG))
    assert good.read_bytes() == before
    assert os.listdir(good.parent) == [good.name]


def test_places_that_cannot_be_written_to(tmp_path, good):
    for place, reason in (
        (tmp_path / "missing" / "m", "No such file or directory"),
        (good / "m", "Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(KvtuiError, match=f"cannot write .*: {reason}"):
            save_checkpoint(place, CONFIG, TOKENIZER, random_parameters(CONFIG))
    (tmp_path / "folder").mkdir()
    with pytest.raises(KvtuiError, match=r"cannot write .*: Is a directory"):
        save_checkpoint(tmp_path / "folder", CONFIG, TOKENIZER, random_parameters(CONFIG))
    assert sorted(os.listdir(tmp_path)) == ["folder", good.name]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e6])
def test_numbers_that_the_file_cannot_hold_are_not_written(good, wrong):
    before = good.read_bytes()
    parameters = random_parameters(CONFIG)
    parameters["output.weight"][1, 2] = wrong  # 1e6 is infinite as float16
    with pytest.raises(KvtuiError, match=r"output\.weight is not finite as float16"):
        save_checkpoint(good, CONFIG, TOKENIZER, parameters)
    assert good.read_bytes() == before
    assert os.listdir(good.parent) == [good.name]


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in "abcd":
        save_checkpoint(tmp_path / name, CONFIG, TOKENIZER, random_parameters(CONFIG), TRAINING)
    assert len({(tmp_path / name).read_bytes() for name in "abcd"}) == 1


def test_the_data_is_aligned(good):
    assert struct.unpack("<Q", good.read_bytes()[:8])[0] % 8 == 0


def test_a_new_file_replaces_the_old_one_whole(good):
    save_checkpoint(good, CONFIG, TOKENIZER, random_parameters(CONFIG), {"steps": 8}, dtype=np.float32)
    assert load_checkpoint(good).training == {"steps": 8}
    assert os.listdir(good.parent) == [good.name]


# --- bad files ---


def test_a_missing_file(tmp_path):
    refused(tmp_path / "none.safetensors", "there is no model file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(KvtuiError, match=r"there is no model file .*empty/model\.safetensors"):
        load_checkpoint(tmp_path / "empty")


def test_a_name_too_long_for_a_file(tmp_path):
    refused(tmp_path / ("x" * 300), "File name too long")


def test_something_that_is_no_plain_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "there is no model file")


FOREIGN = {
    "empty": b"",
    "one byte": b"\0",
    "eight zeros": bytes(8),
    "a text": b"First Citizen:\nBefore we proceed any further, hear me speak.\n",
    "gguf": b"GGUF\x03\0\0\0" + bytes(64),
    "zip, as torch.save writes": b"PK\x03\x04" + bytes(64),
    "pickle": pickle.dumps({"weights": [1.0, 2.0]}),
    "npy": b"\x93NUMPY\x01\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }" + bytes(80),
    "header length of 2^64-1": b"\xff" * 8 + b"{}",
    "header length of 2^62": struct.pack("<Q", 1 << 62) + b"{}",
    "header length beyond the file": struct.pack("<Q", 90_000_000) + b'{"a":',
    "header no JSON": struct.pack("<Q", 16) + b"this is not JSON",
    "header half a JSON": struct.pack("<Q", 16) + b'{"__metadata__":',
    "header a list": struct.pack("<Q", 8) + b"[1,2,3] ",
    "header not UTF-8": struct.pack("<Q", 8) + b'{"\xff\xfe":1',
    "header deeply nested": struct.pack("<Q", 80_000) + b"[" * 80_000,
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    refused(path, "is not a whole safetensors file")


class Trap:
    """Whoever unpickles it raises."""

    def __reduce__(self):
        return (exec, ("raise AssertionError('unpickled')",))


def test_a_hostile_pickle_is_not_unpickled(tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    refused(path, "is not a whole safetensors file")


@pytest.mark.parametrize("metadata", [{}, {"format": "pt"}, {"format": "kvtui-2"}, {"format": ""}])
def test_a_safetensors_file_of_somebody_else(tmp_path, metadata):
    path = tmp_path / "other.safetensors"
    write_safetensors(path, {"weight": np.zeros(3, np.float32)}, metadata)
    refused(path, "is a safetensors file, but not a kvtui model")


def test_every_truncation_and_every_addition(good):
    content = good.read_bytes()
    cut = good.with_name("cut")
    for length in {*range(0, len(content), 97), *range(16), len(content) - 1}:
        cut.write_bytes(content[:length])
        refused(cut, "is not a whole safetensors file")
    for addition in (b"\0", content):
        cut.write_bytes(content + addition)
        refused(cut, "is not a whole safetensors file")


def rewrite(path, change):
    """Change the header of a file, its data as they were."""
    header, data = take_apart(path.read_bytes())
    change(header)
    path.write_bytes(put_together(header, data))


def set_metadata(path, **values):
    """Metadata of the file; None removes an entry, and whatever is no string becomes JSON."""

    def change(header):
        for name, value in values.items():
            if value is None:
                del header["__metadata__"][name]
            else:
                header["__metadata__"][name] = value if isinstance(value, str) else json.dumps(value)

    rewrite(path, change)


def resave(path, parameters):
    """The good file with other arrays, written without the checks of save_checkpoint."""
    metadata = take_apart(path.read_bytes())[0]["__metadata__"]
    write_safetensors(path, parameters, metadata)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["token_embedding", "blocks.0.mlp_norm.gain", "output.weight"])
def test_a_number_that_is_none(good, name, wrong):
    parameters = random_parameters(CONFIG, dtype=np.float16)
    parameters[name].flat[-1] = wrong
    resave(good, parameters)
    refused(good, f"{name} holds a NaN or an infinity")


def test_a_number_that_single_precision_cannot_hold(good):
    parameters = random_parameters(CONFIG, dtype=np.float64)
    parameters["output.weight"][0, 0] = 1e300
    resave(good, parameters)
    refused(good, "output.weight holds a NaN or an infinity")


@pytest.mark.parametrize(
    ("name", "shape"), [("output.weight", (3, 4)), ("output.weight", (16,)), ("final_norm.gain", (1, 4))]
)
def test_a_wrong_shape(good, name, shape):
    parameters = random_parameters(CONFIG)
    parameters[name] = np.zeros(shape, np.float32)
    resave(good, parameters)
    refused(good, f"{name} has shape {shape}; the config asks for {parameter_shapes(CONFIG)[name]}")


@pytest.mark.parametrize(
    ("dtype", "called"),
    [(np.int32, "I32"), (np.int64, "I64"), (np.uint16, "U16"), (np.bool_, "BOOL"), (np.int8, "I8")],
)
def test_a_wrong_dtype(good, dtype, called):
    resave(good, random_parameters(CONFIG) | {"output.weight": np.zeros((4, 4), dtype)})
    refused(good, f"output.weight has dtype {called}; it must be one of F16, F32, F64")


def test_a_dtype_that_numpy_does_not_know(good):
    rewrite(good, lambda header: header["output.weight"].update(dtype="BF16"))
    refused(good, "output.weight has dtype BF16")


def test_a_missing_tensor(good):
    parameters = random_parameters(CONFIG)
    del parameters["blocks.0.attention.key.weight"]
    resave(good, parameters)
    refused(good, "parameters missing or unknown: blocks.0.attention.key.weight")


def test_an_extra_tensor(good):
    resave(good, random_parameters(CONFIG) | {"blocks.1.mlp.up.weight": np.zeros(2, np.float32)})
    refused(good, "parameters missing or unknown: blocks.1.mlp.up.weight")


def test_many_wrong_tensors_are_not_all_listed(good):
    resave(good, {"weight": np.zeros(2, np.float32)})
    assert refused(good, "parameters missing or unknown: ", " …").count(", ") == 2


@pytest.mark.parametrize(
    "change",
    [
        {"data_offsets": [0, 8]},
        {"data_offsets": [1 << 62, (1 << 62) + 32]},
        {"data_offsets": [8, 0]},
        {"data_offsets": [-8, 24]},
        {"data_offsets": []},
        {"shape": [1 << 40, 1 << 40]},
        {"shape": [4, 0]},
        {"shape": []},
        {"shape": [-4, -4]},
        {"shape": "4"},
        {"dtype": "F128"},
        {"dtype": 3},
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_its_data(good, change):
    rewrite(good, lambda header: header["output.weight"].update(change))
    refused(good, "is not a whole safetensors file")


@pytest.mark.parametrize("name", ["output.weight", "__metadata__"])
def test_a_name_that_stands_twice(good, name):
    header, data = take_apart(good.read_bytes())
    text = json.dumps(header)[:-1] + f',"{name}":{json.dumps(header[name])}}}'
    padded = text.encode() + b" " * (-len(text.encode()) % 8)
    good.write_bytes(struct.pack("<Q", len(padded)) + padded + data)
    with pytest.raises(KvtuiError, match=rf"its header has '{name}' twice|is not a whole safetensors file"):
        load_checkpoint(good)


@pytest.mark.parametrize("name", ["config", "vocabulary"])
def test_metadata_missing(good, name):
    set_metadata(good, **{name: None})
    refused(good, "the metadata is damaged: config, vocabulary or training record missing or not JSON")


def test_a_missing_training_record_is_an_empty_one(good):
    set_metadata(good, training=None)
    assert load_checkpoint(good).training == {}


@pytest.mark.parametrize("name", ["config", "vocabulary", "training"])
@pytest.mark.parametrize("value", ["", "{", "nonsense", "[" * 100_000, "9" * 5000, "\0"])
def test_metadata_that_is_no_json(good, name, value):
    set_metadata(good, **{name: value})
    refused(good, "the metadata is damaged: config, vocabulary or training record missing or not JSON")


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("config", "vocabulary", "training") for value in ("null", "1", '"abc"', "true")]
    + [("config", "[]"), ("vocabulary", "{}"), ("training", "[]")],
)
def test_metadata_of_a_wrong_kind(good, name, value):
    set_metadata(good, **{name: value})
    refused(good, "the metadata is damaged: wrong kinds of values")


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999"])
def test_a_training_record_with_what_is_no_number_in_json(good, value):
    set_metadata(good, training=f'{{"minutes": {value}}}')
    refused(good, "the metadata is damaged")


def test_metadata_that_holds_no_strings(good):
    rewrite(good, lambda header: header["__metadata__"].update(config=CONFIG.to_dict()))
    refused(good, "is not a whole safetensors file")


@pytest.mark.parametrize("name", ["vocab_size", "num_kv_heads", "mlp_dim"])
def test_a_config_with_a_missing_field(good, name):
    set_metadata(good, config={key: value for key, value in CONFIG.to_dict().items() if key != name})
    refused(good, f"missing fields ['{name}']")


def test_a_config_with_unknown_fields(good):
    set_metadata(good, config=CONFIG.to_dict() | {"n_embd": 4})
    refused(good, "unknown fields ['n_embd']")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_heads": 0}, "num_heads is 0"),
        ({"num_heads": 3, "num_kv_heads": 2}, "3 heads cannot share 2"),
        ({"head_dim": 3}, "head_dim is 3; rotary positions turn pairs"),
        ({"norm": "batch"}, "norm is 'batch'"),
        ({"norm": ["layer"]}, "norm is ['layer']"),
        ({"tied_output": 1}, "tied_output is 1"),
        ({"norm_epsilon": float("nan")}, "norm_epsilon is nan"),
        ({"rotary_base": float("inf")}, "rotary_base is inf"),
        ({"rotary_base": -1}, "rotary_base is -1"),
        ({"embed_dim": "4"}, "embed_dim is '4'"),
        ({"num_layers": 1 << 24}, "num_layers is 16777216"),
        ({"context_length": 1 << 24}, "context_length is 16777216"),
        ({"num_layers": 1 << 12}, "parameters missing or unknown"),
        ({"embed_dim": 1 << 24, "mlp_dim": 1 << 24}, "the config asks for (4, 16777216)"),
        ({"tied_output": True}, "parameters missing or unknown: output.weight"),
        ({"position": "learned"}, "parameters missing or unknown: position_embedding"),
    ],
    ids=str,
)
def test_a_config_that_is_wrong_or_does_not_fit(good, change, reason):
    set_metadata(good, config=CONFIG.to_dict() | change)
    refused(good, reason)


@pytest.mark.parametrize(
    ("vocabulary", "reason"),
    [
        (["\n", "a", "b"], "the vocabulary has 3 characters and the config says 4"),
        (["\n", "a", "b", "c", "d"], "the vocabulary has 5 characters and the config says 4"),
        ([], "at least one character"),
        (["\n", "a", "b", "ab"], "must be one character"),
        (["\n", "a", "b", 3], "must be one character"),
        (["\n", "a", "b", ["c"]], "must be one character"),
        (["\n", "a", "b", "a"], "must not hold a character twice"),
    ],
    ids=str,
)
def test_a_wrong_vocabulary(good, vocabulary, reason):
    set_metadata(good, vocabulary=vocabulary)
    refused(good, reason)


# --- damage at random ---


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    path = tmp_path_factory.mktemp("damage") / "model.safetensors"
    save_checkpoint(path, CONFIG, TOKENIZER, random_parameters(CONFIG), TRAINING)
    return path, path.read_bytes()


def load_or_refuse(path, content):
    path.write_bytes(content)
    try:
        found = load_checkpoint(path)
    except KvtuiError:
        return
    assert {name: value.shape for name, value in found.parameters.items()} == parameter_shapes(found.config)
    assert found.tokenizer.vocab_size == found.config.vocab_size
    assert all(np.isfinite(value).all() for value in found.parameters.values())


@settings(relaxed, max_examples=300)
@given(data=st.data())
def test_flipped_bytes_never_raise_anything_else(intact, data):
    path, content = intact
    damaged = bytearray(content)
    header_end = 8 + struct.unpack("<Q", content[:8])[0]
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, header_end - 1) | st.integers(0, len(content) - 1))
        damaged[place] ^= data.draw(st.integers(1, 255))
    load_or_refuse(path, bytes(damaged))


@relaxed
@given(data=st.data())
def test_cut_and_doubled_pieces_never_raise_anything_else(intact, data):
    path, content = intact
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    load_or_refuse(path, content[:first] + data.draw(st.sampled_from([b"", content[first:last] * 2])) + content[last:])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["rms", 4, 8]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(relaxed, max_examples=150)
@given(name=st.sampled_from(sorted(CONFIG.to_dict())), value=JSON)
def test_any_value_in_the_config_never_raises_anything_else(intact, name, value):
    path, content = intact
    header, data = take_apart(content)
    header["__metadata__"]["config"] = json.dumps(CONFIG.to_dict() | {name: value})
    load_or_refuse(path, put_together(header, data))


@relaxed
@given(metadata=st.dictionaries(st.sampled_from(["format", "config", "vocabulary", "training"]), JSON))
def test_any_metadata_never_raises_anything_else(intact, metadata):
    path, content = intact
    header, data = take_apart(content)
    header["__metadata__"] |= {name: json.dumps(value) for name, value in metadata.items() if name != "format"}
    load_or_refuse(path, put_together(header, data))
    header["__metadata__"] = metadata
    load_or_refuse(path, put_together(header, data))
