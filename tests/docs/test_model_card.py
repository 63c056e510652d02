"""The model card: made from the record in a file, its command the one that trained it."""

from __future__ import annotations

import runpy
import shlex
from dataclasses import replace
from pathlib import Path

from kvtui.core import generate, load
from kvtui.core.config import parameter_count
from kvtui.core.events import Token
from kvtui.core.training.loop import train
from kvtui.core.training.run import new_run
from kvtui.core.training.settings import TrainingSettings
from kvtui.tui.cli.train import train_model

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "model_card.py"))
CARD = Path(__file__).resolve().parents[2] / "core" / "models" / "shakespeare.md"
SETTINGS = TrainingSettings(
    steps=2, seed=9, context_length=16, num_layers=1, num_heads=2, embed_dim=16, batch_windows=2, dropout=0.3
)


def test_the_card_of_a_new_model(tmp_path: Path) -> None:
    text = "ROMEO: to be, or not to be\n" * 20
    train(new_run(text, SETTINGS), text, tmp_path / "model.safetensors")
    card = SCRIPT["card"](load(tmp_path / "model.safetensors"), text)
    assert "2 steps, 64 characters seen" in card
    assert "| seed | 9 |" in card
    assert f"{len(text):,} characters" in card
    assert "nats per character" in card


def test_its_command_names_every_setting_that_is_not_the_default() -> None:
    for settings in (SETTINGS, replace(SETTINGS, steps=None, minutes=2.5), TrainingSettings()):
        words = shlex.split(SCRIPT["training_command"](vars(settings)))
        context = train_model.make_context("train", words[2:])
        given = {name: value for name, value in context.params.items() if name in vars(settings)}
        assert TrainingSettings(**given) == settings


def test_the_bundled_card_says_what_the_bundled_file_says() -> None:
    """All but the loss, which needs the text: ``kvtui eval`` prints that."""
    model, card = load(), CARD.read_text(encoding="utf-8")
    record = model.training
    assert f"| parameters | {parameter_count(model.config):,} |" in card
    assert f"| vocabulary | {model.config.vocab_size} characters |" in card
    assert f"SHA-256 `{record['text_sha256']}`" in card
    assert f"| training | {record['steps']:,} steps, {record['tokens']:,} characters seen, " in card
    assert f"| seed | {record['settings']['seed']} |" in card
    assert f"\n{SCRIPT['training_command'](record['settings'])}\n" in card
    assert SCRIPT["curve"](model) in card
    events = generate(model, "ROMEO:", max_new_tokens=400, seed=7)
    assert "ROMEO:" + "".join(event.text for event in events if isinstance(event, Token)) in card
