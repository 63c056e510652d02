"""Models of llama2.c: ``.bin`` files with float32 weights, legacy (version 0) and version 1, and their tokenizers.

The layouts are those of ``legacy_export`` and ``version1_export`` in its export.py, and of ``build_tokenizer`` in
its run.c. Rotary pairs are neighbours there, as they are here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from kvtui.core.config import ModelConfig, parameter_shapes
from kvtui.core.errors import KvtuiError
from kvtui.core.formats.checkpoint import Checkpoint
from kvtui.core.formats.numbers import as_numbers, map_array
from kvtui.core.formats.sentencepiece import SentencePieceTokenizer
from kvtui.core.formats.shards import check_pointer
from kvtui.core.layers import Array

_MAGIC = 0x616B3432  # "ak42"
_HEADER_V1 = 256  # bytes
_START, _STOP = 1, 2  # of every llama2.c tokenizer
_LONGEST_PIECE = 1 << 16  # bytes

# Their names of our parameters, and whether a projection is stored as (outputs, inputs).
_BLOCK_ARRAYS = {
    "attention_norm.gain": ("rms_att", False),
    "attention.query.weight": ("wq", True),
    "attention.key.weight": ("wk", True),
    "attention.value.weight": ("wv", True),
    "attention.output.weight": ("wo", True),
    "mlp_norm.gain": ("rms_ffn", False),
    "mlp.gate.weight": ("w1", True),
    "mlp.down.weight": ("w2", True),
    "mlp.up.weight": ("w3", True),
}


@dataclass(frozen=True)
class _Header:
    """What the beginning of a file says, and where the weights start."""

    config: ModelConfig
    version: int
    start: int

    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the arrays in the order of the file."""
        c = self.config
        layers, width = c.num_layers, c.embed_dim
        norms: dict[str, tuple[int, ...]] = {"rms_att": (layers, width), "rms_ffn": (layers, width)}
        embedding: dict[str, tuple[int, ...]] = {"embedding": (c.vocab_size, width)}
        attention: dict[str, tuple[int, ...]] = {
            "wq": (layers, c.query_dim, width),
            "wk": (layers, c.kv_dim, width),
            "wv": (layers, c.kv_dim, width),
            "wo": (layers, width, c.query_dim),
        }
        mlp: dict[str, tuple[int, ...]] = {
            "w1": (layers, c.mlp_dim, width),
            "w2": (layers, width, c.mlp_dim),
            "w3": (layers, c.mlp_dim, width),
        }
        final: dict[str, tuple[int, ...]] = {"rms_final": (width,)}
        output: dict[str, tuple[int, ...]] = {} if c.tied_output else {"output": (c.vocab_size, width)}
        if self.version == 1:
            return norms | final | embedding | attention | mlp | output
        tables: dict[str, tuple[int, ...]] = {"cos and sin": (2, c.context_length, c.head_dim // 2)}  # not needed here
        attention_norm, mlp_norm = {"rms_att": norms["rms_att"]}, {"rms_ffn": norms["rms_ffn"]}
        return embedding | attention_norm | attention | mlp_norm | mlp | final | tables | output

    @property
    def file_bytes(self) -> int:
        """Size that the file must have."""
        return self.start + 4 * sum(prod(shape) for shape in self.arrays().values())


def _read_header(path: Path) -> _Header:
    with path.open("rb") as file:
        head = file.read(_HEADER_V1)
    if len(head) < 28:
        raise KvtuiError(f"{path} is not a llama2.c model: it has only {len(head)} bytes")
    version, start, fields = 0, 28, head
    if struct.unpack_from("<I", head)[0] == _MAGIC:
        version, start, fields = struct.unpack_from("<i", head, 4)[0], _HEADER_V1, head[8:]
        if version != 1:
            raise KvtuiError(f"{path} is a llama2.c model of version {version}; only 0 and 1, in float32, can be read")
        if len(head) < _HEADER_V1:
            raise KvtuiError(f"{path} ends within its header")
    dim, hidden, layers, heads, kv_heads, vocabulary, context = struct.unpack_from("<7i", fields)
    tied = vocabulary > 0 if version == 0 else bool(fields[28])
    if heads < 1 or dim % heads:
        raise KvtuiError(f"{path} is not a llama2.c model: a width of {dim} cannot be shared by {heads} heads")
    try:
        config = ModelConfig(
            vocab_size=abs(vocabulary),
            context_length=context,
            num_layers=layers,
            num_heads=heads,
            num_kv_heads=kv_heads,
            head_dim=dim // heads,
            embed_dim=dim,
            mlp_dim=hidden,
            norm="rms",
            mlp="swiglu",
            tied_output=tied,
        )
    except (KvtuiError, ZeroDivisionError) as error:
        raise KvtuiError(f"{path} is not a llama2.c model: {error}") from None
    return _Header(config, version, start)


def is_llama2c(path: Path) -> bool:
    """Whether a file has the magic number of version 1, or a header that implies exactly the file's size."""
    with path.open("rb") as file:
        head = file.read(4)
    if len(head) == 4 and struct.unpack("<I", head)[0] == _MAGIC:
        return True
    try:
        return _read_header(path).file_bytes == path.stat().st_size
    except KvtuiError:
        return False


def peek_llama2c(path: Path) -> tuple[ModelConfig, str]:
    """Config and kind of a model, without its weights.

    Raises:
        KvtuiError: not such a model, an unsupported version, a wrong size, or no tokenizer beside it.
    """
    header = _read_whole_header(path)
    _find_tokenizer(path, header.config.vocab_size)
    return header.config, _kind(header)


def _kind(header: _Header) -> str:
    return f"llama2.c version {header.version}, float32"


def _read_whole_header(path: Path) -> _Header:
    """The header of a file that is as long as it says."""
    header, size = _read_header(path), path.stat().st_size
    if header.file_bytes != size:
        raise KvtuiError(
            f"{path} is not a complete llama2.c model: its header implies {header.file_bytes:,} bytes, it has {size:,}"
        )
    return header


def read_llama2c(path: Path, dtype: Any, on_progress: Callable[[int, int], None]) -> Checkpoint:
    """Read a model and the tokenizer beside it, ``tok<vocabulary>.bin`` or ``tokenizer.bin``.

    Raises:
        KvtuiError: not such a model, an unsupported version, a wrong size, or no tokenizer.
    """
    header = _read_whole_header(path)
    config, size = header.config, header.file_bytes
    tokenizer = read_tokenizer(_find_tokenizer(path, config.vocab_size), config.vocab_size)
    stored: dict[str, Array] = {}
    offset = header.start
    for name, shape in header.arrays().items():
        if name != "cos and sin":
            stored[name] = as_numbers(f"{path}: {name}", map_array(path, "<f4", shape, offset), dtype)
        offset += 4 * prod(shape)
        on_progress(offset, size)
    parameters: dict[str, Array] = {
        "token_embedding": stored["embedding"],
        "final_norm.gain": stored["rms_final"],
    }
    for layer in range(config.num_layers):
        for ours, (theirs, transposed) in _BLOCK_ARRAYS.items():
            array = stored[theirs][layer]
            parameters[f"blocks.{layer}.{ours}"] = array.T if transposed else array
    if not config.tied_output:
        parameters["output.weight"] = stored["output"].T
    ordered = {name: parameters[name] for name in parameter_shapes(config)}
    return Checkpoint(config, tokenizer, ordered, {}, path, _kind(header))


def _find_tokenizer(path: Path, vocab_size: int) -> Path:
    names = (f"tok{vocab_size}.bin", "tokenizer.bin")
    for name in names:
        if (path.parent / name).is_file():
            return path.parent / name
    raise KvtuiError(f"{path} needs its tokenizer beside it: {' or '.join(names)} in the same folder")


def read_tokenizer(path: Path, vocab_size: int) -> SentencePieceTokenizer:
    """Read a llama2.c tokenizer: the length of the longest piece, then score, length and bytes of each.

    Raises:
        KvtuiError: the file is damaged, or the number of pieces is not that of the model's vocabulary.
    """
    check_pointer(path)
    data = path.read_bytes()
    pieces: list[str] = []
    scores: list[float] = []
    offset = 4
    while offset < len(data):
        if offset + 8 > len(data):
            raise KvtuiError(f"{path} ends within token {len(pieces):,}")
        score, length = struct.unpack_from("<fi", data, offset)
        offset += 8
        if not 0 <= length <= _LONGEST_PIECE or offset + length > len(data):
            raise KvtuiError(
                f"{path} is not a complete llama2.c tokenizer: token {len(pieces):,} claims {length:,} bytes"
            )
        pieces.append(data[offset : offset + length].decode("utf-8", "replace"))
        scores.append(score)
        offset += length
    if len(pieces) != vocab_size or vocab_size <= _STOP:
        raise KvtuiError(f"{path} has {len(pieces):,} tokens, the model's vocabulary {vocab_size:,}: not its tokenizer")
    names = {0: "<unk>", _START: "<s>", _STOP: "</s>"}
    pieces = [names.get(index, piece) for index, piece in enumerate(pieces)]
    return SentencePieceTokenizer(pieces, scores, _START, {_START, _STOP}, names)
