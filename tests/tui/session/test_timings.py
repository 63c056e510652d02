"""Statistics, bars and labels, without a terminal."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kvtui.core.events import Prefill, Token
from kvtui.tui.characters import symbol
from kvtui.tui.panes.bars import (
    PREVIOUS,
    SOLID,
    SOLID_CAPS,
    Scale,
    band,
    bars,
    figure,
    prefill_words,
    round_down,
    round_up,
    runs,
    scale_for,
    short,
)
from kvtui.tui.session.timings import Columns, Kind, PrefillTime, TimingHistory


def token(step: int, milliseconds: float, cache: bool = True, computed: int = 1, context: int | None = None) -> Token:
    """A token of which only the timing matters."""
    length = step + 1 if context is None else context
    return Token(step, step, 0, "a", -1.0, milliseconds / 1e3, cache, length, computed, length, 0)


def history(*tokens: Token, capacity: int = 4096) -> TimingHistory:
    """A history of these tokens."""
    result = TimingHistory(capacity)
    result.add(tokens)
    return result


def test_all_figures_are_of_the_same_tokens() -> None:
    known = history(*(token(step, milliseconds) for step, milliseconds in enumerate([1.0] * 38 + [2.0, 9.0])))
    figures = known.summary(Kind.CACHED)
    assert figures is not None
    assert (figures.tokens, figures.median, figures.max) == (40, 1.0, pytest.approx(9.0))
    assert figures.tokens_per_second == pytest.approx(1000.0)
    assert known.summary(Kind.UNCACHED) is None
    newest = known.summary(Kind.CACHED, 38)
    assert newest is not None
    assert (newest.tokens, newest.median) == (2, pytest.approx(5.5))
    assert known.summary(Kind.CACHED, 40) is None
    assert history().summary() is None


@given(st.lists(st.floats(0.01, 1e3), min_size=1, max_size=60))
def test_no_percentile_is_greater_than_the_maximum(milliseconds: list[float]) -> None:
    figures = history(*(token(step, time) for step, time in enumerate(milliseconds))).summary()
    assert figures is not None
    assert figures.median <= figures.p95 * (1 + 1e-9)
    assert figures.p95 <= figures.max * (1 + 1e-9)


def test_figures_are_of_one_kind() -> None:
    off = [token(step, 20.0, cache=False, computed=step + 1) for step in range(5)]
    on = [token(5, 25.0, computed=6), *(token(6 + step, time) for step, time in enumerate([1.0, 2.0, 3.0]))]
    known = history(*off, *on)
    cached, uncached, both = (known.summary(kind) for kind in (Kind.CACHED, Kind.UNCACHED, None))
    assert cached is not None
    assert uncached is not None
    assert both is not None
    assert (cached.tokens, cached.median, cached.max) == (3, pytest.approx(2.0), pytest.approx(3.0))
    assert (uncached.tokens, uncached.max) == (5, pytest.approx(20.0))
    assert both.tokens == 8


def test_forgotten_tokens_are_in_no_figure() -> None:
    known = history(*(token(step, 100.0 if step < 7 else 1.0) for step in range(10)), capacity=3)
    figures = known.summary(Kind.CACHED, 0, 9)
    assert figures is not None
    assert (figures.tokens, figures.max) == (2, 1.0)
    assert known.summary(Kind.CACHED, 0, 5) is None


PROMPT = Prefill(6, 0.003, True, 0, "ROMEO:")


def test_the_prefill_of_the_prompt_is_the_first_column() -> None:
    known = TimingHistory(prefill=PROMPT)
    alone = known.columns(10, 1)
    assert (list(alone.kinds), list(alone.medians), alone.first) == ([Kind.PREFILL], [3.0], -1)
    known.add([token(step, 0.5) for step in range(8)])
    for per in (1, 2, 4):
        columns = known.columns(10, per)
        assert columns.kinds.tolist() == [Kind.PREFILL] + [Kind.CACHED] * (8 // per)
        assert columns.medians.tolist() == [3.0] + [0.5] * (8 // per)
        assert columns.prefills == ((0, PrefillTime(6, 3.0)),)
        assert columns.tokens == (0, 8)
    assert known.columns(8, 1).first == 0  # no room for it
    assert known.summary() == history(*(token(step, 0.5) for step in range(8))).summary()


def test_the_prefill_is_not_drawn_before_a_token_that_does_not_follow_it() -> None:
    known = TimingHistory(capacity=4, prefill=PROMPT)
    known.add([token(step, 0.5) for step in range(5)])
    assert known.columns(10, 1).first == 1
    branch = TimingHistory(shared=[token(2_048, 0.5)], prefill=PROMPT)
    assert branch.columns(10, 1).first == 0


def test_the_prefill_of_the_previous_text_stands_beside_this_ones() -> None:
    now, before = TimingHistory(prefill=PROMPT), TimingHistory(prefill=Prefill(6, 0.005, True, 0, ""))
    now.add([token(step, 0.5) for step in range(4)])
    before.add([token(step, 0.7) for step in range(2)])
    np.testing.assert_allclose(before.beside(now.columns(9, 1), 1), [5.0, 0.7, 0.7, np.nan, np.nan])
    np.testing.assert_allclose(before.beside(now.columns(4, 1), 1), [0.7, 0.7, np.nan, np.nan])
    np.testing.assert_allclose(history(token(0, 0.7)).beside(now.columns(9, 1), 1), [np.nan, 0.7] + [np.nan] * 3)


def causes(*tokens: Token, prefill: Prefill | None = PROMPT) -> list[str]:
    """Why each prefill after the prompt's was needed."""
    known = TimingHistory(prefill=prefill)
    known.add(tokens)
    return [cost.cause for _, cost in known.columns(100, 1).prefills if cost.cause != "prompt"]


