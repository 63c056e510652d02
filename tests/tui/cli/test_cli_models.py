"""``--model``: what it takes, and every file that it must refuse with one line."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from calling import Kvtui, assert_refused
from safetensors import safe_open
from safetensors.numpy import save_file

from kvtui.core import CharTokenizer, ModelConfig
from kvtui.core.formats.checkpoint import save_checkpoint


def contents(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


def refused(kvtui: Kvtui, path: Path, *words: str) -> None:
    """Every command that loads a model says the same; nothing is written."""
    before = sorted(path.parent.iterdir())
    for args in (["generate", "A"], ["info"], ["info", "--json"], ["bench"]):
        assert_refused(kvtui(*args, "--model", path), *words)
    assert sorted(path.parent.iterdir()) == before


def test_info_shows_shapes_sizes_and_provenance(kvtui: Kvtui, tiny_model_file: Path) -> None:
    outcome = kvtui("info", "--model", tiny_model_file)
    assert outcome.status == 0
    cache, heads = "256 bytes per token, 8,192 for the full context", "2 of 8 dimensions (2 key/value heads)"
    for line in ("tiny", cache, heads, "2.75"):
        assert line in outcome.out


def test_info_json(kvtui: Kvtui, tiny_model_file: Path, tiny_config: ModelConfig) -> None:
    values = json.loads(kvtui("info", "--model", tiny_model_file, "--json").out)
    assert values["config"] == tiny_config.to_dict()
    assert values["parameters"] == sum(array.size for array in contents(tiny_model_file)[0].values())
    assert values["cache_bytes_per_token"] == 256
    assert values["file_bytes"] == tiny_model_file.stat().st_size
    assert values["training"]["curve"][-1]["validation_loss"] == 2.75


def test_info_shows_a_table_of_the_tensors(kvtui: Kvtui, tiny_model_file: Path) -> None:
    outcome = kvtui("info", "--model", tiny_model_file, "--tensors")
    table = outcome.out.split("\n\n")[1].splitlines()
    assert table[0].split() == ["tensor", "shape", "count", "memory"]
    query = next(line for line in table if line.startswith("blocks.0–1.attention.query.weight"))
    assert query.split()[1:] == ["16", "×", "16", "2", "2.0", "kB"]
    assert table[-1].startswith("together")
    assert not any("blocks.1." in line for line in table)


def test_info_of_a_model_without_a_record(kvtui: Kvtui, tmp_path: Path, tiny_model_file: Path) -> None:
    tensors, metadata = contents(tiny_model_file)
    del metadata["training"]
    save_file(tensors, tmp_path / "bare.safetensors", metadata)
    assert "not recorded" in kvtui("info", "--model", tmp_path / "bare.safetensors").out


def test_a_folder_and_the_bundled_name(kvtui: Kvtui, tmp_path: Path, tiny_model_file: Path) -> None:
    shutil.copy(tiny_model_file, tmp_path / "model.safetensors")
    assert kvtui("info", "--model", tmp_path).status == 0
    assert kvtui("info").out == kvtui("info", "--model", "shakespeare").out


def test_missing(kvtui: Kvtui, tmp_path: Path) -> None:
    refused(kvtui, tmp_path / "no.safetensors", "there is no model", "shakespeare")


def test_folder_without_a_model(kvtui: Kvtui, tmp_path: Path) -> None:
    assert_refused(kvtui("info", "--model", tmp_path), "there is no model file", "model.safetensors")


def test_a_pipe_is_not_waited_for(kvtui: Kvtui, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    refused(kvtui, tmp_path / "pipe.safetensors", "neither a file nor a folder")


@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_truncated(kvtui: Kvtui, tmp_path: Path, tiny_model_file: Path, keep: int) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(tiny_model_file.read_bytes()[:keep])
    refused(kvtui, path, str(path), "not a whole safetensors file")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x95cposix\nsystem\n(S'true'\ntR." * 40,  # a pickle: never run
        b"GGUF" + bytes(400),
        b"PK\x03\x04" + bytes(400),
        struct.pack("<Q", 2**62) + b"{}" * 100,  # claims a header of 4 EiB
        struct.pack("<Q", 90_000_000) + b"{}" * 100,
        struct.pack("<Q", 200) + b"[" * 200,
        struct.pack("<Q", 2) + b"{}",
    ],
)
def test_wrong_magic_and_huge_header(kvtui: Kvtui, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(data)
    refused(kvtui, path, str(path))


def test_foreign_safetensors(kvtui: Kvtui, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": np.zeros((2, 2), np.float32)}, path)
    refused(kvtui, path, "not a kvtui model")


@pytest.mark.parametrize(
    ("name", "array", "word"),
    [
        ("output.weight", np.zeros((16, 3), np.float32), "shape"),
        ("output.weight", np.zeros((16, 62), np.int64), "dtype"),
        ("output.weight", None, "output.weight"),
        ("surplus\x1b[2J\nline", np.zeros(1, np.float32), "surplus"),
    ],
)
def test_wrong_tensors(
    kvtui: Kvtui, tmp_path: Path, tiny_model_file: Path, name: str, array: np.ndarray | None, word: str
) -> None:
    tensors, metadata = contents(tiny_model_file)
    tensors.pop(name, None)
    if array is not None:
        tensors[name] = array
    path = tmp_path / "wrong.safetensors"
    save_file(tensors, path, metadata)
    refused(kvtui, path, word)
    assert "\x1b" not in kvtui("info", "--model", path).err


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(kvtui: Kvtui, tmp_path: Path, tiny_model_file: Path, value: float) -> None:
    tensors, metadata = contents(tiny_model_file)
    tensors["blocks.1.mlp.up.weight"][3, 3] = value
    path = tmp_path / "nan.safetensors"
    save_file(tensors, path, metadata)
    refused(kvtui, path, "blocks.1.mlp.up.weight", "NaN")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config", "{"),
        ("config", "[]"),
        ("config", "[" * 100_000),
        ("config", '{"vocab_size": 62}'),
        ("config", "num_layers=-1"),
        ("config", "num_layers=1000000000000"),
        ("config", "vocab_size=16777216"),
        ("config", 'embed_dim="16"'),
        ("config", "norm_epsilon=NaN"),
        ("vocabulary", "{}"),
        ("vocabulary", "[]"),
        ("vocabulary", "[1, 2]"),
        ("vocabulary", '["a", "a"]'),
        ("training", "3"),
        ("format", "kvtui-99"),
    ],
)
def test_hostile_metadata(kvtui: Kvtui, tmp_path: Path, tiny_model_file: Path, key: str, value: str) -> None:
    tensors, metadata = contents(tiny_model_file)
    if "=" in value:
        field, _, number = value.partition("=")
        config = json.loads(metadata["config"])
        config[field] = "NUMBER"
        value = json.dumps(config).replace('"NUMBER"', number)
    metadata[key] = value
    path = tmp_path / "hostile.safetensors"
    save_file(tensors, path, metadata)
    refused(kvtui, path, str(path))


@pytest.fixture
def overflowing(tmp_path: Path, tiny_config: ModelConfig, tiny_parameters: dict[str, np.ndarray]) -> Path:
    """A model of finite weights whose logits are not."""
    output = tiny_parameters["output.weight"]
    parameters = {**tiny_parameters, "output.weight": output / abs(output).max() * np.float32(3e38)}
    path = tmp_path / "huge.safetensors"
    vocabulary = [chr(65 + index) for index in range(tiny_config.vocab_size)]
    save_checkpoint(path, tiny_config, CharTokenizer(vocabulary), parameters, dtype=np.float32)
    return path


def test_eval_refuses_a_loss_that_is_no_number(kvtui: Kvtui, tmp_path: Path, overflowing: Path) -> None:
    text = tmp_path / "text"
    text.write_text("ABBA" * 20)
    assert_refused(kvtui("eval", text, "--model", overflowing), "not finite")


def test_generate_refuses_logits_that_are_no_numbers(kvtui: Kvtui, overflowing: Path) -> None:
    outcome = kvtui("generate", "A", "-n", 3, "--model", overflowing)
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
