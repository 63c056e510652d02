"""Hugging Face folders: ``config.json``, safetensors and ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError, brief
from kvtui.core.formats.checkpoint import Checkpoint
from kvtui.core.formats.families import FAMILIES
from kvtui.core.formats.parameters import read_parameters
from kvtui.core.formats.shards import Stored, find_tensors, read_json
from kvtui.core.formats.tokenizer_json import read_tokenizer


def read_huggingface(folder: Path, dtype: Any, on_progress: Callable[[int, int], None]) -> Checkpoint:
    """Read a model of one of the architectures in :data:`kvtui.core.formats.families.FAMILIES`.

    Raises:
        KvtuiError: an unknown architecture, a feature that is not implemented, weights that are missing or damaged or
            do not fit the config, or a tokenizer that does not fit the model.
    """
    on_progress(0, 1)
    values = read_json(folder / "config.json")
    architecture, config = _read_config(folder, values)
    family = FAMILIES[architecture]
    tensors = _without_prefix(find_tensors(folder))
    tokenizer = read_tokenizer(folder, values, config.vocab_size)
    parameters = read_parameters(folder, family, config, tensors, dtype, on_progress)
    return Checkpoint(config, tokenizer, parameters, {}, folder, _kind(architecture, tensors))


def peek_huggingface(folder: Path) -> tuple[ModelConfig, str]:
    """Config and kind of a folder's model, without its weights; only the file headers are read.

    Raises:
        KvtuiError: an unknown architecture, a feature that is not implemented, or weights that are missing or damaged.
    """
    architecture, config = _read_config(folder, read_json(folder / "config.json"))
    return config, _kind(architecture, find_tensors(folder))


def _read_config(folder: Path, values: dict[str, Any]) -> tuple[str, ModelConfig]:
    architecture = _architecture(folder, values)
    try:
        return architecture, FAMILIES[architecture].read_config(values)
    except (KvtuiError, TypeError, ValueError, OverflowError) as error:
        raise KvtuiError(f"{folder / 'config.json'}: {error}") from None


def _kind(architecture: str, tensors: dict[str, Stored]) -> str:
    return f"Hugging Face {architecture}, {' and '.join(sorted({stored.dtype for stored in tensors.values()}))}"


def _architecture(folder: Path, values: dict[str, Any]) -> str:
    names = values.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if not isinstance(name, str) or name not in FAMILIES:
        raise KvtuiError(
            f"{folder / 'config.json'}: the architecture is {brief(name or values.get('model_type'))}; "
            f"those implemented are {', '.join(FAMILIES)}"
        )
    return name


def _without_prefix(tensors: dict[str, Stored]) -> dict[str, Stored]:
    """GPT-2's tensor names come with or without the prefix ``transformer.``."""
    return {name.removeprefix("transformer."): stored for name, stored in tensors.items()}
