"""Readers of model files: one module per format, and :func:`read_model`, which detects the format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.formats.checkpoint import Checkpoint, load_checkpoint, peek_checkpoint
from kvtui.core.formats.gguf import peek_gguf, read_gguf
from kvtui.core.formats.huggingface import peek_huggingface, read_huggingface
from kvtui.core.formats.llama2c import is_llama2c, peek_llama2c, read_llama2c
from kvtui.core.formats.shards import check_pointer

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # how files of torch.save start, new and old
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Format:
    """How a kind of model file is read, and how only its config and kind are read from its headers."""

    read: Callable[[Path, Any, Callable[[int, int], None]], Checkpoint]
    peek: Callable[[Path], tuple[ModelConfig, str]]


KVTUI = Format(lambda path, dtype, on_progress: load_checkpoint(path, dtype), peek_checkpoint)
HUGGING_FACE = Format(read_huggingface, peek_huggingface)
LLAMA2C = Format(read_llama2c, peek_llama2c)
GGUF = Format(read_gguf, peek_gguf)


def read_model(
    path: Path, dtype: Any = np.float32, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Checkpoint:
    """Read a model from a file or a folder of any known format, detected from its contents.

    Args:
        path: a file, or a folder.
        dtype: of the weights in memory: float32, or float64 for tests.
        on_progress: called with (parts done, total parts).

    Raises:
        KvtuiError: the model is missing, damaged, of an unknown format, or has a feature that is not implemented.
    """
    try:
        return recognise(path).read(path, dtype, on_progress)
    except OSError as error:
        raise KvtuiError(f"cannot read {path}: {error.strerror or error}") from None


def peek_model(path: Path) -> tuple[ModelConfig, str]:
    """Config and kind of a model, read from its headers alone.

    Raises:
        KvtuiError: :func:`read_model` would refuse it, as far as the headers show.
    """
    try:
        return recognise(path).peek(path)
    except OSError as error:
        raise KvtuiError(f"cannot read {path}: {error.strerror or error}") from None


def recognise(path: Path) -> Format:
    """Detect the format of a file or folder.

    Raises:
        KvtuiError: it is neither, or a PyTorch pickle.
        OSError: it cannot be read.
    """
    if path.is_dir():
        if (path / "config.json").is_file():
            return HUGGING_FACE
        if not (path / "model.safetensors").is_file():
            raise KvtuiError(_no_model_in(path))
        check_pointer(path / "model.safetensors")
        return KVTUI
    if not path.is_file():
        raise KvtuiError(f"{path} is neither a file nor a folder")  # reading a pipe could wait for a writer forever
    check_pointer(path)
    with path.open("rb") as file:
        head = file.read(9)
    if head.startswith(b"GGUF"):
        return GGUF
    if head[8:] == b"{" or path.suffix == ".safetensors":  # how a safetensors file starts
        return KVTUI
    if is_llama2c(path):
        return LLAMA2C
    if path.suffix in _PICKLE_SUFFIXES and head.startswith((_ZIP, _PICKLE)):
        raise KvtuiError(
            f"{path} is a PyTorch pickle, which can run any program when it is loaded: convert it first, with "
            "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER) of transformers"
        )
    return LLAMA2C if path.suffix == ".bin" else KVTUI  # it is neither, and the message says why


def _no_model_in(folder: Path) -> str:
    files = sorted(folder.glob("*.gguf"))
    if files:
        return f"{folder} is a folder without a config.json: give the file, such as {files[0]}"
    snapshots = sorted(folder.glob("snapshots/*/config.json"))
    if snapshots:
        return f"{folder} is a folder of the Hugging Face cache: give the snapshot in it, such as {snapshots[0].parent}"
    return (
        f"there is no model file {folder / 'model.safetensors'}, nor a config.json as Hugging Face folders have it "
        "('kvtui models --models-dir' lists what is there)"
    )
