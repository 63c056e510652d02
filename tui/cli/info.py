"""``kvtui info``: what a model file holds."""

from __future__ import annotations

from typing import Any

import click

from kvtui.core import Model
from kvtui.core.config import parameter_count
from kvtui.tui.cli.options import model_option
from kvtui.tui.cli.streams import one_line, write, write_json
from kvtui.tui.loading import load_model


@click.command("info", short_help="Shapes, parameters, cache bytes, provenance.")
@model_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def info(model: str | None, as_json: bool) -> None:
    """Shapes, parameters, cache bytes, and where the model comes from.

    \b
      kvtui info
      kvtui info --model shakespeare --json
    """
    values = describe(load_model(model))
    if as_json:
        write_json(values)
        return
    rows = _rows(values)
    width = max(len(name) for name, _ in rows)
    write("".join(f"{name:{width}}  {one_line(text)}\n" for name, text in rows))


def describe(model: Model) -> dict[str, Any]:
    """Everything about a model, as JSON values."""
    config = model.config
    per_token = config.cache_bytes_per_token(model.dtype.itemsize)
    return {
        "name": model.name,
        "path": str(model.path),
        "file_bytes": model.path.stat().st_size if model.path else None,
        "parameters": parameter_count(config),
        "cache_bytes_per_token": per_token,
        "cache_bytes_full_context": per_token * config.context_length,
        "config": config.to_dict(),
        "vocabulary": [model.tokenizer.piece(index) for index in range(model.tokenizer.vocab_size)],
        "training": model.training,
    }


def _rows(values: dict[str, Any]) -> list[tuple[str, str]]:
    config, training = values["config"], values["training"]
    rows = [
        ("model", values["name"]),
        ("file", f"{values['path']}, {values['file_bytes']:,} bytes"),
        ("parameters", f"{values['parameters']:,}"),
        ("context", f"{config['context_length']:,} tokens"),
        ("vocabulary", f"{config['vocab_size']:,} characters"),
        ("layers", f"{config['num_layers']}"),
        ("heads", f"{config['num_heads']} of {config['head_dim']} ({config['num_kv_heads']} key/value heads)"),
        ("widths", f"{config['embed_dim']} embedding, {config['mlp_dim']} MLP"),
        ("kinds", f"{config['norm']} norm, {config['position']} positions, {config['mlp']} MLP, {_output(config)}"),
        (
            "cache",
            f"{values['cache_bytes_per_token']:,} bytes per token, "
            f"{values['cache_bytes_full_context']:,} for the full context",
        ),
    ]
    return rows + (_provenance(training) if training else [("training", "not recorded")])


def _output(config: dict[str, Any]) -> str:
    return "tied output" if config["tied_output"] else "output of its own"


def _provenance(training: dict[str, Any]) -> list[tuple[str, str]]:
    """The training record as rows; it comes from a file, so nothing about it is taken for granted."""
    rows = [
        (f"training {name}".replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
        for name, value in training.items()
        if isinstance(value, str | int | float)
    ]
    settings = training.get("settings")
    if isinstance(settings, dict) and "seed" in settings:
        rows.append(("training seed", str(settings["seed"])))
    curve = training.get("curve")
    if isinstance(curve, list) and curve and isinstance(curve[-1], dict):
        last = curve[-1]
        rows.append(("training loss", f"{last.get('loss')} nats per token, mean of its last step"))
        rows.append(("validation loss", f"{last.get('validation_loss')} nats per token, windows without overlap"))
    return rows
