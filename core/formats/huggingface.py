"""Hugging Face folders: ``config.json``, safetensors and ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kvtui.core.checkpoint import Checkpoint
from kvtui.core.config import ModelConfig, parameter_shapes
from kvtui.core.errors import KvtuiError
from kvtui.core.formats.families import FAMILIES, Family
from kvtui.core.formats.numbers import as_numbers
from kvtui.core.formats.shards import Stored, find_tensors, read_json
from kvtui.core.formats.tokenizer_json import read_tokenizer
from kvtui.core.layers import Array

_THREE = {"query": 0, "key": 1, "value": 2}  # places in GPT-2's c_attn


def read_huggingface(folder: Path, dtype: Any, on_progress: Callable[[int, int], None]) -> Checkpoint:
    """Read a model of one of the architectures in :data:`kvtui.core.formats.families.FAMILIES`.

    Raises:
        KvtuiError: an unknown architecture, a feature that is not implemented, weights that are missing, damaged or do
            not fit the config, or a tokenizer that does not fit them.
    """
    values = read_json(folder / "config.json")
    architecture, config = _read_config(folder, values)
    family = FAMILIES[architecture]
    tensors = _without_prefix(find_tensors(folder))
    tokenizer = read_tokenizer(folder, values, config.vocab_size)
    parameters = _read_parameters(folder, family, config, tensors, dtype, on_progress)
    return Checkpoint(config, tokenizer, parameters, {}, folder, _kind(architecture, tensors))


def peek_huggingface(folder: Path) -> tuple[ModelConfig, str]:
    """Config and kind of a folder's model, without its weights; only the headers of the files are read.

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
    if name not in FAMILIES:
        raise KvtuiError(
            f"{folder / 'config.json'}: the architecture is {name or values.get('model_type')!r}; "
            f"those implemented are {', '.join(FAMILIES)}"
        )
    return str(name)


def _without_prefix(tensors: dict[str, Stored]) -> dict[str, Stored]:
    """GPT-2's tensors come with ``transformer.`` before their names, or without it."""
    return {name.removeprefix("transformer."): stored for name, stored in tensors.items()}


def _read_parameters(
    folder: Path,
    family: Family,
    config: ModelConfig,
    tensors: dict[str, Stored],
    dtype: Any,
    on_progress: Callable[[int, int], None],
) -> dict[str, Array]:
    shapes = parameter_shapes(config)
    theirs = {ours: family.theirs(ours) for ours in shapes}
    missing = [name for name in theirs.values() if name not in tensors]
    if missing:
        raise KvtuiError(f"{folder}: the weights lack {missing[0]}, which the config asks for{_more(missing)}")
    unknown = [
        name
        for name in sorted(set(tensors) - set(theirs.values()))
        if not name.endswith(family.ignored) and not (name == "lm_head.weight" and config.tied_output)
    ]
    if unknown:
        raise KvtuiError(f"{folder}: the config has no place for the tensor {unknown[0]}{_more(unknown)}")
    total = sum(tensors[name].nbytes for name in set(theirs.values()))
    done = 0
    parameters: dict[str, Array] = {}
    for ours, shape in shapes.items():
        stored = tensors[theirs[ours]]
        parameters[ours] = _read_parameter(f"{stored.path}: {theirs[ours]}", family, config, ours, shape, stored, dtype)
        done += parameters[ours].size * stored.nbytes // max(1, _count(stored))
        on_progress(done, total)
    return parameters


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _count(stored: Stored) -> int:
    return int(np.prod(stored.shape))


def _read_parameter(
    where: str, family: Family, config: ModelConfig, ours: str, shape: tuple[int, ...], stored: Stored, dtype: Any
) -> Array:
    """One of our parameters from the tensor that holds it."""
    part = next((name for name in _THREE if f".attention.{name}." in ours), None)
    fused = part is not None and not family.turned
    turned = ours == "output.weight" or (family.turned and ours.endswith(".weight"))
    expected = (*shape[:-1], 3 * shape[-1]) if fused else shape[::-1] if turned else shape
    if stored.shape != expected:
        raise KvtuiError(f"{where} has shape {stored.shape}; the config asks for {expected}")
    array = stored.map()
    if fused:
        array = np.split(array, 3, axis=-1)[_THREE[str(part)]]
    numbers = as_numbers(where, array.T if turned else array, dtype)
    rotated = part in ("query", "key") or ours.endswith(("query_norm.gain", "key_norm.gain"))
    return as_neighbours(numbers, config.head_dim) if rotated and config.position == "rotary" else numbers


def as_neighbours(array: Array, head_dim: int) -> Array:
    """Reorder the numbers of each head so that rotary pairs are neighbours. (…, heads·D) -> (…, heads·D).

    Hugging Face turns the numbers j and j + D/2 of a head together, this decoder 2j and 2j + 1 as in Su et al. 2021.
    Queries and keys are reordered alike, so their products stay the same.
    """
    halves = array.reshape(*array.shape[:-1], -1, 2, head_dim // 2)
    return halves.swapaxes(-1, -2).reshape(array.shape)