def test_a_prefill_says_why_it_was_needed() -> None:
    off = token(0, 9.0, cache=False, computed=7)
    assert causes(off, token(1, 9.0, computed=8)) == ["cache on"]
    assert causes(token(0, 9.0, computed=7), prefill=replace(PROMPT, cache=False)) == ["cache on"]
    moved = replace(token(1, 9.0, computed=256), window_start=256)
    assert causes(token(0, 0.5), moved) == ["context full"]
    assert causes(replace(moved, step=0)) == ["context full"]
    assert causes(token(0, 0.5), token(1, 9.0, computed=8)) == ["policy or heads changed"]
    assert causes(token(0, 0.5), token(1, 0.5)) == []


def test_prefills_are_forgotten_with_their_tokens() -> None:
    known = TimingHistory(capacity=10)
    for step in range(300):
        known.add([token(step, 9.0, computed=9)])
    assert len(known._prefills) <= 20
    assert len(known.columns(50, 1).prefills) == 10


def test_a_prefill_in_words() -> None:
    assert prefill_words(PrefillTime(6, 3.2))[0] == "prefill: 6 tokens in 3.20 ms, 1,875 tok/s"
    assert prefill_words(PrefillTime(1, 2.0))[0] == "prefill: 1 token in 2.00 ms, 500 tok/s"
    again = prefill_words(PrefillTime(257, 10.28, "context full"))
    assert again == (
        "prefill, context full: 257 tokens in 10.3 ms, 25,000 tok/s",
        "prefill, context full: 257 tokens in 10.3 ms",
        "prefill, context full: 257 tokens",
        "prefill, context full",
        "prefill",
    )
    assert prefill_words(PrefillTime(6, 0.0))[0] == "prefill: 6 tokens"


def test_comparison_is_made_at_the_same_length_or_the_nearest() -> None:
    known = history(
        *(token(step, 0.5, context=70) for step in range(9)),
        *(token(step, 5.0, cache=False, computed=70, context=70) for step in range(9)),
    )
    here = known.comparison()
    assert here is not None
    assert here.lengths == "64–79"
    assert here.times == pytest.approx(10.0)
    known.add([token(30, 0.7, context=300)])
    far = known.comparison()
    assert far is not None
    assert far.lengths == "64–79"
    assert far.cached == pytest.approx(0.5)


@pytest.mark.parametrize("switched", range(60, 80))
def test_wherever_the_cache_is_switched_both_sides_are_of_lengths_around_it(switched: int) -> None:
    found = history(
        *(token(step, 0.5) for step in range(switched)),
        *(token(step, 5.0, cache=False, computed=step + 1) for step in range(switched, 200)),
    ).comparison()
    assert found is not None
    assert found.first <= switched < switched + 1 <= found.last
    assert found.last - found.first < 16


