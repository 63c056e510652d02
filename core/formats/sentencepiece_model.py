"""``tokenizer.model``: a SentencePiece model, a protocol buffer, read without the ``sentencepiece`` package.

Fields and defaults: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from struct import unpack_from

from kvtui.core.errors import KvtuiError, brief
from kvtui.core.formats.sentencepiece import Kind, SentencePieceTokenizer
from kvtui.core.formats.shards import check_file

_LARGEST = 1 << 27  # bytes of a file
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3  # fields of the model
_TEXT, _SCORE, _KIND = 1, 2, 3  # fields of a piece
_MODEL_TYPE, _UNKNOWN_ID, _START_ID, _STOP_ID = 3, 40, 41, 42  # fields of the trainer
_CHARACTERS, _DUMMY_PREFIX, _EXTRA_SPACES = 2, 3, 4  # fields of the normaliser
_MODEL_TYPES = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
_INSTEAD = "make a tokenizer.json with AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) of transformers"

Field = tuple[int, int | float | bytes]


class _DamagedError(Exception):
    """It breaks the format."""


def read_sentencepiece(
    path: Path,
    added: Mapping[int, tuple[str, bool]],
    start_ids: Sequence[int],
    stop_ids: frozenset[int],
    add_start: bool,
    most: int,
) -> SentencePieceTokenizer:
    """Read a model of the kind BPE, as Llama 2, Mistral and TinyLlama have it.

    Texts become the same tokens as in transformers 5, which puts a space only in front of a whole text.

    Args:
        path: of the file.
        added: tokens that other files of the folder add, by id: name, and whether it has no text.
        start_ids: the token that begins a text; empty for that of the file.
        stop_ids: end a text; empty for that of the file.
        add_start: whether texts begin with the first.
        most: pieces that the model has rows for.

    Raises:
        KvtuiError: the file is damaged, or of a kind that is not implemented.
    """
    check_file(path, _LARGEST)
    pieces: list[str] = []
    scores: list[float] = []
    kinds: list[int] = []
    options: dict[int, dict[int, int | float | bytes]] = {_TRAINER: {}, _NORMALIZER: {}}
    try:
        for number, value in _fields(path.read_bytes()):
            if number == _PIECES and isinstance(value, bytes):
                if len(pieces) == most:
                    raise KvtuiError(f"{path} has more pieces than the {most:,} rows of the model's embedding")
                piece = dict(_fields(value))
                text, score, kind = piece.get(_TEXT, b""), piece.get(_SCORE, 0.0), piece.get(_KIND, Kind.NORMAL)
                pieces.append(text.decode() if isinstance(text, bytes) else "")
                scores.append(float(score) if not isinstance(score, bytes) else 0.0)
                kinds.append(kind if isinstance(kind, int) else Kind.NORMAL)
            elif number in options and isinstance(value, bytes):
                options[number] |= dict(_fields(value))
    except (_DamagedError, UnicodeDecodeError):
        raise KvtuiError(f"{path} is not a whole SentencePiece model") from None
    trainer, normalizer = options[_TRAINER], options[_NORMALIZER]
    _check_options(path, trainer, normalizer)
    for index in sorted(added):
        if index > len(pieces):
            raise KvtuiError(f"{path} has {len(pieces):,} pieces, but an added token has the id {index:,}")
        if index == len(pieces):
            pieces.append("")
            scores.append(0.0)
            kinds.append(Kind.NORMAL)
        pieces[index], kinds[index] = added[index][0], Kind.CONTROL if added[index][1] else Kind.USER_DEFINED
    if not pieces:
        raise KvtuiError(f"{path} is not a whole SentencePiece model")
    return SentencePieceTokenizer.of_kinds(
        pieces,
        kinds,
        scores,
        start_ids[0] if start_ids else _id(trainer, _START_ID, 1, len(pieces)),
        stop_ids or {_id(trainer, _STOP_ID, 2, len(pieces))},
        space_after_names=False,
        unknown_id=_id(trainer, _UNKNOWN_ID, 0, len(pieces)),
        add_start=add_start,
        add_space=bool(normalizer.get(_DUMMY_PREFIX, 1)),
    )


def _check_options(path: Path, trainer: Mapping[int, object], normalizer: Mapping[int, object]) -> None:
    """Refuse what is not implemented.

    Raises:
        KvtuiError: there is such a thing.
    """
    kind = trainer.get(_MODEL_TYPE, 1)
    if kind != 2:
        name = _MODEL_TYPES.get(kind) if isinstance(kind, int) else None
        raise KvtuiError(
            f"{path} is a SentencePiece model of the kind {name or brief(kind)}, but only bpe is implemented: "
            f"{_INSTEAD}"
        )
    if normalizer.get(_CHARACTERS, b"") or normalizer.get(_EXTRA_SPACES, 1):
        raise KvtuiError(
            f"{path} changes characters or spaces of a text before it is split, which is not implemented: {_INSTEAD}"
        )


def _id(trainer: Mapping[int, object], field: int, default: int, count: int) -> int:
    index = trainer.get(field, default)
    return index if isinstance(index, int) and 0 <= index < count else min(default, count - 1)


def _fields(data: bytes) -> Iterator[Field]:
    """Number and value of each field of a message."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield number, value
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            if place + size > len(data):
                raise _DamagedError
            yield number, unpack_from("<d" if wire == 1 else "<f", data, place)[0]
            place += size
        elif wire == 2:
            size, place = _varint(data, place)
            if size > len(data) - place:
                raise _DamagedError
            yield number, data[place : place + size]
            place += size
        else:
            raise _DamagedError


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise _DamagedError
