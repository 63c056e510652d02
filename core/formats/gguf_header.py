"""The header of a GGUF file: metadata and the places of the tensors, read without trusting a single length.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The ``gguf`` package's reader makes several
objects of every element of an array, so a hostile file of 10 MB takes 3 GB; here numbers are one NumPy array.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np

from kvtui.core.errors import KvtuiError, brief

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
# NumPy's dtypes of GGUF's types of numbers; a bool is a byte.
_NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "<u1",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_BOOL, _STRING, _ARRAY, _WHOLE = 7, 8, 9, 10
_LEAST_FIELD, _LEAST_TENSOR = 13, 24  # bytes: an empty name, a type and a number; an empty name, no dimensions
_MOST_TENSORS = 1 << 16
_DEEPEST = 4  # arrays in arrays
_U32, _U64 = Struct("<I"), Struct("<Q")


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor is. ``kind`` is ggml's number of its type, ``shape`` as NumPy has it, ``offset`` from the start of
    the file in bytes."""

    name: str
    kind: int
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class Header:
    """Metadata by name: numbers, bools, texts, lists of texts, NumPy arrays of numbers; and the tensors."""

    metadata: dict[str, Any]
    tensors: tuple[TensorPlace, ...]


def read_header(path: Path) -> Header:
    """Read the header of a file. Takes memory in proportion to the header, whatever lengths it claims.

    Raises:
        KvtuiError: it is not a GGUF file, of a version or byte order that is not implemented, or not whole.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise KvtuiError(f"{path} is not a whole GGUF file: it does not start with GGUF")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Cursor(data).header()
    except _DamagedError as error:
        raise KvtuiError(f"{path} is not a whole GGUF file: {error}") from None
    except UnicodeDecodeError:
        raise KvtuiError(f"{path} is not a whole GGUF file: a name or text in its header is not UTF-8") from None
    except _ForeignError as error:
        raise KvtuiError(f"{path} {error}") from None


class _DamagedError(Exception):
    """The file breaks the format; the message says where."""


class _ForeignError(Exception):
    """A whole file that cannot be read here; the message says why."""


class _Cursor:
    """Reads one value after another."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.size = len(data)
        self.place = 4

    def header(self) -> Header:
        version = self.number(_U32)
        if version not in _VERSIONS:
            if int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS:
                raise _ForeignError("has its numbers in the other byte order than this machine's, which cannot be read")
            raise _DamagedError(f"it has version {version}; those implemented are 2 and 3")
        tensors, fields = self.number(_U64), self.number(_U64)
        if tensors * _LEAST_TENSOR + fields * _LEAST_FIELD > self.size - self.place:
            raise _DamagedError(f"it is too short for {brief(tensors)} tensors and {brief(fields)} fields")
        if tensors > _MOST_TENSORS:
            raise _DamagedError(f"it claims {brief(tensors)} tensors; at most {_MOST_TENSORS:,} are read")
        metadata: dict[str, Any] = {}
        for _ in range(fields):
            name = self.text()
            if name in metadata:
                raise _DamagedError(f"it has {brief(name)} twice")
            metadata[name] = self.value(self.number(_U32), 0)
        places = [self.tensor() for _ in range(tensors)]
        if len({place.name for place in places}) < len(places):
            raise _DamagedError("two of its tensors have one name")
        return Header(metadata, self.from_start_of_data(places, metadata.get("general.alignment", 32)))

    def take(self, length: int) -> int:
        """Step over ``length`` bytes that have to be there, and return where they begin."""
        first = self.place
        if length > self.size - first:
            raise _DamagedError(f"it ends before the {brief(length)} bytes that are to follow byte {first:,}")
        self.place = first + length
        return first

    def number(self, kind: Struct) -> int:
        return int(kind.unpack_from(self.data, self.take(kind.size))[0])

    def text(self) -> str:
        length = self.number(_U64)
        first = self.take(length)
        return self.data[first : first + length].decode()

    def value(self, kind: int, depth: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self.array(depth + 1)
        if kind not in _NUMBERS:
            raise _DamagedError(f"a field has the type {kind}, which there is not")
        number = self.numbers(kind, 1)[0].item()
        return bool(number) if kind == _BOOL else number

    def array(self, depth: int) -> Any:
        kind, count = self.number(_U32), self.number(_U64)
        if kind in _NUMBERS:
            return self.numbers(kind, count)
        if depth > _DEEPEST:
            raise _DamagedError(f"arrays stand in arrays more than {_DEEPEST} deep")
        if count * 8 > self.size - self.place:  # each begins with a length of eight bytes, or with more
            raise _DamagedError(f"it ends before the {brief(count)} elements of an array")
        return [self.value(kind, depth) for _ in range(count)]

    def numbers(self, kind: int, count: int) -> Any:
        """``count`` numbers as an array of their own, not a view of the file."""
        dtype = np.dtype(_NUMBERS[kind])
        first = self.take(count * dtype.itemsize)
        return np.frombuffer(self.data[first : self.place], dtype)

    def tensor(self) -> TensorPlace:
        """A tensor, its offset still from the start of the data."""
        name, dimensions = self.text(), self.number(_U32)
        shape = self.numbers(_WHOLE, dimensions).tolist()
        return TensorPlace(name, self.number(_U32), tuple(reversed(shape)), self.number(_U64))

    def from_start_of_data(self, places: list[TensorPlace], alignment: Any) -> tuple[TensorPlace, ...]:
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise _DamagedError(f"general.alignment is {brief(alignment)}; it must be a power of two")
        start = -(-self.place // alignment) * alignment
        return tuple(TensorPlace(p.name, p.kind, p.shape, start + p.offset) for p in places)
