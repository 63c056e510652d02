"""Where the user looks: at the live end, or at a token of the past that is kept."""

from __future__ import annotations

import pytest
from fake_link import token

from kvtui.tui.session.cursor import Cursor
from kvtui.tui.session.timeline import Timeline


@pytest.fixture
def timeline() -> Timeline:
    """Five tokens after a prompt of six: positions 6 to 10."""
    line = Timeline()
    for step in range(5):
        line.add(token(step, "abcde"[step]))
    return line


@pytest.fixture
def cursor(timeline: Timeline) -> Cursor:
    return Cursor(timeline)


def let_go(timeline: Timeline, count: int) -> None:
    """As the timeline does with what is too old to be kept."""
    del timeline.tokens[:count]
    timeline.first += count


def test_it_follows_the_newest_token_until_it_is_moved(cursor: Cursor) -> None:
    assert (cursor.position, cursor.token) == (None, None)


@pytest.mark.parametrize(
    ("moves", "position"),
    [
        ([-1], 9),
        ([-1, -1], 8),
        ([-3, 1], 8),
        ([-2, 2], None),
        ([-1, 5], None),
        ([1], None),
        ([-100], 6),
        ([-100, 1], 7),
    ],
)
def test_moves_end_at_the_first_token_that_is_kept_and_at_the_live_end(
    cursor: Cursor, moves: list[int], position: int | None
) -> None:
    for tokens in moves:
        cursor.move(tokens)
    assert cursor.position == position


@pytest.mark.parametrize(("wanted", "position"), [(8, 8), (0, 6), (-3, 6), (10, None), (99, None), (None, None)])
def test_a_place_that_is_not_kept_is_the_nearest_that_is(
    cursor: Cursor, wanted: int | None, position: int | None
) -> None:
    cursor.move(-2)
    cursor.look_at(wanted)
    assert cursor.position == position


def test_the_token_is_the_one_at_the_position(cursor: Cursor) -> None:
    cursor.look_at(7)
    assert cursor.token is not None
    assert (cursor.token.position, cursor.token.text) == (7, "b")


def test_new_tokens_do_not_move_it(cursor: Cursor, timeline: Timeline) -> None:
    cursor.look_at(9)
    timeline.add(token(5))
    cursor.stay()
    assert cursor.position == 9
    cursor.move(1)
    assert cursor.position == 10  # the newest no longer


def test_in_a_text_without_tokens_there_is_nothing_to_look_back_at() -> None:
    cursor = Cursor(Timeline())
    cursor.move(-1)
    cursor.stay()
    assert cursor.position is None
    cursor.look_at(3)
    assert cursor.position is None


def test_it_stays_with_the_oldest_token_when_its_own_is_let_go(cursor: Cursor, timeline: Timeline) -> None:
    cursor.look_at(7)
    let_go(timeline, 1)
    cursor.stay()
    assert cursor.position == 7
    let_go(timeline, 2)
    assert cursor.token is None
    cursor.stay()
    assert cursor.position == 9


def test_the_live_end_stays_the_live_end_when_tokens_are_let_go(cursor: Cursor, timeline: Timeline) -> None:
    let_go(timeline, 4)
    cursor.stay()
    assert cursor.position is None
