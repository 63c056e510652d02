"""Writing under a policy: what is told, what is shown, and changing it on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from slow import build

from kvtui.core import Generation, GenerationLoop, GenerationSettings, KvtuiError, Model, generate, rotary
from kvtui.core.commands import Command, Fork, Revisit, SetCache, SetPolicy, ShowAttention, ShowCache
from kvtui.core.event_json import to_json
from kvtui.core.events import Branch, End, Evict, State, Token, Unanswered
from kvtui.core.inspection.attention import attention
from kvtui.core.inspection.cache_contents import cache_contents
from kvtui.core.race import Lane, Race

PROMPT = "abcdefghijkl" * 2


@pytest.fixture(scope="module")
def model() -> Model:
    return build(context=48, dtype=np.float32)


class Plan:
    """Gives each command after so many polls: one a token, and one more after each command."""

    def __init__(self, plan: dict[int, Command]) -> None:
        self.plan, self.polls = plan, 0

    def poll(self, timeout: float | None) -> Command | None:
        self.polls += 1
        return self.plan.get(self.polls)


def of_kind(kind, events):
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.parametrize(
    ("policy", "kept", "dropped"),
    [("window:8", range(16, 24), 16), ("sink:2+6", [0, 1, *range(18, 24)], 16), ("full", range(24), 0)],
)
def test_events_of_a_prompt_that_is_longer_than_the_cache(model, policy, kept, dropped):
    prefill, *rest = generate(model, PROMPT, max_new_tokens=3, seed=1, policy=policy)
    assert (prefill.tokens, prefill.cached_positions) == (24, len(kept))
    evicts = of_kind(Evict, rest)
    if not dropped:
        assert not evicts
        return
    assert (evicts[0].dropped, evicts[0].kept, evicts[0].reason) == (dropped, 8, "policy")
    gone = sorted(set(range(24)) - set(kept))
    np.testing.assert_array_equal(evicts[0].positions, np.broadcast_to(gone, (2, 2, len(gone))))
    assert [type(event) for event in rest] == [Evict, *[Evict, Token] * 3, End]
    oldest = {"window:8": 16, "sink:2+6": 18}[policy]
    assert [event.positions.tolist() for event in evicts[1:]] == [[[[oldest + n]] * 2] * 2 for n in range(3)]
    assert {(token.cached_positions, token.context, token.computed) for token in of_kind(Token, rest)} == {(8, 8, 1)}
    line = to_json(evicts[1])
    assert (line["event"], line["reason"], np.shape(line["positions"])) == ("evict", "policy", (2, 2, 1))


def test_each_head_tells_what_it_dropped(model):
    events = list(generate(model, PROMPT, max_new_tokens=10, seed=1, policy="heavy:4+4"))
    positions = np.concatenate([event.positions for event in of_kind(Evict, events)], axis=2)
    assert positions.shape == (2, 2, 16 + 10)
    for head in positions.reshape(4, -1):
        assert len(set(head)) == 26
    assert len({tuple(head) for head in positions.reshape(4, -1)}) > 1


def test_without_end_bytes_and_positions_stay(model):
    tokens = of_kind(Token, generate(model, PROMPT, max_new_tokens=300, seed=1, policy="sink:2+14"))
    assert len(tokens) == 300
    assert {(token.cached_positions, token.computed) for token in tokens} == {(16, 1)}
    assert len({token.cache_bytes for token in tokens}) == 1
    assert [token.position for token in tokens] == list(range(24, 324))


def test_policies_with_an_end_run_the_window_again(model):
    events = list(generate(model, PROMPT, max_new_tokens=40, seed=1, policy="heavy:8+8"))
    context = next(event for event in of_kind(Evict, events) if event.reason == "context")
    assert (context.dropped, context.kept, context.position) == (24, 24, 24)
    after = events[events.index(context) + 1 :]
    token = of_kind(Token, after)[0]
    assert (token.computed, token.cached_positions, token.position) == (25, 16, 48)
    assert isinstance(after[0], Evict)
    assert (after[0].reason, after[0].dropped, after[0].positions.min() >= 24) == ("policy", 9, True)


def test_a_window_of_the_context_writes_what_full_writes(model):
    def text(policy):
        return [token.id for token in of_kind(Token, generate(model, "abc", max_new_tokens=45, seed=5, policy=policy))]

    assert text("window:48") == text("heavy:40+8") == text("sink:8+40") == text("full")


def test_changing_it_on_the_way(model):
    plan = Plan({4: SetPolicy("window:8"), 8: SetPolicy("nonsense"), 12: SetPolicy("full"), 16: SetCache(False)})
    events = list(generate(model, PROMPT, max_new_tokens=20, seed=1, commands=plan, policy="heavy:4+4"))
    assert [state.policy for state in of_kind(State, events)] == ["window:8", "window:8", "full", "full"]
    (refusal,) = of_kind(Unanswered, events)
    assert refusal.question == SetPolicy("nonsense")
    assert "no cache policy 'nonsense'" in refusal.reason
    tokens = of_kind(Token, events)
    assert [token.cached_positions for token in tokens] == [8] * 9 + [*range(34, 37), *[0] * 8]
    assert [token.computed for token in tokens[:10]] == [1, 1, 1, 28, 1, 1, 1, 1, 1, 34]


def test_a_policy_that_the_model_cannot_have_is_refused_at_once():
    with pytest.raises(KvtuiError, match="learned positions"):
        generate(build("learned"), "abc", policy="window:8")


@pytest.mark.parametrize("policy", ["window:8", "sink:2+6", "heavy:4+4", "snap:6+2", "int8"])
def test_a_fork_goes_on_as_a_run_of_that_text(policy):
    model = build(context=48)
    loop = GenerationLoop(model, PROMPT, GenerationSettings(max_new_tokens=10, seed=1, policy=policy))
    generation = loop.generation
    list(loop.run())
    assert generation.window[24:]
    events = list(loop.resume(Fork(30, tokens=(3, 4))))
    (branch,) = of_kind(Branch, events)
    assert (branch.position, branch.length) == (30, 30)
    fresh = model.new_cache(policy)
    text = generation.window
    if branch.reused:
        model.forward(text[:24], fresh)
        expected = [model.decode(token, fresh).copy() for token in text[24:]][-1]
    else:
        model.forward(text[:30], fresh)
        expected = [model.decode(token, fresh).copy() for token in text[30:]][-1]
    np.testing.assert_allclose(generation.logits, expected, rtol=0, atol=1e-10)


# What is shown of it


def observed(policy: str, count: int) -> Generation:
    loop = GenerationLoop(
        build(context=48), PROMPT, GenerationSettings(max_new_tokens=count, seed=1, policy=policy, observe=True)
    )
    generation = loop.generation
    for _ in loop.run():
        pass
    return generation


@pytest.mark.parametrize("policy", ["window:8", "sink:2+6", "heavy:4+4", "snap:6+2", "int8"])
@pytest.mark.parametrize("count", [1, 20])
def test_the_newest_row_is_what_the_step_saw(policy, count, monkeypatch):
    """Weights worked out from the record, against those that the step itself came to."""
    generation = observed(policy, count)
    cache = generation.cache
    columns = {}
    original = type(cache).weighted_values

    def weighted_values(self, layer, weights, out):
        columns[layer] = weights / weights.sum(axis=-1, keepdims=True)
        return original(self, layer, weights, out)

    monkeypatch.setattr(type(cache), "weighted_values", weighted_values)
    for _ in generation.write():
        pass
    for layer in range(2):
        event = attention(generation, ShowAttention(layer))
        row = event.weights[:, 0]
        expected = np.sort(columns[layer].reshape(4, -1), axis=-1)
        if policy == "int8":  # the record knows the numbers before they were rounded
            np.testing.assert_allclose(np.sort(row, axis=-1), expected, atol=0.05)
            continue
        found = np.sort(row, axis=-1)[:, -expected.shape[1] :]
        np.testing.assert_allclose(found, expected, atol=1e-6)
        kept = cache.positions(layer)
        for head in range(4):
            mine = kept[head // 2]
            assert set(np.flatnonzero(row[head])) <= set(mine)
            if event.dropped is not None:
                np.testing.assert_array_equal(np.flatnonzero(~event.dropped[head, 0]), mine)


@pytest.mark.parametrize("policy", ["window:8", "sink:2+6", "heavy:4+4"])
def test_earlier_rows_show_what_was_held_then(policy):
    """A row of the past, against the newest row when it was the newest."""
    now = attention(observed(policy, 20), ShowAttention(1, first_row=0))
    for count in (5, 12):
        then = attention(observed(policy, count), ShowAttention(1))
        row = 24 + count - 1
        np.testing.assert_allclose(now.weights[:, row, : row + 1], then.weights[:, 0], atol=1e-6)
        assert now.dropped is not None
        assert then.dropped is not None
        np.testing.assert_array_equal(now.dropped[:, row, : row + 1], then.dropped[:, 0])


@pytest.mark.parametrize("policy", ["window:8", "sink:2+6", "sink:30+10"])
def test_past_the_context(policy):
    generation = observed(policy, 70)
    event = attention(generation, ShowAttention(1, first_row=-3))
    assert event.position == generation.sequence.window_start > 24
    sums = event.weights.sum(axis=-1)
    assert (sums <= 1 + 1e-6).all()
    if policy == "window:8":
        np.testing.assert_allclose(sums, 1, atol=1e-6)
    contents = generation.cache.positions(1)[0] + generation.cache_start
    shown = cache_contents(generation, ShowCache("attention"))
    np.testing.assert_array_equal(shown.kept[1, 0] + shown.position, contents)
    np.testing.assert_allclose(shown.numbers.sum(axis=-1), 1, atol=1e-5)
    values = cache_contents(generation, ShowCache("value"))
    assert values.numbers.shape == shown.numbers.shape
    with pytest.raises(KvtuiError, match="dropped since are gone"):
        cache_contents(generation, ShowCache("value", length=10))


@pytest.mark.parametrize("policy", ["window:8", "window:40", "sink:2+40", "sink:1+47", "window:48"])
@pytest.mark.parametrize("count", [20, 25, 30, 49, 60, 100])
def test_what_is_held_from_before_the_window_has_its_weight(policy, count, monkeypatch):
    """The window drops half of itself at a time, a rolling cache a position: of a large one much is older than it."""
    generation = observed(policy, count)
    cache: Any = generation.cache
    columns = {}
    original = type(cache).weighted_values

    def weighted_values(self, layer, weights, out):
        columns[layer] = weights / weights.sum(axis=-1, keepdims=True)  # (G, H/G, S), by places in the cache
        return original(self, layer, weights, out)

    monkeypatch.setattr(type(cache), "weighted_values", weighted_values)
    list(generation.write())
    shown = cache_contents(generation, ShowCache("attention"))
    for layer in range(2):
        positions = cache.positions(layer)[0]
        sinks = cache.sinks
        places = np.where(positions < sinks, positions, sinks + (positions - sinks) % cache.recent)
        weights = columns[layer][:, :, places]  # in the order of the text
        np.testing.assert_array_equal(shown.kept[layer, 0], positions)
        np.testing.assert_allclose(shown.numbers[layer], weights.mean(axis=1), atol=1e-6)
        event = attention(generation, ShowAttention(layer))
        start = event.position - generation.cache_start  # of the window, in the cache's count
        row = np.zeros((4, len(generation.window)))
        in_window = positions >= start
        row[:, positions[in_window] - start] = weights[:, :, in_window].reshape(4, -1)
        np.testing.assert_allclose(event.weights[:, 0], row, atol=1e-6)
    every = attention(generation, ShowAttention(0, first_row=0)).weights
    assert (every.sum(axis=-1) <= 1 + 1e-6).all()


def test_what_the_window_of_a_branch_drops_is_told_at_once():
    loop = GenerationLoop(
        build(context=48), PROMPT, GenerationSettings(max_new_tokens=12, seed=1, policy="window:8", observe=True)
    )
    generation = loop.generation
    list(loop.run())
    list(loop.resume(Fork(30, tokens=(3, 4))))
    branch, evict, *_ = loop.resume(Revisit(0))
    assert (branch.computed, evict.dropped, evict.reason) == (36, 28, "policy")
    read = cache_contents(generation, ShowCache("attention"))
    np.testing.assert_allclose(read.numbers.sum(axis=-1), 1, atol=1e-5)


def test_rotations_past_the_context_are_computed_once_for_all_lanes(monkeypatch):
    """Two lanes with sinks ask for three stretches of positions in turn: none may push out the others."""
    made = []
    table = rotary.rotary_table
    monkeypatch.setattr(rotary, "rotary_table", lambda *arguments: made.append(arguments[0]) or table(*arguments))
    model = build(context=48, dtype=np.float32)
    lanes = (Lane("long", True, "sink:2+40"), Lane("short", True, "sink:2+6", follow=True))
    list(Race(model, "abc", lanes, GenerationSettings(max_new_tokens=600, seed=1)).run())
    stretches = [positions for positions in made if isinstance(positions, range)]
    assert len(stretches) == len(set(stretches)) > 5
