"""Asks the worker for what is on screen, and nothing more. Does not import Textual."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from kvtui.core.commands import Question
from kvtui.core.events import Event, Unanswered

LEAST_SECONDS = 0.1  # at most ten questions a second of each kind
PATIENCE = 1.0  # a question unanswered for this long is lost
SHARE = 0.02  # of the worker's time, at most, goes into answers that report their own time


@dataclass
class _Asked:
    """The newest question of a kind. ``due``: something has changed since; ``waiting``: not answered yet."""

    question: Question
    at: float
    waiting: bool = True
    due: bool = False
    rest: float = LEAST_SECONDS  # minimum time until it is asked again


class Questions:
    """Keeps one question of each kind in flight; asks again when something has changed or the question has.

    A question with a ``position`` is about the past, which does not change.

    Args:
        send: sends a question.
        clock: seconds, for tests.
    """

    def __init__(self, send: Callable[[Question], None], clock: Callable[[], float] = monotonic) -> None:
        self._send = send
        self._clock = clock
        self._asked: dict[type, _Asked] = {}

    def ask(self, wanted: Iterable[Question], news: bool) -> None:
        """Send the questions that are due. ``news``: the answers may have changed since they were last asked."""
        now = self._clock()
        for asked in self._asked.values():
            asked.due = asked.due or news
        for question in wanted:
            last = self._asked.get(type(question))
            if last is None or self._is_turn(last, question, now):
                self._asked[type(question)] = _Asked(question, now)
                self._send(question)

    def _is_turn(self, asked: _Asked, question: Question, now: float) -> bool:
        if now - asked.at < LEAST_SECONDS:
            return False
        changed = question != asked.question
        lost = asked.waiting and now - asked.at >= PATIENCE
        rested = asked.due and not asked.waiting and now - asked.at >= asked.rest
        return changed or lost or (rested and getattr(question, "position", None) is None)

    def take(self, answers: Iterable[Event]) -> None:
        """These answers have arrived."""
        for answer in answers:
            for asked in self._asked.values():
                refused = isinstance(answer, Unanswered) and type(answer.question) is type(asked.question)
                if refused or isinstance(answer, asked.question.answer):
                    asked.waiting = False
                    asked.rest = getattr(answer, "seconds", 0.0) / SHARE

    def forget(self) -> None:
        """Another text or another view: drop all questions."""
        self._asked.clear()
