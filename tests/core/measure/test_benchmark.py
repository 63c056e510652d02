"""A busy machine is noticed: rounds are measured again, so often and no more, and the result says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from random_model import LETTERS, random_model

from kvtui.core import Model
from kvtui.core.config import ModelConfig
from kvtui.core.measure import benchmark as module
from kvtui.core.measure.benchmark import BenchResult, benchmark
from kvtui.core.measure.load import Load
from kvtui.core.measure.operations import multiply_adds

CALM = Load(0.0, 0.0, 0.0, 1, 2)
BUSY = Load(0.0, 1.5, 0.0, 1, 2)


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model(ModelConfig(len(LETTERS), 64, 1, 2, 2, 8, 16, 24))


class Machine:
    """A machine whose rounds are told beforehand: their load, and seconds of a cached and of an uncached step.

    The first is the one that warms up; the last one goes on for ever.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rounds: Sequence[tuple[Load, float, float]]) -> None:
        self.rounds, self.number = list(rounds), -1
        machine = self

        class Meter:
            def __init__(self, threads: int) -> None:
                pass

            def start(self) -> None:
                machine.number += 1

            def stop(self) -> Load:
                return machine.now[0]

        def median_time(work: Callable[[], object], repeats: int) -> float:
            _, cached, uncached = self.now
            return uncached if "forward" in str(work) else cached

        monkeypatch.setattr(module, "LoadMeter", Meter)
        monkeypatch.setattr(module, "median_time", median_time)

    @property
    def now(self) -> tuple[Load, float, float]:
        return self.rounds[min(self.number, len(self.rounds) - 1)]


def run(monkeypatch: pytest.MonkeyPatch, model: Model, rounds: Sequence[tuple[Load, float, float]]) -> BenchResult:
    Machine(monkeypatch, [(BUSY, 9.0, 9.0), *rounds])
    return benchmark(model, [64], repeats=3)


def test_calm_rounds_are_all_there_is(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    result = run(monkeypatch, model, [(CALM, 1.0, 4.0), (CALM, 2.0, 5.0), (CALM, 3.0, 6.0)])
    assert (result.cached_seconds, result.uncached_seconds) == (((64, 2.0),), ((64, 5.0),))
    assert (result.rounds, result.busy_rounds, result.doubts, result.remarks()) == (3, 0, (), [])


def test_busy_rounds_are_measured_again(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    rounds = [(BUSY, 50.0, 60.0), (CALM, 1.0, 4.0), (CALM, 2.0, 5.0), (BUSY, 70.0, 80.0), (CALM, 3.0, 6.0)]
    result = run(monkeypatch, model, rounds)
    assert (result.cached_seconds, result.uncached_seconds) == (((64, 2.0),), ((64, 5.0),))
    assert (result.rounds, result.busy_rounds, result.doubts) == (5, 2, ())
    assert result.remarks() == ["The machine was busy in 2 of 5 rounds."]


def test_a_machine_that_stays_busy_is_given_up_and_told(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    result = run(monkeypatch, model, [(CALM, 1.0, 4.0), (BUSY, 1.0, 4.0)])
    assert (result.rounds, result.busy_rounds) == (9, 8)
    assert result.doubts == ("other programs used 1.5 of 2 processors",)
    assert result.remarks() == [
        "These times are doubtful: other programs used 1.5 of 2 processors.",
        "The machine was busy in 8 of 9 rounds.",
    ]


def test_a_ratio_above_the_counted_work_is_noticed(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    counted = multiply_adds(model.config, 64, 64).total / multiply_adds(model.config, 1, 64).total
    just, above = (CALM, 1.0, counted * 0.99), (CALM, 1.0, counted * 2)
    assert run(monkeypatch, model, [just]).busy_rounds == 0
    again = run(monkeypatch, model, [above, just])
    assert (again.rounds, again.busy_rounds, again.doubts) == (4, 1, ())
    result = run(monkeypatch, model, [above])
    assert (result.rounds, result.busy_rounds) == (9, 9)
    told = f"{2 * counted:,.0f} × at 64 positions is more than the {counted:,.0f} × that the counted work allows"
    assert result.doubts == (told,)


def test_a_ratio_at_a_short_context_may_be_more_than_the_count(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    """There the time goes to calls, of which an uncached step has more."""
    Machine(monkeypatch, [(CALM, 1.0, 7.0)])
    result = benchmark(model, [4], repeats=1)
    assert (result.rounds, result.doubts) == (1, ())


def test_rounds_that_disagree_are_noticed(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    Machine(monkeypatch, [(CALM, 1.0, 4.0), *((CALM, 1.0, 4.0 + step) for step in (0, 0, 4, 4))])
    result = benchmark(model, [64], repeats=4)
    assert result.spread == pytest.approx(4 / 6)
    (doubt,) = result.doubts
    assert "spreads over 67% of their median" in doubt


def test_progress_is_that_of_calm_rounds(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    told: list[Any] = []
    Machine(monkeypatch, [(CALM, 1.0, 4.0), (BUSY, 1.0, 4.0), (CALM, 1.0, 4.0)])
    benchmark(model, [64], 2, lambda done, total: told.append((done, total)))
    assert told == [(0, 2), (0, 2), (1, 2), (2, 2)]
