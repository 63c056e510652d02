"""Events of another program: nothing is lost, the screen can be held, and bad lines are told of."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from kvtui.core import GenerationSettings
from kvtui.core.commands import Pause, Resume, SetCache, SetPace, ShowAttention, Step, Stop
from kvtui.core.errors import KvtuiError
from kvtui.core.event_json import LARGEST_LINE, parse_line
from kvtui.core.events import End, Event, Prefill, State, Token
from kvtui.tui.worker import event_reader, stream_link
from kvtui.tui.worker.event_reader import EventReader
from kvtui.tui.worker.protocol import Batch, Notice, Ready, Report, Start
from kvtui.tui.worker.stream_link import StreamLink

MODEL = {"name": "gpt2", "parameters": 1000, "num_layers": 2, "num_heads": 3, "context_length": 64}


def prefill(prompt: str = "ROMEO:", **more: Any) -> dict[str, Any]:
    return {"event": "prefill", "tokens": 6, "seconds": 0.01, "cache_bytes": 600, "prompt": prompt} | more


def token(step: int, text: str = "a", cache: bool = True) -> dict[str, Any]:
    return {
        "event": "token",
        "step": step,
        "position": step + 6,
        "id": 3,
        "text": text,
        "logprob": -0.5,
        "seconds": 0.001,
        "cache": cache,
        "cached_positions": step + 7 if cache else 0,
        "cache_bytes": 100 * (step + 7) if cache else 0,
    }


def end(tokens: int) -> dict[str, Any]:
    return {"event": "end", "reason": "length", "tokens": tokens, "seconds": 0.1, "tokens_per_second": 10.0}


def text_of(count: int) -> list[dict[str, Any]]:
    return [prefill(), *map(token, range(count)), end(count)]


def lines(*values: dict[str, Any] | bytes) -> bytes:
    return b"".join(value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n" for value in values)


@dataclass
class Clock:
    """Time that stands still until told to go on."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (stream_link, event_reader):
        monkeypatch.setattr(module, "monotonic", made)
    return made


def opened(data: bytes | BinaryIO, pace: float | None = None) -> StreamLink:
    """A link whose stream has been read as far as it may be, and which has been told to start."""
    link = StreamLink(EventReader(io.BytesIO(data) if isinstance(data, bytes) else data, "a test"))
    link.start()
    link.wait_ready()
    if isinstance(data, bytes) and data.count(b"\n") < event_reader.AHEAD:
        link.wait_end()
    link.send(Start(1, "", GenerationSettings(pace=pace)))
    return link


def events(reports: list[Report]) -> list[Event]:
    """Those of the stream, without our own answers."""
    shown = [event for report in reports if isinstance(report, Batch) for event in report.events]
    return [event for event in shown if not isinstance(event, State)]


def states(reports: list[Report]) -> list[State]:
    every = [event for report in reports if isinstance(report, Batch) for event in report.events]
    return [event for event in every if isinstance(event, State)]


def notices(reports: list[Report]) -> list[Notice]:
    return [report for report in reports if isinstance(report, Notice)]


def everything(link: StreamLink) -> Iterator[Report]:
    """All reports until the stream says that it has ended."""
    while True:
        reports = link.drain()
        yield from reports
        if any("stream" in notice.message for notice in notices(reports)):
            return


def test_a_text_is_shown_as_it_was_written() -> None:
    link = opened(lines(*text_of(3)))
    assert link.prompt == "ROMEO:"
    reports = link.drain()
    kinds = [type(event) for event in events(reports)]
    assert kinds == [Prefill, Token, Token, Token, End]
    assert states(reports) == [State(True, False, None)]
    (said,) = notices(reports)
    assert said.message == "The stream has ended: 5 lines."
    assert not said.fatal
    assert link.drain() == []