def test_a_policy_is_compared_at_the_length_of_the_text() -> None:
    """A cache that keeps 32 positions of 200 is compared with running all 200, not with running 32."""
    kept = replace(token(199, 0.5, context=32), window_start=0)
    short = token(31, 2.0, cache=False, computed=32)
    assert history(short, kept).comparison() is None
    whole = token(200, 8.0, cache=False, computed=201)
    found = history(short, kept, whole).comparison()
    assert found is not None
    assert (found.lengths, found.times) == ("192–207", pytest.approx(16.0))


def test_nothing_is_compared_that_was_not_measured() -> None:
    cached = history(token(0, 0.5))
    assert cached.comparison() is None
    assert cached.measured(cached=True)
    assert not cached.measured(cached=False)
    cached.add([token(400, 20.0, cache=False, computed=401)])
    assert cached.comparison() is None  # both, but at different lengths


@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 8), st.integers(1, 20))
def test_memory_and_columns_are_bounded(count: int, width: int, per: int, capacity: int) -> None:
    known = TimingHistory(capacity)
    for step in range(count):
        known.add([token(step, step + 1.0)])
    assert len(known) == min(count, capacity)
    columns = known.columns(width, per)
    assert len(columns.medians) <= width
    if count:
        newest = np.arange(((count - 1) // per) * per, count)
        remembered = newest[newest >= count - capacity] + 1.0
        assert columns.medians[-1] == np.median(remembered)
        assert columns.slowest[-1] == remembered[-1]


def test_batches_and_single_tokens_give_the_same() -> None:
    tokens = [token(step, 1 + step % 7, cache=step % 50 < 25, computed=1 + step % 3) for step in range(300)]
    batch, single = history(*tokens, capacity=100), TimingHistory(100)
    for one in tokens:
        single.add([one])
    np.testing.assert_array_equal(batch.milliseconds, single.milliseconds)
    np.testing.assert_array_equal(batch.kinds, single.kinds)
    assert batch.summary() == single.summary()


def test_a_column_of_many_tokens_shows_their_median_and_the_slowest() -> None:
    tokens = [token(step, 20.0 if step == 5 else 0.5, computed=90 if step == 5 else 1) for step in range(8)]
    columns = history(*tokens).columns(10, 4)
    assert columns.kinds.tolist() == [Kind.CACHED, Kind.CACHED]
    assert columns.medians.tolist() == [0.5, 0.5]
    assert columns.slowest.tolist() == [0.5, 20.0]
    assert columns.slowest_kinds.tolist() == [Kind.CACHED, Kind.PREFILL]
    assert [(place, cost.tokens) for place, cost in columns.prefills] == [(1, 90)]


def drawn(columns: Columns, scale: Scale, rows: int, before: list[float] | None = None) -> list[str]:
    """The columns of a graph, each from the top to the bottom."""
    previous = np.full(len(columns.kinds), np.nan) if before is None else np.array(before)
    cells, _ = bars(columns, previous, scale, rows)
    return ["".join(cells[:, place].tolist()) for place in range(cells.shape[1])]


def test_cached_and_uncached_bars_differ_in_shape() -> None:
    columns = history(token(0, 0.5), token(1, 20.0, cache=False, computed=2)).columns(10, 1)
    assert drawn(columns, Scale(0.0, 20.0, False), 4) == ["   ▁", "⣿⣿⣿⣿"]
    assert drawn(columns, Scale(0.2, 20.0, True), 4) == ["   ▀", "⠛   "]  # no bar where there is no zero


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=2), st.integers(5, 20))
def test_linear_bars_are_in_proportion(milliseconds: list[float], rows: int) -> None:
    columns = history(*(token(step, time) for step, time in enumerate(milliseconds))).columns(10, 1)
    scale = scale_for(columns.medians, False)
    for time, bar in zip(milliseconds, drawn(columns, scale, rows), strict=True):
        eighths = sum(SOLID.index(cell) for cell in bar)
        assert eighths == 1 or abs(eighths - 8 * rows * time / scale.high) <= 0.51


