"""Races against the same texts written alone: the turns change nothing, and what is compared is compared rightly."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import numpy as np
import pytest

from kvtui.core import (
    Generation,
    GenerationLoop,
    GenerationSettings,
    KVCache,
    KvtuiError,
    Model,
    SamplingSettings,
    load,
)
from kvtui.core.commands import Command, Pause, Resume, SetCache, SetPace, ShowAttention, Step, Stop
from kvtui.core.event_json import to_json
from kvtui.core.events import Event, RaceEnd, RaceEstimate, RacePrefill, RaceToken, State, Token
from kvtui.core.logits import kl_divergence, log_softmax
from kvtui.core.measure.operations import multiply_adds
from kvtui.core.race import LANES, Lane, Race, estimate_race
from kvtui.core.tokenizer import CharTokenizer


@pytest.fixture(scope="module")
def model(tiny_model_file) -> Model:
    return load(tiny_model_file)


class Source:
    """Commands that are given one a poll; None in the list is a poll without a command."""

    def __init__(self, *plan: Command | None) -> None:
        self.plan = deque(plan)

    def poll(self, timeout: float | None) -> Command | None:
        assert self.plan or timeout is not None, "the race waits for a command that never comes"
        return self.plan.popleft() if self.plan else None


def written(events: list[Event], lane: int) -> list[RaceToken]:
    return [event for event in events if isinstance(event, RaceToken) and event.lane == lane]


def alone(model: Model, cache: bool, count: int, seed: int = 3) -> tuple[list[Token], list[np.ndarray]]:
    """Tokens and logits of one text written alone."""
    loop = GenerationLoop(model, "Hello", GenerationSettings(max_new_tokens=count, seed=seed, cache=cache))
    generation = loop.generation
    tokens, logits = [], []
    for event in loop.run():
        if isinstance(event, Token):
            tokens.append(event)
            logits.append(generation.logits)
    return tokens, logits


def test_lanes_write_what_they_would_write_alone_past_the_context(model: Model) -> None:
    race = Race(model, "Hello", settings=GenerationSettings(max_new_tokens=60, seed=3))
    events, seen = [], ([], [])
    for event in race.run():
        events.append(event)
        if isinstance(event, RaceToken):
            seen[event.lane].append(race.generations[event.lane].logits)
    for lane, cache in enumerate((True, False)):
        tokens, logits = alone(model, cache, 60)
        assert [event.token.id for event in written(events, lane)] == [token.id for token in tokens]
        assert [event.token.computed for event in written(events, lane)] == [token.computed for token in tokens]
        np.testing.assert_array_equal(seen[lane], logits)
    differences = np.abs(np.array(seen[0]) - np.array(seen[1])).max(axis=1)
    measured: list[Any] = [event.max_logit_difference for event in written(events, 1)]
    np.testing.assert_allclose(measured, differences)
    assert 0 < differences.max() < 1e-4
    assert [event.evicted for event in written(events, 0)] == [event.evicted for event in written(events, 1)]
    assert sum(event.evicted > 0 for event in written(events, 0)) == 3


def test_lanes_take_turns(model: Model) -> None:
    lanes = (*LANES, Lane("again", True))
    events = list(Race(model, "Hello", lanes, GenerationSettings(max_new_tokens=4)).run())
    kinds = [RacePrefill] * 3 + [RaceToken] * 12 + [RaceEnd]
    assert [type(event) for event in events] == kinds
    assert [event.lane for event in events[:-1]] == [0, 1, 2] * 5  # type: ignore[union-attr]
    assert [event.token.step for event in events if isinstance(event, RaceToken)] == [
        0,
        0,
        0,
        1,
        1,
        1,
        2,
        2,
        2,
        3,
        3,
        3,
    ]
    assert [event.label for event in events[:3]] == ["cached", "uncached", "again"]  # type: ignore[union-attr]


@pytest.mark.parametrize("follow", [False, True])
def test_identical_lanes_do_not_diverge(model: Model, follow: bool) -> None:
    lanes = (Lane("one", True), Lane("two", True, follow=follow))
    events = list(Race(model, "Hello", lanes, GenerationSettings(max_new_tokens=40)).run())
    assert {(event.agrees, event.kl, event.max_logit_difference) for event in written(events, 1)} == {(True, 0.0, 0.0)}
    end = events[-1]
    assert isinstance(end, RaceEnd)
    assert (end.reason, end.tokens, end.agreed, end.kl_mean) == ("length", 40, (40, 40), (0.0, 0.0))


def lose_keys(generation: Generation) -> None:
    """Of the oldest positions."""
    assert isinstance(generation.cache, KVCache)
    generation.cache.keys[:, :, :4] = 0.0


def test_a_following_lane_takes_the_tokens_and_tells_what_it_would_have_written(model: Model) -> None:
    """The second lane loses its oldest keys: it would write something else, but must not."""
    lanes = (Lane("whole", True), Lane("damaged", True, follow=True))
    race = Race(model, "Hello", lanes, GenerationSettings(max_new_tokens=20, seed=1, sampling=SamplingSettings(1.0)))
    damaged = race.generations[1]
    events = []
    for event in race.run():
        events.append(event)
        lose_keys(damaged)
    first, second = written(events, 0), written(events, 1)
    assert [event.token.id for event in first] == [event.token.id for event in second]
    assert not all(event.agrees for event in second)
    assert all(event.kl is not None and event.kl > 0 for event in second)
    assert 0 < events[-1].agreed[1] < 20  # type: ignore[union-attr]


def test_texts_that_part_are_not_compared(model: Model) -> None:
    lanes = (Lane("whole", True), Lane("damaged", True))
    race = Race(model, "Hello", lanes, GenerationSettings(max_new_tokens=20, seed=1, sampling=SamplingSettings(1.0)))
    events = []
    for event in race.run():
        events.append(event)
        lose_keys(race.generations[1])
    parted = next(place for place, event in enumerate(written(events, 1)) if not event.agrees)
    assert all(event.kl is not None for event in written(events, 1)[:parted])
    assert {event.max_logit_difference for event in written(events, 1)[parted:]} == {None}


def test_what_it_comes_to(model: Model) -> None:
    events = list(Race(model, "Hello", settings=GenerationSettings(max_new_tokens=6)).run())
    end = events[-1]
    assert isinstance(end, RaceEnd)
    for lane in range(2):
        assert end.seconds[lane] == pytest.approx(sum(event.token.seconds for event in written(events, lane)))
    config = model.config
    assert end.multiply_adds[0] == sum(multiply_adds(config, 1, n).total for n in range(6, 12))
    assert end.multiply_adds[1] == sum(multiply_adds(config, n, n).total for n in range(6, 12))


def test_it_obeys(model: Model) -> None:
    commands = Source(None, Pause(), Step(), None, SetPace(1e6), Resume(), None, Stop())
    events = list(Race(model, "Hello", settings=GenerationSettings(max_new_tokens=50), source=commands).run())
    kinds = "".join(type(event).__name__[4] for event in events)
    assert kinds.startswith("PP" + "TT" + "e" + "e" + "TT")
    states = [(event.paused, event.pace) for event in events if isinstance(event, State)]
    assert states == [(True, None), (True, None), (True, 1e6), (False, 1e6)]
    assert isinstance(events[-1], RaceEnd)
    assert events[-1].reason == "cancelled"
    assert events[-1].tokens == len(written(events, 0)) == len(written(events, 1))


def test_it_stops_where_the_model_ends_the_text(model: Model) -> None:
    text = [token.id for token in alone(model, True, 20)[0]]

    class Ending(CharTokenizer):
        stop_ids = frozenset({text[7]})

    assert isinstance(model.tokenizer, CharTokenizer)
    ending = Model(model.config, Ending(model.tokenizer.vocabulary), model.parameters)
    events = list(Race(ending, "Hello", settings=GenerationSettings(max_new_tokens=20, seed=3)).run())
    end = events[-1]
    assert isinstance(end, RaceEnd)
    assert (end.reason, end.tokens) == ("stop", text.index(text[7]) + 1)
    assert [len(written(events, lane)) for lane in range(2)] == [end.tokens] * 2


def test_what_means_nothing_to_a_race_is_passed_over(model: Model) -> None:
    commands = Source(SetCache(False), ShowAttention(0), None)
    events = list(Race(model, "Hello", settings=GenerationSettings(max_new_tokens=3), source=commands).run())
    assert {event.token.cache for event in written(events, 0)} == {True}
    assert not any(isinstance(event, State) for event in events)


def test_bad_races_are_refused(model: Model) -> None:
    with pytest.raises(KvtuiError, match="two lanes"):
        Race(model, "Hello", LANES[:1])
    with pytest.raises(KvtuiError, match="max_new_tokens"):
        Race(model, "Hello", settings=GenerationSettings(max_new_tokens=-1))
    with pytest.raises(KvtuiError, match="U\\+00E9"):
        Race(model, "é")


def test_events_are_json(model: Model) -> None:
    lines = [
        json.loads(json.dumps(to_json(event)))
        for event in Race(model, "Hello", settings=GenerationSettings(max_new_tokens=2)).run()
    ]
    assert [line["event"] for line in lines] == ["raceprefill"] * 2 + ["racetoken"] * 4 + ["raceend"]
    assert lines[2]["token"]["step"] == 0
    assert "parts" not in lines[2]["token"]


def test_an_estimate_counts_what_the_race_will_run(model: Model) -> None:
    estimate = estimate_race(model, 5, 60)
    assert isinstance(estimate, RaceEstimate)
    race = list(Race(model, "Hello", settings=GenerationSettings(max_new_tokens=60)).run())
    assert estimate.moves == sum(event.evicted > 0 for event in written(race, 0))
    assert (estimate.tokens, len(estimate.seconds)) == (60, 2)
    assert all(seconds > 0 for seconds in estimate.seconds)
    assert estimate_race(model, 5, 0).moves == 0


def test_divergence() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 9)).astype(np.float32)
    first, second = np.exp(p) / np.exp(p).sum(), np.exp(q) / np.exp(q).sum()
    assert kl_divergence(p, q) == pytest.approx((first * np.log(first / second)).sum(), rel=1e-5)
    assert kl_divergence(p, p + 3) == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(np.exp(log_softmax(p)), first, rtol=1e-5)
    assert np.isfinite(kl_divergence(p * 1e4, q))
