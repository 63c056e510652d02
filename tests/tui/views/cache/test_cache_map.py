"""The map of the cache: its columns, cells and words, with made-up contents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtui.core.cache.base import reason_words
from kvtui.core.events import CacheContents
from kvtui.tui.views.cache.draw_map import EMPTY, RAMPS, draw, legend, levels, pointed, reason_signs, title
from kvtui.tui.views.cache.map_layout import Axis, CacheMapLayout, binned, fits

VIEW = CacheMapLayout(width=38, height=8, layers=3, heads=2, grouped=False, capacity=64)  # gutter 6: 32 cells of 2


def contents(kept: list[int], length: int, layers: int = 3, heads: int = 2, **changes: object) -> CacheContents:
    """Every head keeps the same positions; a position's number is its place, plus 100 for every row."""
    rows = np.arange(layers * heads).reshape(layers, heads, 1)
    positions = np.broadcast_to(np.array(kept, np.int64), (layers, heads, len(kept)))
    event = CacheContents("value", 0, positions, (positions + 100 * rows).astype(np.float32), length, 0, 1, None)
    return replace(event, **changes)  # type: ignore[arg-type]


def text(view: CacheMapLayout) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in draw(view).lines]


def test_empty_says_what_will_appear() -> None:
    assert text(VIEW) == list(EMPTY)


def test_columns_rows_and_what_the_step_did() -> None:
    lines = text(replace(VIEW, context=11, contents=contents(list(range(11)), 11)))
    assert [line[:6] for line in lines[:6]] == ["L1 H1 ", "   H2 ", "L2 H1 ", "   H2 ", "L3 H1 ", "   H2 "]
    assert all(len(line) == 38 for line in lines[:6])
    assert all(line[6:].count("·") == 26 for line in lines[:6])  # 11 positions take 6 of 32 cells
    assert lines[6].rstrip() == " " * 6 + "─────▲"
    assert lines[7].split() == ["0", "20", "40", "60"]
    assert lines[7].index("20") == 6 + 10


def test_each_cell_is_the_mean_of_what_is_kept_in_it() -> None:
    values = binned(replace(VIEW, context=8, contents=contents([0, 1, 4, 6, 7], 8)))
    assert values is not None
    np.testing.assert_array_equal(values[0, :5], [0.5, np.nan, 4, 6.5, np.nan])
    np.testing.assert_array_equal(values[5, :5], [500.5, np.nan, 504, 506.5, np.nan])


def test_weights_are_added_up() -> None:
    numbers = np.full((3, 2, 8), 1 / 8, np.float32)
    values = binned(
        replace(VIEW, quantity="attention", contents=contents(list(range(8)), 8, quantity="attention", numbers=numbers))
    )
    assert values is not None
    np.testing.assert_allclose(np.nansum(values, axis=1), 1)


def test_dropped_positions_have_a_mark_of_their_own() -> None:
    lines = text(replace(VIEW, context=10, contents=contents([0, 1, 6, 7, 8, 9], 10)))
    assert lines[0][7:9] == "××"
    assert lines[0][11:] == "·" * 27
    assert lines[6].rstrip() == " " * 6 + "─  ─▲"


def test_past_the_context_the_beginning_stays_and_a_gap_follows() -> None:
    kept = [0, 1, 2, 3, *range(480, 500)]
    view = replace(VIEW, context=24, contents=contents(kept, 500))
    axis = view.axis
    assert (axis.early, axis.gap, axis.cells) == (4, 2, 32)
    assert axis.positions(0) == range(0, 2)
    assert axis.positions(31).stop in (500, 501)
    line = text(view)[0]
    assert line[8] == "┆"
    assert line[6:8].strip("×·") == line[6:8]
    assert line[-10:].strip("×·") == line[-10:]
    assert set(line[9:-10]) == {"×"}


def test_one_position_a_cell_follows_the_newest() -> None:
    view = replace(VIEW, fitted=False, context=60, contents=contents(list(range(60)), 60))
    assert view.per_cell == 1
    assert view.axis.positions(view.axis.cells - 1) == range(59, 60)
    assert text(view)[6].endswith("▲")
    assert "1 position" in title(view, draw(view))
    few = replace(view, contents=contents(list(range(9)), 9))
    assert few.axis.gap is None