def test_nothing_is_shown_before_there_is_a_run() -> None:
    link = StreamLink(EventReader(io.BytesIO(lines(*text_of(3))), "a test"))
    link.start()
    link.wait_ready()
    assert link.drain() == []


def test_a_model_that_is_told_of_is_known_before_the_first_event() -> None:
    link = StreamLink(EventReader(io.BytesIO(lines(prefill(model=MODEL))), "a test"))
    link.start()
    ready = link.wait_ready()
    assert ready.stream
    assert (ready.name, ready.parameters, ready.config.num_layers, ready.config.num_heads) == ("gpt2", 1000, 2, 3)
    assert ready.config.context_length == 64
    unknown = StreamLink(EventReader(io.BytesIO(lines(prefill())), "pipe\x1b[2J"))
    unknown.start()
    assert (unknown.wait_ready().name, unknown.wait_ready().parameters) == ("pipe␛[2J", 0)


def test_an_impossible_model_makes_its_line_unreadable() -> None:
    link = opened(lines(prefill(model=MODEL | {"num_layers": 0}), *text_of(1)))
    assert "Line 1 was skipped: num_layers is 0" in notices(link.drain())[0].message


def test_every_text_of_a_stream_begins_a_look_of_its_own() -> None:
    """So that the panes can be cleared between them; each with its own model."""
    data = lines(prefill("one", model=MODEL), token(0), end(1), prefill("two"), token(0, cache=False), end(1))
    link = opened(data)
    first, second = link.drain(), link.drain()
    assert [event.prompt for event in events(first) if isinstance(event, Prefill)] == ["one"]
    assert [event.prompt for event in events(second) if isinstance(event, Prefill)] == ["two"]
    assert [report.model.name for report in second if isinstance(report, Ready)] == ["a test"]
    assert [state.cache for state in states(first + second)] == [True, False]


def test_a_slow_reader_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """More events than are read ahead or kept or shown at once; the writer waits meanwhile."""
    monkeypatch.setattr(event_reader, "AHEAD", 20)
    monkeypatch.setattr(stream_link, "KEPT", 30)
    monkeypatch.setattr(stream_link, "_AT_ONCE", 7)
    count = 2_000
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            pipe.write(lines(*text_of(count)))

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        link = opened(stream)
        link.send(Pause())
        assert events(link.drain()) == []
        assert writer.is_alive()  # over 400 kB are not in the pipe's buffer
        link.send(Resume())
        shown = [event for event in events(list(everything(link))) if isinstance(event, Token)]
        writer.join()
    assert [event.step for event in shown] == list(range(count))


def test_pause_and_step_hold_the_screen() -> None:
    link = opened(lines(*text_of(4)))
    link.send(Pause())
    reports = link.drain()
    assert events(reports) == []
    assert states(reports)[-1].paused
    for step in range(4):
        link.send(Step())
        shown = [event for event in events(link.drain()) if isinstance(event, Token)]
        assert [event.step for event in shown] == [step]
    assert link.drain() == []  # still held, so the end is not shown
    link.send(Resume())
    assert isinstance(events(link.drain())[-1], End)


def test_the_pace_is_kept(clock: Clock) -> None:
    link = opened(lines(*text_of(100)), pace=10.0)

    def shown_after(seconds: float) -> int:
        clock.now += seconds
        return sum(isinstance(event, Token) for event in events(link.drain()))

    assert [shown_after(0.25) for _ in range(4)] == [2, 3, 2, 3]
    assert shown_after(60) == 10  # at most a second's worth at once
    link.send(SetPace(2.0))
    assert [shown_after(0.5) for _ in range(4)] == [1, 1, 1, 1]
    link.send(SetPace(None))
    assert shown_after(0) == 100 - 24


def test_a_restart_shows_the_same_text_once_more() -> None:
    link = opened(lines(*text_of(3)))
    before = events(link.drain())
    link.send(Start(2, "another prompt", GenerationSettings(pace=None)))
    reports = link.drain()
    assert events(reports) == before
    assert {report.run for report in reports if isinstance(report, Batch)} == {2}
    assert "shown again" in notices(reports)[0].message


