"""The generator process: holds the model, writes text on request, and reports what happens. Does not import Textual.

``python -m kvtui.tui.worker.main [MODEL]`` reads requests from standard input and writes reports to standard
output, in the frames of :mod:`kvtui.tui.worker.protocol`. The dashboard starts it through
:class:`kvtui.tui.worker.link.WorkerLink`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import BinaryIO

from threadpoolctl import threadpool_limits

from kvtui.core import KvtuiError, Model, commands, load
from kvtui.core.config import parameter_count
from kvtui.core.control import GenerationLoop
from kvtui.core.events import Event
from kvtui.core.inspection import answer
from kvtui.core.race import Race, estimate_race
from kvtui.core.sequence import kept_of_prompt
from kvtui.core.tokenizer import describe_character, describe_start
from kvtui.tui.characters import printable
from kvtui.tui.worker.protocol import (
    RACE_TOKENS,
    Batch,
    Loading,
    ModelInfo,
    Notice,
    Ping,
    Pong,
    Ready,
    Refused,
    Report,
    Shutdown,
    Start,
    StartRace,
    Work,
    read_frame,
    write_frame,
)

BATCH_SECONDS = 0.03
LOADING_SECONDS = 0.2  # between two progress reports while loading
LONGEST_RACE_SECONDS = 60.0  # longest race, in model time of all lanes, that starts without asking the user


class Outbox:
    """Collects events and sends them together, so that a pipe write is paid for once in 30 ms, not for every token."""

    def __init__(self, stream: BinaryIO) -> None:
        self.run = 0
        self._stream = stream
        self._writing = threading.Lock()  # a frame is not written in the middle of another
        self._events: list[Event] = []
        self._due = 0.0

    def add(self, event: Event) -> None:
        """Send an event with the next batch."""
        if not self._events:
            self._due = perf_counter() + BATCH_SECONDS
        self._events.append(event)

    def seconds_left(self) -> float | None:
        """Seconds until a batch is due; None if there is nothing to send."""
        return max(0.0, self._due - perf_counter()) if self._events else None

    def flush_if_due(self) -> None:
        """Send the batch if it has waited long enough."""
        if self._events and perf_counter() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Send the batch now."""
        if self._events:
            batch = Batch(self.run, tuple(self._events))
            self._events.clear()
            self.send_now(batch)

    def loading(self, done: int, total: int) -> None:
        """Report loading progress, if the last report is old enough."""
        if perf_counter() >= self._due:
            self._due = perf_counter() + LOADING_SECONDS
            self.send(Loading(done, total))

    def send(self, report: Report) -> None:
        """Send a report at once, after the events collected before it."""
        self.flush()
        self.send_now(report)

    def send_now(self, report: Report) -> None:
        """Send a report before the events collected; any thread may."""
        with self._writing:
            write_frame(self._stream, report)


