"""What a view is told of the text, whenever it looks."""

from __future__ import annotations

from fake_link import token

from kvtui.core.events import Prefill
from kvtui.tui.session import timings
from kvtui.tui.session.timeline import Mark, Timeline

PREFILL = Prefill(6, 0.01, True, 100, "ROMEO:")


def begun(count: int) -> Timeline:
    line = Timeline()
    line.start()
    line.prefill = PREFILL
    for step in range(count):
        line.add(token(step))
    return line


def test_a_newcomer_gets_everything_once() -> None:
    line = begun(3)
    news = line.since(Mark())
    assert (news.reset, news.prefill, [token.step for token in news.tokens]) == (True, PREFILL, [0, 1, 2])
    again = line.since(line.mark)
    assert (again.reset, again.prefill, list(again.tokens)) == (False, None, [])


def test_the_prefill_may_come_later_than_the_start() -> None:
    line = Timeline()
    line.start()
    mark = line.mark
    line.prefill = PREFILL
    assert line.since(mark).prefill is PREFILL


def test_another_text_is_told_from_the_beginning() -> None:
    line = begun(3)
    mark = line.mark
    line.start()
    line.add(token(0, "b"))
    news = line.since(mark)
    assert (news.reset, news.prefill, [token.text for token in news.tokens]) == (True, None, ["b"])


def test_old_tokens_are_let_go_and_who_missed_them_begins_afresh() -> None:
    line = begun(5)
    mark = line.mark
    for step in range(5, 2 * timings.LIMIT):
        line.add(token(step))
    assert timings.LIMIT <= len(line.tokens) < 1.25 * timings.LIMIT
    news = line.since(mark)
    assert (news.reset, news.prefill) == (True, None)
    assert news.tokens[0].step == line.first > 5
    assert news.tokens[-1].step == 2 * timings.LIMIT - 1
