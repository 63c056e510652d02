"""Text to ids and back: the interface of every tokenizer, assembling text token by token, and the tokenizer of
character models. Those of other models are in :mod:`kvtui.core.formats`."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Protocol

from kvtui.core.errors import KvtuiError


class Tokenizer(Protocol):
    """The interface of every tokenizer. A token represents bytes: a character may take several tokens."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens; the model's vocabulary may be larger, with unused ids."""
        ...

    @property
    def start_id(self) -> int:
        """The token that an empty prompt starts from."""
        ...

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end a text."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text, with what the model expects at its start."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids. Special tokens have none; bytes that are not UTF-8 become U+FFFD."""
        ...

    def piece(self, index: int) -> str:
        """One token by itself, as a label: special tokens have their names, parts of characters are like ``<0xE4>``."""
        ...

    def token_bytes(self, index: int, previous: int | None = None) -> bytes:
        """What a token adds to a text whose last token with text is ``previous`` (None: it starts the text)."""
        ...

    def split_known(self, text: str) -> tuple[str, list[str]]:
        """The text without the characters unknown to the model, and those characters, each named once."""
        ...


class TextStream:
    """The text of tokens as they come, never half a character.

    A token that ends within a character yields the text up to that character, perhaps none; the token that completes it
    yields the character. Together the pieces equal ``tokenizer.decode``.

    Args:
        tokenizer: knows the tokens' bytes.
        before: the tokens before the first one.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._previous = last_with_text(tokenizer, before)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, index: int, final: bool = False) -> str:
        """The text that this token completes; with ``final`` an unfinished character becomes U+FFFD."""
        data = self._tokenizer.token_bytes(index, self._previous)
        if data or has_text(self._tokenizer, index):
            self._previous = index
        return self._decoder.decode(data, final)


def has_text(tokenizer: Tokenizer, index: int) -> bool:
    """Whether a token within a text adds something to it. A space that only the start of a text hides does."""
    return bool(tokenizer.token_bytes(index, index))


def last_with_text(tokenizer: Tokenizer, ids: Sequence[int]) -> int | None:
    """The last token that has text: the one that the next token's text depends on."""
    return next((index for index in reversed(ids) if has_text(tokenizer, index)), None)


def spell(tokenizer: Tokenizer, text: str, previous: int | None) -> list[int]:
    """Ids that add this text to one whose last token with text is ``previous``: the longest token first, then the next.

    Unlike ``encode`` it adds nothing at the start.

    Raises:
        KvtuiError: a part of it has no token.
    """
    pieces: dict[bytes, int] = {}
    for index in range(tokenizer.vocab_size):
        pieces.setdefault(tokenizer.token_bytes(index, previous), index)
    longest = max(map(len, pieces))
    data, ids = text.encode("utf-8", "surrogatepass"), []  # half a character has no token, and is refused below
    while data:
        size = next((size for size in range(longest, 0, -1) if data[:size] in pieces), 0)
        if not size:
            raise KvtuiError(f"the model has no token for {describe_bytes(data)!r}")
        ids.append(pieces[data[:size]])
        data = data[size:]
    return ids


