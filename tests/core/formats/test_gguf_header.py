"""The header of a GGUF file: the package's own reader says the same, and no length in it is believed."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvtui.core.errors import KvtuiError
from kvtui.core.formats.gguf_header import Header, read_header

gguf = pytest.importorskip("gguf")

U8, U32, BOOL, STRING, ARRAY = 0, 4, 7, 8, 9


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def field(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int, elements: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + elements


def file_of(path: Path, *fields: bytes, tensors: int = 0, count: int | None = None, version: int = 3) -> Path:
    counts = struct.pack("<IQQ", version, tensors, len(fields) if count is None else count)
    path.write_bytes(b"GGUF" + counts + b"".join(fields))
    return path


def plain(header: Header) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in header.metadata.items()}


def test_it_says_what_the_package_s_reader_says(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_uint8("u8", 200)
    writer.add_int8("i8", -3)
    writer.add_uint16("u16", 60_000)
    writer.add_int16("i16", -30_000)
    writer.add_int32("i32", -(2**31))
    writer.add_uint64("u64", 2**64 - 1)
    writer.add_int64("i64", -(2**63))
    writer.add_float32("f32", 1e-5)
    writer.add_float64("f64", 1e-300)
    writer.add_bool("yes", True)
    writer.add_string("text", "naïve 字 🙂")
    writer.add_array("texts", ["a", "", "▁b"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_array("floats", [0.5, -1.0])
    writer.add_array("bools", [True, False])
    writer.add_tensor("matrix", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("half", np.arange(5, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    header, reader = read_header(path), gguf.GGUFReader(path)
    theirs = {name: entry.contents() for name, entry in reader.fields.items() if not name.startswith("GGUF.")}
    assert plain(header) == theirs
    assert [(place.name, place.kind, place.shape, place.offset) for place in header.tensors] == [
        (tensor.name, int(tensor.tensor_type), tuple(reversed(tensor.shape.tolist())), tensor.data_offset)
        for tensor in reader.tensors
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([field("a", ARRAY, array(U8, 2**62, b""))], "it ends before"),
        ([field("a", ARRAY, array(STRING, 2**62, b""))], "it ends before"),
        ([field("a", STRING, struct.pack("<Q", 2**64 - 1))], "it ends before"),
        ([field("a", U32, bytes(4)), field("a", U32, bytes(4))], "it has 'a' twice"),
        ([field("a", 13, bytes(8))], "type 13"),
        ([field("a", ARRAY, array(ARRAY, 1, b"") * 6 + array(U8, 0, b""))], "more than 4 deep"),
        ([field("a", STRING, text(b"\xff\xfe"))], "not UTF-8"),
        ([field("general.alignment", U32, struct.pack("<I", 24))], "power of two"),
        ([field("general.alignment", STRING, text("x"))], "power of two"),
    ],
    ids=str,
)
def test_damage_is_refused(tmp_path: Path, fields: list[bytes], reason: str) -> None:
    path = file_of(tmp_path / "m.gguf", *fields)
    with pytest.raises(KvtuiError, match="is not a whole GGUF file") as caught:
        read_header(path)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 200


@pytest.mark.parametrize(("tensors", "fields"), [(2**40, 0), (0, 2**40), (10**5, 1), (2**63, 2**63)])
def test_counts_beyond_the_file_are_refused(tmp_path: Path, tensors: int, fields: int) -> None:
    with pytest.raises(KvtuiError, match="too short for"):
        read_header(file_of(tmp_path / "m.gguf", tensors=tensors, count=fields))


def test_other_files_and_versions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "other").write_bytes(b"PK\x03\x04" + bytes(100))
    for name in ("empty", "other"):
        with pytest.raises(KvtuiError, match="does not start with GGUF"):
            read_header(tmp_path / name)
    with pytest.raises(KvtuiError, match="version 1; those implemented are 2 and 3"):
        read_header(file_of(tmp_path / "old", version=1))
    with pytest.raises(KvtuiError, match="other byte order"):
        read_header(file_of(tmp_path / "big", version=3 << 24))


@pytest.mark.parametrize(
    ("kind", "element"),
    [(U8, b"\x07"), (BOOL, b"\x01"), (STRING, text("")), (STRING, text("x")), (ARRAY, array(U8, 0, b""))],
    ids=["bytes", "bools", "empty texts", "texts", "arrays"],
)
def test_memory_is_in_proportion_to_the_file(tmp_path: Path, kind: int, element: bytes) -> None:
    count = 300_000 // len(element)
    path = file_of(tmp_path / "m.gguf", field("a", ARRAY, array(kind, count, element * count)))
    tracemalloc.start()
    try:
        assert len(read_header(path).metadata["a"]) == count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * path.stat().st_size + 100_000
