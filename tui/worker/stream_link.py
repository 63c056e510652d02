"""Events of another program instead of a generator process: JSON lines from a pipe or a recording."""

from __future__ import annotations

from time import monotonic

from kvtui.core import commands
from kvtui.core.errors import KvtuiError
from kvtui.core.events import End, Event, Prefill, State, Token
from kvtui.tui.worker.event_reader import EventReader
from kvtui.tui.worker.protocol import Batch, ModelInfo, Notice, Ready, Report, Request, Start

KEPT = 100_000  # events kept of the text on screen, to show it again
_AT_ONCE = 500  # events per poll, so that the screen stays responsive

CACHE_IS_NOT_OURS = "The cache belongs to the other program: switch it there."
TEXT_IS_NOT_OURS = "Another program writes this text: stop it there. Space freezes the screen."


class StreamLink:
    """Implements :class:`kvtui.tui.worker.link.Link`. Pause, step and pace affect the screen, not the other program.

    Args:
        reader: of the events, not started yet.
    """

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader
        self._model = reader.unknown
        self._pace: float | None = None
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
        self._said_end = False

    def start(self) -> None:
        """Start reading."""
        self._reader.start()

    def wait_end(self) -> None:
        """Wait until the stream has ended or has been closed."""
        self._reader.join()

    def has_come(self, seconds: float | None = None) -> bool:
        """Wait up to ``seconds`` (None: indefinitely) for the first event or the end; whether either has come."""
        return self._reader.wait(seconds)

    def wait_ready(self) -> ModelInfo:
        """Wait for the first event, which may name the model.

        Raises:
            KvtuiError: the stream ended without one.
        """
        self._reader.wait()
        if (first := self._reader.peek()) is None:
            raise KvtuiError(f"there are no events in {self._model.name}: {self._reader.why_none()}")
        self._model = first[1]
        return self._model

    @property
    def prompt(self) -> str:
        """The text that the first event continues; call :meth:`wait_ready` first."""
        first = self._reader.peek()
        return first[0].prompt if first is not None and isinstance(first[0], Prefill) else ""

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
        self._release(reports)
        reports += [Notice(self._run, message) for message in self._reader.complaints()]
        if self._reader.ended and self._shown == len(self._kept) and not self._said_end:
            self._said_end = True
            reports.append(self._farewell())
        return reports

    def restart(self) -> None:
        """Does nothing: the process is not ours."""

    def load(self, model: str | None) -> None:
        """Does nothing: the model is another program's."""

    def close(self) -> None:
        """Stop reading."""
        self._reader.close()

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
        following = self._reader.peek()
        return None if following is None else following[0]

    def _take(self, event: Event, due: list[Event], reports: list[Report]) -> None:
        """Move an event to those shown, and report the changes that it brings."""
        if self._shown == len(self._kept):
            _, model = self._reader.take()
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

    def _farewell(self) -> Notice:
        lines, failure = self._reader.summary()
        if failure:
            return Notice(self._run, f"The stream broke off after {lines}: {failure}.", fatal=True)
        if self._kept and isinstance(self._kept[-1], End):
            return Notice(self._run, f"The stream has ended: {lines}.")
        words = f"The stream broke off after {lines} without an 'end': its program stopped in the middle."
        return Notice(self._run, words, fatal=True)
