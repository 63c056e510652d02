"""The tokens of a text: one text whatever the cache does, and what its events tell."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from random_model import random_model
from script import Script, run, text

from kvtui.core import Generation, GenerationLoop, GenerationSettings, KVCache, Model, SamplingSettings, generate, load
from kvtui.core.commands import Command, SetCache, ShowAttention
from kvtui.core.event_json import to_json
from kvtui.core.events import End, Event, Evict, Prefill, State, Token


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model(seed=5)


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


def test_parts_add_up_to_no_more_than_the_whole(model):
    for cache in (True, False):
        for event in generate(model, "hello", max_new_tokens=3, parts=True, cache=cache):
            if isinstance(event, Token):
                parts = vars(event.parts).values()
                assert all(part > 0 for part in parts)
                assert sum(parts) <= event.seconds


@pytest.mark.parametrize("tokens", [32, 52])
@pytest.mark.parametrize("cache", [True, False])
def test_a_prompt_that_leaves_no_room_to_write_keeps_its_end(model, tokens, cache):
    prompt = ("abcdefghijklmnopqrstuvwxyz" * 2)[:tokens]
    prefill, *rest = generate(model, prompt, max_new_tokens=17, seed=0, cache=cache)
    assert (prefill.tokens, prefill.dropped, prefill.prompt) == (16, tokens - 16, prompt[tokens - 16 :])
    assert prefill.room == 16
    assert [type(event) for event in rest] == [Token] * 16 + [Evict, Token, End]  # no sooner than it says
    assert rest[0].position == tokens


def test_an_empty_prompt_starts_from_a_newline(model):
    prefill = next(iter(generate(model, "", max_new_tokens=0)))
    assert (prefill.prompt, prefill.tokens) == ("\n", 1)


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


@pytest.mark.parametrize("options", [{}, {"cache": False}, {"policy": "window:8"}, {"policy": "heavy:4+4"}])
@pytest.mark.parametrize("prompt", ["hello", "a" * 40])
def test_events_tell_where_the_window_begins(model, prompt, options):
    loop = GenerationLoop(model, prompt, GenerationSettings(max_new_tokens=60, seed=3, **options))
    events = [(event, loop.generation.sequence.window_start) for event in loop.run()]
    told = [(event.window_start, start) for event, start in events if isinstance(event, Prefill | Token)]
    assert all(window_start == start for window_start, start in told)
    length = 16 if len(prompt) >= 32 else len(prompt)  # half a context, of a prompt that fills it
    start = len(prompt) - length
    for window_start, _ in told:
        if length > 32:  # full: the newest half stays, and the token that was just written
            start, length = start + 16, 17
        assert window_start == start
        length += 1
