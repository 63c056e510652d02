"""Files with bits turned, bytes gone and lengths that lie: a model or one line, whatever the damage and the format."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hf_folder import LLAMA, llama_config, llama_tensors, random_parameters, write_folder
from test_llama2c import write_model, write_tokenizer

from kvtui.core import KvtuiError, load
from kvtui.core.formats import peek_model

CASES = 400
LENGTHS = [0, 1, 2**20, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1]
needs_tokenizers = pytest.mark.skipif(
    find_spec("tokenizers") is None, reason="needs the package tokenizers: pip install 'kvtui[hf]'"
)


def llama2c(folder: Path, version: int) -> tuple[Path, list[Path]]:
    write_model(folder / "m.bin", version, tied=False)
    write_tokenizer(folder / "tokenizer.bin")
    return folder / "m.bin", [folder / "m.bin", folder / "tokenizer.bin"]


def huggingface(folder: Path) -> tuple[Path, list[Path]]:
    config = llama_config()
    write_folder(folder / "m", LLAMA, llama_tensors(config, random_parameters(config)), shards=2)
    return folder / "m", sorted((folder / "m").iterdir())


def gguf(folder: Path) -> tuple[Path, list[Path]]:
    pytest.importorskip("gguf", reason="needs the package gguf: pip install 'kvtui[gguf]'")
    from test_gguf import gguf_tensors, write_gguf

    config = llama_config()
    path = write_gguf(folder / "m.gguf", "llama", config, gguf_tensors("llama", config, random_parameters(config)))
    return path, [path]


WRITERS: dict[str, Callable[[Path], tuple[Path, list[Path]]]] = {
    "llama2c 0": lambda folder: llama2c(folder, 0),
    "llama2c 1": lambda folder: llama2c(folder, 1),
    "Hugging Face": huggingface,
    "GGUF": gguf,
}


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes, mostly where the header is."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(max(1, min(len(changed), 2000 if rng.random() < 0.8 else len(changed)))))
        match rng.integers(5):
            case 0:
                changed[at : at + 1] = bytes([rng.integers(256)])
            case 1:
                changed[at : at + 1] = bytes([changed[at] ^ 1 << int(rng.integers(8))]) if changed else b""
            case 2:
                changed[at : at + 8] = int(rng.choice(np.array(LENGTHS, np.uint64))).to_bytes(8, "little")
            case 3:
                del changed[at : at + int(rng.integers(1, 9))]
            case _:
                changed[at:at] = rng.bytes(int(rng.integers(1, 9)))
    return bytes(changed[: rng.integers(len(changed))] if rng.random() < 0.1 else changed)


@needs_tokenizers
@pytest.mark.parametrize("kind", WRITERS)
def test_a_damaged_file_is_a_model_or_one_line(tmp_path: Path, kind: str) -> None:
    model, files = WRITERS[kind](tmp_path)
    whole = {file: file.read_bytes() for file in files}
    rng = np.random.default_rng(7)
    messages = []
    for case in range(CASES):
        file = files[case % len(files)]
        file.write_bytes(damaged(whole[file], rng))
        for read in (load, peek_model):
            try:
                read(model)
            except KvtuiError as error:
                messages.append(str(error))
        file.write_bytes(whole[file])
    assert 0 < len(messages) < 2 * CASES
    assert {len(message.splitlines()) for message in messages} == {1}
    assert max(map(len, messages)) < len(str(model)) + 400
    load(model)  # what was not damaged is still a model


@needs_tokenizers
def test_folders_in_place_of_files_and_links_to_nothing(tmp_path: Path) -> None:
    model, files = huggingface(tmp_path)
    for file in files:
        whole = file.read_bytes()
        file.unlink()
        file.mkdir()
        with pytest.raises(KvtuiError):
            load(model)
        shutil.rmtree(file)
        file.symlink_to(tmp_path / "nothing")
        with pytest.raises(KvtuiError):
            load(model)
        file.unlink()
        file.write_bytes(whole)
    load(model)
