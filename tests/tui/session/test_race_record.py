"""What a race comes to, in numbers and in words, from the events of made-up and of real races."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_link import CONFIG
from racing import end, prefills, rounds

from kvtui.core import GenerationSettings, Model, load
from kvtui.core.events import RaceEnd, RaceEstimate
from kvtui.core.race import Race
from kvtui.core.sampling import SamplingSettings
from kvtui.tui.drawing.words import duration, three_digits
from kvtui.tui.session.race import RaceRecord
from kvtui.tui.session.runs import Origin, lane_records
from kvtui.tui.views.race.draw_charts import times_drawing, totals_drawing
from kvtui.tui.views.race.score import ScorePane
from kvtui.tui.views.race.verdict import estimate_words, verdict
from kvtui.tui.views.time.draw_runs import run_lines


def record(*batches: list) -> RaceRecord:
    race = RaceRecord()
    for batch in batches:
        for event in batch:
            race.take(event)
    return race


@pytest.fixture(scope="module")
def model(tiny_model_file) -> Model:
    return load(tiny_model_file)


def test_a_real_race_comes_to_what_its_end_says(model: Model) -> None:
    race = record(list(Race(model, "Hello", settings=GenerationSettings(max_new_tokens=40, seed=2)).run()))
    end = race.end
    assert isinstance(end, RaceEnd)
    assert race.steps == race.planned == 40
    assert race.moves == 1
    for lane, seconds, agreed, counted, difference in zip(
        race.lanes, end.seconds, end.agreed, end.multiply_adds, end.max_logit_difference, strict=True
    ):
        assert lane.seconds == pytest.approx(seconds)
        assert (lane.agreed, lane.multiply_adds, lane.max_logit_difference) == (agreed, counted, difference)
    assert race.speed_up() == pytest.approx(end.seconds[1] / end.seconds[0])


def test_nothing_is_made_of_an_empty_race() -> None:
    race = RaceRecord()
    assert (race.steps, race.moves, race.speed_up(), verdict(race)) == (0, 0, None, "")
    assert totals_drawing(race).curves == times_drawing(race, CONFIG, False).curves == ()
    race = record(prefills())
    assert (race.steps, race.speed_up()) == (0, None)


def test_the_speed_up_is_that_of_the_tokens_that_both_have_written() -> None:
    race = record(prefills(), rounds("abcd"), rounds("e", 4)[:1])
    assert race.steps == 4
    assert race.speed_up() == pytest.approx(0.0002 * (7 + 8 + 9 + 10) / (4 * 0.0005))
    assert [len(lane.tokens) for lane in race.lanes] == [4, 4]  # nor does any other figure know one token more


def test_one_race_has_one_ratio_and_it_names_its_lengths() -> None:
    """In the score, in the verdict and in the table of runs; whichever lane comes first."""
    for reverse in (False, True):
        race = record(prefills(), rounds("x" * 90), [end(90)])
        if reverse:
            race.lanes.reverse()
        score = ScorePane()
        score.show(race)
        figures = "".join(words for words, _ in score._figures(140))
        assert "cached is 20.6 × as fast at 7–96 positions" in figures
        assert "90 tokens, at 7–96 positions, took 0.045 s cached and 0.927 s uncached: 20.6 times as fast." in verdict(
            race
        )
        runs = lane_records(race, Origin("small", "ROMEO:", 7), SamplingSettings())
        rows = ["".join(words for words, _ in line) for line in run_lines(runs, None, 120, 9)]
        assert ["20.6 × at 7–96 " in row for row in rows] == [False, True, True]


def test_the_verdict_has_the_numbers() -> None:
    race = record(prefills(), rounds("x" * 20), [end(20)])
    words = verdict(race)
    assert "20 tokens, at 7–26 positions, took 0.010 s cached and 0.066 s uncached: 6.6 times as fast." in words
    assert "All 20 tokens agree; the logits differ by at most 2.0e-06." in words
    # As the times: of the tokens. A long prompt, which both lanes run alike, would hide what the tokens take.
    cached, uncached = (sum(entry.multiply_adds for entry in lane.tokens) for lane in race.lanes)
    assert f"cached took {three_digits(cached)} multiply-adds and uncached {three_digits(uncached)}" in words
    assert f"{uncached / cached:.1f} times as many" in words


def test_the_verdict_counts_what_does_not_agree() -> None:
    assert "18 of 20 tokens agree" in verdict(record(prefills(), rounds("x" * 20, differs=frozenset({9, 12}))))


def test_one_slow_token_does_not_set_the_scale() -> None:
    """Each point is the median of some neighbours."""
    told = rounds("x" * 240)
    for place, event in enumerate(told):
        seconds = 0.05 if place == 100 else 0.0005
        told[place] = replace(event, token=replace(event.token, seconds=seconds))
    curve = times_drawing(record(prefills(), told), CONFIG, False).curves[-2]
    assert [milliseconds for _, milliseconds in curve.points] == pytest.approx([0.5] * 80)


def test_predictions_have_the_shape_of_the_operations() -> None:
    race = record(prefills(), rounds("x" * 20))
    drawing = times_drawing(race, CONFIG, False)
    predicted = [curve for curve in drawing.curves if curve.marker == "-"]
    assert len(predicted) == 2
    cached, uncached = (curve.points for curve in predicted)
    assert cached[0][0] == 7
    assert cached[-1][0] == 32  # where it will end
    assert max(y for _, y in cached) == pytest.approx(0.5, rel=0.01)
    assert uncached[-1][1] > 2 * uncached[0][1]
    assert not [
        curve for curve in times_drawing(record(prefills(), rounds("xx")), CONFIG, False).curves if curve.marker == "·"
    ]


def test_a_lane_that_keeps_a_window_is_drawn_along_the_text() -> None:
    """Its context stays the same: against that, all of its tokens would be on one vertical line."""
    told = rounds("x" * 20)
    for place, event in enumerate(told):
        token = event.token
        kept = min(token.context, 12 if event.lane == 0 else 9)
        told[place] = replace(event, token=replace(token, cache=True, computed=1, context=kept))
    race = record(prefills(), told)
    assert [lane.kept for lane in race.lanes] == [12, 9]
    drawing = times_drawing(race, CONFIG, False)
    assert (drawing.x.low, drawing.x.high) == (0, 32)
    *predicted, first, second = drawing.curves
    assert [x for x, _ in first.points] == [x for x, _ in second.points] == [*range(7, 27)]
    for curve, kept in zip(predicted, (12, 9), strict=True):
        assert (curve.points[0][0], curve.points[-1][0]) == (7, 32)
        assert len({y for x, y in curve.points if x >= kept}) == 1  # level from where it keeps no more


def test_predictions_fall_where_the_window_moves() -> None:
    race = record(prefills(tokens=None), rounds("x" * 26), rounds("y" * 6, 26))
    for lane in race.lanes:
        for place, entry in enumerate(lane.tokens[26:], 26):
            moved = replace(entry.token, context=place - 26 + CONFIG.context_length // 2 + 1)
            lane.tokens[place] = replace(entry, token=moved)
    drawing = times_drawing(race, CONFIG, False)
    assert drawing.x.high == 48  # where the context is full again
    uncached = [curve for curve in drawing.curves if curve.marker == "-"][1].points
    by_place = dict(uncached)
    assert by_place[33] < by_place[32]
    assert by_place[48] == by_place[32]


def test_the_axis_begins_with_what_is_left_of_the_prompt() -> None:
    told = rounds("x" * 10)
    for place, event in enumerate(told):
        told[place] = replace(event, token=replace(event.token, position=event.token.position + 100))
    drawing = times_drawing(record(prefills(), told), CONFIG, False)
    assert (drawing.x.low, drawing.x.high) == (100, 132)


def test_the_verdict_says_who_ended_the_text() -> None:
    assert "The model ended" not in verdict(record(prefills(), rounds("abc"), [end(3)]))
    assert verdict(record(prefills(), rounds("abc"), [end(3, "stop")])).endswith("The model ended the text there.")


def test_words() -> None:
    assert [duration(seconds) for seconds in (0.1421, 6.2, 99.9, 185, 7300)] == [
        "0.142 s",
        "6.20 s",
        "99.9 s",
        "3 min 05 s",
        "2 h 01 min",
    ]
    assert [three_digits(number) for number in (5, 1234, 5.6e6, 1.21e9, 3e12)] == [
        "5",
        "1.23 k",
        "5.6 M",
        "1.21 G",
        "3 T",
    ]
    words = estimate_words(RaceEstimate(500, ("cached", "uncached"), (2.0, 240.0), 0))
    assert "This race of 500 tokens would take about 4 min 02 s: 2.00 s cached and 4 min 00 s uncached." in words
    assert "context" not in words
    assert "moves 3 times" in estimate_words(RaceEstimate(500, ("cached", "uncached"), (2.0, 240.0), 3))
