"""The untimed repeats before a token that had to wait: alike for every cache, without a trace, never too long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from random_model import LETTERS, random_model

from kvtui.core import Generation, GenerationLoop, GenerationSettings, Model, SamplingSettings, generation
from kvtui.core.cache import KINDS, Eviction, FullCache, Policy
from kvtui.core.cache.rehearsal import Rehearsal
from kvtui.core.commands import Pause, Resume, SetCache, Step, Stop
from kvtui.core.config import ModelConfig
from kvtui.core.events import RaceToken, Token
from kvtui.core.race import LANES, Lane, Race

PROMPT = "abcdefghijkl" * 4


def build(**options: Any) -> Model:
    shape: dict[str, Any] = {"num_heads": 4, "num_kv_heads": 2, "context_length": 96} | options
    return random_model(
        ModelConfig(vocab_size=len(LETTERS), num_layers=2, head_dim=8, embed_dim=16, mlp_dim=24, **shape), scale=0.4
    )


@pytest.fixture(scope="module")
def model() -> Model:
    return build()


@dataclass(frozen=True)
class LeastSeen(Eviction):
    """A policy of one's own: what has been attended to least goes, and the newest never."""

    size: int = 20
    watches = "always"

    def keeps(self, held, new):
        return min(held + new, self.size)

    def importance(self, entries):
        return np.where(entries.positions == entries.newest, np.inf, entries.attention)


class Shifted(FullCache):
    """A cache of one's own: another number of columns than positions, the first of which nobody sees."""

    def begin(self, count):
        return super().begin(count) + 3

    def score(self, layer, query, out):
        out[..., :3] = -np.inf
        super().score(layer, query, out[..., 3:])

    def weighted_values(self, layer, weights, out):
        super().weighted_values(layer, weights[..., 3:], out)


@dataclass(frozen=True)
class Shift(Policy):
    """The policy that goes with it."""

    def new_cache(self, config, dtype, rotation_at):
        return Shifted(config, dtype=dtype)


POLICIES: list[str | Policy] = [
    *(kind.keeping(44) for kind in KINDS),
    *(f"{bits},{kept}" for bits in ("int8", "int4") for kept in ("window:44", "sink:4+40")),
    LeastSeen(),
    Shift(),
]


def held(generation: Generation) -> list[Any]:
    """All that can be seen of what the cache holds."""
    cache = generation.cache
    layers = range(generation.model.config.num_layers)
    arrays = [array for layer in layers for array in (cache.positions(layer), *cache.read(layer), cache.reason(layer))]
    noted = [array for name in ("attention", "places") if (array := getattr(cache, name, None)) is not None]
    numbers = np.array([cache.length, cache.num_held, cache.bytes_used, cache.oldest])
    return [array.copy() for array in (numbers, *arrays, *noted, generation.logits)]


def told(event: Any) -> Any:
    """An event without what is measured."""
    values = {name: value for name, value in vars(event).items() if name not in ("seconds", "tokens_per_second")}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


def written(generation: Generation, warm: bool) -> Iterator[tuple[list[Any], list[Any]]]:
    """What is told of each token, and what the cache holds after it, with a change of the cache on the way."""
    yield [told(generation.prefill()), *map(told, generation.evicted_by_policy())], held(generation)
    for number in range(64):
        if number in (30, 33):
            generation.set_cache(number == 33)
        if warm:
            generation.warm_up()
        yield [told(event) for event in generation.write()], held(generation)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("has_step", [True, False])
