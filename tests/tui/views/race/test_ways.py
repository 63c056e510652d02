"""A lane has the colour and the texture of what it stands for, wherever it runs."""

from __future__ import annotations

import pytest
from racing import prefills, rounds

from kvtui.core.events import Prefill, RacePrefill
from kvtui.tui.session.race import RaceRecord
from kvtui.tui.views.race.draw_charts import totals_drawing
from kvtui.tui.views.race.score import ScorePane
from kvtui.tui.views.race.ways import Way, lane_bar, way_of


def record(*caches: bool) -> RaceRecord:
    race = RaceRecord()
    for number, cache in enumerate(caches):
        race.take(RacePrefill(number, str(number), Prefill(6, 0.01, cache, 768, "ROMEO:"), 26, 0.0, 0.0, 1))
    return race


@pytest.mark.parametrize(
    ("caches", "ways"),
    [
        ((True, False), ["cached", "uncached"]),
        ((False, True), ["uncached", "cached"]),
        ((True, True), ["cached", "other"]),
        ((False, False), ["uncached", "uncached"]),
    ],
)
def test_what_a_lane_stands_for_does_not_depend_on_its_place(caches: tuple[bool, ...], ways: list[Way]) -> None:
    race = record(*caches)
    assert [way_of(race, number) for number in range(2)] == ways
    styles = {"cached": "chart--first", "uncached": "chart--second", "other": "chart--third"}
    assert [curve.style for curve in totals_drawing(race).curves] == [styles[way] for way in ways]


def test_without_the_cache_bars_are_dotted_with_it_solid() -> None:
    assert [lane_bar("uncached", eighths) for eighths in (0, 1, 4, 5, 8, 17)] == ["", "⡇", "⡇", "⣿", "⣿", "⣿⣿⡇"]
    assert [lane_bar(way, 17) for way in ("cached", "other")] == ["██▏", "██▏"]  # type: ignore[arg-type]
    race = RaceRecord()
    for event in [*prefills(), *rounds("abc")]:
        race.take(event)
    pane = ScorePane()
    pane.show(race)
    (_, first, _), (_, second, _) = pane._lane(0, 80), pane._lane(1, 80)
    assert (first[1], second[1]) == ("score--cached", "score--uncached")
    assert "█" in first[0]
    assert set(second[0].strip()) <= set("⣿⡇")
