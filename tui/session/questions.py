"""Asks the worker for what is shown, and for no more. Nothing of Textual."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from kvtui.core.commands import Question
from kvtui.core.events import Event, Unanswered

LEAST_SECONDS = 0.1  # at most ten questions a second of each kind
PATIENCE = 1.0  # a question that was not answered for so long is lost
SHARE = 0.02  # of the worker's time, at most, goes into answers that tell what they took


@dataclass
class _Asked:
    """The newest question of a kind. ``due``: there is news since; ``waiting``: no answer yet."""

    question: Question
    at: float
    waiting: bool = True
    due: bool = False
    rest: float = LEAST_SECONDS  # until it may be asked again because there is news


class Questions:
    """One question of each kind is under way at a time; it is asked again when there is news or it has changed.

    A question with a ``position`` is about the past, and of that there is no news.

    Args:
        send: passes a question on.
        clock: seconds, for tests.
    """

    def __init__(self, send: Callable[[Question], None], clock: Callable[[], float] = monotonic) -> None:
        self._send = send
        self._clock = clock
        self._asked: dict[type, _Asked] = {}

    def ask(self, wanted: Iterable[Question], news: bool) -> None:
        """Send the questions whose turn it is. ``news``: the answers may have changed since they were asked last."""
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
        """These answers have come."""
        for answer in answers:
            for asked in self._asked.values():
                refused = isinstance(answer, Unanswered) and type(answer.question) is type(asked.question)
                if refused or isinstance(answer, asked.question.answer):
                    asked.waiting = False
                    asked.rest = getattr(answer, "seconds", 0.0) / SHARE

    def forget(self) -> None:
        """Another text, or another view: whatever was asked is of no interest any more."""
        self._asked.clear()
