"""Models on disk: safetensors with the config, the vocabulary and the training record in the metadata. No pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kvtui.core.config import ModelConfig, parameter_shapes
from kvtui.core.errors import KvtuiError, clip_message
from kvtui.core.files import write_whole
from kvtui.core.layers import Array
from kvtui.core.tokenizer import CharTokenizer, Tokenizer

FORMAT = "kvtui-1"
_DTYPES = {"F16", "F32", "F64"}


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a model file.

    ``training`` is the record of how the model was trained, empty if unknown; ``source`` describes the kind of file;
    ``notes`` say what in the file was ignored or contradicts itself.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    parameters: dict[str, Array]
    training: dict[str, Any]
    path: Path
    source: str
    notes: tuple[str, ...] = ()


def write_safetensors(path: Path, tensors: Mapping[str, Array], metadata: dict[str, str]) -> None:
    """Write a safetensors file, completely or not at all.

    The same tensors and metadata give the same bytes: safetensors itself writes the metadata in an order that changes
    from call to call, so the header is rewritten here.
    """
    content = memoryview(save({key: np.ascontiguousarray(value) for key, value in tensors.items()}, metadata))
    data = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(bytes(content[8:data])) | {"__metadata__": metadata}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the format aligns the data
    write_whole(path, (len(header).to_bytes(8, "little"), header, content[data:]))


def save_checkpoint(
    path: Path,
    config: ModelConfig,
    tokenizer: CharTokenizer,
    parameters: dict[str, Array],
    training: dict[str, Any] | None = None,
    dtype: Any = np.float16,
) -> None:
    """Write a model file.

    Raises:
        KvtuiError: the file cannot be written, or a number is not finite in ``dtype``.
    """
    metadata = {
        "format": FORMAT,
        "config": json.dumps(config.to_dict()),
        "vocabulary": json.dumps(tokenizer.vocabulary),
        "training": json.dumps(training or {}),
    }
    with np.errstate(over="ignore"):
        tensors = {name: value.astype(dtype) for name, value in parameters.items()}
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            raise KvtuiError(f"cannot write {path}: {name} is not finite as {np.dtype(dtype).name}")
    write_safetensors(path, tensors, metadata)


def load_checkpoint(path: Path, dtype: Any = np.float32) -> Checkpoint:
    """Read a model file, checking every name, shape, dtype and number.

    Args:
        path: a file, or a folder that holds ``model.safetensors``.
        dtype: float32, or float64 for tests.

    Raises:
        KvtuiError: the file is missing, damaged, of another format, or does not fit its own config.
    """
    try:
        path = path / "model.safetensors" if path.is_dir() else path
        if not path.is_file():
            raise KvtuiError(f"there is no model file {path}")
        with safe_open(path, framework="np") as file:
            check_names(path)
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise KvtuiError(
                    f"{path} is a safetensors file, but not a kvtui model ('kvtui train' makes one); "
                    "of a Hugging Face model give the folder"
                )
            config, tokenizer, training = _read_metadata(path, metadata)
            shapes = parameter_shapes(config)
            names = set(file.keys())
            if names != set(shapes):
                wrong = sorted(names ^ set(shapes))
                raise KvtuiError(
                    f"{path}: parameters missing or unknown: {', '.join(wrong[:3])}{' …' * (len(wrong) > 3)}"
                )
            parameters = {}
            for name, shape in shapes.items():
                entry = file.get_slice(name)
                if entry.get_dtype() not in _DTYPES:
                    raise KvtuiError(f"{path}: {name} has dtype {entry.get_dtype()}; it must be one of F16, F32, F64")
                if tuple(entry.get_shape()) != shape:
                    raise KvtuiError(
                        f"{path}: {name} has shape {tuple(entry.get_shape())}; the config asks for {shape}"
                    )
                with np.errstate(over="ignore"):  # overflow is refused below
                    parameters[name] = file.get_tensor(name).astype(dtype)
                if not np.isfinite(parameters[name]).all():
                    raise KvtuiError(f"{path}: {name} holds a NaN or an infinity; the file is damaged")
    except SafetensorError as error:
        raise KvtuiError(f"{path} is not a whole safetensors file: {clip_message(error)}") from None
    except OSError as error:
        raise KvtuiError(f"cannot read {path}: {error.strerror or error}") from None
    return Checkpoint(config, tokenizer, parameters, training, path, "kvtui")


def peek_checkpoint(path: Path) -> tuple[ModelConfig, str]:
    """Config and kind of a model file, without its weights.

    Raises:
        KvtuiError: the file is damaged or of another format.
        OSError: it is missing or cannot be read.
    """
    path = path / "model.safetensors" if path.is_dir() else path
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            kinds = sorted({file.get_slice(name).get_dtype() for name in file.keys()})  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise KvtuiError(f"{path} is not a whole safetensors file: {clip_message(error)}") from None
    if metadata.get("format") != FORMAT:
        raise KvtuiError(f"{path} is not a kvtui model")
    config, _, _ = _read_metadata(path, metadata)
    return config, f"kvtui, {' and '.join(kinds)}"


def check_names(path: Path) -> None:
    """Refuse a safetensors file whose header has a name twice: the format forbids it, but safetensors takes the last.

    Args:
        path: of a file that safetensors has opened, so that its header is known to be JSON of a reasonable length.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            double = next(name for name in names if names.count(name) > 1)
            raise KvtuiError(f"{path} is damaged: its header has {double[:60]!r} twice")
        return found

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        json.loads(file.read(length), object_pairs_hook=unique)


def _number(text: str) -> float:
    """A number that JSON allows: neither NaN nor an infinity, spelled out or from too many digits."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _read_metadata(path: Path, metadata: dict[str, str]) -> tuple[ModelConfig, CharTokenizer, dict[str, Any]]:
    try:
        values, vocabulary = json.loads(metadata["config"]), json.loads(metadata["vocabulary"])
        training = json.loads(metadata.get("training", "{}"), parse_constant=_number, parse_float=_number)
    except (KeyError, ValueError, RecursionError):
        raise KvtuiError(
            f"{path}: the metadata is damaged: config, vocabulary or training record missing or not JSON"
        ) from None
    if not isinstance(values, dict) or not isinstance(vocabulary, list) or not isinstance(training, dict):
        raise KvtuiError(f"{path}: the metadata is damaged: wrong kinds of values")
    try:
        config, tokenizer = ModelConfig.from_dict(values), CharTokenizer(vocabulary)
    except (KvtuiError, TypeError) as error:
        raise KvtuiError(f"{path}: {error}") from None
    if tokenizer.vocab_size != config.vocab_size:
        raise KvtuiError(
            f"{path}: the vocabulary has {tokenizer.vocab_size} characters and the config says {config.vocab_size}"
        )
    return config, tokenizer, training
