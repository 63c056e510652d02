"""Numbers as text: sizes, counts and times, short enough for a line of the screen."""

from __future__ import annotations

from collections.abc import Collection

from kvtui.core.sampling import SamplingSettings

Head = tuple[int, int]  # layer and head, counted from 0

_PREFIXES = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def size_words(count: float) -> str:
    """Bytes, in short: ``4.7 MB``. Decimal units: 1 MB is a million bytes. At most eight cells."""
    number, prefix = _scaled(count, 0.99995)
    return f"{number:.1f} {prefix}B" if prefix else f"{count:.0f} B"


def count_words(count: int) -> str:
    """A number of parameters, in short: ``2.7 M``."""
    number, prefix = _scaled(count, 0.99995)
    return f"{number:.1f} {prefix}" if prefix else str(count)


def three_digits(count: float) -> str:
    """A large count with three digits: ``1.21 G``."""
    number, prefix = _scaled(count, 0.9995)
    return f"{number:.3g} {prefix}" if prefix else f"{count:.0f}"


def _scaled(number: float, least: float) -> tuple[float, str]:
    """A number in the largest unit that makes it at least ``least``; what would round to 1000 becomes 1 of the next.
    The unit of a number below a thousand is empty."""
    for prefix, size in _PREFIXES:
        if number >= least * size:
            return number / size, prefix
    return number, ""


def duration(seconds: float) -> str:
    """A time with three digits: ``0.142 s``, ``12.3 s``, ``3 min 05 s``."""
    if seconds < 99.95:
        return f"{seconds:.{3 if seconds < 0.9995 else 2 if seconds < 9.995 else 1}f} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes} min {left:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def head_name(head: Head) -> str:
    """Name of a head, counted from 1 as on screen."""
    return f"L{head[0] + 1} H{head[1] + 1}"


def off_words(off: Collection[Head]) -> str:
    """The names of the heads that are off."""
    return ", ".join(head_name(head) for head in sorted(off))


def settings_words(settings: SamplingSettings) -> str:
    """How tokens are chosen."""
    if settings.temperature == 0:
        return "greedy"
    words = [f"temperature {settings.temperature:g}"]
    words += [f"top-k {settings.top_k}"] if settings.top_k is not None else []
    words += [f"top-p {settings.top_p:g}"] if settings.top_p is not None else []
    return " · ".join(words)
