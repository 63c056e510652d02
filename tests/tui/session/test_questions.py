"""How often the worker is asked for what is shown."""

from __future__ import annotations

import numpy as np

from kvtui.core.commands import Inspect, Question, ShowAttention
from kvtui.core.events import Attention, Inspection, Unanswered
from kvtui.tui.session.questions import LEAST_SECONDS, PATIENCE, SHARE, Questions

FIRST, SECOND = ShowAttention(0), ShowAttention(1)
ANSWER = Attention(0, (0,), 0, np.ones((1, 1, 1), np.float32), ("a",), 0)


class Asked:
    """Questions with a clock that the test turns."""

    def __init__(self) -> None:
        self.sent: list[Question] = []
        self.now = 100.0
        self.questions = Questions(self.sent.append, lambda: self.now)

    def ask(self, question: Question, seconds: float = 0.0, news: bool = True) -> int:
        """Ask after so many seconds; how many have been sent so far."""
        self.now += seconds
        self.questions.ask([question], news)
        return len(self.sent)


def test_one_question_is_under_way_at_a_time() -> None:
    it = Asked()
    assert it.ask(FIRST) == 1
    assert it.ask(FIRST, 2 * LEAST_SECONDS) == 1
    it.questions.take([ANSWER])
    assert it.ask(FIRST) == 2


def test_at_most_ten_a_second_and_nothing_is_forgotten() -> None:
    it = Asked()
    it.ask(FIRST)
    it.questions.take([ANSWER])
    assert it.ask(FIRST, LEAST_SECONDS / 2) == 1
    assert it.ask(FIRST, LEAST_SECONDS, news=False) == 2


def test_without_news_nothing_is_asked_twice() -> None:
    it = Asked()
    it.ask(FIRST)
    it.questions.take([ANSWER])
    assert it.ask(FIRST, 5.0, news=False) == 1


def test_another_question_does_not_wait_for_the_answer_to_the_first() -> None:
    it = Asked()
    it.ask(FIRST)
    assert it.ask(SECOND, 1.5 * LEAST_SECONDS, news=False) == 2
    assert it.sent == [FIRST, SECOND]


def test_a_lost_question_is_asked_again() -> None:
    it = Asked()
    it.ask(FIRST)
    assert it.ask(FIRST, PATIENCE, news=False) == 2


def test_a_question_without_an_answer_is_not_lost() -> None:
    it = Asked()
    it.ask(FIRST)
    it.questions.take([Unanswered(FIRST, "no such layer")])
    assert it.ask(FIRST, PATIENCE, news=False) == 1
    assert it.ask(FIRST) == 2


def test_a_costly_answer_is_not_asked_for_again_before_it_has_paid_off() -> None:
    it = Asked()
    question = Inspect()
    it.ask(question)
    it.questions.take([Inspection(1, 1, "a", True, 1, "", (), (), np.zeros((1, 1)), None, seconds=0.05)])
    assert it.ask(question, 0.05 / SHARE - 0.1) == 1
    assert it.ask(Inspect(None, ((0, 0),)), 0.0) == 2  # another question is the reader's own: at once
    it.questions.take([Inspection(1, 1, "a", True, 1, "", (), (), np.zeros((1, 1)), None, seconds=0.05)])
    assert it.ask(Inspect(None, ((0, 0),)), 0.05 / SHARE - 0.1) == 2
    assert it.ask(Inspect(None, ((0, 0),)), 0.2, news=False) == 3
