"""Parts of tokens' times and what follows from them, from made-up times."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_link import CONFIG, PARTS, token

from kvtui.core.events import Breakdown, Limits, Parts
from kvtui.core.measure.operations import Cost, multiply_adds
from kvtui.tui.views.time.draw_roofline import roofline
from kvtui.tui.views.time.part_times import PartTimes, Rate, conclusion, rates
from kvtui.tui.views.time.parts import portions

LIMITS = Limits(50e9, 100e9, 1, 2)


def scaled(factor: float) -> Parts:
    return Parts(*(factor * part for part in vars(PARTS).values()))


def test_medians_of_the_newest_tokens_of_each_way() -> None:
    times = PartTimes()
    assert times.measured(True) is times.measured(False) is None
    times.add([replace(token(step), parts=scaled(9 if step == 20 else 1)) for step in range(30)])
    times.add([replace(token(30 + step, cache=False), parts=scaled(10)) for step in range(3)])
    times.add([token(40)])  # without parts
    cached, uncached = times.measured(True), times.measured(False)
    assert cached is not None
    assert uncached is not None
    assert cached.total == pytest.approx(PARTS.total)
    assert (cached.computed, cached.count, cached.asked) == (1, 16, False)
    assert uncached.total == pytest.approx(10 * PARTS.total)
    assert (uncached.context, uncached.computed) == (38, 38)
    times.clear()
    assert times.measured(True) is None


def test_a_refill_is_neither() -> None:
    times = PartTimes()
    times.add([replace(token(3), computed=9, parts=PARTS)])
    assert times.measured(True) is times.measured(False) is None


def test_what_was_asked_for_counts_until_there_are_newer_tokens() -> None:
    times = PartTimes()
    times.add([replace(token(3), parts=PARTS)])
    times.take(Breakdown(9, scaled(2), scaled(30), 4))
    cached, uncached = times.measured(True), times.measured(False)
    assert cached is not None
    assert uncached is not None
    assert (cached.asked, cached.context, cached.total) == (True, 9, pytest.approx(2 * PARTS.total))
    assert (uncached.asked, uncached.computed) == (True, 9)
    times.add([replace(token(4), parts=PARTS)])
    cached, uncached = times.measured(True), times.measured(False)
    assert cached is not None
    assert uncached is not None
    assert (cached.asked, uncached.asked) == (False, True)


def test_rates() -> None:
    times = PartTimes()
    times.take(Breakdown(9, PARTS, scaled(20), 1))
    measured = times.measured(False)
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