def test_nothing_is_changed_whatever_the_cache_keeps(model: Model, policy: str | Policy, has_step: bool) -> None:
    model = build()
    model.has_step = has_step
    settings = GenerationSettings(policy=policy, seed=3, sampling=SamplingSettings(1.0), observe=True)
    plain, warm = (Generation(model, PROMPT, settings) for _ in range(2))
    for (events, before), (same, after) in zip(written(plain, False), written(warm, True), strict=True):
        assert events == same
        for first, second in zip(before, after, strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "options",
    [{"position": "learned"}, {"sliding_window": 16}, {"norm": "rms", "mlp": "swiglu"}, {"num_kv_heads": 4}],
    ids=str,
)
def test_nothing_is_changed_whatever_the_model_is(options: dict[str, Any]) -> None:
    model = build(**options)
    plain, warm = (Generation(model, PROMPT, GenerationSettings(seed=3)) for _ in range(2))
    for (events, before), (same, after) in zip(written(plain, False), written(warm, True), strict=True):
        assert events == same
        for first, second in zip(before, after, strict=True):
            np.testing.assert_array_equal(first, second)


class Calls:
    """The passes that a model was asked for: (tokens, whether in a rehearsal)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[int, bool]] = []
        decode, forward = Model.decode, Model.forward

        def noting_decode(model: Model, token: int, cache: Any, **options: Any) -> Any:
            self.made.append((1, isinstance(cache, Rehearsal)))
            return decode(model, token, cache, **options)

        def noting_forward(model: Model, ids: Any, cache: Any = None, **options: Any) -> Any:
            self.made.append((len(ids), cache is None))
            return forward(model, ids, cache, **options)

        monkeypatch.setattr(Model, "decode", noting_decode)
        monkeypatch.setattr(Model, "forward", noting_forward)

    def take(self) -> list[tuple[int, bool]]:
        """Those since last asked."""
        made, self.made = self.made, []
        return made


class Clock:
    """A clock that stands still, but for what every pass takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.now, self.seconds = 100.0, seconds
        run = Generation._run_window
        repeat = Generation._repeat

        def runs(generation: Generation) -> Any:
            self.now += self.seconds
            return run(generation)

        def repeats(generation: Generation) -> None:
            self.now += self.seconds
            repeat(generation)

        monkeypatch.setattr(Generation, "_run_window", runs)
        monkeypatch.setattr(Generation, "_repeat", repeats)
        monkeypatch.setattr(generation, "perf_counter", lambda: self.now)
        monkeypatch.setattr(generation, "perf_counter_ns", lambda: self.now * 1e9)
        monkeypatch.setattr("kvtui.core.control.perf_counter", lambda: self.now)
        monkeypatch.setattr("kvtui.core.race.perf_counter", lambda: self.now)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_every_policy_gets_as_many_repeats(model: Model, policy: str | Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, 2**-11)
    text = Generation(model, PROMPT, GenerationSettings(policy=policy))
    text.prefill()
    calls = Calls(monkeypatch)
    for _ in range(3):
        text.warm_up()
        assert calls.take() == [(1, True)] * 8
        list(text.write())
        assert calls.take() == [(1, False)]


def test_without_the_cache_the_window_is_repeated(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, 2**-11)
    text = Generation(model, "abc", GenerationSettings(cache=False))
    text.prefill()
    list(text.write())
    calls = Calls(monkeypatch)
    text.warm_up()
    assert calls.take() == [(4, True)] * 8
    text.set_cache(True)  # the next step runs the window once more
    text.warm_up()
    assert calls.take() == [(4, True)] * 8
    list(text.write())
    calls.take()
    text.warm_up()
    assert calls.take() == [(1, True)] * 8


@pytest.mark.parametrize(
    ("seconds", "left", "repeats"),
    [
        (2**-10, 1.0, 8),
        (2**-10, 2**-8, 4),
        (2**-10, 2**-11, 0),
        (2**-10, 0.0, 0),
        (2**-8, 1.0, 3),  # no other begins after a hundredth of a second
        (2**-4, 1.0, 1),
        (2**-4, 2**-4, 1),
        (2**-4, 2**-5, 0),
        (2**-2, 1.0, 1),
        (2**-1, 1.0, 0),  # keys would have to wait too long
    ],
)
def test_no_repeat_ends_too_late(
    model: Model, monkeypatch: pytest.MonkeyPatch, seconds: float, left: float, repeats: int
) -> None:
    clock = Clock(monkeypatch, seconds)
    text = Generation(model, PROMPT)
    text.prefill()
    list(text.write())
    calls = Calls(monkeypatch)
    text.warm_up(until=clock.now + left)
    assert len(calls.take()) == repeats
    assert (text.warm_up_seconds(left) > 0) == (repeats > 0)
    assert text.warm_up_seconds(left) <= left


