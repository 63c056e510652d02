"""The loop: events, commands, and one text whatever the cache does."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from random_model import random_model

from kvtui.core import (
    CharTokenizer,
    Generation,
    GenerationLoop,
    GenerationSettings,
    KVCache,
    KvtuiError,
    Model,
    ModelConfig,
    SamplingSettings,
    generate,
    load,
)
from kvtui.core.commands import (
    Command,
    Fork,
    Pause,
    Resume,
    Revisit,
    SetCache,
    SetHeads,
    SetPace,
    SetPolicy,
    SetVerify,
    ShowAttention,
    Step,
    Stop,
)
from kvtui.core.event_json import to_json
from kvtui.core.events import Attention, End, Event, Evict, Prefill, State, Token, Unanswered
from kvtui.core.inspection.attention import attention


@pytest.fixture(scope="module")
def model() -> Model:
    config = ModelConfig(
        vocab_size=27,
        context_length=32,
        num_layers=2,
        num_heads=2,
        num_kv_heads=2,
        head_dim=8,
        embed_dim=16,
        mlp_dim=32,
    )
    return random_model(config, seed=5)


class Script:
    """Commands to give after given numbers of written tokens; ends the test if the loop would wait forever."""

    def __init__(self, generation_steps: Mapping[int, Sequence[Command]]) -> None:
        self.plan = dict(generation_steps)
        self.pending: deque[Command] = deque()
        self.polls: list[float | None] = []
        self.written = 0
        self._give()

    def _give(self) -> None:
        self.pending.extend(self.plan.pop(self.written, []))

    def saw(self, event: Event) -> None:
        if isinstance(event, Token):
            self.written += 1
            self._give()

    def poll(self, timeout: float | None) -> Command | None:
        self.polls.append(timeout)
        if self.pending:
            return self.pending.popleft()
        assert timeout is not None, "the loop waits for a command that never comes"
        return None


def run(model: Model, plan: Mapping[int, Sequence[Command]], count: int | None = 40, **options) -> list[Event]:
    script = Script(plan)
    events = []
    for event in generate(model, "hello", max_new_tokens=count, seed=3, commands=script, **options):
        script.saw(event)
        events.append(event)
    return events


def text(events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


def test_events_of_a_plain_run(model):
    events: list[Any] = list(generate(model, "hello", max_new_tokens=4, seed=3))
    assert [type(event) for event in events] == [Prefill, Token, Token, Token, Token, End]
    prefill, first, end = events[0], events[1], events[-1]
    per_token = model.config.cache_bytes_per_token()
    assert (prefill.tokens, prefill.prompt, prefill.dropped, prefill.cache_bytes) == (5, "hello", 0, 5 * per_token)
    assert (first.step, first.position, first.computed, first.context) == (0, 5, 1, 6)
    assert (first.cached_positions, first.cache_bytes) == (6, 6 * per_token)
    assert (end.reason, end.tokens) == ("length", 4)
    assert end.seconds == pytest.approx(sum(event.seconds for event in events if isinstance(event, Token)))
    assert end.tokens_per_second == pytest.approx(4 / end.seconds)


def test_uncached_run_stores_nothing_and_runs_the_whole_context(model):
    tokens = [
        event for event in generate(model, "hello", max_new_tokens=4, seed=3, cache=False) if isinstance(event, Token)
    ]
    assert [token.computed for token in tokens] == [6, 7, 8, 9]
    assert {(token.cached_positions, token.cache_bytes) for token in tokens} == {(0, 0)}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sampling", [SamplingSettings(0), SamplingSettings(1.0), SamplingSettings(0.9, 8, 0.9)])
def test_the_text_is_the_same_with_the_cache_on_off_and_toggled_past_the_context(model, seed, sampling):
    def write(**options) -> list[Event]:
        return list(generate(model, "hello", max_new_tokens=100, seed=seed, sampling=sampling, **options))

    cached = write()
    assert sum(isinstance(event, Evict) for event in cached) >= 4
    assert text(write(cache=False)) == text(cached)
    plan = {step: [SetCache(step % 20 != 0)] for step in range(0, 100, 10)}
    script = Script(plan)
    toggled = []
    for event in generate(model, "hello", max_new_tokens=100, seed=seed, sampling=sampling, commands=script):
        script.saw(event)
        toggled.append(event)
    assert {token.cache for token in toggled if isinstance(token, Token)} == {True, False}
    assert text(toggled) == text(cached)


def test_ten_toggles_in_four_hundred_tokens_of_the_bundled_model():
    bundled, prompt = load(), "But soft! " * 30  # 300 tokens, so that the window moves on the way

    def write(**options) -> list[Event]:
        return list(generate(bundled, prompt, max_new_tokens=400, seed=7, **options))

    untoggled = write()
    script = Script({80 * phase + step: [SetCache(step > 0)] for phase in range(5) for step in (0, 8)})
    toggled = []
    for event in generate(bundled, prompt, max_new_tokens=400, seed=7, commands=script):
        script.saw(event)
        toggled.append(event)
    assert sum(isinstance(event, State) for event in toggled) == 10
    assert sum(isinstance(event, Evict) for event in toggled) == 1
    assert sum(not event.cache for event in toggled if isinstance(event, Token)) == 40
    assert text(toggled) == text(untoggled)


def test_turning_the_cache_on_again_runs_the_context_once_and_says_so(model):
    events = run(model, {3: [SetCache(False)], 6: [SetCache(True)]}, 9)
    tokens = [event for event in events if isinstance(event, Token)]
    assert [token.cache for token in tokens] == [True] * 3 + [False] * 3 + [True] * 3
    assert [token.computed for token in tokens] == [1, 1, 1, 9, 10, 11, 12, 1, 1]
    assert [token.cached_positions for token in tokens] == [6, 7, 8, 0, 0, 0, 12, 13, 14]
    assert [event for event in events if isinstance(event, State)] == [
        State(False, False, None),
        State(True, False, None),
    ]


def test_a_full_context_drops_the_oldest_half(model):
    events = run(model, {}, 40)
    evict = next(index for index, event in enumerate(events) if isinstance(event, Evict))
    assert events[evict] == Evict(dropped=16, kept=16, position=16)
    before, after = events[evict - 1], events[evict + 1]
    assert (before.context, before.position) == (32, 31)
    assert (after.context, after.position, after.computed, after.cached_positions) == (17, 32, 17, 17)


def test_verify_measures_the_difference_of_the_two_paths(model):
    tokens = [
        event for event in generate(model, "hello", max_new_tokens=40, seed=1, verify=True) if isinstance(event, Token)
    ]
    errors: list[Any] = [token.max_logit_error for token in tokens]
    assert 0 < max(errors) <= 1e-5
    off = next(
        event for event in generate(model, "a", max_new_tokens=1, cache=False, verify=True) if isinstance(event, Token)
    )
    assert (off.max_logit_error, off.argmax_agrees) == (0, True)
    assert all(token.argmax_agrees for token in tokens)
    logits = model.forward(model.tokenizer.encode("hello" + "".join(token.text for token in tokens[:5])))[-1]
    assert tokens[4].logit_tolerance == pytest.approx(5e-4 * np.abs(logits).max(), rel=1e-3)
    assert tokens[4].logit_tolerance is not None
    assert max(errors) < tokens[4].logit_tolerance / 10


def test_a_tie_that_rounding_decides_is_no_disagreement(model):
    generation = Generation(model, "hello", GenerationSettings(verify=True))
    generation.prefill()
    expected = model.forward(generation.window, last=True)[0]
    first, second = np.argsort(-expected)[:2]
    for apart, agrees in ((0.5, True), (2.0, False)):  # times what rounding may explain
        almost = expected.copy()
        almost[second] = expected[first] - apart * 5e-4 * np.abs(expected).max()
        swapped = almost.copy()
        swapped[[first, second]] = almost[[second, first]]
        generation.logits = swapped
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, "forward", lambda *_, almost=almost, **__: almost[None])
            assert generation._compare()["argmax_agrees"] is agrees


def test_verify_finds_a_cache_that_is_wrong(model):
    loop = GenerationLoop(model, "hello", GenerationSettings(max_new_tokens=3, seed=1, verify=True))
    generation = loop.generation
    right: Any = None
    wrong: Any = None
    for event in loop.run():
        if isinstance(event, Token):
            right, wrong = wrong, event
            assert isinstance(generation.cache, KVCache)
            generation.cache.values[:, :, :3] += 5.0
    assert right.max_logit_error > 1e-3
    assert wrong.max_logit_error > 1e-3
    assert not (right.argmax_agrees and wrong.argmax_agrees)


def test_verify_can_be_turned_on_and_off_while_it_writes(model):
    events = run(model, {2: [SetVerify(True)], 4: [SetVerify(False)]}, 6)
    tokens = [event for event in events if isinstance(event, Token)]
    assert [token.max_logit_error is not None for token in tokens] == [False, False, True, True, False, False]
    assert [event.verify for event in events if isinstance(event, State)] == [True, False]
    assert [token.id for token in tokens] == [event.id for event in run(model, {}, 6) if isinstance(event, Token)]


def test_parts_add_up_to_no_more_than_the_whole(model):
    for cache in (True, False):
        for event in generate(model, "hello", max_new_tokens=3, parts=True, cache=cache):
            if isinstance(event, Token):
                parts = vars(event.parts).values()
                assert all(part > 0 for part in parts)
                assert sum(parts) <= event.seconds


def test_pause_step_resume(model):
    events = run(model, {2: [Pause(), Step()], 3: [Step()], 4: [Resume()]}, 6)
    kinds = [type(event).__name__ for event in events]
    assert kinds == [
        "Prefill",
        "Token",
        "Token",
        "State",
        "State",
        "Token",
        "State",
        "Token",
        "State",
        "Token",
        "Token",
        "End",
    ]
    assert [event.paused for event in events if isinstance(event, State)] == [True, True, True, False]
    assert text(events) == text(run(model, {}, 6))


def test_every_step_writes_a_token_however_fast_they_come(model):
    events: list[Any] = run(model, {2: [Pause(), Step(), Step(), Step()], 5: [Stop()]}, None)
    assert events[-1] == End("cancelled", 5, events[-1].seconds, events[-1].tokens_per_second)
    assert text(run(model, {2: [Step(), Step(), Pause(), Resume()]}, 6)) == text(run(model, {}, 6))


@pytest.mark.parametrize("wrong", [SetPace(0.0), SetHeads(((9, 0),)), SetPolicy("nonsense"), Fork(99), Revisit(1)])
def test_what_cannot_be_obeyed_is_refused_and_the_text_goes_on(model, wrong):
    events = run(model, {2: [wrong]}, 6)
    refused = next(event for event in events if isinstance(event, Unanswered))
    assert refused.question == wrong
    assert events[events.index(refused) + 1] == State(True, False, None)
    assert text(events) == text(run(model, {}, 6))


def test_stop_ends_a_paused_run(model):
    events = run(model, {2: [Stop()]}, None, paused=False)
    assert (events[-1].reason, events[-1].tokens) == ("cancelled", 2)
    assert [type(event) for event in run(model, {0: [Stop()]}, paused=True)] == [Prefill, End]


@pytest.mark.parametrize("sampling", [SamplingSettings(0), SamplingSettings(1.0)])
def test_warming_up_changes_nothing(model, sampling):
    plain_loop = GenerationLoop(model, "hello", GenerationSettings(max_new_tokens=60, seed=3, sampling=sampling))
    plain = plain_loop.generation
    paced_loop = GenerationLoop(
        model, "hello", GenerationSettings(max_new_tokens=60, seed=3, sampling=sampling, pace=500.0)
    )
    paced = paced_loop.generation
    steps = []
    for first, second in zip(plain_loop.run(), paced_loop.run(), strict=True):
        steps.append(type(first))
        assert type(second) is type(first)
        np.testing.assert_array_equal(plain.logits, paced.logits)
        assert (plain.window, plain.cache.length) == (paced.window, paced.cache.length)
    assert Evict in steps


def test_warming_up_repeats_a_cached_step_and_nothing_else(model, monkeypatch):
    loop = GenerationLoop(model, "hello", GenerationSettings(seed=3))
    generation = loop.generation
    events = loop.run()
    calls = []
    decode = Model.decode
    monkeypatch.setattr(Model, "decode", lambda *args, **options: calls.append(args[1]) or decode(*args, **options))
    next(events), next(events)
    calls.clear()
    generation.warm_up()
    assert set(calls) == {generation.window[-1]}
    assert len(calls) > 1
    calls.clear()
    generation.warm_up(until=0.0)
    generation.cache_on = False
    generation.warm_up()
    assert not calls


def test_pace_waits_in_poll_and_never_in_the_measured_time(model):
    script = Script({1: [SetPace(None)]})
    events = []
    for event in generate(model, "hello", max_new_tokens=3, commands=script, pace=1e6):
        script.saw(event)
        events.append(event)
    assert State(True, False, None) in events
    assert all(timeout is not None and 0 <= timeout <= 1e-6 for timeout in script.polls)


def test_attention_on_request_with_the_cache_on_and_off(model):
    plan: dict[int, list[Command]] = {4: [ShowAttention(1, (0,), -3), SetCache(False)], 6: [ShowAttention(0)]}
    first, second = (event for event in run(model, plan, 8, observe=True) if isinstance(event, Attention))
    assert (first.layer, first.heads, first.first_row, first.weights.shape) == (1, (0,), 6, (1, 3, 9))
    assert "".join(first.keys) == "hello" + text(run(model, {}, 4))
    assert (second.heads, second.weights.shape) == ((0, 1), (2, 1, 11))
    np.testing.assert_allclose(second.weights.sum(axis=-1), 1, atol=1e-5)


def test_the_mean_of_heads_stands_for_one(model):
    loop = GenerationLoop(model, "hello", GenerationSettings(max_new_tokens=3, observe=True))
    generation = loop.generation
    list(loop.run())
    every = attention(generation, ShowAttention(1, None, -4))
    mean = attention(generation, ShowAttention(1, None, -4, mean=True))
    assert (mean.heads, mean.mean, mean.weights.shape) == ((0, 1), True, (1, 4, 8))
    np.testing.assert_allclose(mean.weights[0], every.weights.mean(axis=0), atol=1e-7)
    assert not every.mean


def test_attention_after_the_end(model):
    loop = GenerationLoop(model, "hello", GenerationSettings(max_new_tokens=3, observe=True))
    generation = loop.generation
    list(loop.run())
    assert attention(generation, ShowAttention(0)).first_row == 7


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (ShowAttention(2), "no layer 2"),
        (ShowAttention(-1), "no layer -1"),
        (ShowAttention(0, (2,)), "no heads"),
        (ShowAttention(0, ()), "no heads"),
        (ShowAttention(0, None, 9, 12), "not in the window"),
    ],
)
def test_attention_that_does_not_exist(model, wanted, words):
    loop = GenerationLoop(model, "hello", GenerationSettings(max_new_tokens=0, observe=True))
    generation = loop.generation
    list(loop.run())
    with pytest.raises(KvtuiError, match=words):
        attention(generation, wanted)


def test_attention_needs_observing(model):
    with pytest.raises(KvtuiError, match="observe"):
        attention(Generation(model, "hello"), ShowAttention(0))


def test_a_prompt_longer_than_the_context_keeps_its_end(model):
    prompt = "abcdefghijklmnopqrstuvwxyz" * 2
    events = list(generate(model, prompt, max_new_tokens=2, seed=0))
    assert (events[0].tokens, events[0].dropped, events[0].prompt) == (32, 20, prompt[20:])
    token = next(event for event in events if isinstance(event, Token))
    assert token.position == 52


def test_an_empty_prompt_starts_from_a_newline(model):
    prefill = next(iter(generate(model, "", max_new_tokens=0)))
    assert (prefill.prompt, prefill.tokens) == ("\n", 1)


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        ("hé", {}, r"'é' \(U\+00E9\)"),
        ("a", {"max_new_tokens": -1}, "max_new_tokens"),
        ("a", {"pace": 0.0}, "pace"),
        ("a", {"pace": float("nan")}, "pace"),
        ("a", {"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_refused_before_the_first_event(model, prompt, options, words):
    with pytest.raises(KvtuiError, match=words):
        generate(model, prompt, **options)


def test_every_event_is_json(model):
    plan: dict[int, list[Command]] = {1: [ShowAttention(0), SetCache(False)]}
    events = run(model, plan, 40, observe=True, parts=True, verify=True)
    lines = [json.loads(json.dumps(to_json(event))) for event in events]
    assert {line["event"] for line in lines} == {"prefill", "token", "evict", "state", "attention", "end"}
    token = next(line for line in lines if line["event"] == "token")
    assert {"step", "position", "id", "text", "logprob", "seconds", "cache", "cached_positions", "cache_bytes"} <= set(
        token
    )
    plain = to_json(next(event for event in generate(model, "a", max_new_tokens=1) if isinstance(event, Token)))
    assert "max_logit_error" not in plain
    assert "parts" not in plain


class Ending(CharTokenizer):
    """A tokenizer with tokens that end a text."""

    stop_ids = frozenset({3})


def test_the_text_ends_with_an_end_of_text_token(model):
    ending = Model(model.config, Ending(model.tokenizer.vocabulary), model.parameters)
    without = [event.id for event in generate(model, "ab", max_new_tokens=200, seed=2) if isinstance(event, Token)]
    assert 3 in without
    *_, last, end = generate(ending, "ab", max_new_tokens=200, seed=2)
    assert (last.id, end.reason, end.tokens) == (3, "stop", without.index(3) + 1)


def test_a_fork_to_the_end_of_text_ends_it_and_so_it_stays_when_returned_to(model):
    ending = Model(model.config, Ending(model.tokenizer.vocabulary), model.parameters)
    loop = GenerationLoop(ending, "ab", GenerationSettings(max_new_tokens=4, seed=4))
    generation = loop.generation
    list(loop.run())
    assert loop.end_reason == "length"
    *_, end = loop.resume(Fork(4, tokens=(3,)))
    assert (end.reason, end.tokens, generation.window[-1]) == ("stop", 3, 3)
    *_, end = loop.resume(Revisit(0))
    assert (end.reason, end.tokens) == ("length", 4)
    *_, end = loop.resume(Revisit(1))
    assert (end.reason, end.tokens, generation.window[-1]) == ("stop", 3, 3)
    assert end.seconds == pytest.approx(generation.seconds)


def test_a_fork_past_the_length_writes_no_more_than_it_was_given(model):
    loop = GenerationLoop(model, "ab", GenerationSettings(max_new_tokens=4, seed=1))
    generation = loop.generation
    list(loop.run())
    *_, end = loop.resume(Fork(5, tokens=(1, 2, 4)))
    assert (end.tokens, generation.window[-3:]) == (6, [1, 2, 4])


@pytest.mark.parametrize("options", [{}, {"cache": False}, {"policy": "window:8"}, {"policy": "heavy:4+4"}])
@pytest.mark.parametrize("prompt", ["hello", "a" * 40])
def test_events_tell_where_the_window_begins(model, prompt, options):
    loop = GenerationLoop(model, prompt, GenerationSettings(max_new_tokens=60, seed=3, **options))
    events = [(event, loop.generation.sequence.window_start) for event in loop.run()]
    told = [(event.window_start, start) for event, start in events if isinstance(event, Prefill | Token)]
    assert all(window_start == start for window_start, start in told)
    start, length = max(0, len(prompt) - 32), min(len(prompt), 32)
    for window_start, _ in told:
        if length > 32:  # full: the newest half stays, and the token that was just written
            start, length = start + 16, 17
        assert window_start == start
        length += 1
