"""Readers of model files that people have: one module a format, and :func:`read_model`, which finds out which it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kvtui.core.checkpoint import Checkpoint, load_checkpoint
from kvtui.core.errors import KvtuiError
from kvtui.core.formats.huggingface import read_huggingface
from kvtui.core.formats.llama2c import is_llama2c, read_llama2c

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # how files of torch.save begin, new and old
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def read_model(
    path: Path, dtype: Any = np.float32, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Checkpoint:
    """Read a model from a file or a folder of any format that is known, telling it by what it holds.

    Args:
        path: a file, or a folder.
        dtype: of the weights in memory: float32, or float64 for tests.
        on_progress: called with (bytes done, bytes in all).

    Raises:
        KvtuiError: the model is missing, damaged, of an unknown format, or has a feature that is not implemented.
    """
    try:
        if path.is_dir():
            if (path / "config.json").is_file():
                return read_huggingface(path, dtype, on_progress)
            return load_checkpoint(path, dtype)
        if not path.is_file():
            raise KvtuiError(f"{path} is neither a file nor a folder")  # a pipe would wait for a writer for ever
        with path.open("rb") as file:
            head = file.read(9)
        if head[8:] != b"{" and path.suffix != ".safetensors":  # how a safetensors file begins
            if is_llama2c(path):
                return read_llama2c(path, dtype, on_progress)
            if path.suffix in _PICKLE_SUFFIXES and head.startswith((_ZIP, _PICKLE)):
                raise KvtuiError(
                    f"{path} is a PyTorch pickle, which can run any program when it is loaded: convert it first, with "
                    "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER) of transformers"
                )
            if path.suffix == ".bin":
                return read_llama2c(path, dtype, on_progress)  # it is none, and the message says why
        return load_checkpoint(path, dtype)
    except OSError as error:
        raise KvtuiError(f"cannot read {path}: {error.strerror or error}") from None