def test_a_restart_says_what_is_not_kept_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_link, "KEPT", 10)
    link = opened(lines(*text_of(45)))
    link.drain()
    link.send(Start(2, "", GenerationSettings(pace=None)))
    reports = link.drain()
    steps = [event.step for event in events(reports) if isinstance(event, Token)]
    assert steps == list(range(30, 45))
    assert isinstance(events(reports)[0], Prefill)
    assert "its first 30 events are not kept" in notices(reports)[0].message


@pytest.mark.parametrize(("command", "word"), [(SetCache(False), "cache"), (Stop(), "stop it there")])
def test_what_is_not_for_us_to_do_is_said_and_the_state_put_right(command: Any, word: str) -> None:
    link = opened(lines(prefill(), token(0)))
    link.drain()
    link.send(command)
    reports = link.drain()
    assert word in notices(reports)[0].message
    assert states(reports) == [State(True, False, None)]


def test_attention_is_not_answered() -> None:
    link = opened(lines(*text_of(1)))
    link.drain()
    link.send(ShowAttention(0))
    assert link.drain() == []


def test_malformed_lines_are_left_out_and_counted(clock: Clock) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as pipe:
        pipe.write(lines(prefill(), b"oh\n", token(0)))
        link = opened(stream)
        seen: list[Report] = []
        while not any(isinstance(event, Token) for event in events(seen)):
            seen += link.drain()
        assert [notice.message for notice in notices(seen)] == ["Line 2 was skipped: it is not JSON."]
        pipe.write(lines(b"{}\n", token(1), b"\xff\n", token(2)))
        while sum(isinstance(event, Token) for event in events(seen)) < 3:
            seen += link.drain()
        assert len(notices(seen)) == 1  # not a notice for every line
        clock.now += 60
        (told,) = notices(link.drain())
        assert told.message == ("Line 4 was skipped: it is not a JSON object with an 'event', and 1 more up to line 6.")
        pipe.write(lines(b"x" * 3_000_000 + b"\n", end(3)))
        pipe.close()
        rest = list(everything(link))
    assert "longer than" in notices(rest)[0].message
    assert notices(rest)[-1].message == "The stream has ended: 9 lines, 4 of them skipped."


def test_a_stream_that_breaks_off_is_told_of() -> None:
    link = opened(lines(prefill(), token(0)) + b'{"event": "tok')
    (first, last) = notices(link.drain())
    assert "Line 3 was skipped" in first.message
    assert "broke off after 3 lines, 1 of them skipped" in last.message
    assert last.fatal


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "it is empty"), (b"\n{}\n", "line 2 of 2 was skipped"), (b'{"event": "x"}\n', "none in 1 lines")],
)
def test_a_stream_without_events_is_refused(data: bytes, words: str) -> None:
    link = StreamLink(EventReader(io.BytesIO(data), "a test"))
    link.start()
    with pytest.raises(KvtuiError, match=words):
        link.wait_ready()


