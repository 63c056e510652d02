"""Tokens with scores, as in SentencePiece's BPE models: llama2.c's tokenizer files and GGUF files of Llama 2."""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any

from kvtui.core.tokenizer import decode_tokens, describe_bytes

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Kind(IntEnum):
    """Kinds of pieces, numbered as in ``tokenizer.model`` and as in GGUF's ``tokenizer.ggml.token_type``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5


NAMED = (Kind.UNKNOWN, Kind.CONTROL, Kind.USER_DEFINED)  # a text may name them
_WITHOUT_TEXT = (Kind.UNKNOWN, Kind.CONTROL, Kind.UNUSED)


class SentencePieceTokenizer:
    """Merges characters into pieces: always the two neighbours whose union scores best, until no union is a piece.

    Characters that are not pieces become byte tokens. A text starts with ``start_id`` and a space that belongs to its
    first word and is not shown (Kudo & Richardson 2018; ``encode`` in llama2.c's run.c). Tokens that a text may name
    are cut out of it first, the longest name first (llama.cpp, llama-vocab.cpp, ``tokenizer_st_partition`` and
    ``llama_vocab::impl::tokenize``).

    Args:
        pieces: the text of each token, with plain spaces.
        scores: of each token; the largest wins.
        start_id: begins every text.
        stop_ids: end a text.
        special: tokens without text, including these two kinds.
        named: tokens that a text may name, such as ``</s>``; no other text becomes them.
        space_after_names: whether another space is put before what follows one of them, as in llama.cpp.
        unknown_id: represents characters that are not pieces if the vocabulary has no byte tokens.
        add_start: whether texts start with ``start_id``.
        add_space: whether texts start with a space.
    """

    def __init__(
        self,
        pieces: Sequence[str],
        scores: Sequence[float],
        start_id: int,
        stop_ids: Collection[int],
        special: Collection[int],
        *,
        named: Iterable[int] = (),
        space_after_names: bool = True,
        unknown_id: int = 0,
        add_start: bool = True,
        add_space: bool = True,
    ) -> None:
        self.start_id = start_id
        self.stop_ids = frozenset(stop_ids)
        self._pieces = tuple(pieces)
        self._scores = tuple(scores)
        self._unknown_id = unknown_id
        self._add_start = add_start
        self._add_space = add_space
        self._bytes: list[bytes] = []
        self._ids: dict[str, int] = {}  # pieces that may occur in a text
        self._byte_ids: dict[int, int] = {}
        self._space_after_names = add_space and space_after_names
        self._named = sorted(
            ((self._pieces[index], index) for index in named if self._pieces[index]),
            key=lambda entry: -len(entry[0].encode("utf-8", "replace")),
        )
        apart = {index for _, index in self._named}
        for index, piece in enumerate(self._pieces):
            byte = _BYTE.fullmatch(piece)
            if index in special:
                self._bytes.append(b"")
            elif index in apart:
                self._bytes.append(piece.encode("utf-8", "replace"))
            elif byte:
                self._bytes.append(bytes([int(byte[1], 16)]))
                self._byte_ids[int(byte[1], 16)] = index
            else:
                self._bytes.append(piece.encode("utf-8", "replace"))
                self._ids.setdefault(piece, index)

    @classmethod
    def of_kinds(
        cls,
        pieces: Sequence[str],
        kinds: Sequence[int],
        scores: Sequence[float],
        start_id: int,
        stop_ids: Collection[int],
        **options: Any,
    ) -> SentencePieceTokenizer:
        """A tokenizer of pieces as files have them: with ▁ for a space, except in names, and a :class:`Kind` each."""
        named = [index for index, kind in enumerate(kinds) if kind in NAMED]
        exact = set(named)
        return cls(
            [piece if index in exact else piece.replace("▁", " ") for index, piece in enumerate(pieces)],
            scores,
            start_id,
            stop_ids,
            {index for index, kind in enumerate(kinds) if kind in _WITHOUT_TEXT},
            named=named,
            **options,
        )

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        """Ids of a text; the names of tokens in it become those tokens."""
        ids = [self.start_id] if self._add_start else []
        space = self._add_space
        for part in self._cut(text):
            if isinstance(part, int):
                ids.append(part)
                space = self._space_after_names
                continue
            for piece in self._join(" " + part if space else part):
                index = self._ids.get(piece)
                ids += [index] if index is not None else self._spell(piece)
            space = False
        return ids

    def _cut(self, text: str) -> list[str | int]:
        """The tokens that a text names, and what is between them."""
        parts: list[str | int] = [text] if text else []
        for name, index in self._named:
            if name in text:
                parts = [
                    piece
                    for part in parts
                    for piece in ([part] if isinstance(part, int) else _around(part, name, index))
                ]
        return parts

    def _spell(self, part: str) -> list[int]:
        return [self._byte_ids.get(byte, self._unknown_id) for byte in part.encode("utf-8", "replace")]

    def _join(self, text: str) -> list[str]:
        """The pieces of a text; characters that could not be merged stay single."""
        parts = list(text)
        before, after = list(range(-1, len(parts) - 1)), list(range(1, len(parts) + 1))
        queue: list[tuple[float, int, int, str]] = []

        def propose(left: int, right: int) -> None:
            if left >= 0 and right < len(parts):
                union = parts[left] + parts[right]
                index = self._ids.get(union)
                if index is not None:
                    heapq.heappush(queue, (-self._scores[index], left, right, union))

        for left in range(len(parts) - 1):
            propose(left, left + 1)
        while queue:
            _, left, right, union = heapq.heappop(queue)
            if after[left] != right or parts[left] + parts[right] != union:
                continue  # one of the two has meanwhile been merged with another neighbour
            parts[left], parts[right] = union, ""
            after[left] = after[right]
            if after[left] < len(parts):
                before[after[left]] = left
            propose(before[left], left)
            propose(left, after[left])
        return [part for part in parts if part]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids."""
        return decode_tokens(self, ids)

    def piece(self, index: int) -> str:
        """One token as a label."""
        if not 0 <= index < len(self._pieces):
            return f"<{index}>"
        return describe_bytes(self._bytes[index]) or self._pieces[index]

    def token_bytes(self, index: int, previous: int | None = None) -> bytes:
        """What a token adds to a text whose last token is ``previous``."""
        data = self._bytes[index] if 0 <= index < len(self._bytes) else b""
        first = self._add_space and (previous is None or previous == self.start_id)
        return data.removeprefix(b" ") if first else data

    def split_known(self, text: str) -> tuple[str, list[str]]:
        """The text without the characters that are neither pieces nor spelled in bytes, and those characters."""
        if len(self._byte_ids) == 256:
            return text, []
        known, unknown = "", []
        for part in self._cut(text):
            if isinstance(part, int):
                known += self._pieces[part]
            else:
                known += "".join(character for character in part if character in self._ids)
                unknown += [character for character in part if character not in self._ids]
        return known, list(dict.fromkeys(unknown))


def _around(text: str, name: str, index: int) -> Iterator[str | int]:
    """What is before, between and after the occurrences of a name, and its token for each."""
    for place, part in enumerate(text.split(name)):
        if place:
            yield index
        if part:
            yield part