def test_a_thin_line_goes_from_the_median_to_the_slowest() -> None:
    tokens = [token(step, 8.0 if step == 1 else 1.0) for step in range(4)]
    columns = history(*tokens).columns(10, 4)
    assert drawn(columns, Scale(0.0, 8.0, False), 4) == ["│││▄"]
    assert drawn(columns, Scale(0.0, 8.5, False), 4) == ["│││▄"]
    assert drawn(columns, Scale(0.0, 10.0, False), 4) == ["╷││▃"]
    assert drawn(columns, Scale(0.5, 8.0, True), 4) == ["•  ▀"]
    assert drawn(columns, Scale(0.1, 10.0, True), 4) == ["• ▀ "]
    assert drawn(history(token(0, 1.0)).columns(10, 1), Scale(0.0, 8.0, False), 4) == ["   ▄"]


def test_the_previous_text_is_drawn_where_there_is_no_bar() -> None:
    tokens = [token(0, 1.0), token(1, 4.0), token(2, 2.0), token(3, 1.0)]
    columns = history(*tokens).columns(10, 1)
    scale = Scale(0.0, 4.0, False)
    assert drawn(columns, scale, 4, [3.0, 1.0, 2.5, np.nan]) == [" ─ █", "████", " ─██", "   █"]
    _, owners = bars(columns, np.array([3.0, 1.0, 2.5, np.nan]), scale, 4)
    assert (owners == PREVIOUS).sum(axis=0).tolist() == [1, 0, 1, 0]


@given(
    st.lists(st.tuples(st.floats(0.01, 50), st.booleans(), st.floats(0.01, 50)), min_size=1, max_size=30),
    st.integers(1, 9),
    st.integers(1, 4),
    st.booleans(),
)
def test_nothing_cuts_a_hole_into_a_bar(
    times: list[tuple[float, bool, float]], rows: int, per: int, logarithmic: bool
) -> None:
    columns = history(*(token(step, time, cached, 1) for step, (time, cached, _) in enumerate(times))).columns(50, per)
    before = np.array([time for _, _, time in times])[: len(columns.kinds)]
    scale = scale_for(np.concatenate((columns.slowest, before)), logarithmic)
    alone = drawn(columns, scale, rows)
    together = drawn(columns, scale, rows, before.tolist())
    for one, both in zip(alone, together, strict=True):
        assert [cell for cell in one if cell != " "] == [
            over for cell, over in zip(one, both, strict=True) if cell != " "
        ]
        if not logarithmic:
            assert " " not in one.lstrip(" ")  # a bar and its line are whole
        else:
            assert sum(cell in SOLID_CAPS[1:] + "⣤⠛" for cell in one) == 1


@given(st.floats(1e-4, 1e5))
def test_round_ends_enclose(value: float) -> None:
    assert round_down(value) <= value * (1 + 1e-6)
    assert round_up(value) >= value * (1 - 1e-6)
    assert round_up(value) / round_down(value) <= 2.5 + 1e-6


def test_axis_labels_name_the_ends() -> None:
    scale = Scale(0.2, 20.0, True)
    labels = [scale.label(row, 8) for row in range(8)]
    assert labels[0] == "20 ms"
    assert labels[-1] == "0.2 ms"
    assert "1 ms" in labels
    assert Scale(0.2, 20.0, False).label(1, 2) == "0 ms"
    assert [Scale(0.0, 20.0, False).label(row, 5) for row in range(5)] == ["20 ms", "", "10 ms", "", "0 ms"]
    slow = Scale(0.05, 20_000.0, True)
    assert (slow.label(0, 8), slow.label(7, 8)) == ("20 s", "50 µs")


@given(st.floats(1e-4, 1e6))
def test_round_axis_labels_fit_the_axis(milliseconds: float) -> None:
    assert len(short(round_up(milliseconds))) <= 8
    assert len(short(round_down(milliseconds))) <= 8


