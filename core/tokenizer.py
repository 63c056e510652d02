"""Characters to ids and back."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from kvtui.core.errors import KvtuiError


def describe_character(character: str) -> str:
    """A character as a reader can see it: ``'é' (U+00E9)``."""
    return f"{character!r} (U+{ord(character):04X})"


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
            raise KvtuiError("every entry of a character vocabulary has to be one character")
        for character in self.vocabulary:
            # A model writes to the terminal: one from elsewhere must not be able to move the cursor.
            if unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n\r":
                raise KvtuiError(f"the control character {describe_character(character)} cannot be in a vocabulary")
        self._ids = {character: index for index, character in enumerate(self.vocabulary)}
        if len(self._ids) != len(self.vocabulary):
            raise KvtuiError("a character vocabulary must not hold a character twice")

    @classmethod
    def from_text(cls, text: str) -> CharTokenizer:
        """The sorted distinct characters of a text become the vocabulary."""
        return cls(sorted(set(text)))

    @property
    def vocab_size(self) -> int:
        """Number of distinct characters."""
        return len(self.vocabulary)

    @property
    def start_id(self) -> int:
        """The id that an empty prompt starts from: a newline where the vocabulary has one, else the first character."""
        return self._ids.get("\n", 0)

    def encode(self, text: str) -> list[int]:
        """Ids of a text.

        Raises:
            KvtuiError: the text holds a character that the model never saw; the message names it and its place.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError:
            place = next(index for index, character in enumerate(text) if character not in self._ids)
            line = text.count("\n", 0, place) + 1
            column = place - (text.rfind("\n", 0, place) + 1) + 1
            raise KvtuiError(
                f"the model never saw the character {describe_character(text[place])}, "
                f"at line {line}, column {column}; remove or replace it"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids.

        Raises:
            KvtuiError: an id outside the vocabulary.
        """
        characters = []
        for index in ids:
            if not 0 <= index < len(self.vocabulary):
                raise KvtuiError(f"id {index} is outside the vocabulary of {len(self.vocabulary)}")
            characters.append(self.vocabulary[index])
        return "".join(characters)

    def split_known(self, text: str) -> tuple[str, list[str]]:
        """The text without the characters that the model never saw, and those characters, each named once.

        For the interactive tools, which report what they drop.
        """
        known = "".join(character for character in text if character in self._ids)
        unknown = list(dict.fromkeys(character for character in text if character not in self._ids))
        return known, unknown
