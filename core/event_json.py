"""Events as JSON lines: written by :func:`to_json`, and read back, from any program, by :func:`parse_line`.

A line that is read is checked field by field. A field without a default in the dataclass is required, unless it follows
from other fields. Unknown kinds of events and unknown fields are ignored, so that a newer writer can be read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from kvtui.core.errors import KvtuiError
from kvtui.core.events import End, Event, Evict, Prefill, Token

LineEvent = Prefill | Token | Evict | End

KINDS: dict[str, type[LineEvent]] = {"prefill": Prefill, "token": Token, "evict": Evict, "end": End}
LARGEST_LINE = 1 << 20  # bytes
_LARGEST_WHOLE = 1 << 53  # beyond it JSON's numbers are no longer exact


def to_json(event: Event) -> dict[str, Any]:
    """An event as JSON values, ``event`` naming its kind. Fields not requested are omitted."""
    return {"event": type(event).__name__.lower(), **_plain(event)}


def _plain(value: Any) -> Any:
    """A value as JSON has it: dataclasses as objects, arrays and tuples as lists."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if is_dataclass(value):
        kept = [entry.name for entry in fields(value) if not _left_out(value, entry)]
        return {name: _plain(getattr(value, name)) for name in kept}
    return value


def _left_out(value: Any, entry: Field[Any]) -> bool:
    """Whether a field of a line was not asked for: it is None, and so by default."""
    return isinstance(value, LineEvent) and entry.default is None and getattr(value, entry.name) is None


@dataclass(frozen=True)
class ModelWords:
    """What a writer may say about its model, as ``model`` in a ``prefill`` line; all of it or nothing."""

    name: str
    parameters: int
    num_layers: int
    num_heads: int
    context_length: int


@dataclass(frozen=True)
class Line:
    """One line: an event, and the model if the line describes it."""

    event: LineEvent
    model: ModelWords | None = None


def parse_line(data: bytes) -> Line | None:
    """Read one line; None if it is blank or of an unknown kind.

    Raises:
        KvtuiError: it is not a JSON object with an ``event``, a field is missing, or one has the wrong type or range.
    """
    if not data.strip():
        return None
    if len(data) > LARGEST_LINE:
        raise KvtuiError(f"it is longer than {LARGEST_LINE:,} bytes")
    try:
        values = json.loads(data)
    except UnicodeDecodeError:
        raise KvtuiError("it is not UTF-8 text") from None
    except (ValueError, RecursionError):
        raise KvtuiError("it is not JSON") from None
    if not isinstance(values, dict) or not isinstance(values.get("event"), str):
        raise KvtuiError("it is not a JSON object with an 'event'")
    name: str = values["event"]
    if name not in KINDS:
        return None
    event = _build(KINDS[name], values, name)
    words = values.get("model") if isinstance(event, Prefill) else None
    return Line(event, None if words is None else _build(ModelWords, _object(words, "prefill: model"), "model"))


# What a writer may leave out, because it follows from the rest.
_FOLLOWS: dict[tuple[type, str], Callable[[dict[str, Any]], Any]] = {
    (Prefill, "cache"): lambda values: values["cache_bytes"] > 0,
    (Prefill, "prompt"): lambda values: "",
    (Evict, "reason"): lambda values: "context" if values["dropped"] >= values["kept"] else "policy",
    (Token, "context"): lambda values: values["cached_positions"] or values["position"] + 1,
    (Token, "computed"): lambda values: 1 if values["cache"] else values["context"],
}


def _build(kind: Any, values: dict[str, Any], name: str) -> Any:
    """An object of a dataclass from JSON values."""
    built: dict[str, Any] = {}
    missing = []
    for entry, hint in _fields(kind):
        if entry.name in values and (check := _checker(hint)) is not None:
            built[entry.name] = check(values[entry.name], f"{name}: {entry.name}")
        elif (kind, entry.name) in _FOLLOWS or (entry.default is MISSING and entry.default_factory is MISSING):
            missing.append(entry.name)
    for field in missing:
        if (kind, field) not in _FOLLOWS:
            raise KvtuiError(f"{name}: {field} is missing")
    for field in missing:
        built[field] = _FOLLOWS[kind, field](built)
    return kind(**built)


@lru_cache
def _fields(kind: Any) -> tuple[tuple[Field[Any], Any], ...]:
    """The fields of a dataclass with their types."""
    hints = get_type_hints(kind)
    return tuple((entry, hints[entry.name]) for entry in fields(kind))


Check = Callable[[Any, str], Any]


@lru_cache
def _checker(hint: Any) -> Check | None:
    """A function that converts a JSON value to the type or refuses it; None for types that no line holds (arrays)."""
    simple = {bool: _bool, int: _whole, float: _number, str: _text}
    if hint in simple:
        return simple[hint]
    origin, choices = get_origin(hint), get_args(hint)
    if origin is Literal:
        return lambda value, name: _one_of(choices, value, name)
    if origin in (Union, UnionType) and NoneType in choices and len(choices) == 2:
        inner = _checker(next(choice for choice in choices if choice is not NoneType))
        return None if inner is None else lambda value, name: None if value is None else inner(value, name)
    if origin is tuple and len(choices) == 2 and choices[1] is Ellipsis:
        entry = _checker(choices[0])
        return None if entry is None else lambda value, name: tuple(entry(part, name) for part in _list(value, name))
    if is_dataclass(hint):
        return lambda value, name: _build(hint, _object(value, name), name)
    return None


def _bool(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, name, "true or false")
    return value


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_WHOLE:
        raise _wrong(value, name, "a whole number of 0 or more")
    return value


def _number(value: Any, name: str) -> float:
    negative = name.endswith("logprob")  # times, rates and differences are 0 or more
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        raise _wrong(value, name, "a number")
    if abs(value) > 1e300 or (value < 0 and not negative):
        raise _wrong(value, name, "a number" if negative else "a number of 0 or more")
    return float(value)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, name, "text")
    return value


def _one_of(choices: tuple[Any, ...], value: Any, name: str) -> Any:
    if value not in choices:
        raise _wrong(value, name, f"one of {', '.join(map(str, choices))}")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(value, name, "a list")
    return value


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, name, "an object")
    return value


def _wrong(value: Any, name: str, right: str) -> KvtuiError:
    # Lists and objects are not written out: they may be nested deeper than that works.
    words = "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else json.dumps(value)
    return KvtuiError(f"{name} is {words if len(words) <= 40 else words[:37] + '…'}; it must be {right}")
