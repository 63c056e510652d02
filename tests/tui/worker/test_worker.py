"""The generator process and the dashboard's end of it, with real processes and a small random model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO, FileIO
from pathlib import Path
from queue import SimpleQueue
from time import monotonic

import numpy as np
import pytest
from random_model import SMALL, random_model

from kvtui.core import CharTokenizer, GenerationSettings, KvtuiError, Model, generate
from kvtui.core.commands import (
    Fork,
    MeasureLimits,
    MeasureParts,
    Pause,
    Revisit,
    SetCache,
    SetPace,
    SetPolicy,
    ShowAttention,
    Step,
    Stop,
)
from kvtui.core.config import parameter_shapes
from kvtui.core.events import (
    Attention,
    Branch,
    Breakdown,
    End,
    Event,
    Evict,
    Limits,
    Prefill,
    RaceEnd,
    RaceEstimate,
    RaceToken,
    State,
    Token,
    Unanswered,
)
from kvtui.core.formats.checkpoint import save_checkpoint
from kvtui.tui.worker.link import WorkerLink, describe_end
from kvtui.tui.worker.main import Inbox, Outbox, Worker
from kvtui.tui.worker.protocol import (
    Batch,
    Ended,
    Loading,
    Notice,
    Ready,
    Refused,
    Report,
    Shutdown,
    Start,
    StartRace,
    read_frame,
    write_frame,
)

FAST = GenerationSettings(pace=None)


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model(seed=5, name="small")


@pytest.fixture(scope="module")
def model_file(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small.safetensors"
    assert isinstance(model.tokenizer, CharTokenizer)
    save_checkpoint(path, model.config, model.tokenizer, model.parameters)
    return path


class Conversation:
    """A worker in a thread, in this process: requests go in, reports come out."""

    def __init__(self, model: Model, *notes: str) -> None:
        reading, writing = os.pipe()
        self._reports: SimpleQueue[Report] = SimpleQueue()
        self._events: list[tuple[int, Event]] = []
        self._out = os.fdopen(writing, "wb", buffering=0)
        outbox = Outbox(self._out)
        self.inbox = Inbox(outbox)
        self._reader = threading.Thread(target=self._read, args=(os.fdopen(reading, "rb", buffering=0),), daemon=True)
        self._worker = threading.Thread(target=Worker(model, self.inbox, outbox, notes).run, daemon=True)
        self._reader.start()
        self._worker.start()

    def _read(self, stream: FileIO) -> None:
        with stream:
            try:
                while True:
                    self._reports.put(read_frame(stream))
            except EOFError:
                return

    def next(self) -> Report:
        return self._reports.get(timeout=60)

    def events(self, run: int, until: Callable[[Event], bool]) -> list[Event]:
        """Events of a run up to the first that is what a test waits for; the next call goes on after it."""
        found: list[Event] = []
        while True:
            while self._events:
                number, event = self._events.pop(0)
                if number == run:
                    found.append(event)
                    if until(event):
                        return found
            report = self.next()
            if isinstance(report, Batch):
                self._events = [(report.run, event) for event in report.events]

    def close(self) -> None:
        self.inbox.put([Shutdown()])
        self._worker.join(60)
        self._out.close()
        self._reader.join(60)


@pytest.fixture
def worker(model: Model) -> Iterator[Conversation]:
    conversation = Conversation(model)
    yield conversation
    conversation.close()


def is_token(step: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Token) and event.step == step


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


def test_it_describes_its_model(worker: Conversation) -> None:
    ready = worker.next()
    assert isinstance(ready, Ready)
    model = ready.model
    assert (model.name, model.config) == ("small", SMALL)
    assert model.parameters == sum(int(np.prod(shape)) for shape in parameter_shapes(SMALL).values())
    assert model.cache_bytes_per_position == 2 * 2 * 16 * 4


def test_it_tells_once_what_in_the_files_was_ignored(model: Model) -> None:
    conversation = Conversation(model, "the output is not tied")
    told: list[Report] = []
    for run in (1, 2):
        conversation.inbox.put([Start(run, "romeo", replace(FAST, max_new_tokens=1))])
        ended = False
        while not ended:
            told.append(report := conversation.next())
            ended = isinstance(report, Batch) and any(isinstance(event, End) for event in report.events)
    conversation.close()
    assert [report for report in told if isinstance(report, Notice)] == [Notice(1, "the output is not tied")]


def test_it_writes_the_text_of_the_one_loop_toggled_or_not(worker: Conversation, model: Model) -> None:
    worker.inbox.put([Start(1, "romeo", GenerationSettings(seed=7, pace=None))])
    events = worker.events(1, is_token(10))
    for number in range(10):
        on = bool(number % 2)
        worker.inbox.put([SetCache(on)])
        events += worker.events(1, lambda event, on=on: isinstance(event, State) and event.cache is on)  # type: ignore[misc]
        events += worker.events(1, lambda event: isinstance(event, Token))
    worker.inbox.put([Stop()])  # the model's buffers belong to one run at a time
    events += worker.events(1, lambda event: isinstance(event, End))
    written = text(events)
    plain = generate(model, "romeo", max_new_tokens=len(written), seed=7)
    assert written == "".join(event.text for event in plain if isinstance(event, Token))
    assert {event.cache for event in events if isinstance(event, Token)} == {True, False}


def test_it_forks_while_it_writes_and_after_the_end(worker: Conversation) -> None:
    worker.inbox.put([Start(1, "romeo", FAST), Pause()])
    for step in range(6):
        worker.inbox.put([Step()])
        worker.events(1, is_token(step))
    worker.inbox.put([Fork(7, text="zz")])
    events = worker.events(1, is_token(3))
    assert [event.number for event in events if isinstance(event, Branch)] == [1]
    assert text(events) == "zz"
    worker.inbox.put([Stop()])
    worker.events(1, lambda event: isinstance(event, End))
    worker.inbox.put([Fork(999, text="z"), Revisit(0), Step()])
    refused, branch, *_, token = worker.events(1, lambda event: isinstance(event, Token))
    assert isinstance(refused, Unanswered)
    assert isinstance(branch, Branch)
    assert (branch.number, token.step) == (0, 6)
    worker.inbox.put([Stop()])
    worker.events(1, lambda event: isinstance(event, End))


def test_what_is_switched_after_the_end_holds_for_a_fork(worker: Conversation) -> None:
    worker.inbox.put([Start(1, "romeo", FAST), Pause(), *[Step()] * 4])
    worker.events(1, is_token(3))
    worker.inbox.put([Stop()])
    worker.events(1, lambda event: isinstance(event, End))
    worker.inbox.put([SetCache(False), SetPolicy("nonsense"), Fork(7, text="zz"), Stop()])
    events = worker.events(1, lambda event: isinstance(event, End))
    assert {type(event) for event in events} <= {Branch, Evict, Token, State, End}
    assert {event.cache for event in events if isinstance(event, Token | State)} == {False}


def test_commands_are_obeyed_while_it_is_paused(worker: Conversation) -> None:
    worker.inbox.put([Start(1, "a", GenerationSettings(pace=50.0))])
    worker.events(1, is_token(0))
    worker.inbox.put([Pause(), ShowAttention(1, None, -2), Step(), SetPace(None), Stop()])
    events = worker.events(1, lambda event: isinstance(event, End))
    attention = next(event for event in events if isinstance(event, Attention))
    assert attention.weights.shape[:2] == (2, 2)
    assert [event.pace for event in events if isinstance(event, State)][-1] is None
    assert isinstance(events[-1], End)
    assert events[-1].reason == "cancelled"


def test_a_new_start_interrupts_and_attention_is_answered_after_the_end(worker: Conversation) -> None:
    worker.inbox.put([Start(1, "a", FAST)])
    worker.events(1, is_token(3))
    worker.inbox.put([Start(2, "bc", FAST)])
    events = worker.events(2, is_token(3))
    assert isinstance(events[0], Prefill)
    assert events[0].prompt == "bc"
    worker.inbox.put([Stop()])
    worker.events(2, lambda event: isinstance(event, End))
    worker.inbox.put([Pause(), ShowAttention(9), ShowAttention(0, (1,), -1)])  # one that means nothing, one impossible
    assert worker.events(2, lambda event: isinstance(event, Attention))


@pytest.mark.parametrize(
    ("prompt", "words", "used"),
    [("aé→b", "'é' (U+00E9), '→' (U+2192)", "ab"), ("", "the prompt is empty: starting from a newline", "\n")],
)
def test_what_it_makes_of_an_odd_prompt_is_told(worker: Conversation, prompt: str, words: str, used: str) -> None:
    worker.inbox.put([Start(4, prompt, FAST)])
    assert isinstance(worker.next(), Ready)
    notice = worker.next()
    assert isinstance(notice, Notice)
    assert words in notice.message
    assert notice.run == 4
    prefill = worker.events(4, lambda event: isinstance(event, Prefill))[0]
    assert isinstance(prefill, Prefill)
    assert prefill.prompt == used


def test_a_race_is_told_between_two_texts(worker: Conversation, model: Model) -> None:
    worker.inbox.put([Start(1, "romeo", FAST)])
    worker.events(1, is_token(2))
    worker.inbox.put([StartRace(2, "romeo", FAST, tokens=40)])
    events = worker.events(2, lambda event: isinstance(event, RaceEnd))
    tokens = [event for event in events if isinstance(event, RaceToken)]
    assert [event.lane for event in tokens] == [0, 1] * 40
    assert [event.token.cache for event in tokens] == [True, False] * 40
    worker.inbox.put([MeasureParts(), MeasureLimits()])  # about the text before
    assert worker.events(2, lambda event: isinstance(event, Breakdown))
    assert worker.events(2, lambda event: isinstance(event, Limits))


def test_a_race_goes_to_the_end_of_the_context_and_is_ended_by_another(worker: Conversation) -> None:
    worker.inbox.put([StartRace(1, "romeo", FAST)])
    end = worker.events(1, lambda event: isinstance(event, RaceEnd))[-1]
    assert isinstance(end, RaceEnd)
    assert (end.reason, end.tokens) == ("length", SMALL.context_length - 5)
    worker.inbox.put([StartRace(2, "romeo", GenerationSettings(pace=50.0), tokens=10_000)])
    worker.events(2, lambda event: isinstance(event, RaceToken))
    worker.inbox.put([StartRace(3, "romeo", FAST, tokens=3)])
    assert worker.events(3, lambda event: isinstance(event, RaceEnd))


def test_a_race_that_takes_too_long_is_asked_about(worker: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvtui.tui.worker.main.LONGEST_RACE_SECONDS", 0.0)
    worker.inbox.put([StartRace(1, "romeo", FAST, tokens=60)])
    (estimate,) = worker.events(1, lambda event: isinstance(event, RaceEstimate))
    assert isinstance(estimate, RaceEstimate)
    assert (estimate.tokens, estimate.moves) == (60, 3)
    worker.inbox.put([StartRace(2, "romeo", FAST, tokens=estimate.tokens, confirmed=True)])
    assert worker.events(2, lambda event: isinstance(event, RaceEnd))


def test_settings_that_the_loop_refuses_end_the_run_and_not_the_process(worker: Conversation) -> None:
    worker.inbox.put([Start(1, "a", GenerationSettings(pace=-1.0)), Start(2, "a", FAST)])
    worker.next()
    notice = worker.next()
    assert isinstance(notice, Notice)
    assert notice.fatal
    assert "pace" in notice.message
    assert worker.events(2, is_token(0))


def test_frames_come_back_and_a_cut_one_is_an_end() -> None:
    stream = BytesIO()
    write_frame(stream, Start(1, "x" * 100_000, FAST))
    data = stream.getvalue()
    assert read_frame(BytesIO(data)) == Start(1, "x" * 100_000, FAST)
    with pytest.raises(EOFError):
        read_frame(BytesIO(data[:-1]))


def test_poll_without_a_timeout_returns_at_once() -> None:
    inbox = Inbox(Outbox(BytesIO()))
    assert inbox.poll(0.0) is None
    inbox.put([Pause(), Start(1, "a", FAST)])
    assert inbox.poll(0.0) == Pause()
    assert inbox.poll(0.0) == Stop()
    assert isinstance(inbox.interruption, Start)


# Real processes


def wait_for(link: WorkerLink, condition: Callable[[Report], bool]) -> Report:
    deadline = monotonic() + 60
    pause = threading.Event()
    while monotonic() < deadline:
        for report in link.drain():
            if condition(report):
                return report
        pause.wait(0.01)
    raise AssertionError("what the test waits for did not come")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_starts_writes_ignores_interrupts_dies_is_replaced_and_leaves_no_orphan(model_file: Path) -> None:
    link = WorkerLink(str(model_file))
    link.start()
    try:
        assert link.wait_ready().config == SMALL
        first = link.pid
        assert first is not None
        os.kill(first, signal.SIGINT)
        link.send(Start(1, "a", FAST))
        wait_for(link, lambda report: isinstance(report, Batch))
        os.kill(first, signal.SIGKILL)
        ended = wait_for(link, lambda report: isinstance(report, Ended))
        assert isinstance(ended, Ended)
        assert "SIGKILL" in ended.reason
        link.send(Start(2, "a", FAST))  # to nobody
        link.restart()
        assert link.wait_ready().config == SMALL
        second = link.pid
        assert second is not None
        assert second != first
    finally:
        link.close()
    assert not alive(second)
    assert not any(isinstance(report, Ended) for report in link.drain())
    link.close()  # twice does no harm


def test_another_model_takes_the_place_of_one_that_is_writing(model_file: Path, tiny_model_file: Path) -> None:
    link = WorkerLink(str(model_file))
    link.start()
    try:
        link.wait_ready()
        first = link.pid
        link.send(Start(1, "a", FAST))
        wait_for(link, lambda report: isinstance(report, Batch))
        link.load(str(tiny_model_file))
        ready = link.wait_ready()
        assert ready.name == "tiny"
        assert first is not None
        assert not alive(first)
        link.load(str(model_file.parent / "none"))
        reports = [wait_for(link, lambda report: True)]
        assert isinstance(reports[0], Refused)  # and nothing of the process before
    finally:
        link.close()


def test_a_process_whose_dashboard_is_gone_ends(model_file: Path) -> None:
    command = [sys.executable, "-P", "-m", "kvtui.tui.worker.main", str(model_file)]
    process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert process.returncode == 0
    assert process.stderr == b""


def test_a_bad_model_is_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"not a model")
    for name in (str(bad), str(tmp_path / "none")):
        link = WorkerLink(name)
        link.start()
        try:
            with pytest.raises(KvtuiError) as error:
                link.wait_ready()
            assert "\n" not in str(error.value)
        finally:
            link.close()


def test_a_process_that_cannot_run_says_why() -> None:
    for command, reason in (
        ([sys.executable, "-c", "raise ValueError('no such luck')"], "ValueError: no such luck"),
        ([sys.executable, "-c", "print('a stray line, no frame' * 9)"], "unreadable|exit status"),
    ):
        link = WorkerLink(command=command)
        link.start()
        try:
            with pytest.raises(KvtuiError, match=reason):
                link.wait_ready(20)
        finally:
            link.close()


def test_ends_in_words() -> None:
    assert describe_end(-9, "") == "ended by signal SIGKILL"
    assert describe_end(-999, "") == "ended by signal 999"
    assert describe_end(1, "MemoryError") == "exit status 1: MemoryError"


def test_the_process_imports_no_textual() -> None:
    code = "import sys, kvtui.tui.worker.main; sys.exit(any(name.split('.')[0] == 'textual' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_model_that_takes_long_to_load_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.1, 0.15, 0.35, 0.4])
    monkeypatch.setattr("kvtui.tui.worker.main.perf_counter", lambda: next(times))
    stream = BytesIO()
    outbox = Outbox(stream)
    for done in range(1, 4):
        outbox.loading(done, 3)
    stream.seek(0)
    assert [read_frame(stream) for _ in range(2)] == [Loading(1, 3), Loading(3, 3)]
    assert not stream.read()
