"""A model whose weights overflow float32 is reported with the layer where that begins, by everything that uses it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from calling import Kvtui
from random_model import random_parameters

from kvtui.core import generate
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.formats.checkpoint import save_checkpoint
from kvtui.core.measure.evaluation import evaluate
from kvtui.core.model import Model
from kvtui.core.overflow import check_finite
from kvtui.core.tokenizer import CharTokenizer


def damaged(config: ModelConfig, parameters: dict[str, np.ndarray], where: str) -> Model:
    """A model whose numbers overflow at one place."""
    changed = dict(parameters)
    name = {"embedding": "token_embedding", "output": "output.weight"}.get(where, f"blocks.{where}.mlp.down.weight")
    changed[name] = changed[name] * np.float32(1e38)
    return Model(config, CharTokenizer("abcdefghijklmnopqrstuvwxyz"[: config.vocab_size]), changed, name="big")


@pytest.fixture
def config(tiny_config: ModelConfig) -> ModelConfig:
    return ModelConfig(**{**tiny_config.to_dict(), "vocab_size": 8, "rotary_divisors": ()})


@pytest.mark.filterwarnings("ignore:.*encountered")
@pytest.mark.parametrize(
    ("where", "words"),
    [("0", "from layer 1 of 2 on"), ("1", "from layer 2 of 2 on"), ("output", "from the output on")],
)
@pytest.mark.parametrize("cache", [True, False])
def test_the_layer_where_it_begins_is_named(config: ModelConfig, where: str, words: str, cache: bool) -> None:
    model = damaged(config, random_parameters(config), where)
    with pytest.raises(KvtuiError, match=f"big computes numbers that are not finite, {words}: its weights"):
        list(generate(model, "abc", max_new_tokens=3, cache=cache))
    with pytest.raises(KvtuiError, match=words):
        evaluate(model, np.arange(8))


def test_finite_logits_pass_and_the_first_position_that_is_not_is_looked_at(
    config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(config, CharTokenizer("abcdefgh"), random_parameters(config))
    logits = model.forward([0, 1, 2, 3])
    check_finite(model, logits, [0, 1, 2, 3])
    seen: list[list[int]] = []
    forward = Model.forward
    monkeypatch.setattr(
        Model, "forward", lambda self, ids, **more: (seen.append(list(ids)), forward(self, ids, **more))[1]
    )
    logits[2, 1] = np.nan
    with pytest.raises(KvtuiError, match="with this cache only: a pass without it is right"):
        check_finite(model, logits[1:], [0, 1, 2, 3])
    assert seen == [[0, 1, 2]]


@pytest.mark.parametrize(
    "args",
    [
        ("generate", "abc"),
        ("generate", "abc", "--json", "--verify"),
        ("generate", "abc", "--no-cache"),
        ("eval", "text.txt"),
        ("eval", "text.txt", "--json"),
        ("policies", "text.txt", "--policy", "window:8"),
        ("policies", "--tokens", 20, "--policy", "window:8", "--json"),
        ("figure", "growth", "abc", "-o", "a.png"),
        ("figure", "attention", "abc", "-o", "a.png"),
    ],
    ids=lambda args: " ".join(map(str, args)),
)
def test_every_command_says_so_in_one_line_and_writes_only_json(
    kvtui: Kvtui, config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[object, ...]
) -> None:
    if args[0] == "figure":
        pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install 'kvtui[plot]'")
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("abcdefgh" * 20)
    model = damaged(config, random_parameters(config), "1")
    save_checkpoint(Path("big.safetensors"), config, CharTokenizer("abcdefgh"), model.parameters, dtype=np.float32)
    outcome = kvtui(*args, "--model", "big.safetensors")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert "not finite, from layer 2 of 2 on" in outcome.err
    for line in outcome.out.splitlines() if "--json" in args else ():
        json.loads(line, parse_constant=pytest.fail)
    assert not Path("a.png").exists()
