"""The continuations of a text: which is being written, what those that were left keep, and where two part."""

from __future__ import annotations

import pytest
from fake_link import token

from kvtui.core.events import Branch, Token
from kvtui.tui.session.branches import Branches, compare
from kvtui.tui.session.timeline import Mark, Timeline

FORK = Branch(1, 0, 8, 8, 8, 1, 0.0)  # the third token was replaced: positions 6 and 7 stay


class Stage:
    """A timeline and its branches, which are written to alike."""

    def __init__(self) -> None:
        self.line = Timeline()
        self.branches = Branches(self.line)

    def write(self, text: str, seconds: float = 0.001) -> None:
        for letter in text:
            self.line.add(token(len(self.line.tokens), letter, seconds=seconds))

    def text(self, number: int) -> str:
        return "".join(one.text for one in self.branches.tokens(number))


@pytest.fixture
def forked() -> Stage:
    """``abcd``, and ``abX`` which is being written."""
    it = Stage()
    it.write("abcd")
    it.branches.turn_to(FORK)
    it.write("X", seconds=0.005)
    return it


def test_a_text_begins_with_one_branch_that_nothing_led_to() -> None:
    it = Stage()
    it.write("ab")
    assert (len(it.branches), it.branches.current, it.branches.begun(0)) == (1, 0, None)
    assert it.text(0) == "ab"


def test_a_fork_keeps_the_tokens_before_it_and_leaves_the_other_text_as_it_was(forked: Stage) -> None:
    branches = forked.branches
    assert (len(branches), branches.current, branches.begun(1)) == (2, 1, FORK)
    assert (forked.text(0), forked.text(1)) == ("abcd", "abX")
    assert forked.line.tokens is branches.tokens(1)


def test_a_branch_goes_on_where_it_was_left(forked: Stage) -> None:
    forked.branches.turn_to(Branch(0, 1, 8, 10, 8, 2, 0.0))
    assert (len(forked.branches), forked.branches.current) == (2, 0)
    forked.write("e")
    assert (forked.text(0), forked.text(1)) == ("abcde", "abX")
    forked.branches.turn_to(Branch(1, 0, 8, 9, 8, 1, 0.0))
    forked.write("Y")
    assert (forked.text(0), forked.text(1)) == ("abcde", "abXY")


def test_the_times_of_shared_tokens_are_counted_once(forked: Stage) -> None:
    own = [times.own() for times in forked.branches.times()]
    assert sorted(times.total for times in own) == [1, 4]
    assert sum(times.seconds for times in own) == pytest.approx(4 * 0.001 + 0.005)


def test_whoever_shows_the_text_begins_afresh_with_each_turn(forked: Stage) -> None:
    mark = forked.line.mark
    forked.branches.turn_to(Branch(0, 1, 8, 10, 8, 2, 0.0))
    news = forked.line.since(mark)
    assert (news.reset, "".join(one.text for one in news.tokens)) == (True, "abcd")
    assert forked.line.since(Mark()).reset


def test_a_fork_of_a_fork_shares_what_is_before_it(forked: Stage) -> None:
    forked.branches.turn_to(Branch(2, 1, 7, 7, 7, 1, 0.0))
    forked.write("Z")
    assert [forked.text(number) for number in range(3)] == ["abcd", "abX", "aZ"]


def test_another_text_has_no_branches_of_the_one_before(forked: Stage) -> None:
    forked.line.start()
    forked.branches.start()
    assert (len(forked.branches), forked.branches.current, forked.text(0)) == (1, 0, "")


def tokens(text: str) -> list[Token]:
    return [token(step, letter) for step, letter in enumerate(text)]


def test_texts_are_compared_from_where_both_are_kept() -> None:
    one, other = tokens("abcdef"), tokens("abcxyz")
    comparison = compare(one, other)
    assert (comparison.shared, comparison.before, comparison.first, comparison.second) == (3, "abc", "def", "xyz")
    assert compare(one[2:], other).shared == 3
    assert compare(one, other[1:]).before == "bc"
    assert compare(one, []).shared == 0
    assert compare(one, one).first == ""
