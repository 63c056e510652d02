"""Characters as labels of exactly one terminal cell, so that no token can shift a grid."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from kvtui.tui.characters import symbol


def label(text: str, width: int = 12) -> str:
    """A token, or a stretch of text, in at most ``width`` visible characters, each one cell wide."""
    shown = "".join(map(symbol, text)) if text else symbol(text)
    return shown if len(shown) <= width else shown[: max(width - 1, 0)] + "…"


def piece(text: str, cells: int) -> str:
    """A token as a label of exactly this many cells: spaces visible, wide characters whole, ``…`` for what is cut."""
    shown = "".join(map(_visible, text)) or symbol(text)
    if not cell_len(shown[0]):  # a combining mark for a character of the previous token
        shown = symbol(shown[0]) + shown[1:]
    return set_cell_size(shown, cells) if cell_len(shown) <= cells else set_cell_size(shown, cells - 1) + "…"


def _visible(character: str) -> str:
    return character if character.isprintable() and not character.isspace() else symbol(character)


def upright(texts: Sequence[str], height: int, cells: int = 1) -> list[str]:
    """Labels of tokens side by side, read from top to bottom: ``height`` lines of ``cells`` cells per token.

    Without the space that words start with, and aligned to the last line.
    """
    columns = []
    for text in texts:
        letters = [_of_width(letter, cells) for letter in _letters(text.strip() or text[:1])[:height]]
        columns.append([" " * cells] * (height - len(letters)) + letters)
    return ["".join(line) for line in zip(*columns, strict=True)] or [""] * height


def _letters(text: str) -> list[str]:
    """Split a text into characters, each with its combining marks."""
    letters: list[str] = []
    for character in text:
        if letters and character.isprintable() and not cell_len(character):
            letters[-1] += character
        else:
            letters.append(character)
    return letters or [""]


def _of_width(letter: str, cells: int) -> str:
    fits = letter.isprintable() and not letter.isspace() and 0 < cell_len(letter) <= cells
    return set_cell_size(letter if fits else symbol(letter), cells)


def is_wide(text: str) -> bool:
    """Whether a token has a character that takes two cells."""
    return not text.isascii() and any(cell_len(character) > 1 for character in text)
