"""Events of another program instead of a generator process: JSON lines from a pipe or a recording."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from time import monotonic
from typing import BinaryIO

from kvtui.core import commands
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.event_json import LARGEST_LINE, ModelWords, parse_line
from kvtui.core.events import End, Event, Prefill, State, Token
from kvtui.tui.characters import printable
from kvtui.tui.worker.protocol import Batch, ModelInfo, Notice, Ready, Report, Request, Start

AHEAD = 10_000  # events read before they are shown; beyond that the writer waits
KEPT = 100_000  # events kept of the text on screen, to show it again
_AT_ONCE = 500  # events per poll, so that the screen stays responsive
_HOPELESS = 1_000  # unreadable lines after which the input is not considered an event stream
_COMPLAINT_SECONDS = 5.0  # minimum between two notices of unreadable lines

CACHE_IS_NOT_OURS = "The cache belongs to the other program: switch it there."
TEXT_IS_NOT_OURS = "Another program writes this text: stop it there. Space freezes the screen."


@dataclass
class _LeftOut:
    """Unreadable lines since the last notice: how many, the first with its reason, the last."""

    count: int = 0
    first: int = 0
    reason: str = ""
    last: int = 0

    def add(self, number: int, reason: str) -> None:
        """Add one line."""
        if not self.count:
            self.first, self.reason = number, reason
        self.count += 1
        self.last = number


class StreamLink:
    """Implements :class:`kvtui.tui.worker.link.Link`. Pause, step and pace affect the screen, not the other program.

    A thread reads lines ahead; events that have been read but not shown are queued, and none is ever skipped. With
    :data:`AHEAD` events queued, the other program's writes block.

    Args:
        stream: of lines, buffered; the link does not close it.
        name: shown on screen if the stream does not name its model.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._model = self._unknown = unknown_model(name)
        self._pace: float | None = None
        self._reader: threading.Thread | None = None
        self._run = 0
        self._paused = False
        self._steps = 0
        self._credit = 0.0  # tokens allowed by the pace now
        self._looked = monotonic()
        self._cache: bool | None = None  # as last reported
        self._answers: list[Report] = []
        self._kept: list[Event] = []  # of the text on screen
        self._shown = 0  # number of those shown
        self._forgotten = 0
        self._changed = threading.Condition()  # guards what the reading thread uses:
        self._waiting: deque[tuple[Event, ModelInfo]] = deque()  # each with the current model
        self._left_out = _LeftOut()
        self._lines = 0
        self._ended = self._closed = False
        self._refused = 0  # number of unreadable lines
        self._next_complaint = 0.0
        self._said_end = False

    def start(self) -> None:
        """Start reading."""
        self._reader = threading.Thread(target=self._read, name="events", daemon=True)
        self._reader.start()

    def wait_end(self) -> None:
        """Wait until the stream has ended or has been closed."""
        if self._reader is not None:
            self._reader.join()

    def has_come(self, seconds: float | None = None) -> bool:
        """Wait up to ``seconds`` (None: indefinitely) for the first event or the end; whether either has come."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: self._waiting or self._ended, seconds))

    def wait_ready(self) -> ModelInfo:
        """Wait for the first event, which may name the model.

        Raises:
            KvtuiError: the stream ended without one.
        """
        self.has_come()
        with self._changed:
            if not self._waiting:
                raise KvtuiError(f"there are no events in {self._model.name}: {self._why_none()}")
            self._model = self._waiting[0][1]
            return self._model

    @property
    def prompt(self) -> str:
        """The text that the first event continues; call :meth:`wait_ready` first."""
        with self._changed:
            event = self._waiting[0][0] if self._waiting else None
        return event.prompt if isinstance(event, Prefill) else ""

    def send(self, request: Request) -> None:
        """Carry out what concerns the screen; explain why the rest must be done elsewhere."""
        match request:
            case Start(run, _, settings):
                self._begin_again(run, settings.pace)
                return
            case commands.Pause():
                self._paused = True
            case commands.Resume():
                self._paused = False
            case commands.Step():
                self._paused, self._steps = True, self._steps + 1
            case commands.SetPace(pace):
                self._pace, self._credit = pace, 0.0
            case commands.SetCache():
                self._answers.append(Notice(self._run, CACHE_IS_NOT_OURS))
            case commands.Stop():
                self._answers.append(Notice(self._run, TEXT_IS_NOT_OURS))
            case _:
                return  # nobody answers: see ModelInfo.stream
        self._answers.append(Batch(self._run, (self._state(),)))

    def drain(self) -> list[Report]:
        """The reports due on screen since the last call."""
        if not self._run:
            return []
        reports, self._answers = self._answers, []
        with self._changed:
            self._release(reports)
            self._complain(reports)
            if self._ended and not self._waiting and self._shown == len(self._kept) and not self._said_end:
                self._said_end = True
                reports.append(self._farewell())
            self._changed.notify()
        return reports

    def restart(self) -> None:
        """Does nothing: the process is not ours."""

    def load(self, model: str | None) -> None:
        """Does nothing: the model is another program's."""

    def close(self) -> None:
        """Stop reading."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    # The reading thread

    def _read(self) -> None:
        number, model = 0, self._model
        while data := self._next_line():
            number += 1
            with self._changed:
                self._lines = number
                try:
                    line = parse_line(data)
                    if line is not None and isinstance(line.event, Prefill):
                        model = described(line.model) if line.model else self._unknown
                except KvtuiError as error:
                    self._left_out.add(number, str(error))
                    if self._left_out.count == number == _HOPELESS:
                        break
                    continue
                if line is not None:
                    self._waiting.append((line.event, model))
                    self._changed.notify()
                    self._changed.wait_for(lambda: len(self._waiting) < AHEAD or self._closed)
                if self._closed:
                    return
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _next_line(self) -> bytes:
        """The next line, or only the beginning of one that is too long; empty at the end."""
        try:
            line = self._stream.readline(LARGEST_LINE + 1)
            if len(line) > LARGEST_LINE and not line.endswith(b"\n"):
                while (rest := self._stream.readline(LARGEST_LINE)) and not rest.endswith(b"\n"):
                    pass
        except (OSError, ValueError):  # as if it had ended
            return b""
        return line

    # What is due on screen

    def _release(self, reports: list[Report]) -> None:
        """Pass on the events that pause and pace allow; each text starts a new batch."""
        now = monotonic()
        self._credit = min(self._credit + (now - self._looked) * (self._pace or 0.0), max(self._pace or 0.0, 1.0))
        self._looked = now
        due: list[Event] = []
        while len(due) < _AT_ONCE and (event := self._peek()) is not None:
            if (self._paused and not self._steps) or (isinstance(event, Prefill) and due):
                break
            if isinstance(event, Token):
                if self._paused:
                    self._steps -= 1
                elif self._pace is not None:
                    if self._credit < 1:
                        break
                    self._credit -= 1
            elif isinstance(event, End):
                self._steps = 0
            self._take(event, due, reports)
        if due:
            reports.append(Batch(self._run, tuple(due)))

    def _peek(self) -> Event | None:
        if self._shown < len(self._kept):
            return self._kept[self._shown]
        return self._waiting[0][0] if self._waiting else None

    def _take(self, event: Event, due: list[Event], reports: list[Report]) -> None:
        """Move an event to those shown, and report the changes that it brings."""
        if self._shown == len(self._kept):
            _, model = self._waiting.popleft()
            if isinstance(event, Prefill):
                self._kept, self._shown, self._forgotten = [], 0, 0
                if model != self._model:
                    self._model = model
                    reports.append(Ready(model))
            self._kept.append(event)
            if len(self._kept) > 2 * KEPT:
                del self._kept[1 : 1 + KEPT]  # the prompt stays
                self._shown -= KEPT
                self._forgotten += KEPT
        self._shown += 1
        if isinstance(event, Prefill | Token) and event.cache != self._cache:
            self._cache = event.cache
            due.append(self._state())
        due.append(event)

    def _state(self) -> State:
        return State(bool(self._cache), self._paused, self._pace)

    def _begin_again(self, run: int, pace: float | None) -> None:
        """Show the text on screen again from its beginning."""
        again = self._run > 0
        self._run, self._pace, self._paused, self._steps = run, pace, False, 0
        self._shown, self._cache, self._said_end = 0, None, False
        self._credit, self._looked = 0.0, monotonic()
        self._answers = []
        if again:
            missing = f"; its first {self._forgotten:,} events are not kept" if self._forgotten else ""
            words = "Another program writes this text from its own prompt: it is shown again"
            self._answers.append(Notice(run, words + missing + "."))

    # Messages about the stream itself

    def _complain(self, reports: list[Report]) -> None:
        """Report unreadable lines, not too often."""
        lines = self._left_out
        if not lines.count or (monotonic() < self._next_complaint and not self._ended):
            return
        more = "" if lines.count == 1 else f", and {lines.count - 1:,} more up to line {lines.last:,}"
        reports.append(Notice(self._run, f"Line {lines.first:,} was skipped: {lines.reason}{more}."))
        self._refused += lines.count
        self._left_out = _LeftOut()
        self._next_complaint = monotonic() + _COMPLAINT_SECONDS

    def _farewell(self) -> Notice:
        refused = f", {self._refused:,} of them skipped" if self._refused else ""
        lines = f"{self._lines:,} lines{refused}"
        if self._kept and isinstance(self._kept[-1], End):
            return Notice(self._run, f"The stream has ended: {lines}.")
        words = f"The stream broke off after {lines} without an 'end': its program stopped in the middle."
        return Notice(self._run, words, fatal=True)

    def _why_none(self) -> str:
        if self._left_out.count:
            return f"line {self._left_out.first:,} of {self._lines:,} was skipped: {self._left_out.reason}"
        return f"none in {self._lines:,} lines" if self._lines else "it is empty"


def unknown_model(name: str) -> ModelInfo:
    """A model about which nothing is known yet; the smallest shape is a placeholder, and is not shown."""
    config = ModelConfig(
        vocab_size=1,
        context_length=1,
        num_layers=1,
        num_heads=1,
        num_kv_heads=1,
        head_dim=2,
        embed_dim=1,
        mlp_dim=1,
    )
    return ModelInfo(printable(name), config, 0, 0, stream=True)


def described(words: ModelWords) -> ModelInfo:
    """A model as described by its program.

    Raises:
        KvtuiError: a size that is impossible for a decoder.
    """
    model = unknown_model(words.name)
    config = replace(
        model.config,
        context_length=words.context_length,
        num_layers=words.num_layers,
        num_heads=words.num_heads,
        num_kv_heads=words.num_heads,
    )
    return replace(model, config=config, parameters=words.parameters)