class Inbox:
    """Requests from the dashboard, and the loop's :class:`~kvtui.core.commands.CommandSource`.

    A thread reads the pipe, so that polling costs the loop no system call, and answers :class:`Ping`. While the loop
    waits, due batches are sent.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.interruption: Start | StartRace | Shutdown | None = None
        self._outbox = outbox
        self._requests: SimpleQueue[Work] = SimpleQueue()

    def read_from(self, stream: BinaryIO, on_end: Callable[[], None]) -> None:
        """Start reading requests; at the end of the stream ``on_end`` is called in the reading thread."""
        threading.Thread(target=self._read, args=(stream, on_end), name="requests", daemon=True).start()

    def _read(self, stream: BinaryIO, on_end: Callable[[], None]) -> None:
        try:
            while True:
                request = read_frame(stream)
                if isinstance(request, Ping):
                    self._outbox.send_now(Pong())
                else:
                    self._requests.put(request)
        except (EOFError, OSError):
            on_end()

    def put(self, requests: Iterable[Work]) -> None:
        """Add requests directly."""
        for request in requests:
            self._requests.put(request)

    def next_request(self, timeout: float | None = None) -> Work | None:
        """The next request, waiting up to ``timeout`` seconds (None: indefinitely); None if there is none."""
        deadline = None if timeout is None else perf_counter() + timeout
        while True:
            self._outbox.flush_if_due()
            left = None if deadline is None else max(0.0, deadline - perf_counter())
            due = self._outbox.seconds_left()
            wait = left if due is None else due if left is None else min(left, due)
            try:
                return self._requests.get(timeout=wait)
            except Empty:
                if deadline is not None and perf_counter() >= deadline:
                    return None

    def poll(self, timeout: float | None) -> commands.Command | None:
        """See :class:`~kvtui.core.commands.CommandSource`. A new start or a shutdown becomes a stop."""
        if timeout == 0.0:
            self._outbox.flush_if_due()
            if self._requests.empty():
                return None
        request = self.next_request(timeout)
        if isinstance(request, Start | StartRace | Shutdown):
            self.interruption = request
            return commands.Stop()
        return request


class Worker:
    """Carries out requests until shutdown.

    Args:
        model: that writes.
        inbox: where requests come from.
        outbox: where reports go.
        notes: on the model's files, told with the first text.
    """

    def __init__(self, model: Model, inbox: Inbox, outbox: Outbox, notes: Sequence[str] = ()) -> None:
        self._model = model
        self._inbox = inbox
        self._outbox = outbox
        self._loop: GenerationLoop | None = None  # of the newest text
        self._notes = tuple(notes)

    def run(self) -> None:
        """Serve requests. After the end of a text, questions about it are still answered, and it can be continued."""
        self._outbox.send(Ready(describe(self._model)))
        request: Work | None = None
        while True:
            request = request or self._inbox.next_request()
            if isinstance(request, Shutdown):
                return
            following: Work | None = None
            if isinstance(request, Start):
                following = self._write(request)
            elif isinstance(request, StartRace):
                following = self._race(request)
            elif isinstance(request, commands.Question) and self._loop is not None:
                self._outbox.add(answer(self._loop.generation, request))
                self._outbox.flush()
            elif isinstance(request, commands.Fork | commands.Revisit) and self._loop is not None:
                self._inbox.interruption = None
                following = self._follow(self._outbox.run, self._loop.resume(request))
            elif request is not None and self._loop is not None:
                with contextlib.suppress(KvtuiError):
                    list(self._loop.apply(request))  # applies when the text is continued; nobody waits for a State now
            request = following

    def _write(self, start: Start) -> Work | None:
        """Write one text; returns the request that interrupted it, if any."""
        self._begin(start.run)
        settings = replace(start.settings, observe=True, parts=True)  # parts cost 1% of the smallest model's time
        try:
            self._loop = GenerationLoop(self._model, self._known(start), settings, self._inbox)
        except KvtuiError as error:
            self._outbox.send(Notice(start.run, str(error), fatal=True))
            return None
        return self._follow(start.run, self._loop.run())

    def _follow(self, run: int, events: Iterable[Event]) -> Work | None:
        """Send all events; returns the request that interrupted them, if any."""
        try:
            for event in events:
                self._outbox.add(event)
        except KvtuiError as error:
            self._outbox.send(Notice(run, str(error), fatal=True))
        self._outbox.flush()
        return self._inbox.interruption

    def _race(self, start: StartRace) -> Work | None:
        """Run one race, unless the user must confirm it first; returns the request that interrupted it, if any."""
        self._begin(start.run)
        return self._follow(start.run, self._race_events(start))

    def _race_events(self, start: StartRace) -> Iterator[Event]:
        prompt = self._known(start)
        prompt_tokens = len(self._model.tokenizer.encode(prompt)) or 1
        context = self._model.config.context_length
        room = context - kept_of_prompt(prompt_tokens, context)
        tokens = start.tokens or min(room or RACE_TOKENS, RACE_TOKENS)
        if not start.confirmed:
            estimate = estimate_race(self._model, prompt_tokens, tokens, start.lanes)
            if sum(estimate.seconds) > LONGEST_RACE_SECONDS:
                yield estimate
                return
        settings = replace(start.settings, max_new_tokens=tokens)
        yield from Race(self._model, prompt, start.lanes, settings, self._inbox).run()

    def _begin(self, run: int) -> None:
        """Label whatever is sent from now on with this run."""
        self._outbox.flush()
        self._outbox.run = run
        self._inbox.interruption = None

    def _known(self, start: Start | StartRace) -> str:
        """The prompt without characters that the model does not know; reports what was removed."""
        tokenizer = self._model.tokenizer
        for words in self._notes:
            self._outbox.send(Notice(start.run, words))
        self._notes = ()
        known, unknown = tokenizer.split_known(start.prompt)
        if unknown:
            names = ", ".join(describe_character(character) for character in unknown[:5])
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            self._outbox.send(Notice(start.run, f"Removed from the prompt (unknown to the model): {names}{more}"))
        if not known:
            self._outbox.send(Notice(start.run, f"the prompt is empty: starting from {describe_start(tokenizer)}"))
        return known


def spare_a_core() -> None:
    """Leave one core to the dashboard, unless the user has chosen a number of threads.

    BLAS threads spin while they wait for each other: with one of them kept from its core by drawing, or by another
    program, an uncached step of 128 positions took 30 times as long as on one thread.
    """
    if not any(os.environ.get(name) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threadpool_limits(max(1, cores - 1), user_api="blas")


def describe(model: Model) -> ModelInfo:
    """What the dashboard needs to know about a model."""
    return ModelInfo(printable(model.name), model.config, parameter_count(model.config), int(model.dtype.itemsize))


def serve(requests: BinaryIO, reports: BinaryIO, name: str | None) -> int:
    """Load a model and serve it; returns the exit status."""
    outbox = Outbox(reports)
    inbox = Inbox(outbox)
    inbox.read_from(requests, on_end=lambda: os._exit(0))  # whatever it is doing: nobody wants it any more
    try:
        try:
            notes: list[str] = []
            model = load(name, on_progress=outbox.loading, on_note=notes.append)
        except KvtuiError as error:
            outbox.send(Refused(str(error)))
            return 2
        except OSError as error:
            outbox.send(Refused(f"cannot read the model: {error.strerror or error}"))
            return 2
        except MemoryError:
            outbox.send(Refused("the model needs more memory than there is"))
            return 2
        Worker(model, inbox, outbox, notes).run()
    except BrokenPipeError:
        pass  # the dashboard is gone: there is nothing left to do
    return 0


def main() -> None:
    """Entry point of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the dashboard handles Ctrl-C, and on Ctrl-Z it sends a Pause:
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # stopped in the middle of a token, the wait would count as its time
    reports = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not end up between frames
    spare_a_core()
    status = serve(sys.stdin.buffer, reports, sys.argv[1] if len(sys.argv) > 1 else None)
    sys.stderr.flush()
    os._exit(status)  # the reading thread is still waiting for a request; there is nothing to clean up


if __name__ == "__main__":
    main()