@given(st.floats(0, 9.9e7))
def test_figures_keep_their_width_and_scale_their_unit(milliseconds: float) -> None:
    text = figure(milliseconds)
    assert len(text) == 8
    value, unit = text.split()
    seconds = float(value) * {"µs": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
    assert seconds == pytest.approx(milliseconds / 1e3, rel=6e-3, abs=6e-6 if unit == "ms" else 1e-8)


def test_units_change_where_three_digits_would_not_do() -> None:
    shown = [figure(value) for value in (0.05, 0.38, 9.994, 9.996, 999.9, 1000.0, 12_345.0, float("nan"))]
    assert shown == [
        "50.0 µs".rjust(8),
        " 0.38 ms",
        " 9.99 ms",
        " 10.0 ms",
        "999.9 ms",
        " 1.00 s ",
        " 12.3 s ",
        "    –   ",
    ]


def test_a_linear_axis_ends_just_above_the_slowest() -> None:
    for greatest, end in ((1.0, 1.0), (1.2, 1.5), (2.1, 3.0), (7.0, 8.0), (11.0, 15.0), (0.55, 0.6)):
        assert scale_for(np.array([0.1, greatest]), False).high == pytest.approx(end)


def test_band_names_modes_and_explains_the_prefill() -> None:
    off = [token(step, 9.0, cache=False, computed=step + 1) for step in range(20)]
    on = [token(20, 9.0, computed=21), *(token(21 + step, 0.5) for step in range(60))]
    text, kinds = band(history(*off, *on).columns(100, 1))
    assert len(text) == len(kinds) == 81
    assert kinds[text.index("prefill")] == Kind.PREFILL
    assert " uncached " in text
    assert "^ prefill, cache on: 21 tokens in 9.00 ms, 2,333 tok/s " in text
    moved = replace(token(60, 9.0, computed=256), window_start=256)
    late, _ = band(history(*(token(step, 0.5) for step in range(60)), moved).columns(100, 1))
    assert late == " prefill, context full: 256 tokens in 9.00 ms, 28,444 tok/s ^"


def test_the_prompt_is_no_change_of_the_mode() -> None:
    known = TimingHistory(prefill=replace(PROMPT, cache=False))
    known.add([token(step, 9.0, cache=False, computed=7) for step in range(60)])
    text, _ = band(known.columns(100, 1))
    assert text.startswith("^ prefill ─")
    assert "┼" not in text
    assert " cached " not in text


def test_the_selected_prefill_is_the_one_that_is_explained() -> None:
    known = TimingHistory(prefill=PROMPT)
    known.add([token(step, 9.0, computed=9 if step in (10, 70) else 1) for step in range(80)])
    columns = known.columns(100, 1)
    assert "prefill, policy or heads changed" in band(columns)[0].partition("^")[2].partition("^")[2]
    text = band(columns, 0, 11)[0]
    assert text[11] == "▲"
    assert text[12:].startswith(" prefill, policy or heads changed: 9 tokens")


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 300)), min_size=1, max_size=90),
    st.integers(1, 90),
    st.integers(0, 20),
    st.floats(0, 1, exclude_max=True),
    st.booleans(),
)
def test_no_label_covers_a_mark(
    kinds: list[tuple[bool, int]], width: int, left: int, selected: float, prompt: bool
) -> None:
    known = TimingHistory(prefill=PROMPT if prompt else None)
    known.add([token(step, 1.0, cache, computed) for step, (cache, computed) in enumerate(kinds)])
    columns = known.columns(width, 1)
    assert len(columns.kinds) == min(width, len(kinds) + prompt)
    place = int(selected * len(columns.kinds))
    text, owners = band(columns, left, place)
    assert len(text) == len(owners) == left + len(columns.kinds)
    assert text[left + place] == "▲"
    for at, _ in columns.prefills:
        assert text[left + at] == ("▲" if at == place else "^")
    words = re.sub(r"[─┼^▲]", "\n", text).split("\n")
    whole = {"", "cached", "uncached", *(line for _, cost in columns.prefills for line in prefill_words(cost))}
    assert {word.strip() for word in words} <= whole


def test_runs() -> None:
    assert runs([]) == []
    assert runs([1, 1, 2, 1]) == [(0, 2), (2, 3), (3, 4)]


@given(st.text())
def test_a_label_is_one_cell(text: str) -> None:
    assert cell_len(symbol(text)) == 1
    assert len(symbol(text)) == 1


def test_labels() -> None:
    texts = ["\n", " ", "\t", "a", " the", "\x00", "漢", "\u0301"]
    assert "".join(map(symbol, texts)) == "↵␣⇥at␀□·"
