"""Whatever is asked of a text that is being written, in whatever order, what is told of it stays true."""

from __future__ import annotations

import random

import numpy as np
import pytest
from random_model import odd_model

from kvtui.core import GenerationLoop, GenerationSettings, Model, SamplingSettings
from kvtui.core.commands import (
    Command,
    Fork,
    Inspect,
    Pause,
    Resume,
    Revisit,
    SetCache,
    SetHeads,
    SetPace,
    SetPolicy,
    SetVerify,
    ShowAttention,
    ShowCache,
    Step,
)
from kvtui.core.events import Attention, Branch, CacheContents, End, Prefill, State, Token

POLICIES = ["full", "window:6", "sink:2+6", "window:20", "sink:1+30", "heavy:3+4", "snap:4+3", "nonsense"]
CONTEXT = 24


class Whim:
    """Gives commands at random, some of which cannot be carried out."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.length = 0  # of the text

    def poll(self, timeout: float | None) -> Command | None:
        draw = self.draw
        if timeout is None:  # it would wait forever
            return Step() if draw.random() < 0.5 else Resume()
        if draw.random() > 0.25:
            return None
        token = draw.randrange(13)
        commands: list[Command] = [
            SetCache(draw.random() < 0.6),
            SetPolicy(draw.choice(POLICIES)),
            SetHeads(draw.choice([(), ((0, 1), (1, 2)), ((7, 7),)])),
            SetVerify(draw.random() < 0.5),
            SetPace(draw.choice([None, 1e6])),
            Pause(),
            Fork(self.length + draw.randrange(-6, 2), tokens=(token,) * draw.randint(1, 3)),
            Revisit(draw.randrange(4)),
            ShowAttention(1, None, draw.choice([0, -4]), None, draw.choice([None, self.length - 2])),
            ShowCache(
                draw.choice(["value", "key", "attention", "reason"]), length=draw.choice([None, draw.randrange(40)])
            ),
            Inspect(draw.choice([None, self.length - 3]), draw.choice([(), ((0, 0),)]), 2),
        ]
        return draw.choice(commands)


def some_model(draw: random.Random) -> Model:
    return odd_model(
        draw.choice(["layer", "rms"]),
        draw.choice(["rotary", "rotary", "learned"]),  # with learned ones the rolling policies are refused
        draw.choice(["gelu", "swiglu"]),
        draw.choice([1, 2, 4]),
    )


@pytest.mark.parametrize("seed", range(40))
def test_what_is_told_stays_true(seed):
    whim = Whim(seed)
    draw = whim.draw
    prompt = "".join(draw.choice("abcdefghijklm") for _ in range(draw.choice([1, 10, 24, 40])))
    loop = GenerationLoop(
        some_model(draw),
        prompt,
        GenerationSettings(
            max_new_tokens=80,
            seed=seed,
            cache=draw.random() < 0.7,
            sampling=SamplingSettings(draw.choice([0, 1.0])),
            observe=True,
        ),
        source=whim,  # type: ignore[arg-type]
    )
    generation = loop.generation
    obeyed = False  # whether anything was since the newest token, so that what is on record was computed before it
    for count, event in enumerate(loop.run()):
        whim.length = len(generation.sequence.ids)
        if count > 400:
            loop.cancelled = True
        exact = not generation.cache_on or generation.policy.spec == "full"
        match event:
            case State():
                obeyed = True
            case Prefill() | Token() | Branch():
                obeyed = False
                assert 0 < len(generation.window) <= CONTEXT
                if exact:
                    expected = generation.model.forward(generation.window, last=True)[0]
                    np.testing.assert_allclose(generation.logits, expected, rtol=0, atol=1e-9)
            case Attention(weights=weights):
                sums = weights.sum(axis=-1)
                assert len(event.keys) == weights.shape[2] <= CONTEXT
                assert (sums <= 1 + 1e-5).all()
                if exact and not obeyed:
                    np.testing.assert_allclose(sums, 1, rtol=0, atol=1e-5)
            case CacheContents(kept=kept, numbers=numbers):
                assert kept.shape == numbers.shape
                assert np.isfinite(numbers).all()
                assert (np.diff(kept, axis=-1) > 0).all()
                assert not kept.size or kept.max() < event.length
                if event.quantity == "attention" and kept.size and generation.cache_on and generation.policy.endless:
                    np.testing.assert_allclose(numbers.sum(axis=-1), 1, rtol=0, atol=1e-4)
    assert isinstance(event, End)
    assert generation.model.tokenizer.decode(generation.window).isalpha()
