"""``kvtui models``: the models on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.cells import cell_len, set_cell_size

from kvtui.core.loading.hub import hub_folder
from kvtui.core.loading.library import LibraryModel, find_models
from kvtui.tui.characters import printable
from kvtui.tui.cli.options import models_dir_option
from kvtui.tui.cli.streams import note, write, write_json
from kvtui.tui.drawing.words import count_words, size_words

_LONGEST_NAME = 40


@click.command("models", short_help="The bundled models, and those in a folder.")
@models_dir_option("A folder to search, including its subfolders.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per model, one per line.")
def models(models_dir: Path | None, as_json: bool) -> None:
    """List the bundled models and those found in a folder, without loading them: name, parameters, bytes, kind, path.

    --model takes the path. Nothing is downloaded: the default folder is where Hugging Face's own programs keep what
    they have downloaded (HF_HUB_CACHE, or hub in HF_HOME, or ~/.cache/huggingface/hub); for models in it --model
    takes the name too.

    \b
      kvtui models
      kvtui models --models-dir . --json
    """
    found = find_models(models_dir)
    if as_json:
        for model in found:
            write_json(asdict(model) | {"path": str(model.path)})
        return
    write(table(found))
    if models_dir is None and all(model.bundled for model in found):
        note(f"no others in {hub_folder()}: for another folder give --models-dir DIR")


def table(found: list[LibraryModel]) -> str:
    """Format one line per model."""
    rows = [("name", "parameters", "size", "kind", "--model")]
    for model in found:
        path = model.name if model.bundled else printable(_short(model.path))
        count = count_words(model.parameters) if model.parameters else "?"
        kind = printable(f"not usable: {model.problem}" if model.problem else model.kind)
        rows.append((_cut(printable(model.name)), count, size_words(model.file_bytes), kind, path))
    names, kinds = (max(cell_len(row[column]) for row in rows) for column in (0, 3))
    counts, sizes = (max(len(row[column]) for row in rows) for column in (1, 2))
    return "".join(
        f"{set_cell_size(name, names)}  {count:>{counts}}  {size:>{sizes}}  {set_cell_size(kind, kinds)}  {path}\n"
        for name, count, size, kind, path in rows
    )


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _short(path: Path) -> str:
    """Abbreviate the home folder to ``~``, as a shell reads it."""
    try:
        return str("~" / path.absolute().relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)
