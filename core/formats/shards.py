"""The tensors of a Hugging Face folder: one safetensors file, or several with an index; and its JSON files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from kvtui.core.errors import KvtuiError, clip_message
from kvtui.core.formats.numbers import map_array

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
}  # NumPy has no bfloat16: its bits are kept as uint16
LARGEST_JSON = 1 << 26  # bytes
_POINTER = b"version https://git-lfs"  # how a file begins that stands for another one, in git-lfs


@dataclass(frozen=True)
class Stored:
    """Where a tensor is stored."""

    path: Path
    dtype: str  # by safetensors' name
    shape: tuple[int, ...]
    offset: int

    @property
    def problem(self) -> str:
        """Why its numbers cannot be read; empty if they can."""
        return "" if self.dtype in _DTYPES else f"has dtype {self.dtype}; it must be one of {', '.join(_DTYPES)}"

    def map(self) -> NDArray[Any]:
        """Map the numbers from the file; bfloat16 as uint16."""
        return map_array(self.path, _DTYPES[self.dtype], self.shape, self.offset)


def find_tensors(folder: Path, on_note: Callable[[str], None] = lambda words: None) -> dict[str, Stored]:
    """Every tensor of a folder by its name; only the headers are read.

    A whole file wins over an index, as in transformers (modeling_utils.py, ``_get_resolved_checkpoint_files``).

    Args:
        folder: of the model.
        on_note: called with what was ignored.

    Raises:
        KvtuiError: there are no weights, a file is missing or damaged, or the index names files elsewhere or missing
            tensors.
    """
    if (folder / WEIGHTS).is_file():
        if (folder / INDEX).is_file():
            on_note(f"{INDEX} is ignored: the weights are all in {WEIGHTS}")
        return _read_header(folder / WEIGHTS)
    if not (folder / INDEX).is_file():
        raise KvtuiError(_no_weights(folder))
    index = read_json(folder / INDEX).get("weight_map")
    if not isinstance(index, dict) or not index or not all(isinstance(name, str) for name in index.values()):
        raise KvtuiError(f"{folder / INDEX} has no weight_map from tensors to files")
    shards: dict[str, dict[str, Stored]] = {}
    for name in sorted(set(index.values())):
        if Path(name).name != name:
            raise KvtuiError(
                f"{folder / INDEX} names the file {name!r}, which is not in the folder: it is not followed"
            )
        if not (folder / name).is_file():
            raise KvtuiError(f"{folder / INDEX} names {name}, which is missing: download it again")
        shards[name] = _read_header(folder / name)
    for tensor, name in index.items():
        if tensor not in shards[name]:
            raise KvtuiError(f"{folder / INDEX} says that {name} holds {tensor}, but it does not")
    return {tensor: shards[name][tensor] for tensor, name in index.items()}


def _no_weights(folder: Path) -> str:
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    if pickles:
        return (
            f"{folder} has its weights only as a PyTorch pickle ({pickles[0]}), which can run any program when it is "
            "loaded: convert it first, with AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER) "
            "of transformers"
        )
    return f"{folder} has a config.json, but neither {WEIGHTS} nor {INDEX}"


def check_pointer(path: Path) -> None:
    """Refuse a file that git-lfs has not replaced with the file itself yet.

    Raises:
        KvtuiError: it is such a file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise KvtuiError(f"{path} is only a git-lfs pointer to the file: run 'git lfs pull' in its folder")


def check_file(path: Path, largest: int) -> None:
    """Refuse a file that is not to be read at all.

    Raises:
        KvtuiError: it is only a git-lfs pointer, or has more than ``largest`` bytes.
        OSError: it cannot be read.
    """
    check_pointer(path)
    if (size := path.stat().st_size) > largest:
        raise KvtuiError(f"{path} has {size:,} bytes; at most {largest:,} are read")


def _read_header(path: Path) -> dict[str, Stored]:
    check_pointer(path)
    try:
        with safe_open(path, framework="np"):  # checks that header and file match
            pass
    except SafetensorError as error:
        raise KvtuiError(f"{path} is not a whole safetensors file: {clip_message(error)}") from None
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {
        name: Stored(path, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
        for name, entry in header.items()
    }


def read_json(path: Path) -> dict[str, Any]:
    """Read an object from a JSON file.

    Raises:
        KvtuiError: the file is missing, not JSON, not an object, or larger than any config.
    """
    try:
        check_file(path, LARGEST_JSON)
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise KvtuiError(f"there is no {path}") from None
    except (ValueError, RecursionError) as error:
        raise KvtuiError(f"{path} is not JSON: {clip_message(error)}") from None
    if not isinstance(values, dict):
        raise KvtuiError(f"{path} does not hold a JSON object")
    return values
