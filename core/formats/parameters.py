"""From the tensors in a file to the decoder's parameters, for every format that names its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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

    @property
    def problem(self) -> str:
        """Why its numbers cannot be read, as a message goes on after the tensor's name; empty if they can."""
        ...

    def map(self) -> NDArray[Any]:
        """Read the numbers; bfloat16 as uint16."""
        ...


@dataclass(frozen=True)
class _Source:
    """Where one of our parameters is read from.

    Attributes:
        theirs: name of the tensor.
        shape: that the tensor must have.
        part: "query", "key" or "value" for a parameter of one of these projections, else None.
        transposed: whether the tensor is stored as (outputs, inputs).
        fused: whether the tensor holds queries, keys and values side by side.
    """

    theirs: str
    shape: tuple[int, ...]
    part: str | None
    transposed: bool
    fused: bool


def check_parameters(path: Path, family: Family, config: ModelConfig, tensors: Mapping[str, Stored]) -> None:
    """Refuse tensors that do not fit the config; no numbers are read.

    Args:
        path: of the file or folder, for messages.
        family: names and layout of the tensors.
        config: of the model.
        tensors: by their names.

    Raises:
        KvtuiError: a tensor is missing, unknown, of another shape, or of a kind that cannot be read.
    """
    sources = _sources(family, config)
    used = {source.theirs: source for source in sources.values()}
    missing = [name for name in used if name not in tensors]
    if missing:
        raise KvtuiError(f"{path}: the weights lack {missing[0]}, which the config asks for{_more(missing)}")
    unknown = [
        name
        for name in sorted(set(tensors) - set(used))
        if not name.endswith(family.ignored) and not (name == family.top["output.weight"] and config.tied_output)
    ]
    if unknown:
        raise KvtuiError(f"{path}: the config has no place for the tensor {unknown[0]}{_more(unknown)}")
    for name, source in used.items():
        if tensors[name].shape != source.shape:
            raise KvtuiError(f"{path}: {name} has shape {tensors[name].shape}; the config asks for {source.shape}")
        if tensors[name].problem:
            raise KvtuiError(f"{path}: {name} {tensors[name].problem}")


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
        KvtuiError: as for :func:`check_parameters`, or a number is not finite.
    """
    check_parameters(path, family, config, tensors)
    sources, parameters = _sources(family, config), {}
    for ours, source in sources.items():
        parameters[ours] = _read_parameter(path, family, config, ours, source, tensors[source.theirs], dtype)
        on_progress(len(parameters), len(sources))
    return parameters


def _sources(family: Family, config: ModelConfig) -> dict[str, _Source]:
    """Where each of our parameters is read from."""
    sources = {}
    for ours, shape in parameter_shapes(config).items():
        part = next((name for name in _THREE if f".attention.{name}." in ours), None)
        fused = part is not None and family.fused
        transposed = ours == "output.weight" or (family.transposed and ours.endswith(".weight"))
        stored = (*shape[:-1], 3 * shape[-1]) if fused else shape
        sources[ours] = _Source(family.theirs(ours), stored[::-1] if transposed else stored, part, transposed, fused)
    return sources


def untie_output(
    family: Family, config: ModelConfig, tensors: Mapping[str, Stored], on_note: Callable[[str], None]
) -> ModelConfig:
    """The config of a model whose file has an output matrix although its config says that the embedding is used.

    The file is right if the two differ, as in transformers 5 (modeling_utils.py, ``tie_weights``).
    """
    embedding = tensors.get(family.top["token_embedding"])
    output = tensors.get(family.top["output.weight"])
    if not config.tied_output or embedding is None or output is None:
        return config
    if embedding.shape == output.shape and not (embedding.problem or output.problem):
        rows = 1 << 12
        first, second = embedding.map(), output.map()
        if first.dtype == second.dtype and all(
            np.array_equal(first[at : at + rows], second[at : at + rows]) for at in range(0, len(first), rows)
        ):
            return config
    on_note(
        f"the output is not tied: {family.top['output.weight']} differs from the embedding, whatever the config says"
    )
    return replace(config, tied_output=False)


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _read_parameter(
    path: Path, family: Family, config: ModelConfig, ours: str, source: _Source, stored: Stored, dtype: Any
) -> Array:
    """Read one of our parameters from the tensor that holds it."""
    array = stored.map().T if source.transposed else stored.map()
    if source.fused:
        array = np.split(array, 3, axis=-1)[_THREE[str(source.part)]]
    numbers = as_numbers(f"{path}: {source.theirs}", array, dtype)
    rotated = source.part in ("query", "key") or ours.endswith(("query_norm.gain", "key_norm.gain"))
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
