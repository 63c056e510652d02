"""Asking the loop how a token came about, and writing on without some heads."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from script import Script, text

from kvtui.core import (
    Generation,
    GenerationLoop,
    GenerationSettings,
    KvtuiError,
    Model,
    SamplingSettings,
    generate,
    load,
)
from kvtui.core.commands import Inspect, SetCache, SetHeads
from kvtui.core.event_json import to_json
from kvtui.core.events import Inspection, State, Token
from kvtui.core.inspection.anatomy import inspect
from kvtui.core.sampling import Sampler


@pytest.fixture(scope="module")
def model(tiny_model_file) -> Model:
    return load(tiny_model_file)


@pytest.mark.parametrize("prompt", ["hello", "a" * 50])
def test_every_token_of_a_run_is_explained_with_the_probability_it_was_written_with(model, prompt):
    """Past the context too, where the tokens of the kept half were predicted from more than is kept."""
    loop = GenerationLoop(
        model, prompt, GenerationSettings(max_new_tokens=70, seed=3, sampling=SamplingSettings(0.9, 9))
    )
    generation = loop.generation
    tokens = [event for event in loop.run() if isinstance(event, Token)]
    for token in tokens:
        found = inspect(generation, Inspect(token.position))
        chosen = next(candidate for candidate in found.candidates if candidate.chosen)
        assert (found.position, found.id, found.written) == (token.position, token.id, True)
        assert math.log(chosen.probability) == pytest.approx(token.logprob, abs=1e-4)
        assert found.context in (token.context - 1, model.config.context_length)
        assert chosen.cut_by is None
    assert inspect(generation, Inspect()).position == tokens[-1].position


def test_with_a_policy_too_the_whole_model_is_asked_about_the_whole_window(model):
    loop = GenerationLoop(model, "hello", GenerationSettings(max_new_tokens=70, seed=3, policy="window:8"))
    generation = loop.generation
    tokens = [event for event in loop.run() if isinstance(event, Token)]
    for token in tokens[::9]:
        found = inspect(generation, Inspect(token.position))
        ids = model.tokenizer.encode("hello") + [earlier.id for earlier in tokens[: token.step]]
        assert 16 <= found.context <= 32 or found.context == len(ids)
        logits = model.forward(ids[-found.context :])[-1].astype(float)
        assert found.candidates[0].id == int(logits.argmax())
        assert found.candidates[0].probability == pytest.approx(math.exp(logits.max()) / np.exp(logits).sum(), abs=1e-5)


def test_the_prompt_is_predicted_too_but_was_not_chosen(model):
    loop = GenerationLoop(model, "hello", GenerationSettings(max_new_tokens=2, seed=3))
    generation = loop.generation
    list(loop.run())
    found = inspect(generation, Inspect(4))
    assert (found.text, found.written, found.context) == ("o", False, 4)
    logits = model.forward(model.tokenizer.encode("hell"))[-1].astype(float)
    expected = math.exp(logits[found.id]) / np.exp(logits).sum()
    assert next(one.probability for one in found.candidates if one.chosen) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("position", [0, -1, 7, 1000])
def test_a_token_that_was_not_predicted_is_refused(model, position):
    loop = GenerationLoop(model, "hello", GenerationSettings(max_new_tokens=2, seed=3))
    generation = loop.generation
    list(loop.run())
    with pytest.raises(KvtuiError, match=f"token {position} was not predicted: predictions start at token 1"):
        inspect(generation, Inspect(position))


def test_what_the_prompt_had_too_much_was_not_predicted(model):
    loop = GenerationLoop(model, "a" * 40, GenerationSettings(max_new_tokens=1))
    generation = loop.generation
    list(loop.run())
    with pytest.raises(KvtuiError, match="predictions start at token 25"):  # half a context of 32 is left of the prompt
        inspect(generation, Inspect(8))


def test_looking_changes_neither_the_text_nor_the_measured_numbers(model):
    plain = [event for event in generate(model, "hello", max_new_tokens=50, seed=3) if isinstance(event, Token)]
    script = Script({step: [Inspect(None, ((0, 1),), 4), Inspect(2)] for step in range(50)})
    events = []
    for event in generate(model, "hello", max_new_tokens=50, seed=3, commands=script):
        script.saw(event)
        events.append(event)
    watched = [event for event in events if isinstance(event, Token)]
    assert [token.id for token in watched] == [token.id for token in plain]
    assert [token.logprob for token in watched] == [token.logprob for token in plain]
    inspections = [event for event in events if isinstance(event, Inspection)]
    assert len(inspections) == 100
    line = json.loads(json.dumps(to_json(inspections[0])))
    assert line["event"] == "inspection"
    assert line["candidates"][0]["rank"] == 0
    assert line["without"]["heads"] == [[0, 1]]
    assert len(line["entropy"]) == 2


@pytest.mark.parametrize("cache", [True, False])
def test_writing_without_heads_is_writing_with_the_reduced_model(model, cache):
    off = ((0, 1), (1, 0))
    script = Script({5: [SetHeads(off)], 20: [SetHeads()]})
    sampler, events = Sampler(SamplingSettings(), 3), []
    for event in generate(model, "hello", max_new_tokens=24, seed=3, commands=script, cache=cache):
        script.saw(event)
        events.append(event)
    ids = model.tokenizer.encode("hello")
    reduced = model.without_heads(off)
    for token in (event for event in events if isinstance(event, Token)):
        # The first token after a change was predicted before it.
        writer = reduced if 5 < token.step <= 20 else model
        expected, logprob = sampler.sample(writer.forward(ids)[-1])
        assert token.id == expected
        assert token.logprob == pytest.approx(logprob, abs=1e-5)
        ids.append(token.id)
    assert [event.heads_off for event in events if isinstance(event, State)] == [((0, 1), (1, 0)), ()]
    spikes = [event.step for event in events if isinstance(event, Token) and event.computed > 1]
    assert spikes == ([5, 20] if cache else list(range(24)))


def test_the_text_without_heads_is_the_same_whatever_the_cache_does(model):
    def write(plan: dict, **options) -> str:
        script, events = Script(plan), []
        for event in generate(model, "hello", max_new_tokens=60, seed=4, commands=script, **options):
            script.saw(event)
            events.append(event)
        return text(events)

    cached = write({3: [SetHeads(((1, 1),))]})
    assert cached != write({})
    assert cached == write({3: [SetHeads(((1, 1),))]}, cache=False)
    assert cached == write({3: [SetHeads(((1, 1),))], 9: [SetCache(False)], 30: [SetCache(True)]})


def test_an_inspection_is_of_the_whole_model_while_heads_are_off(model):
    generation = Generation(model, "hello", GenerationSettings(seed=3))
    generation.prefill()
    generation.set_heads([(0, 0)])
    list(generation.write())
    list(generation.write())
    found = inspect(generation, Inspect())
    ids = model.tokenizer.encode("hello") + generation.window[5:-1]
    logits = model.forward(ids)[-1].astype(float)
    best = found.candidates[0]
    assert best.id == int(logits.argmax())
    assert best.probability == pytest.approx(math.exp(logits.max()) / np.exp(logits).sum(), abs=1e-6)


def test_a_head_that_there_is_not_changes_nothing(model):
    generation = Generation(model, "hello", GenerationSettings(seed=3))
    with pytest.raises(KvtuiError, match="no head 7"):
        generation.set_heads([(0, 7)])
    assert generation.model is model
    assert generation.heads_off == ()
