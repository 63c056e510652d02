"""The time view, through its keys."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from bench import bench
from fake_link import PARTS, token

from kvtui.core.commands import MeasureLimits, MeasureParts
from kvtui.core.events import Parts
from kvtui.tui.views.time.parts import EMPTY, PartsPane
from kvtui.tui.views.time.view import UNKNOWN


def parted(count: int, cache: bool = True, first: int = 0) -> list:
    times = PARTS if cache else Parts(*(20 * part for part in vars(PARTS).values()))
    return [replace(token(first + step, cache=cache, seconds=times.total), parts=times) for step in range(count)]


async def test_it_says_what_will_stand_there() -> None:
    async with bench(None) as it:
        await it.press("escape", "5")
        assert EMPTY[0] in it.screen_text()
        assert UNKNOWN[:40] in it.screen_text()
        await it.press("m")
        assert "Enter a prompt first" in it.notices()
        assert not it.link.commands(MeasureParts)


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_the_parts_of_a_token_and_how_to_get_the_other_way(size: tuple[int, int]) -> None:
    async with bench(size=size) as it:
        it.link.write(parted(5))
        await it.press("5")
        await it.until(lambda: "attention 30%" in it.screen_text())
        text = it.screen_text()
        assert " 0.50 ms at 1–15" in text
        assert "none yet: t turns the cache off, m measures a token" in text
        it.link.write(parted(5, cache=False, first=5))
        await it.until(lambda: "10.0 ms at 8–23" in it.screen_text())
        assert "uncached takes 20.0 × as long at 8–23 positions" in it.screen_text()
        assert "cached: 1 of 8–23 positions" in it.screen_text()
        assert "uncached: all 8–23 positions" in it.screen_text()
        await it.press("1")  # the same ratio, of the same lengths
        assert re.search("20.0 × faster with (the )?cache at 8–23", it.screen_text())


async def test_measuring_on_request() -> None:
    async with bench() as it:
        await it.press("5", "m")
        assert len(it.link.commands(MeasureParts)) == len(it.link.commands(MeasureLimits)) == 1
        await it.until(lambda: "compute-bound" in it.screen_text() and "memory-bound" in it.screen_text())
        text = it.screen_text()
        assert "positions · * measured with m" in text
        pane = it.app.query_one(PartsPane)
        told = pane.border_subtitle
        it.link.write([*parted(5), *parted(3, cache=False, first=5)])
        await it.until(lambda: it.app.session.state.written == 8)
        await it.until(lambda: "newest" in it.screen_text())
        assert pane.border_subtitle == told  # nor has a side of it been replaced
        assert it.screen_text().count("positions *") == 4  # both bars, both halves of the table
        assert "This machine, 1 thread: reads 50 GB/s, computes 100 GFLOP/s at most." in text
        assert "limit" in text
        await it.press("m")
        await it.until(lambda: len(it.link.commands(MeasureLimits)) == 2)


async def test_the_limits_stay_with_another_text_and_the_parts_do_not() -> None:
    async with bench() as it:
        await it.press("5", "m")
        await it.until(lambda: "memory-bound" in it.screen_text())
        await it.press("r")
        await it.until(lambda: EMPTY[0] in it.screen_text())
        assert it.app.main.view._limits is not None  # type: ignore[attr-defined]


async def test_a_wide_table_says_which_limit() -> None:
    async with bench(size=(220, 50)) as it:
        await it.press("5", "m")
        await it.until(lambda: "mem " in it.screen_text() and "cpu " in it.screen_text())


async def test_a_policy_is_not_measured_on_request() -> None:
    async with bench(policy="window:8") as it:
        await it.press("5", "m")
        await it.until(lambda: "· * with m: full cache" in it.screen_text())


async def test_the_token_that_the_reader_looks_at() -> None:
    async with bench() as it:
        slow = Parts(*(3 * part for part in vars(PARTS).values()))
        it.link.write([*parted(5), replace(token(5), parts=slow), *parted(3, first=6)])
        await it.press("5")
        await it.until(lambda: "attention 30%" in it.screen_text())
        assert "chosen" not in it.screen_text()
        await it.press("left", "left", "left")
        await it.until(lambda: " 1.50 ms at 12" in it.screen_text())
        assert "newest" not in it.screen_text()
        await it.press("end")
        await it.until(lambda: " 0.50 ms at 15" in it.screen_text())
        await it.until(lambda: "chosen " not in it.screen_text())
