"""Parts of tokens' times and what follows from them, from made-up times."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_link import CONFIG, PARTS, token

from kvtui.core.events import Breakdown, Limits, Parts
from kvtui.core.measure.operations import Cost, multiply_adds
from kvtui.tui.session.timings import TimingHistory
from kvtui.tui.views.time.draw_roofline import roofline
from kvtui.tui.views.time.part_times import Pair, PartTimes, Rate, conclusion, rates
from kvtui.tui.views.time.parts import PartsPane, portions

LIMITS = Limits(50e9, 100e9, 1, 2)


def scaled(factor: float) -> Parts:
    return Parts(*(factor * part for part in vars(PARTS).values()))


def written(
    parts: PartTimes, times: TimingHistory, steps: range, factor: float = 1, cache: bool = True, **fields
) -> None:
    """Tokens whose parts take that much longer, and add up to their time."""
    taken = scaled(factor)
    tokens = [
        replace(token(step, cache=cache, seconds=taken.total), parts=taken, **{"window_start": 0, **fields})
        for step in steps
    ]
    parts.add(tokens)
    times.add(tokens)


def test_both_ways_are_those_that_the_other_panes_compare() -> None:
    parts, times = PartTimes(), TimingHistory()
    assert parts.pair(times) == Pair()
    written(parts, times, range(30))
    written(parts, times, range(29, 30), 9)
    written(parts, times, range(30, 33), 10, cache=False)
    tokens = [token(40, seconds=PARTS.total)]  # without parts
    parts.add(tokens)
    times.add(tokens)
    pair = parts.pair(times)
    assert pair.cached is not None
    assert pair.uncached is not None
    assert pair.comparison == times.comparison()
    assert (1e3 * pair.cached.total, 1e3 * pair.uncached.total) == pytest.approx(
        (pair.comparison.cached, pair.comparison.uncached)
    )
    share = pair.cached.seconds["mlp"] / pair.cached.total
    assert share == pytest.approx(PARTS.mlp / PARTS.total)
    assert (pair.cached.computed, pair.cached.count, pair.cached.asked) == (1, 6, False)
    assert (pair.uncached.context, pair.uncached.computed) == (38, 38)
    assert pair.cached.lengths == pair.uncached.lengths == (32, 47)
    parts.clear()
    assert parts.pair(TimingHistory()) == Pair()


def test_different_lengths_have_no_ratio() -> None:
    parts, times = PartTimes(), TimingHistory()
    written(parts, times, range(40, 50))
    written(parts, times, range(100, 110), 10, cache=False)
    pair = parts.pair(times)
    assert pair.cached is not None
    assert pair.uncached is not None
    assert pair.comparison is None
    assert (pair.cached.lengths, pair.uncached.lengths) == ((48, 63), (112, 127))
    pane = PartsPane()
    pane.show(pair)
    assert pane.border_subtitle == "not at the same length: m measures both at one"


def test_the_length_of_a_text_under_a_policy_is_not_what_is_kept_of_it() -> None:
    parts, times = PartTimes(), TimingHistory()
    written(parts, times, range(106, 110), context=16)
    written(parts, times, range(110, 115), 10, cache=False)
    pair = parts.pair(times)
    assert pair.cached is not None
    assert pair.comparison is not None
    assert (pair.comparison.lengths, pair.cached.context) == ("112–127", 16)


def test_a_refill_is_neither() -> None:
    parts, times = PartTimes(), TimingHistory()
    written(parts, times, range(3, 4), computed=9)
    assert parts.pair(times) == Pair()


def test_what_was_measured_on_request_stays_until_it_is_measured_again() -> None:
    """Both sides: tokens of the text, at whatever length, take the place of neither."""
    parts, times = PartTimes(), TimingHistory()
    written(parts, times, range(3))
    parts.take(Breakdown(9, scaled(2), scaled(30), 4))
    for steps, cache in ((range(4, 9), True), (range(9, 12), False), (range(200, 210), True)):
        written(parts, times, steps, 7, cache)
        parts.forget_tokens()  # as after a fork
        pair = parts.pair(times)
        assert pair.cached is not None
        assert pair.uncached is not None
        assert pair.comparison is not None
        assert (pair.cached.asked, pair.cached.lengths, pair.cached.total) == (True, (9, 9), 2 * PARTS.total)
        assert (pair.uncached.asked, pair.uncached.lengths, pair.uncached.computed) == (True, (9, 9), 9)
        assert (pair.comparison.times, pair.comparison.lengths) == (pytest.approx(15), "9")
    parts.take(Breakdown(210, scaled(2), scaled(60), 4))
    again = parts.pair(times).comparison
    assert again is not None
    assert (again.times, again.lengths) == (pytest.approx(30), "210")


def test_rates() -> None:
    parts = PartTimes()
    parts.take(Breakdown(9, PARTS, scaled(20), 1))
    measured = parts.pair(TimingHistory()).uncached
    assert measured is not None
    found = rates(CONFIG, measured, 4)
    assert found["total"].cost.operations == 2 * multiply_adds(CONFIG, 9, 9).total
    assert found["total"].seconds == pytest.approx(20 * PARTS.total)
    assert found["mlp"].flops == pytest.approx(2 * 9 * 3 * 2 * 16 * 32 / (20 * PARTS.mlp))


def test_what_holds_a_part_up() -> None:
    memory = Rate(Cost(operations=1000, bytes_read=2000), 1e-7)
    arithmetic = Rate(Cost(operations=200_000, bytes_read=2000), 3e-6)
    assert memory.memory_bound(LIMITS)
    assert memory.reached(LIMITS) == pytest.approx(0.4)
    assert not arithmetic.memory_bound(LIMITS)
    assert arithmetic.reached(LIMITS) == pytest.approx(2 / 3)
    assert Rate(Cost(0, 0), 0.0).flops == Rate(Cost(0, 0), 0.0).reached(LIMITS) == 0
    words = conclusion(memory, arithmetic, LIMITS).splitlines()
    assert words[0].startswith(
        "This machine, 2 threads: reads 50 GB/s, computes 100 GFLOP/s at most. Below 2 FLOP per byte"
    )
    assert words[1].startswith("Cached: 0.5 FLOP per byte, memory-bound. 20.0 GB/s, 40 % of the limit; the rest")
    assert words[2].startswith("Uncached: 100 FLOP per byte, compute-bound. 66.7 GFLOP/s, 67 % of the limit")
    assert len(conclusion(None, arithmetic, LIMITS).splitlines()) == 2


def test_the_roof_is_the_lower_of_the_two_limits() -> None:
    roof = roofline(LIMITS, None, None).curves[0].points
    assert roof[0][1] == pytest.approx(0.1 * 50)
    assert roof[-1][1] == pytest.approx(100)


def test_portions_fill_the_room() -> None:
    assert portions([0.5, 0.25, 0.25], 8) == [4, 2, 2]
    for room in (1, 7, 60, 101):
        assert sum(portions([0.03, 0.2, 0.31, 0.29, 0.01, 0.16], room)) == room
