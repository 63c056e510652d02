"""Characters that a terminal can show without moving the cursor. Depends on nothing else in the dashboard."""

from __future__ import annotations

from functools import lru_cache

from rich.cells import cell_len

_NAMED = {"\n": "↵", " ": "␣", "\t": "⇥", "\r": "␍", "\x1b": "␛", "\x7f": "␡", "": "∅"}
_UNPRINTABLE = "·"
_WIDE = "□"


@lru_cache(maxsize=4096)
def symbol(text: str) -> str:
    """One visible character, one cell wide, for a token.

    A token of several characters is represented by the first that is not white space: words start with a space in
    most vocabularies, so a row of ``␣`` would be useless.
    """
    character = text if len(text) <= 1 else (text.strip() or text)[0]
    if character in _NAMED:
        return _NAMED[character]
    if ord(character) < 32:  # the Unicode block of control pictures follows the order of ASCII
        return chr(0x2400 + ord(character))
    if not character.isprintable():
        return "␣" if character.isspace() else _UNPRINTABLE
    width = cell_len(character)
    if width == 1:
        return character
    return _WIDE if width == 2 else _UNPRINTABLE


def printable(text: str) -> str:
    """The text with everything that could move the cursor made visible; wide characters stay as they are."""
    return "".join(character if character.isprintable() else symbol(character) for character in text)