def test_an_endless_stream_of_something_else_is_refused() -> None:
    class Yes(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            buffer[:2] = b"y\n"
            return 2

    link = StreamLink(EventReader(io.BufferedReader(Yes()), "a test"))
    link.start()
    with pytest.raises(KvtuiError, match="line 1 of 1,000 was skipped: it is not JSON"):
        link.wait_ready()


@pytest.mark.parametrize("extra", [-1, 0, 1, 2])
def test_a_line_about_as_long_as_can_be_takes_no_other_with_it(extra: int) -> None:
    long = b"x" * (LARGEST_LINE + extra - 1) + b"\n"
    shown = events(opened(lines(prefill(), long, token(0), end(1))).drain())
    assert [type(event) for event in shown] == [Prefill, Token, End]


def test_closing_ends_the_reading_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_reader, "AHEAD", 5)
    link = opened(io.BytesIO(lines(*text_of(100))))
    link.close()
    link.wait_end()


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((0, 1, 1, 2), "Line 4: step 1 follows step 1"),
        ((0, 1, 5, 2), "Line 4: step 5 follows step 1"),
        ((3, 4, 5), "Line 2: step 3 is the first of its text"),
    ],
)
def test_steps_out_of_order_are_mentioned_once_and_shown(steps: tuple[int, ...], words: str) -> None:
    reports = opened(lines(prefill(), *map(token, steps), end(len(steps)))).drain()
    assert [event.step for event in events(reports) if isinstance(event, Token)] == list(steps)
    first, last = notices(reports)
    assert first.message == f"{words}; tokens are shown as they came."
    assert "has ended" in last.message


def test_steps_begin_anew_with_each_text_and_before_the_first_they_may_be_anything() -> None:
    reports = list(everything(opened(lines(token(7), token(3), *text_of(2), *text_of(3)))))
    assert [notice.message for notice in notices(reports)] == ["The stream has ended: 11 lines."]


def test_a_failure_of_the_reading_thread_ends_the_stream_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(data: bytes) -> object:
        if b'"token"' in data:
            raise RecursionError("maximum depth")
        return original(data)

    original = parse_line
    monkeypatch.setattr(event_reader, "parse_line", parse)
    (last,) = notices(opened(lines(prefill(), token(0))).drain())
    assert "The stream broke off after 2 lines: reading failed: RecursionError: maximum depth." in last.message
    assert last.fatal
    failing = StreamLink(EventReader(io.BytesIO(lines(token(0))), "a test"))
    failing.start()
    with pytest.raises(KvtuiError, match="there are no events in a test: reading failed"):
        failing.wait_ready()


@pytest.mark.parametrize("depth", [100, 985, 988, 990, 1000, 100_000])
@pytest.mark.parametrize("field", ["text", "step", "seconds", "parts", "cache"])
def test_a_value_nested_to_any_depth_is_one_line_skipped(depth: int, field: str) -> None:
    nested = json.dumps(token(0) | {field: "HERE"}).replace('"HERE"', "[" * depth + "]" * depth).encode() + b"\n"
    reports = opened(lines(prefill(), nested, token(0), end(1))).drain()
    assert [type(event) for event in events(reports)] == [Prefill, Token, End]
    assert "Line 2 was skipped" in notices(reports)[0].message
    assert len(notices(reports)[0].message) < 200


def test_a_packed_file_is_read_and_one_that_is_damaged_ends_with_its_reason(tmp_path: Path) -> None:
    packed = gzip.compress(lines(*text_of(200)), mtime=0)
    for content, words in ((packed, "The stream has ended: 202 lines."), (packed[:-60], "broke off after")):
        (tmp_path / "e.jsonl.gz").write_bytes(content)
        with gzip.open(tmp_path / "e.jsonl.gz") as stream:
            assert words in notices(list(everything(opened(cast(BinaryIO, stream)))))[-1].message


def test_a_growing_file_is_followed_and_one_that_is_begun_anew_as_well(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    whole = lines(*text_of(3))
    path.write_bytes(whole[:-150])  # ends in the middle of a line
    with path.open("rb") as stream:
        link = StreamLink(EventReader(stream, "a test", follow=True))
        link.start()
        link.wait_ready()
        link.send(Start(1, "", GenerationSettings(pace=None)))
        seen: list[Report] = []

        def until(count: int) -> None:
            while len(events(seen)) < count:
                link.has_come()
                seen.extend(link.drain())

        until(2)
        with path.open("ab") as more:
            more.write(whole[-150:])
        until(5)
        path.write_bytes(lines(prefill(), token(0)))
        until(7)
        assert not notices(seen)
        link.close()
        link.wait_end()