def test_a_pass_over_the_window_is_expected_to_take_as_long_for_each_position(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, 2**-10)
    text = Generation(model, "abcdefg")
    text.prefill()
    list(text.write())
    text.set_cache(False)
    calls = Calls(monkeypatch)
    text.warm_up(until=clock.now + 7 * 2**-10)
    assert not calls.take()
    text.warm_up(until=clock.now + 8 * 2**-10)
    assert calls.take() == [(8, True)] * 8


class Source:
    """Gives commands by the number of the poll, and lets the clock run for as long as it is told to wait."""

    def __init__(self, clock: Clock, plan: dict[int, Any]) -> None:
        self.clock, self.plan, self.polls = clock, plan, 0

    def poll(self, timeout: float | None) -> Any:
        self.polls += 1
        command = self.plan.get(self.polls)
        if command is None:
            assert timeout is not None, "waits for ever"
            self.clock.now += timeout
        return command


def starts(loop: GenerationLoop, clock: Clock, calls: Calls) -> list[tuple[float, int]]:
    """When each token's step began, and how many repeats there were before it."""
    found = []
    for event in loop.run():
        made = calls.take()
        if isinstance(event, Token):
            found.append((clock.now - clock.seconds, len(made) - 1))
    return found


def test_a_paced_token_begins_when_it_is_due(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(monkeypatch, 2**-10), Calls(monkeypatch)
    loop = GenerationLoop(model, PROMPT, GenerationSettings(pace=32.0, max_new_tokens=4), Source(clock, {}))
    began = clock.now + clock.seconds  # after the prompt
    for number, (start, repeats) in enumerate(starts(loop, clock, calls), 1):
        due = began + number / 32
        assert due - 1.5 * 8 * clock.seconds <= start <= due
        assert repeats == 8


def test_where_the_pace_cannot_be_kept_nothing_is_repeated(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(monkeypatch, 2**-4), Calls(monkeypatch)
    loop = GenerationLoop(model, PROMPT, GenerationSettings(pace=16.0, max_new_tokens=4), Source(clock, {}))
    assert [repeats for _, repeats in starts(loop, clock, calls)][1:] == [0, 0, 0]
    loop = GenerationLoop(model, PROMPT, GenerationSettings(pace=None, max_new_tokens=4), Source(clock, {}))
    assert [repeats for _, repeats in starts(loop, clock, calls)] == [0, 0, 0, 0]


@pytest.mark.parametrize("pace", [None, 512.0])
def test_a_token_after_a_pause_is_warm(model: Model, monkeypatch: pytest.MonkeyPatch, pace: float | None) -> None:
    clock, calls = Clock(monkeypatch, 2**-10), Calls(monkeypatch)
    plan = {1: Pause(), 2: Step(), 4: Step(), 6: SetCache(False), 7: Resume(), 12: Stop()}
    loop = GenerationLoop(model, PROMPT, GenerationSettings(pace=pace), Source(clock, plan))
    assert [repeats for _, repeats in starts(loop, clock, calls)][:3] == [8, 8, 8]


@pytest.mark.parametrize(
    "lanes",
    [LANES, (Lane("full", True), Lane("window", True, "window:16", follow=True)), (*LANES, Lane("int4", True, "int4"))],
)
def test_all_lanes_of_a_race_are_repeated_alike(
    model: Model, lanes: tuple[Lane, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch, 2**-11)
    calls = Calls(monkeypatch)
    race = Race(model, PROMPT, lanes, GenerationSettings(max_new_tokens=3))
    for event in race.run():
        made = calls.take()
        if isinstance(event, RaceToken):
            assert len(made) == 9