def decode_tokens(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """Implements :meth:`Tokenizer.decode` from the tokens' bytes."""
    data, previous = bytearray(), None
    for index in ids:
        added = tokenizer.token_bytes(index, previous)
        data += added
        if added or has_text(tokenizer, index):
            previous = index
    return data.decode("utf-8", "replace")


def describe_bytes(data: bytes) -> str:
    """Text where the bytes are whole characters, ``<0xE4>`` for each byte where they are not."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in data)


def describe_character(character: str) -> str:
    """A character as a user can read it: ``'é' (U+00E9)``."""
    return f"{character!r} (U+{ord(character):04X})"


def describe_place(text: str, index: int) -> str:
    """Where a character of a text is, as editors count: ``at line 3, column 7``."""
    return f"at line {text.count(chr(10), 0, index) + 1}, column {index - text.rfind(chr(10), 0, index)}"


def _is_control(character: str) -> bool:
    """Whether a terminal could obey it, or it is half a character; tabs and line ends are neither."""
    return unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n\r"


def start_of_texts(tokenizer: Tokenizer) -> int | None:
    """The token with which ``encode`` begins every text; None if there is none."""
    return tokenizer.start_id if tokenizer.encode("")[:1] == [tokenizer.start_id] else None


def describe_start(tokenizer: Tokenizer) -> str:
    """What an empty prompt starts from, as text."""
    piece = tokenizer.piece(tokenizer.start_id)
    return "a newline" if piece == "\n" else describe_character(piece) if len(piece) == 1 else f"the token {piece}"


class CharTokenizer:
    """One id per distinct character.

    Args:
        vocabulary: the characters in the order of their ids, each one character long and none twice.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        if not vocabulary:
            raise KvtuiError("a character vocabulary needs at least one character")
        self.vocabulary = tuple(vocabulary)
        if any(not isinstance(character, str) or len(character) != 1 for character in self.vocabulary):
            raise KvtuiError("every entry of a character vocabulary must be one character")
        for character in self.vocabulary:
            # A model writes to the terminal: an untrusted one must not be able to move the cursor.
            if _is_control(character):
                raise KvtuiError(f"the control character {describe_character(character)} cannot be in a vocabulary")
        self._ids = {character: index for index, character in enumerate(self.vocabulary)}
        if len(self._ids) != len(self.vocabulary):
            raise KvtuiError("a character vocabulary must not hold a character twice")

    @classmethod
    def from_text(cls, text: str) -> CharTokenizer:
        """A tokenizer whose vocabulary is the sorted distinct characters of a text.

        Raises:
            KvtuiError: the text is empty, or contains a control character; the message names it and its place.
        """
        characters = sorted(set(text))
        for character in filter(_is_control, characters):
            raise KvtuiError(
                f"the text has the control character {describe_character(character)}, "
                f"{describe_place(text, text.index(character))}, which a vocabulary cannot have; remove or replace it"
            )
        return cls(characters)

    @property
    def vocab_size(self) -> int:
        """Number of distinct characters."""
        return len(self.vocabulary)

    @property
    def stop_ids(self) -> frozenset[int]:
        """None: a character model never ends."""
        return frozenset()

    @property
    def start_id(self) -> int:
        """The id that an empty prompt starts from: a newline where the vocabulary has one, else the first character."""
        return self._ids.get("\n", 0)

    def encode(self, text: str) -> list[int]:
        """Ids of a text.

        Raises:
            KvtuiError: the text contains a character unknown to the model; the message names it and its place.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError:
            place = next(index for index, character in enumerate(text) if character not in self._ids)
            raise KvtuiError(
                f"the model does not know the character {describe_character(text[place])}, "
                f"{describe_place(text, place)}; remove or replace it"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids.

        Raises:
            KvtuiError: an id outside the vocabulary.
        """
        return "".join(map(self.piece, ids))

    def piece(self, index: int) -> str:
        """The character of an id.

        Raises:
            KvtuiError: an id outside the vocabulary.
        """
        if not 0 <= index < len(self.vocabulary):
            raise KvtuiError(f"id {index} is outside the vocabulary of {len(self.vocabulary)}")
        return self.vocabulary[index]

    def token_bytes(self, index: int, previous: int | None = None) -> bytes:
        """The character of an id, in UTF-8."""
        return self.piece(index).encode()

    def split_known(self, text: str) -> tuple[str, list[str]]:
        """The text without the characters unknown to the model, and those characters, each named once.

        For the interactive tools, which report what they remove.
        """
        known = "".join(character for character in text if character in self._ids)
        unknown = list(dict.fromkeys(character for character in text if character not in self._ids))
        return known, unknown
