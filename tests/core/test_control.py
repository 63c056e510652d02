"""The loop obeys commands between two tokens, keeps the pace, and knows when a text has ended."""

from __future__ import annotations

from typing import Any

import pytest
from random_model import random_model
from script import Script, run, text

from kvtui.core import CharTokenizer, GenerationLoop, GenerationSettings, KvtuiError, Model, generate
from kvtui.core.commands import Fork, Pause, Resume, Revisit, SetHeads, SetPace, SetPolicy, SetVerify, Step, Stop
from kvtui.core.events import End, Prefill, State, Token, Unanswered


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model(seed=5)


def test_verify_can_be_turned_on_and_off_while_it_writes(model):
    events = run(model, {2: [SetVerify(True)], 4: [SetVerify(False)]}, 6)
    tokens = [event for event in events if isinstance(event, Token)]
    assert [token.max_logit_error is not None for token in tokens] == [False, False, True, True, False, False]
    assert [event.verify for event in events if isinstance(event, State)] == [True, False]
    assert [token.id for token in tokens] == [event.id for event in run(model, {}, 6) if isinstance(event, Token)]


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


def test_pace_waits_in_poll_and_never_in_the_measured_time(model):
    script = Script({1: [SetPace(None)]})
    events = []
    for event in generate(model, "hello", max_new_tokens=3, commands=script, pace=1e6):
        script.saw(event)
        events.append(event)
    assert State(True, False, None) in events
    assert all(timeout is not None and 0 <= timeout <= 1e-6 for timeout in script.polls)


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
