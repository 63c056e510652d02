"""The window of a text, and forks: another token in a written text, and back to what was written before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import pytest

from kvtui.core import Generation, GenerationLoop, GenerationSettings, KvtuiError, Model, load
from kvtui.core.commands import Command, Fork, Revisit, SetCache, ShowAttention, Stop
from kvtui.core.events import Branch, End, Event, Evict, State, Token, Unanswered
from kvtui.core.inspection.attention import attention
from kvtui.core.sampling import Sampler, SamplingSettings
from kvtui.core.sequence import Sequence, describe_cut, kept_when_full
from kvtui.core.tokenizer import spell

PROMPT = "hello"

Kind = TypeVar("Kind")


@pytest.fixture(scope="module")
def model(tiny_model_file) -> Model:
    return load(tiny_model_file)


class Told:
    """A generation that is told things after given numbers of tokens, and everything that it says."""

    def __init__(self, model: Model, plan: Mapping[int, Command], count: int = 12, **options: Any) -> None:
        self.plan, self.made = dict(plan), 0
        self.loop = GenerationLoop(
            model, PROMPT, GenerationSettings(max_new_tokens=count, seed=5, **options), source=self
        )
        self.generation = self.loop.generation
        self.events = [self.count(event) for event in self.loop.run()]

    def count(self, event: Event) -> Event:
        self.made += isinstance(event, Token)
        return event

    def poll(self, timeout: float | None) -> Command | None:
        return self.plan.pop(self.made, None)

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    def ids(self) -> list[int]:
        """Of the whole text of the newest branch."""
        return self.generation.sequence.ids

    def text(self) -> str:
        return self.generation.model.tokenizer.decode(self.ids())


def test_a_fork_keeps_the_text_before_it_and_truncates_the_cache(model):
    plain, forked = Told(model, {}), Told(model, {8: Fork(8, text="Z")})
    (branch,) = forked.of(Branch)
    assert (branch.number, branch.parent, branch.position, branch.length) == (1, 0, 8, 8)
    assert (branch.reused, branch.computed) == (7, 1)
    assert forked.text()[:8] == plain.text()[:8]
    assert forked.text()[8] == "Z"
    given = forked.events[forked.events.index(branch) + 1]
    assert isinstance(given, Token)
    assert (given.step, given.position, given.text, given.computed, given.cached_positions) == (3, 8, "Z", 1, 9)
    assert [token.step for token in forked.of(Token)] == [*range(8), *range(3, 12)]


@pytest.mark.parametrize("cache", [True, False])
def test_the_logits_after_a_fork_are_those_of_the_text(model, cache):
    forked = Told(model, {8: Fork(9, text="qu")}, cache=cache)
    expected = model.forward(forked.ids())[-1]
    np.testing.assert_allclose(forked.generation.logits, expected, atol=1e-5)
    logprobs = [token.logprob for token in forked.of(Token)[8:10]]
    rows = model.forward(forked.ids()[:10])[-2:].astype(np.float64)
    rows -= np.log(np.exp(rows).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(logprobs, [rows[0][forked.ids()[9]], rows[1][forked.ids()[10]]], atol=1e-5)


def test_the_same_forks_give_the_same_texts_with_and_without_the_cache(model):
    plan = {8: Fork(8, text="Z"), 12: Fork(9, text="y")}
    texts = [
        Told(model, plan).text(),
        Told(model, plan, cache=False).text(),
        Told(model, {**plan, 10: SetCache(False), 13: SetCache(True)}).text(),
    ]
    assert texts[0] == texts[1] == texts[2]


def test_the_same_fork_twice_gives_two_texts(model):
    once = Told(model, {8: Fork(8, text="Z")}, 20).text()
    twice = Told(model, {8: Fork(8, text="Z"), 9: Fork(8, text="Z")}, 20).text()
    assert once[:9] == twice[:9]
    assert once != twice


def test_a_branch_goes_on_as_if_it_had_never_been_left(model):
    plain = Told(model, {}, 20)
    there = Told(model, {8: Fork(8, text="Z"), 12: Revisit(0)}, 20)
    assert there.text() == plain.text()
    back = there.of(Branch)[1]
    assert (back.number, back.parent, back.position, back.length) == (0, 1, 8, 13)
    assert (back.reused, back.computed) == (8, 5)
    again = Told(model, {8: Fork(8, text="Z"), 12: Revisit(0), 14: Revisit(1)}, 20)
    assert again.text() == Told(model, {8: Fork(8, text="Z")}, 20).text()


def test_a_branch_whose_window_has_moved_is_run_again(model):
    there = Told(model, {20: Fork(20, text="Z"), 40: Revisit(0)}, 45)
    assert there.of(Evict)
    back = there.of(Branch)[1]
    assert (back.reused, back.computed) == (0, 25)
    assert there.text() == Told(model, {}, 45).text()


def test_what_the_text_looked_like_is_known_after_a_fork_too(model):
    forked = Told(model, {8: Fork(8, text="Z")}, observe=True)
    fresh = Generation(model, PROMPT, GenerationSettings(observe=True))
    fresh.prefill()
    for token in forked.ids()[5:]:
        list(fresh.write(token))
    wanted = ShowAttention(1, None, 0)
    np.testing.assert_allclose(
        attention(forked.generation, wanted).weights, attention(fresh, wanted).weights, atol=1e-5
    )


def test_after_the_end_one_can_go_on_elsewhere(model):
    ended = Told(model, {}, 6)
    events = list(ended.loop.resume(Fork(8, text="Z")))
    assert isinstance(events[0], Branch)
    assert [event.step for event in events if isinstance(event, Token)] == [3, 4, 5]
    (refused,) = ended.loop.resume(Fork(99, text="Z"))
    assert isinstance(refused, Unanswered)


def test_after_a_stop_too(model):
    stopped = Told(model, {4: Stop()}, 6)
    kinds = [type(event) for event in stopped.loop.resume(Fork(8, text="Z"))]
    assert kinds == [Branch, Token, State, Token, Token, End]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Fork(14, text="Z"), "no fork at position 14: there are tokens at 5 to 12"),
        (Fork(4, text="Z"), "no fork at position 4"),
        (Fork(-1, text="Z"), "no fork at position -1"),
        (Fork(8, text="é"), "no token for 'é'"),
        (Fork(8, (999,)), "the vocabulary has 0 to"),
        (Fork(8), "without a token"),
        (Revisit(0), "no branch 0"),
        (Revisit(3), "no branch 3"),
    ],
)
def test_what_cannot_be_is_refused_and_the_text_goes_on(model, wanted, words):
    told = Told(model, {8: wanted})
    (refused,) = told.of(Unanswered)
    assert words in refused.reason
    assert refused.question == wanted
    assert told.of(State)
    assert told.text() == Told(model, {}).text()


def test_a_token_that_has_left_the_window_is_no_place_to_fork(model):
    (refused,) = Told(model, {40: Fork(8, text="Z")}, 45).of(Unanswered)
    assert "has left the window" in refused.reason


def test_the_next_token_can_be_chosen_too(model):
    told = Told(model, {8: Fork(13, text="Z")})
    assert told.text()[:13] == Told(model, {}).text()[:13]
    assert told.text()[13] == "Z"
    assert told.of(Branch)[0].reused == 12


class Words:
    """A tokenizer of a few words."""

    pieces = (b"", b"a", b"ab", b"abc", b" ", "ö".encode())
    vocab_size = len(pieces)

    def token_bytes(self, index: int, previous: int | None = None) -> bytes:
        return self.pieces[index]


WORDS: Any = Words()


def test_text_is_spelled_with_the_longest_tokens():
    assert spell(WORDS, "abca öab", 1) == [3, 1, 4, 5, 2]
    with pytest.raises(KvtuiError, match="no token for 'xa'"):
        spell(WORDS, "abxa", 1)
    with pytest.raises(KvtuiError, match="no token for '<0xED><0xB3><0xBF>'"):
        spell(WORDS, "ab\udcff", 1)


def test_attention_at_a_token_of_the_past_is_what_it_was(model):
    short, long = (Told(model, {}, count, observe=True).generation for count in (6, 12))
    then, now = attention(short, ShowAttention(0, None, -3)), attention(long, ShowAttention(0, None, -3, position=10))
    assert (now.first_row, now.keys) == (then.first_row, then.keys)
    np.testing.assert_allclose(now.weights, then.weights, atol=1e-6)
    for position in (12 + 5, -1):
        with pytest.raises(KvtuiError, match="window"):
            attention(long, ShowAttention(0, position=position))


def sequence(prompt: int, context: int = 8) -> Sequence:
    """A prompt of so many tokens, 0, 1, 2 …"""
    return Sequence(range(prompt), context, Sampler(SamplingSettings(), 0), Counting())  # type: ignore[arg-type]


class Counting:
    """A tokenizer of as many letters as are needed."""

    def token_bytes(self, index: int, previous: int | None = None) -> bytes:
        return chr(97 + index % 26).encode()


def grow(text: Sequence, count: int) -> None:
    """Write tokens as a generation does, moving the window when it is full."""
    for _ in range(count):
        if text.full:
            text.move_window()
        text.ids.append(len(text.ids))


@pytest.mark.parametrize("tokens", [8, 11, 100])
def test_a_prompt_that_leaves_no_room_to_write_keeps_its_end(tokens):
    text = sequence(tokens)
    assert (text.window, text.window_start) == ([*range(tokens - 4, tokens)], tokens - 4)
    assert (text.position, text.written, text.room, text.full) == (tokens - 1, 0, 4, False)
    grow(text, 4)
    assert (text.window_start, text.full) == (tokens - 4, True)


def test_a_prompt_that_leaves_room_for_a_token_keeps_everything():
    text = sequence(7)
    assert (text.window, text.window_start, text.room) == ([*range(7)], 0, 1)


def test_a_cut_prompt_in_words():
    cut = "the prompt fills the context: its first 1,344 tokens are removed, its last 256 are used"
    assert describe_cut(1344, 256) == cut
    assert describe_cut(1344, 256, 256) == f"{cut}, and there is room for 256 more"


@pytest.mark.parametrize(("context", "kept"), [(8, 4), (9, 4), (2, 1)])
def test_a_full_window_keeps_its_newest_half(context, kept):
    text = sequence(context - 1, context)
    grow(text, 1)
    assert text.move_window() == context - kept
    assert (text.window_length, text.window_start) == (kept, context - kept)
    assert kept_when_full(context) == kept


def test_a_window_of_one_position_cannot_move():
    with pytest.raises(KvtuiError, match="no room to write"):
        sequence(1, 1).move_window()


def test_the_context_of_each_token_is_the_window_that_it_was_predicted_from():
    text, seen = sequence(3), {}
    for _ in range(20):
        seen[text.position + 1] = text.window  # the prediction is made before the window moves
        grow(text, 1)
    assert {position: text.context_of(position) for position in seen} == seen
    assert {len(window) for window in seen.values()} == {3, 4, 5, 6, 7, 8}
    for position in (0, text.position + 1):
        with pytest.raises(KvtuiError, match=f"token {position} was not predicted"):
            text.context_of(position)


@pytest.mark.parametrize("back", [0, 1, 2, 3])
def test_a_fork_just_after_the_window_has_moved_knows_what_its_tokens_were_predicted_from(back):
    text = sequence(15, 16)
    grow(text, 4)
    position = text.position + 1 - back
    fork = text.fork(position, text.sampler.reseeded(0, 1))
    grow(fork, 3)
    assert fork.window_start == 8
    assert [fork.context_of(place) for place in range(position, position + 3)] == [
        fork.ids[8:place] for place in range(position, position + 3)
    ]
    assert fork.context_of(position - 1) == text.context_of(position - 1)
