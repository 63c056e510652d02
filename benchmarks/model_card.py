"""Write a model's card from the record in its file, with its measured loss.

    python benchmarks/model_card.py tinyshakespeare.txt

The loss is that of ``kvtui eval TEXT --last 0.1``, measured here once more on the stored float16 weights. Run it on the
machine that trained the model: the card names it.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kvtui.core import Model, generate, load
from kvtui.core.config import parameter_count
from kvtui.core.events import Token
from kvtui.core.machine import machine
from kvtui.core.measure.evaluation import evaluate
from kvtui.core.training.run import VALIDATION_SHARE
from kvtui.core.training.settings import TrainingSettings
from kvtui.tui.cli.train import SETTINGS

CARD = """\
# {name}

The model that comes with kvtui: a decoder-only transformer that continues text in the manner of Shakespeare, one
character at a time. Trained from random weights with kvtui's own NumPy trainer; no other library or model was involved.

| | |
|---|---|
| parameters | {parameters:,} |
| shape | {layers} layers, {heads} heads of {head_dim}, width {width}, MLP {mlp}, context {context} |
| architecture | LayerNorm before each part, rotary positions, multi-head attention, GELU, no biases, untied output |
| vocabulary | {vocabulary} characters |
| stored as | {dtype} safetensors, {size:.1f} MB |
| data | tinyshakespeare, {characters:,} characters, SHA-256 `{sha}`; the last 10 % held back |
| training | {steps:,} steps, {tokens:,} characters seen, {minutes:.0f} minutes beside other work; {machine} |
| seed | {seed} |
| **loss over the whole last 10 %** | **{loss:.4f} nats per character** (perplexity {perplexity:.3f}) |

Method of the loss: {method}.
It is what `kvtui eval tinyshakespeare.txt --last 0.1` prints. The step that is stored is the one with the lowest
held-back loss of the curve below, so this is a validation loss. So is nanoGPT's: 1.4697 for a model of 10.7 M
parameters on the same split, measured on random windows.

Command:

```sh
{command}
```

## Training curve

Loss of the step's batch (with dropout) and of the held-back text (windows of {context} that do not overlap, without
dropout, so with less context on average than the figure above), in nats per character.

```
{curve}
```

## A sample

`kvtui generate "ROMEO:" -n 400 --seed 7`

```
{sample}
```

## Limits

It knows one text of a million characters. It spells, keeps speakers and lines, and makes no sense beyond a few words;
that is what this size of model and text give. It cannot write a character that the text does not hold, such as a digit
other than 3.
"""


def training_command(settings: dict[str, Any]) -> str:
    """The command that trains with these settings: every one that is not the default is named."""
    length = f"--steps {settings['steps']}" if settings["steps"] is not None else f"--minutes {settings['minutes']:g}"
    words = ["kvtui train tinyshakespeare.txt --out shakespeare.safetensors", length]
    defaults = asdict(TrainingSettings())
    for flag, name, _ in SETTINGS:
        if settings[name] != defaults[name]:
            words.append(f"{flag} {settings[name]}")
    return " ".join(words)


def curve(model: Model) -> str:
    """A table of the curve, with a bar for the held-back loss."""
    lines = [" step   batch   held back"]
    for point in model.training["curve"]:
        bar = "█" * round((point["validation_loss"] - 1.3) * 40)
        lines.append(f"{point['step']:5,}  {point['loss']:.4f}   {point['validation_loss']:.4f}  {bar}")
    return "\n".join(lines)


def card(model: Model, text: str) -> str:
    """The card of a model that was trained on a text, in Markdown."""
    assert model.path is not None
    record, config = model.training, model.config
    ids = np.array(model.tokenizer.encode(text))
    result = evaluate(model, ids, len(ids) - int(len(ids) * VALIDATION_SHARE))
    sample = "".join(
        event.text for event in generate(model, "ROMEO:", max_new_tokens=400, seed=7) if isinstance(event, Token)
    )
    return CARD.format(
        name=model.name,
        parameters=parameter_count(config),
        layers=config.num_layers,
        heads=config.num_heads,
        head_dim=config.head_dim,
        width=config.embed_dim,
        mlp=config.mlp_dim,
        context=config.context_length,
        vocabulary=config.vocab_size,
        dtype="float16",
        size=model.path.stat().st_size / 1e6,
        characters=len(text),
        sha=record["text_sha256"],
        steps=record["steps"],
        command=training_command(record["settings"]),
        tokens=record["tokens"],
        minutes=record["minutes"],
        machine=machine(),
        seed=record["settings"]["seed"],
        loss=result.loss,
        perplexity=result.perplexity,
        method=result.method,
        curve=curve(model),
        sample="ROMEO:" + sample,
    )


def main() -> None:
    model = load()
    assert model.path is not None
    path = model.path.with_suffix(".md")
    path.write_text(card(model, Path(sys.argv[1]).read_text()))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
