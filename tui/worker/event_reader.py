"""Events of another program, read from a pipe or a file in a thread of their own."""

from __future__ import annotations

import os
import threading
import zlib
from collections import deque
from dataclasses import dataclass, replace
from time import monotonic
from typing import BinaryIO

from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError, clip_message
from kvtui.core.event_json import LARGEST_LINE, ModelWords, parse_line
from kvtui.core.events import Event, Prefill, Token
from kvtui.tui.characters import printable
from kvtui.tui.worker.protocol import ModelInfo

AHEAD = 10_000  # events read before they are shown; beyond that the writer waits
_HOPELESS = 1_000  # unreadable lines after which the input is not considered an event stream
_COMPLAINT_SECONDS = 5.0  # minimum between two messages about unreadable lines
_LOOK_SECONDS = 0.1  # between two looks at the end of a file that is followed


@dataclass
class _Skipped:
    """Unreadable lines since the last message: how many, the first with its reason, the last."""

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


class EventReader:
    """Reads lines ahead; events that have been read but not taken are queued, and none is ever dropped.

    With :data:`AHEAD` events queued, the other program's writes block.

    Args:
        stream: of lines, buffered; the reader does not close it.
        name: what the model is called if the stream does not name it.
        follow: whether to wait for more at the end of the file instead of ending.
    """

    def __init__(self, stream: BinaryIO, name: str, follow: bool = False) -> None:
        self.unknown = unknown_model(name)
        self._stream, self._follow = stream, follow
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()  # guards everything below
        self._waiting: deque[tuple[Event, ModelInfo]] = deque()  # each with the current model
        self._model = self.unknown
        self._lines = self._refused = 0
        self._skipped = _Skipped()
        self._order = ""  # a message about steps out of order, until it has been taken
        self._step: int | None = None  # of the newest token of the text; None once their order has been complained of
        self._failure = ""  # why reading ended, unless the stream simply did
        self._ended = self._closed = False
        self._next_complaint = 0.0

    def start(self) -> None:
        """Start reading."""
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the stream has ended or the reader has been closed."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Stop reading."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait up to ``seconds`` (None: indefinitely) for an event or the end; whether either has come."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: self._waiting or self._ended, seconds))

    def peek(self) -> tuple[Event, ModelInfo] | None:
        """The next event and the model that wrote it; None if none is queued."""
        with self._changed:
            return self._waiting[0] if self._waiting else None

    def take(self) -> tuple[Event, ModelInfo]:
        """Remove and return the next event, which :meth:`peek` has seen."""
        with self._changed:
            self._changed.notify_all()
            return self._waiting.popleft()

    @property
    def ended(self) -> bool:
        """Whether everything has been read and taken."""
        with self._changed:
            return self._ended and not self._waiting

    def complaints(self) -> list[str]:
        """Messages that are due about lines that were skipped and steps out of order; not too often."""
        with self._changed:
            messages = [self._order] if self._order else []
            self._order = ""
            skipped = self._skipped
            if skipped.count and (monotonic() >= self._next_complaint or self._ended):
                more = "" if skipped.count == 1 else f", and {skipped.count - 1:,} more up to line {skipped.last:,}"
                messages.append(f"Line {skipped.first:,} was skipped: {skipped.reason}{more}.")
                self._refused += skipped.count
                self._skipped = _Skipped()
                self._next_complaint = monotonic() + _COMPLAINT_SECONDS
            return messages

    def summary(self) -> tuple[str, str]:
        """How many lines were read, and why reading failed: empty if the stream simply ended."""
        with self._changed:
            refused = f", {self._refused:,} of them skipped" if self._refused else ""
            return f"{self._lines:,} lines{refused}", self._failure

    def why_none(self) -> str:
        """Why a stream without events has none."""
        with self._changed:
            if self._failure:
                return self._failure
            if self._skipped.count:
                return f"line {self._skipped.first:,} of {self._lines:,} was skipped: {self._skipped.reason}"
            return f"none in {self._lines:,} lines" if self._lines else "it is empty"

    # The reading thread

    def _run(self) -> None:
        failure = ""
        try:
            while (data := self._next_line()) and self._read(data):
                pass
        except (OSError, EOFError, ValueError, zlib.error) as error:
            failure = f"it cannot be read: {clip_message(error)}"
        except Exception as error:  # a fault of ours must not leave the screen waiting for a thread that is gone
            failure = f"reading failed: {type(error).__name__}: {clip_message(error)}"
        with self._changed:
            self._failure = failure if not self._closed else ""
            self._ended = True
            self._changed.notify_all()

    def _next_line(self) -> bytes:
        """The next line, or only the beginning of one that is too long; empty at the end."""
        line = self._stream.readline(LARGEST_LINE + 1)
        while self._follow and not line.endswith(b"\n") and len(line) <= LARGEST_LINE:
            with self._changed:
                if self._changed.wait_for(lambda: self._closed, _LOOK_SECONDS):
                    return b""
            if os.fstat(self._stream.fileno()).st_size < self._stream.tell():
                self._stream.seek(0)  # the file was begun anew
                line = b""
            line += self._stream.readline(LARGEST_LINE + 1 - len(line))
        if len(line) > LARGEST_LINE and not line.endswith(b"\n"):
            while (rest := self._stream.readline(LARGEST_LINE)) and not rest.endswith(b"\n"):
                pass
        return line

    def _read(self, data: bytes) -> bool:
        """Queue what a line says; whether to go on."""
        with self._changed:
            self._lines += 1
            try:
                line = parse_line(data)
                if line is not None and isinstance(line.event, Prefill):
                    self._model = described(line.model) if line.model else self.unknown
            except KvtuiError as error:
                self._skipped.add(self._lines, str(error))
                return not self._skipped.count == self._lines == _HOPELESS
            if line is not None:
                self._check_order(line.event)
                self._waiting.append((line.event, self._model))
                self._changed.notify_all()
                self._changed.wait_for(lambda: len(self._waiting) < AHEAD or self._closed)
            return not self._closed

    def _check_order(self, event: Event) -> None:
        """Say once for each text that its steps do not count up one by one: figures by step would mislead."""
        if isinstance(event, Prefill):
            self._step = -1
        elif isinstance(event, Token) and self._step is not None:
            if event.step == self._step + 1:
                self._step = event.step
                return
            before = f"follows step {self._step:,}" if self._step >= 0 else "is the first of its text"
            self._order = f"Line {self._lines:,}: step {event.step:,} {before}; tokens are shown as they came."
            self._step = None


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
    """A model as its writer describes it.

    Raises:
        KvtuiError: a size that no decoder can have.
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
