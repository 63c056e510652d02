"""A race of two cache policies: lanes, the strip of divergences, and the verdict."""

from __future__ import annotations

import math
from typing import Any

import pytest
from bench import bench
from racing import prefills, rounds
from textual.widgets import Input

from kvtui.core import GenerationSettings, load
from kvtui.core.events import RaceToken
from kvtui.core.race import LANES, Lane, Race
from kvtui.tui.panes.policy_screen import OFF
from kvtui.tui.session.race import RaceRecord
from kvtui.tui.views.race.score import ScorePane, kl_bar
from kvtui.tui.views.race.verdict import verdict
from kvtui.tui.views.race.view import RaceView, lanes_of


def test_lanes_from_policies() -> None:
    assert lanes_of("full", OFF) == LANES
    assert lanes_of(OFF, "full") == LANES[::-1]
    assert lanes_of("full", "sink:4+8") == (
        Lane("full", True, "full"),
        Lane("sink:4+8", True, "sink:4+8", follow=True),
    )
    assert lanes_of("window:9", OFF)[1] == Lane("uncached", False, follow=True)


@pytest.mark.parametrize(
    ("divergence", "bar"), [(0.0, "▁"), (1e-4, "▁"), (1e-3, "▃"), (1e-2, "▅"), (0.5, "█"), (9.0, "█"), (math.nan, " ")]
)
def test_bars_of_half_a_decade(divergence: float, bar: str) -> None:
    assert kl_bar(divergence) == bar


def test_the_verdict_is_that_of_the_race() -> None:
    record, tokens = RaceRecord(), []
    record.start(lanes_of("full", "window:6"))
    settings = GenerationSettings(max_new_tokens=24, seed=3)
    events: list[Any] = list(Race(load(), "ROMEO:", record.plan, settings).run())
    for event in events:
        record.take(event)
        if isinstance(event, RaceToken) and event.lane == 1:
            tokens.append(event)
    words = verdict(record)
    agreed = sum(entry.agrees for entry in tokens)
    assert f"the same token {agreed} of 24 times" in words
    divergences = [entry.kl for entry in tokens if entry.kl is not None]
    assert len(divergences) == 24
    assert f"mean {sum(divergences) / 24:.2g} nats, at most {max(divergences):.2g}" in words
    assert "took 55.3 kB against 276.5 kB" in words  # 6 and 30 positions of 9,216 bytes


def test_the_lane_that_is_faster_is_named() -> None:
    record, score = RaceRecord(), ScorePane()
    for event in [*prefills(), *rounds("x" * 20)]:
        record.take(event)
    score.show(record)
    assert "cached is 6.6 × as fast" in "".join(text for text, _ in score._figures(120))
    record.lanes.reverse()
    assert "cached is 6.6 × as fast" in "".join(text for text, _ in score._figures(120))


async def test_the_second_lane_is_chosen_and_raced() -> None:
    async with bench(size=(80, 24)) as it:
        await it.press("2", "o")
        assert "Second lane of the next race" in it.screen_text()
        assert "● off" in it.screen_text()
        field = it.app.screen.query_one(Input)
        field.value = "sink:2+8"
        await it.press("enter")
        await it.until(lambda: "full against sink:2+8" in it.notices())
        await it.press("enter")
        await it.until(lambda: it.link.races)
        assert it.link.races[-1].lanes == lanes_of("full", "sink:2+8")
        assert it.app.query_one(RaceView).has_class("-follows")


async def test_the_first_lane_is_chosen_too_and_off_is_a_choice() -> None:
    async with bench() as it:
        await it.press("2", "O")
        assert "First lane of the next race" in it.screen_text()
        it.app.screen.query_one(Input).value = "off"
        await it.press("enter", "o")
        it.app.screen.query_one(Input).value = "full"
        await it.press("enter", "enter")
        await it.until(lambda: it.link.races)
        assert it.link.races[-1].lanes == LANES[::-1]
