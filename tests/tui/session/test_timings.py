"""Statistics, bars and labels, without a terminal."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kvtui.core.events import Token
from kvtui.tui.characters import symbol
from kvtui.tui.panes.bars import (
    DOTTED,
    SOLID,
    Scale,
    band,
    bars,
    figure,
    round_down,
    round_up,
    runs,
    scale_for,
    short,
)
from kvtui.tui.session.timings import Kind, TimingHistory


def token(step: int, milliseconds: float, cache: bool = True, computed: int = 1, context: int | None = None) -> Token:
    """A token of which only the timing matters."""
    length = step + 1 if context is None else context
    return Token(step, step, 0, "a", -1.0, milliseconds / 1e3, cache, length, computed, length, 0)


def history(*tokens: Token, capacity: int = 4096) -> TimingHistory:
    """A history of these tokens."""
    result = TimingHistory(capacity)
    result.add(tokens)
    return result


def test_figures_are_those_of_the_current_mode() -> None:
    off = [token(step, 20.0, cache=False, computed=step + 1) for step in range(5)]
    on = [token(5 + step, milliseconds) for step, milliseconds in enumerate([1.0, 2.0, 3.0])]
    figures = history(*off, *on).summary()
    assert figures is not None
    assert figures.last == pytest.approx(3.0)
    assert figures.median == pytest.approx(2.0)
    assert figures.tokens_per_second == pytest.approx(500.0)
    assert history().summary() is None


def test_a_refill_is_not_counted_as_a_cached_token() -> None:
    refill = token(5, 30.0, computed=6)
    alone = history(token(4, 25.0, cache=False, computed=5), refill).summary()
    assert alone is not None
    assert alone.last == pytest.approx(30.0)
    assert math.isnan(alone.median)
    warm = history(refill, token(6, 0.5)).summary()
    assert warm is not None
    assert warm.p95 == pytest.approx(0.5)
    assert not history(refill).measured(cached=True)


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
    assert len(columns.milliseconds) <= width
    if count:
        newest = np.arange(((count - 1) // per) * per, count)
        remembered = newest[newest >= count - capacity] + 1.0
        assert columns.milliseconds[-1] == remembered[(len(remembered) - 1) // 2]


def test_batches_and_single_tokens_give_the_same() -> None:
    tokens = [token(step, 1 + step % 7, cache=step % 50 < 25, computed=1 + step % 3) for step in range(300)]
    batch, single = history(*tokens, capacity=100), TimingHistory(100)
    for one in tokens:
        single.add([one])
    np.testing.assert_array_equal(batch.milliseconds, single.milliseconds)
    np.testing.assert_array_equal(batch.kinds, single.kinds)
    assert batch.summary() == single.summary()


def test_a_refill_shows_in_a_column_of_many_tokens() -> None:
    tokens = [token(step, 0.5, computed=90 if step == 5 else 1) for step in range(8)]
    columns = history(*tokens).columns(10, 4)
    assert list(columns.kinds) == [Kind.CACHED, Kind.REFILL]
    assert list(columns.computed) == [1, 90]
    assert columns.moved[1]


def test_cached_and_uncached_bars_differ_in_shape() -> None:
    columns = history(token(0, 0.5), token(1, 20.0, cache=False, computed=2)).columns(10, 1)
    cells = bars(columns, scale_for(columns.milliseconds, True), 4)
    cached, uncached = ("".join(cells[:, place]) for place in (0, 1))
    assert set(cached) <= set(SOLID)
    assert set(uncached.strip()) <= set(DOTTED)
    assert cached.strip()
    assert len(uncached.strip()) > len(cached.strip())


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


def test_band_names_modes_and_explains_the_spike() -> None:
    off = [token(step, 9.0, cache=False, computed=step + 1) for step in range(20)]
    on = [token(20, 9.0, computed=21), *(token(21 + step, 0.5) for step in range(60))]
    text, kinds = band(history(*off, *on).columns(100, 1))
    assert len(text) == len(kinds) == 81
    assert kinds[text.index("cache refilled")] == Kind.REFILL
    assert " uncached " in text
    assert "^ cache refilled: 21 positions" in text
    assert text.rindex(" cached ") > text.index("^")
    moved, _ = band(history(*(token(step, 0.5) for step in range(60)), token(60, 9.0, computed=256)).columns(100, 1))
    assert "cache rebuilt: 256 positions ^" in moved


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 300)), max_size=90), st.integers(1, 90))
def test_band_is_as_wide_as_the_graph(kinds: list[tuple[bool, int]], width: int) -> None:
    tokens = [token(step, 1.0, cache, computed) for step, (cache, computed) in enumerate(kinds)]
    columns = history(*tokens).columns(width, 1)
    assert len(band(columns)[0]) == len(columns.kinds) == min(width, len(kinds))
    assert len(band(columns, left=20)[0]) == 20 + len(columns.kinds)


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
