"""Tokenizers of the ``tokenizers`` library, which encodes; what each token adds to a text is found out here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvtui.core.errors import KvtuiError, brief, clip_message
from kvtui.core.tokenizer import Tokenizer, decode_tokens, describe_bytes

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class LibraryTokenizer:
    """A tokenizer of the ``tokenizers`` library.

    The library joins tokens by the steps of its decoder. What a token adds is what it adds there to the token before
    it, as in the library's own DecodeStream; tokens that are parts of characters add bytes.

    Args:
        library: the tokenizer.
        start_id: what an empty prompt starts from.
        stop_ids: end a text.
        rows: of the model's embedding; added tokens beyond them, such as a ``[PAD]``, are not used. None: all are.

    Raises:
        KvtuiError: tokens are joined in a way that is not implemented.
    """

    def __init__(self, library: Library, start_id: int, stop_ids: frozenset[int], rows: int | None = None) -> None:
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
        self._beyond = {index: token.content for index, token in added.items() if rows is not None and index >= rows}
        self._names = {index: token for token, index in vocabulary.items() if index not in self._beyond}
        self._special = {index for index, token in added.items() if token.special}
        steps = list(_decoder_steps(decoder))
        _check_steps(steps)
        kinds = {step.get("type") for step in steps}
        self._letters = {letter: byte for byte, letter in byte_letters().items()} if "ByteLevel" in kinds else {}
        self._has_bytes = "ByteFallback" in kinds
        self._strips_first = any(step.get("type") == "Strip" and step.get("content") == " " for step in steps)
        self._same_after_any = "BPEDecoder" not in kinds  # whether it is one token after whatever other token
        self._inside: dict[int, bytes] = {}
        self._some_token = None  # one that depends on the text; of letters for bytes, none does
        if not self._letters:
            self._some_token = next((index for index in self._names if self._own_bytes(index) is None), None)

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self._names, default=-1) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of a text; the names of special tokens in it become those tokens.

        Raises:
            KvtuiError: the library cannot encode it, or it names a token that the model does not have.
        """
        with refusals("this text cannot be encoded"):
            ids = list(self._library.encode(text.encode("utf-8", "replace").decode()).ids)
        for index in self._beyond.keys() & set(ids):
            raise KvtuiError(f"the model's embedding has no row for the token {brief(self._beyond[index])}: remove it")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids."""
        return decode_tokens(self, ids)

    def piece(self, index: int) -> str:
        """One token as a label."""
        return describe_bytes(self.token_bytes(index, self._some_token)) or self._names.get(index, f"<{index}>")

    def token_bytes(self, index: int, previous: int | None = None) -> bytes:
        """What a token adds to a text whose last token is ``previous``."""
        own = self._own_bytes(index)
        if previous in self._special or previous not in self._names:
            previous = None
        if own is not None:
            return b"" if own == b" " and previous is None and self._has_bytes and self._strips_first else own
        if previous is None:
            return self._library.decode([index], skip_special_tokens=False).encode()
        if index in self._inside:
            return self._inside[index]
        before = self._library.decode([previous], skip_special_tokens=False)
        both = self._library.decode([previous, index], skip_special_tokens=False)
        data = both[len(before) :].encode()
        if self._same_after_any:
            self._inside[index] = data
        return data

    def split_known(self, text: str) -> tuple[str, list[str]]:
        """All of the text: what the vocabulary lacks becomes bytes or its unknown token."""
        return text, []

    def _own_bytes(self, index: int) -> bytes | None:
        """What a token adds to any text, where that does not depend on the text; None for other tokens."""
        token = self._names.get(index)
        if token is None or index in self._special:
            return b""
        if self._letters:
            if all(letter in self._letters for letter in token):
                return bytes(self._letters[letter] for letter in token)
            return token.encode()
        byte = _BYTE.fullmatch(token) if self._has_bytes else None
        return bytes([int(byte[1], 16)]) if byte else None


def _decoder_steps(decoder: Any) -> Iterator[dict[str, Any]]:
    """The steps of a decoder in order, those of sequences in their places."""
    if not isinstance(decoder, dict):
        return
    if decoder.get("type") != "Sequence":
        yield decoder
    for step in decoder.get("decoders") or ():
        yield from _decoder_steps(step)


def _check_steps(steps: Sequence[dict[str, Any]]) -> None:
    """Refuse decoders by which what a token adds depends on more than the token before it.

    Raises:
        KvtuiError: there is such a step.
    """
    fused = False  # whether the steps before have made one text of the tokens
    for step in steps:
        kind = step.get("type")
        alone = kind == "ByteLevel" and any(other.get("type") not in ("ByteLevel", "Fuse") for other in steps)
        known = kind in (
            "ByteLevel",
            "ByteFallback",
            "Fuse",
            "Metaspace",
            "Replace",
            "Strip",
            "WordPiece",
            "BPEDecoder",
        )
        if not known or alone or (fused and kind not in ("ByteLevel", "Fuse", "Replace", "Strip")):
            raise KvtuiError(
                f"tokens are joined by {brief(kind)}{' with other steps' * known}, which is not implemented"
            )
        if fused and kind == "Strip" and (step.get("start", 0) > 1 or step.get("stop", 0) > 0):
            raise KvtuiError(
                f"tokens are joined by a Strip of {step.get('start')} characters at the start and "
                f"{step.get('stop')} at the end, but only 1 and 0 is implemented"
            )
        pattern = step.get("pattern") or {}
        if fused and kind == "Replace" and len(pattern.get("String") or "") != 1:
            raise KvtuiError(f"tokens are joined by a Replace of {brief(pattern)} after Fuse, which is not implemented")
        fused = fused or kind == "Fuse"


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
    except (KeyboardInterrupt, SystemExit, KvtuiError):
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
