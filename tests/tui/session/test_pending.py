"""Commands that the process has not answered, and those that a text is told after a race."""

from __future__ import annotations

from kvtui.core.commands import SetCache, SetPace, SetPolicy
from kvtui.tui.session.pending import Pending


def test_an_answer_is_the_newest_word_only_when_no_other_is_missing() -> None:
    pending = Pending()
    pending.sent()
    pending.sent()
    assert not pending.answered()
    assert pending.answered()


def test_a_state_that_nobody_asked_for_counts_at_once_and_is_no_answer_in_advance() -> None:
    pending = Pending()
    assert pending.answered()
    pending.sent()
    pending.sent()
    assert not pending.answered()


def test_what_came_too_late_is_not_waited_for() -> None:
    pending = Pending()
    pending.sent()
    pending.sent()
    pending.expect_nothing()
    pending.sent()
    assert pending.answered()


def test_of_the_commands_of_a_kind_the_newest_is_owed_once() -> None:
    pending = Pending()
    for command in (SetCache(False), SetPace(50.0), SetCache(True), SetPolicy("window:8"), SetPace(None)):
        pending.owe(command)
    assert pending.take_owed() == [SetCache(True), SetPace(None), SetPolicy("window:8")]
    assert pending.take_owed() == []


def test_what_is_owed_outlives_the_end_of_the_race() -> None:
    pending = Pending()
    pending.owe(SetCache(False))
    pending.expect_nothing()
    assert pending.take_owed() == [SetCache(False)]
