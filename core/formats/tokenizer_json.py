"""``tokenizer.json``, through the library that wrote it: the extra ``hf``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvtui.core.errors import KvtuiError, brief, clip_message
from kvtui.core.formats.shards import read_json
from kvtui.core.tokenizer import Tokenizer, decode_tokens, describe_bytes

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class LibraryTokenizer:
    """A tokenizer of the ``tokenizers`` library, which encodes; the bytes of each token are computed once here.

    Args:
        library: the tokenizer.
        start_id: what an empty prompt starts from.
        stop_ids: end a text.

    Raises:
        KvtuiError: tokens are joined in a way that is not implemented.
    """

    def __init__(self, library: Library, start_id: int, stop_ids: frozenset[int]) -> None:
        self.start_id = start_id
        self.stop_ids = stop_ids
        self._library = library
        with refusals("this tokenizer cannot be used"):
            library.no_truncation()
            library.no_padding()
            added = library.get_added_tokens_decoder()
            vocabulary = library.get_vocab(with_added_tokens=True)
            decoder = json.loads(library.decoder.__getstate__()) if library.decoder else None
            library.encode("")  # problems surface here, not with the first prompt
        self._names = {index: token for token, index in vocabulary.items()}
        steps = list(_decoder_steps(decoder))
        kinds = {step.get("type") for step in steps}
        self._hides_first_space = "Strip" in kinds or any(
            step.get("type") == "Metaspace" and step.get("prepend_scheme") != "never" for step in steps
        )
        if "ByteLevel" in kinds:
            letters = {letter: byte for byte, letter in byte_letters().items()}
        elif kinds & {"Metaspace", "Replace"}:
            letters = None
        else:
            raise KvtuiError(f"tokens are joined by {sorted(map(str, kinds))}, which is not implemented")
        self._bytes: dict[int, bytes] = {}
        for index, token in self._names.items():
            if index in added:
                self._bytes[index] = b"" if added[index].special else added[index].content.encode()
            elif letters is not None:
                self._bytes[index] = b"".join(
                    bytes([letters[letter]]) if letter in letters else letter.encode() for letter in token
                )
            else:
                byte = _BYTE.fullmatch(token) if "ByteFallback" in kinds else None
                self._bytes[index] = bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self._names, default=-1) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of a text; the names of special tokens in it become those tokens.

        Raises:
            KvtuiError: the library cannot encode it.
        """
        with refusals("this text cannot be encoded"):
            return list(self._library.encode(text.encode("utf-8", "replace").decode()).ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids."""
        return decode_tokens(self, ids)

    def piece(self, index: int) -> str:
        """One token as a label."""
        return describe_bytes(self._bytes.get(index, b"")) or self._names.get(index, f"<{index}>")

    def token_bytes(self, index: int, previous: int | None = None) -> bytes:
        """What a token adds to a text whose last token is ``previous``."""
        data = self._bytes.get(index, b"")
        first = self._hides_first_space and (previous is None or previous == self.start_id)
        return data.removeprefix(b" ") if first else data

    def split_known(self, text: str) -> tuple[str, list[str]]:
        """All of the text: what the vocabulary lacks becomes bytes or its unknown token."""
        return text, []


def _decoder_steps(decoder: Any) -> Iterator[dict[str, Any]]:
    if isinstance(decoder, dict):
        yield decoder
        for step in decoder.get("decoders") or ():
            yield from _decoder_steps(step)


def byte_letters() -> dict[int, str]:
    """The letter for each byte in byte-level vocabularies (``bytes_to_unicode`` in GPT-2's encoder.py).

    Printable bytes are represented by themselves, the others by letters from U+0100 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + at) for at, byte in enumerate(others)}


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn whatever the library raises into a KvtuiError: it has no own exceptions, and panics are not Exceptions."""
    try:
        with _quiet():
            yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise KvtuiError(f"{what}: {clip_message(error)}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Send what is written to the standard error's descriptor to nowhere: a panic writes lines of its own there."""
    try:
        before = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def import_library() -> Any:
    """The ``tokenizers`` package.

    Raises:
        KvtuiError: it is not installed.
    """
    try:
        import tokenizers
    except ImportError:
        raise KvtuiError("this model needs the package 'tokenizers': pip install 'kvtui[hf]'") from None
    return tokenizers


def read_tokenizer(folder: Path, config: Mapping[str, Any], vocab_size: int) -> LibraryTokenizer:
    """Read ``tokenizer.json``; ``config.json`` and ``generation_config.json`` name start and end of a text.

    Args:
        folder: of the model.
        config: of the model.
        vocab_size: rows of the model's embedding.

    Raises:
        KvtuiError: the file is missing, damaged or does not fit the model, or the library is not installed.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise KvtuiError(
            f"{folder} has no tokenizer.json: make one with AutoTokenizer.from_pretrained(FOLDER)"
            ".save_pretrained(FOLDER) of transformers"
        )
    tokenizers = import_library()
    with refusals(f"{path} cannot be read"):
        library = tokenizers.Tokenizer.from_file(str(path))
    generation = folder / "generation_config.json"
    stop_ids = _token_ids(folder / "config.json", config, "eos_token_id")
    if generation.is_file():
        stop_ids = stop_ids + _token_ids(generation, read_json(generation), "eos_token_id")
    start_ids = _token_ids(folder / "config.json", config, "bos_token_id")
    start_id = start_ids[0] if start_ids else min(stop_ids, default=0)
    try:
        tokenizer = LibraryTokenizer(library, start_id, frozenset(stop_ids))
    except KvtuiError as error:
        raise KvtuiError(f"{path}: {error}") from None
    check_fit(path, tokenizer, vocab_size)
    return tokenizer


def _token_ids(path: Path, values: Mapping[str, Any], name: str) -> list[int]:
    """The ids that a config gives for the start or the end of a text: one, several or none."""
    value = values.get(name)
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(index, int) and not isinstance(index, bool) for index in ids):
        raise KvtuiError(f"{path}: {name} is {brief(value)}; it must be the number of a token, or several")
    return ids


def check_fit(where: Path | str, tokenizer: Tokenizer, vocab_size: int) -> None:
    """Refuse a tokenizer with ids that the model does not have.

    Raises:
        KvtuiError: there are such ids.
    """
    if tokenizer.vocab_size > vocab_size:
        raise KvtuiError(
            f"{where} has ids up to {tokenizer.vocab_size - 1:,}, but the model's embedding only {vocab_size:,} rows: "
            "it is another model's tokenizer"
        )
    if not 0 <= tokenizer.start_id < vocab_size:
        raise KvtuiError(
            f"{where}: a text starts with the id {tokenizer.start_id}, which the {vocab_size:,} tokens do not include"
        )
