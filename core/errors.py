"""The only exception whose message users see, and helpers for such messages."""

from __future__ import annotations

from typing import Any

_LONGEST_VALUE = 60
_LONGEST_REASON = 160


class KvtuiError(Exception):
    """Bad input or an impossible request; the message is one line and says what to do."""


def brief(value: Any) -> str:
    """A value from a file for a message, shortened if it is long: a file may hold anything."""
    words = repr(value)
    return words if len(words) <= _LONGEST_VALUE else f"{words[:_LONGEST_VALUE]}…"


def clip_message(error: BaseException) -> str:
    """What another library's error says, on one line, cut to a length that fits a message of ours."""
    words = " ".join("".join(part if part.isprintable() else " " for part in str(error)).split())
    words = words or type(error).__name__
    return words if len(words) <= _LONGEST_REASON else f"{words[:_LONGEST_REASON]}…"


def counted(number: int, noun: str) -> str:
    """A count with its noun: ``1 token``, ``2,000 tokens``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
