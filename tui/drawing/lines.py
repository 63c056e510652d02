"""Lines of a drawing: texts with their style classes, and bars within a line. Does not import Textual."""

from __future__ import annotations

Piece = tuple[str, str]  # a text and its component class; "" for none
Line = list[Piece]

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(fraction: float, width: int) -> str:
    """A bar of up to ``width`` cells, in eighths of a cell."""
    return solid(round(min(max(fraction, 0.0), 1.0) * max(width, 0) * 8))


def solid(eighths: int) -> str:
    """A bar of so many eighths of a cell."""
    whole, part = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")
