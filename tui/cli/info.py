"""``kvtui info``: what a model file contains."""

from __future__ import annotations

from typing import Any

import click

from kvtui.core import Model
from kvtui.core.config import parameter_count
from kvtui.core.loading.library import weight_bytes
from kvtui.tui.cli.loading import load_model
from kvtui.tui.cli.options import model_option
from kvtui.tui.cli.streams import one_line, write, write_json
from kvtui.tui.drawing.words import size_words


@click.command("info", short_help="Shapes, parameters, cache bytes, provenance.")
@model_option
@click.option("--tensors", is_flag=True, help="Also print a table of all tensors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def info(model: str | None, tensors: bool, as_json: bool) -> None:
    """Shapes, parameters, cache bytes, and where the model comes from.

    \b
      kvtui info
      kvtui info --model shakespeare --tensors
      kvtui info --model ./SmolLM2-135M --json
    """
    decoder = load_model(model)
    if as_json:
        write_json(describe(decoder))
        return
    rows = _rows(_facts(decoder), decoder.training)
    width = max(len(name) for name, _ in rows)
    write("".join(f"{name:{width}}  {one_line(text)}\n" for name, text in rows))
    if tensors:
        write("\n" + tensor_table(decoder))


def describe(model: Model) -> dict[str, Any]:
    """Everything about a model, as JSON values."""
    return _facts(model) | {
        "vocabulary": [model.tokenizer.piece(index) for index in range(model.tokenizer.vocab_size)],
        "training": model.training,
        "tensors": {name: list(value.shape) for name, value in model.parameters.items()},
    }


def _facts(model: Model) -> dict[str, Any]:
    """What both the text and the JSON object say."""
    config = model.config
    per_token = config.cache_bytes_per_token(model.dtype.itemsize)
    return {
        "name": model.name,
        "path": str(model.path),
        "source": model.source,
        "file_bytes": weight_bytes(model.path) if model.path else None,
        "parameters": parameter_count(config),
        "cache_bytes_per_token": per_token,
        "cache_bytes_full_context": per_token * config.context_length,
        "config": config.to_dict(),
    }


def tensor_table(model: Model) -> str:
    """Name, shape and memory of every tensor; corresponding tensors of all blocks are one row."""
    rows = [("tensor", "shape", "count", "memory")]
    last = model.config.num_layers - 1
    for name, value in model.parameters.items():
        of_blocks = name.startswith("blocks.")
        if of_blocks and not name.startswith("blocks.0."):
            continue
        count = last + 1 if of_blocks else 1
        shown = name.replace("blocks.0.", f"blocks.0–{last}.", 1) if last else name
        shape = " × ".join(f"{length:,}" for length in value.shape)
        rows.append((shown, shape, f"{count:,}", size_words(count * value.nbytes)))
    rows.append(("together", "", "", size_words(sum(value.nbytes for value in model.parameters.values()))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        f"{name:{widths[0]}}  {shape:{widths[1]}}  {count:>{widths[2]}}  {memory:>{widths[3]}}\n"
        for name, shape, count, memory in rows
    )


def _rows(values: dict[str, Any], training: dict[str, Any]) -> list[tuple[str, str]]:
    config = values["config"]
    rows = [
        ("model", values["name"]),
        ("file", f"{values['path']}, {values['file_bytes']:,} bytes"),
        ("format", values["source"]),
        ("parameters", f"{values['parameters']:,}"),
        ("context", f"{config['context_length']:,} tokens"),
        ("vocabulary", f"{config['vocab_size']:,} {'characters' if values['source'] == 'kvtui' else 'tokens'}"),
        ("layers", f"{config['num_layers']}"),
        (
            "heads",
            f"{config['num_heads']} of {config['head_dim']} dimensions ({config['num_kv_heads']} key/value heads)",
        ),
        ("widths", f"{config['embed_dim']} embedding, {config['mlp_dim']} MLP"),
        ("parts", ", ".join(_kinds(config))),
        (
            "cache",
            f"{values['cache_bytes_per_token']:,} bytes per token, "
            f"{values['cache_bytes_full_context']:,} for the full context",
        ),
    ]
    return rows + (_provenance(training) if training else [("training", "not recorded")])


def _kinds(config: dict[str, Any]) -> list[str]:
    """The choices of the architecture; unusual ones only where they differ from the default."""
    kinds = [f"{config['norm']} norm", f"{config['position']} positions", f"{config['mlp']} MLP"]
    kinds.append("tied output" if config["tied_output"] else "untied output")
    if config["bias"] or config["qkv_bias"]:
        kinds.append("biases" if config["bias"] else "biases on queries, keys and values")
    if config["query_key_norm"]:
        kinds.append("norm on queries and keys")
    if config["sliding_window"]:
        kinds.append(f"sliding window of {config['sliding_window']:,} positions")
    if config["rotary_divisors"]:
        kinds.append("rotary frequencies divided")
    return kinds


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
