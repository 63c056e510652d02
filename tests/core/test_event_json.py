"""Lines of events: what our own loop writes comes back the same, and nothing malformed gets through."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtui.core import generate, load
from kvtui.core.errors import KvtuiError
from kvtui.core.event_json import LARGEST_LINE, Line, ModelWords, parse_line, to_json
from kvtui.core.events import End, Evict, Prefill, Token

PREFILL = {"event": "prefill", "tokens": 6, "seconds": 0.01, "cache_bytes": 600}
TOKEN = {
    "event": "token",
    "step": 0,
    "position": 6,
    "id": 3,
    "text": "a",
    "logprob": -0.5,
    "seconds": 0.001,
    "cache": True,
    "cached_positions": 7,
    "cache_bytes": 700,
}
END = {"event": "end", "reason": "length", "tokens": 1, "seconds": 0.001, "tokens_per_second": 1000}
MODEL = {"name": "gpt2", "parameters": 124_439_808, "num_layers": 12, "num_heads": 12, "context_length": 1024}


def parse(values: Any) -> Line | None:
    return parse_line(json.dumps(values).encode())


def test_what_the_loop_writes_comes_back_the_same(tiny_model_file: Path) -> None:
    """Past the context, with every optional field, the cache on and off."""
    for cache in (True, False):
        events = list(
            generate(load(tiny_model_file), "ROMEO:", max_new_tokens=40, cache=cache, parts=True, verify=True)
        )
        assert {type(event) for event in events} == {Prefill, Token, Evict, End}
        lines = [parse(to_json(event)) for event in events]
        assert [line.event for line in lines if line] == events


def test_events_under_a_policy_can_be_read(tiny_model_file: Path) -> None:
    """The positions that a policy drops are an array, which lines do not hold."""
    events = list(generate(load(tiny_model_file), "ROMEO:", max_new_tokens=40, policy="sink:2+10"))
    lines = [parse(to_json(event)) for event in events]
    assert None not in lines
    read = [line.event for line in lines if line]
    assert [type(event) for event in read] == [type(event) for event in events]
    assert any(isinstance(event, Evict) for event in read)
    assert [event for event in read if isinstance(event, Token)] == [e for e in events if isinstance(e, Token)]


def test_the_contract_alone_is_enough() -> None:
    """What DESIGN names; the rest follows from it."""
    assert parse(PREFILL) == Line(Prefill(6, 0.01, True, 600, ""))
    token = parse(TOKEN)
    assert token is not None
    assert token.event == Token(0, 6, 3, "a", -0.5, 0.001, True, 7, 1, 7, 700)
    uncached = parse(TOKEN | {"cache": False, "cached_positions": 0, "cache_bytes": 0})
    assert uncached is not None
    assert isinstance(uncached.event, Token)
    assert (uncached.event.context, uncached.event.computed) == (7, 7)
    assert parse(PREFILL | {"cache_bytes": 0}) == Line(Prefill(6, 0.01, False, 0, ""))
    assert parse(END) == Line(End("length", 1, 0.001, 1000.0))


def test_a_prompt_may_tell_of_its_model() -> None:
    line = parse(PREFILL | {"model": MODEL | {"licence": "MIT"}})
    assert line is not None
    assert line.model == ModelWords(**MODEL)  # type: ignore[arg-type]
    assert parse(PREFILL | {"model": None}) == parse(PREFILL)
    with pytest.raises(KvtuiError, match="num_heads is missing"):
        parse(PREFILL | {"model": {name: value for name, value in MODEL.items() if name != "num_heads"}})
    with pytest.raises(KvtuiError, match="model is 3"):
        parse(PREFILL | {"model": 3})


@pytest.mark.parametrize("data", [b"", b" \r\n", b'{"event": "weather", "tokens": "many"}', b'{"event": "attention"}'])
def test_blank_lines_and_unknown_events_are_passed_over(data: bytes) -> None:
    assert parse_line(data) is None


def test_unknown_fields_are_passed_over() -> None:
    assert parse(TOKEN | {"draft": [1, 2], "model": 3}) == parse(TOKEN)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"hello", "not JSON"),
        (b'{"event": "token"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 10_000, "not JSON"),
        (b'{"event": "\xff"}', "not UTF-8"),
        (b"[1]", "not a JSON object with an 'event'"),
        (b"{}", "not a JSON object with an 'event'"),
        (b'{"event": 3}', "not a JSON object with an 'event'"),
        (b" " * LARGEST_LINE + b"{}", "longer than"),
    ],
)
def test_what_is_no_event_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(KvtuiError, match=reason):
        parse_line(data)


@pytest.mark.parametrize("values", [PREFILL, TOKEN, END], ids=lambda values: values["event"])
def test_every_field_of_the_contract_has_to_be_there(values: dict[str, Any]) -> None:
    for name in values:
        if name != "event":
            with pytest.raises(KvtuiError, match=f"{values['event']}: {name} is missing"):
                parse({key: value for key, value in values.items() if key != name})


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("step", "0", 'step is "0"; it must be a whole number of 0 or more'),
        ("step", True, "whole number"),
        ("step", 1.0, "whole number"),
        ("position", -1, "whole number"),
        ("cache_bytes", 10**30, "whole number"),
        ("seconds", -0.1, "seconds is -0.1; it must be a number of 0 or more"),
        ("seconds", float("inf"), "a number"),
        ("seconds", 10**400, "a number"),
        ("logprob", float("nan"), "a number"),
        ("logprob", None, "logprob is null"),
        ("cache", 1, "true or false"),
        ("text", ["a"], "must be text"),
        ("text", 3, "must be text"),
        ("parts", 3, "an object"),
        ("parts", {"mlp": "x"}, "parts: mlp"),
        ("parts", {"mlp": -0.1}, "parts: mlp is -0.1; it must be a number of 0 or more"),
        ("max_logit_error", -1, "a number of 0 or more"),
    ],
)
def test_types_and_ranges_are_checked(field: str, value: Any, reason: str) -> None:
    with pytest.raises(KvtuiError) as caught:
        parse(TOKEN | {field: value})
    assert reason in str(caught.value)


def test_a_reason_has_to_be_a_known_one() -> None:
    for reason in ("boredom", [1], None):
        with pytest.raises(KvtuiError, match="one of length, stop, cancelled"):
            parse(END | {"reason": reason})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([PREFILL | {"model": MODEL}, TOKEN, END]), st.data())
def test_any_value_anywhere_is_taken_or_refused(values: dict[str, Any], data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(sorted(values)))
    with contextlib.suppress(KvtuiError):
        parse(values | {field: data.draw(VALUES)})


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    with contextlib.suppress(KvtuiError):
        parse_line(data)


@pytest.mark.parametrize(
    ("dropped", "kept", "reason"), [(256, 256, "context"), (1, 511, "policy"), (257, 256, "context")]
)
def test_what_dropped_positions_follows_from_how_many_unless_it_is_said(dropped: int, kept: int, reason: str) -> None:
    values = {"event": "evict", "dropped": dropped, "kept": kept, "position": 3}
    for more, expected in (({}, reason), ({"reason": "policy"}, "policy"), ({"reason": "context"}, "context")):
        line = parse_line(json.dumps(values | more).encode())
        assert line is not None
        assert isinstance(line.event, Evict)
        assert line.event.reason == expected
