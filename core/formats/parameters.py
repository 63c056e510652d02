"""From the tensors in a file to the decoder's parameters, for every format that names its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kvtui.core.config import ModelConfig, parameter_shapes
from kvtui.core.errors import KvtuiError
from kvtui.core.formats.families import Family
from kvtui.core.formats.numbers import as_numbers
from kvtui.core.layers import Array

_THREE = {"query": 0, "key": 1, "value": 2}  # places in a tensor that holds all three


class Stored(Protocol):
    """A tensor in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        ...

    def map(self) -> NDArray[Any]:
        """Read the numbers; bfloat16 as uint16."""
        ...


def read_parameters(
    path: Path,
    family: Family,
    config: ModelConfig,
    tensors: Mapping[str, Stored],
    dtype: Any,
    on_progress: Callable[[int, int], None],
) -> dict[str, Array]:
    """Read every parameter of the config.

    Args:
        path: of the file or folder, for messages.
        family: names and layout of the tensors.
        config: of the model.
        tensors: by their names.
        dtype: of the parameters.
        on_progress: called with (parameters done, total parameters).

    Raises:
        KvtuiError: a tensor is missing, unknown, of another shape, or holds a number that is not finite.
    """
    shapes = parameter_shapes(config)
    theirs = {ours: family.theirs(ours) for ours in shapes}
    missing = [name for name in theirs.values() if name not in tensors]
    if missing:
        raise KvtuiError(f"{path}: the weights lack {missing[0]}, which the config asks for{_more(missing)}")
    unknown = [
        name
        for name in sorted(set(tensors) - set(theirs.values()))
        if not name.endswith(family.ignored) and not (name == family.top["output.weight"] and config.tied_output)
    ]
    if unknown:
        raise KvtuiError(f"{path}: the config has no place for the tensor {unknown[0]}{_more(unknown)}")
    parameters: dict[str, Array] = {}
    for ours, shape in shapes.items():
        where = f"{path}: {theirs[ours]}"
        parameters[ours] = _read_parameter(where, family, config, ours, shape, tensors[theirs[ours]], dtype)
        on_progress(len(parameters), len(shapes))
    return parameters


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _read_parameter(
    where: str, family: Family, config: ModelConfig, ours: str, shape: tuple[int, ...], stored: Stored, dtype: Any
) -> Array:
    """Read one of our parameters from the tensor that holds it."""
    part = next((name for name in _THREE if f".attention.{name}." in ours), None)
    fused = part is not None and family.fused
    transposed = ours == "output.weight" or (family.transposed and ours.endswith(".weight"))
    expected = (*shape[:-1], 3 * shape[-1]) if fused else shape
    expected = expected[::-1] if transposed else expected
    if stored.shape != expected:
        raise KvtuiError(f"{where} has shape {stored.shape}; the config asks for {expected}")
    array = stored.map().T if transposed else stored.map()
    if fused:
        array = np.split(array, 3, axis=-1)[_THREE[str(part)]]
    numbers = as_numbers(where, array, dtype)
    rotated = part in ("query", "key") or ours.endswith(("query_norm.gain", "key_norm.gain"))
    if rotated and family.halves and config.position == "rotary":
        return as_neighbours(numbers, config.head_dim)
    return numbers


def as_neighbours(array: Array, head_dim: int) -> Array:
    """Reorder the numbers of each head so that rotary pairs are neighbours. (…, heads·D) -> (…, heads·D).

    Hugging Face rotates the numbers j and j + D/2 of a head together, this decoder 2j and 2j + 1 as in Su et al. 2021.
    Queries and keys are reordered the same way, so their products stay the same.
    """
    halves = array.reshape(*array.shape[:-1], -1, 2, head_dim // 2)
    return halves.swapaxes(-1, -2).reshape(array.shape)