@given(
    st.integers(1, 300),
    st.integers(8, 200),
    st.integers(1, 600),
    st.booleans(),
    st.integers(0, 5),
)
def test_axis_covers_what_it_says(capacity: int, width: int, length: int, fitted: bool, sinks: int) -> None:
    window = max(1, capacity // 2)
    kept = sorted({*range(min(sinks, length)), *range(max(0, length - window), length)})
    view = replace(VIEW, width=width, capacity=capacity, fitted=fitted, contents=contents(kept, length))
    axis = view.axis
    cells = axis.cells_of(np.arange(length))
    assert cells.max() < axis.cells <= view.room
    assert cells[-1] >= 0  # the newest is always shown
    for position in range(length):
        if cells[position] >= 0:
            assert position in axis.positions(int(cells[position]))
    assert len(text(view)) == view.last_row - view.first_row + 2


def test_scrolling_asks_for_the_layers_in_sight() -> None:
    small = replace(VIEW, height=4)
    assert small.rows == 2
    assert small.shown_layers == (0, 1)
    assert replace(small, top=1).shown_layers == (0, 2)
    assert replace(small, top=99).shown_layers == (2, 3)
    assert [line[:6] for line in text(replace(small, top=1, context=9))[:2]] == ["L1 H2 ", "L2 H1 "]
    assert "rows 2–3 of 6" in legend(replace(small, top=1))


def test_an_answer_to_another_question_is_not_drawn() -> None:
    event = contents([0, 1], 2, layers=1)
    assert fits(replace(VIEW, height=4, contents=event))
    assert not fits(replace(VIEW, height=5, contents=event))  # layer 2 is in sight
    assert not fits(replace(VIEW, height=4, quantity="key", contents=event))
    assert binned(replace(VIEW, height=5, contents=event)) is None


def test_rows_that_are_not_known_yet_are_not_passed_off_as_dropped() -> None:
    answer = contents([0, 1, 2, 3], 4, layers=1)  # of the first layer, and all three are in sight
    assert text(replace(VIEW, context=4, contents=answer))[2] == "L2 H1   " + "·" * 30


def test_off_says_so() -> None:
    lines = text(replace(VIEW, width=80, cache=False, context=12, contents=contents([], 0)))
    assert "off: nothing is kept, all 12 positions are recomputed for each token" in lines[6]
    assert set(lines[0][6:]) == {"·"}


def test_earlier_tokens_show_what_they_wrote() -> None:
    view = replace(VIEW, context=9, contents=contents(list(range(9)), 9), written=9)
    assert text(view)[6].rstrip() == " " * 6 + "▲▲▲▲▲"


@pytest.mark.parametrize("ramp", RAMPS)
def test_levels_reach_both_ends(ramp: str) -> None:
    places = levels(np.array([1.0, 2.0, 3.0, np.nan]), (1.0, 3.0), len(ramp), roots=False)
    assert (places[0], places[2], places[3]) == (0, len(ramp) - 1, -1)
    assert levels(np.array([5.0]), (5.0, 5.0), len(ramp), roots=False)[0] == 0


def test_pointing_tells_the_figure() -> None:
    view = replace(VIEW, context=11, contents=contents([0, 1, 4, 5, 10], 11))
    assert pointed(view, 6, 2) == "layer 2 head 1, positions 0–1: mean value norm 200"
    assert pointed(view, 11, 0) == "layer 1 head 1, position 10: value norm 10"
    assert pointed(view, 7, 0) == "layer 1 head 1, positions 2–3: dropped"
    assert pointed(view, 20, 0) == pointed(view, 2, 0) == pointed(view, 6, 7) == ""


def test_grouped_heads_and_many_layers() -> None:
    view = CacheMapLayout(60, 8, 12, 2, True, 16, context=3, contents=contents([0, 1, 2], 3, layers=12))
    assert text(view)[0].startswith("L1  G1 ")


def test_axis_without_gap() -> None:
    axis = Axis(0, 0, 4, 8)
    np.testing.assert_array_equal(axis.cells_of(np.array([0, 3, 4, 31, 32])), [0, 0, 1, 7, -1])


def test_why_each_cell_is_kept() -> None:
    kept = [0, 1, 2, 5, 7, *range(8, 12)]
    codes = [1, 1, 3, 3, 3, *[2] * 4]
    numbers = np.broadcast_to(np.array(codes, np.float32), (3, 2, len(kept)))
    why: dict[str, Any] = {"quantity": "reason", "numbers": numbers, "reasons": reason_words("heavy hitter")}
    view = replace(VIEW, width=90, quantity="reason", context=9, contents=contents(kept, 12, **why))
    assert view.per_cell == 1
    assert text(view)[0][6:20] == "SSH××H×HRRRR··"
    narrow = replace(view, width=38)
    assert text(narrow)[0][6:14] == "ShhhRR··"
    parts = legend(replace(narrow, width=90, capacity=900)).split(" · ")
    assert parts == ["· free", "× dropped", "kept: S sink, R recent window, H heavy hitter", "small: in part"]
    assert legend(replace(narrow, width=78, capacity=900)).split(" · ") == parts[:3]  # the least important goes first
    assert legend(narrow).split(" · ") == parts[1:3]
    assert pointed(narrow, 7, 0) == "layer 1 head 1, positions 2–3: heavy hitter"
    assert draw(view).scale is None


def test_the_map_says_what_a_policy_keeps_positions_for_in_its_own_word() -> None:
    words = ("cache not full", "sink", "recent window", "read by the newest", "stored in 3 bits", "§")
    assert reason_signs(words) == [("■", "▪"), ("S", "s"), ("R", "r"), ("E", "e"), ("T", "t"), ("?", "?")]
    numbers = np.broadcast_to(np.array([3, 3, 4, 2], np.float32), (3, 2, 4))
    told = contents([0, 1, 2, 3], 4, quantity="reason", numbers=numbers, reasons=words)
    view = replace(VIEW, width=90, quantity="reason", context=4, contents=told)
    assert text(view)[0][6:11] == "EETR·"
    assert "kept: R recent window, E read by the newest, T stored in 3 bits" in legend(view)
    assert pointed(view, 8, 0) == "layer 1 head 1, position 2: stored in 3 bits"
