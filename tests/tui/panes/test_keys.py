"""The key line: what it keeps when it gets narrow, and that a large terminal shows every key."""

from __future__ import annotations

import pytest
from bench import bench

from kvtui.tui.actions import ACTIONS
from kvtui.tui.panes.keys import Entry, entries, fitting
from kvtui.tui.views.cache.view import CacheView
from kvtui.tui.views.table import VIEWS
from kvtui.tui.views.view import View
from kvtui.tui.views.watch.view import WatchView


def words(rows: list[list[Entry]]) -> list[list[str]]:
    return [[word for _, word in row] for row in rows]


@pytest.mark.parametrize("view", VIEWS)
def test_two_lines_of_a_large_terminal_have_every_key(view: type[View]) -> None:
    rows = fitting(entries("writing", view.ACTIONS), 199, 2)
    shown = {key for row in rows for keys, _ in row for key, _ in keys}
    assert shown == {action.shown for action in (*ACTIONS, *view.ACTIONS)}


def test_the_views_own_keys_stay_longer_than_the_pace() -> None:
    narrow = ["Cache", "Pause", "Colour by", "Layer", "Zoom", "More", "Help", "Quit"]
    assert words(fitting(entries("writing", CacheView.ACTIONS), 79)) == [narrow]


def test_at_eighty_columns_the_text_can_be_paced_in_the_first_view() -> None:
    narrow = ["Cache", "Pause", "Layer", "Head", "Step", "Pace", "Help", "Quit"]
    assert words(fitting(entries("writing", WatchView.ACTIONS), 79)) == [narrow]


def test_what_space_does() -> None:
    assert [words([entries(phase)])[0][1] for phase in ("writing", "paused", "ended")] == ["Pause", "Resume", "Again"]


def test_the_past_comes_first_when_looking_back() -> None:
    assert words([entries("paused", looking_back=True)])[0][:2] == ["Token", "Follow"]


async def test_all_of_it_is_on_a_large_screen() -> None:
    async with bench(size=(200, 60)) as it:
        last = it.screen_text().splitlines()[-2:]
        assert last[0].startswith(" t Cache")
        assert last[1].endswith("? Help  q Quit".ljust(len(last[1]) - last[1].index("? Help")))
