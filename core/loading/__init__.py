"""From the name of a model, its file or its folder to the model itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kvtui.core.errors import KvtuiError
from kvtui.core.formats import read_model
from kvtui.core.formats.checkpoint import Checkpoint
from kvtui.core.loading.hub import find_snapshot, hub_folder
from kvtui.core.model import Model

BUNDLED = "shakespeare"
MOST_POSITIONS = 4096  # limit for models with more: memory for all of them is allocated at once
_MODELS = Path(__file__).parents[1] / "models"


def bundled_names() -> list[str]:
    """Names of the bundled models."""
    return sorted(path.stem for path in _MODELS.glob("*.safetensors"))


def bundled_path(name: str) -> Path:
    """The file of a bundled model."""
    return _MODELS / f"{name}.safetensors"


def model_path(model: str | Path | None) -> Path:
    """Find the file or folder of a model, given as for :func:`load`.

    Raises:
        KvtuiError: there is none.
    """
    names = bundled_names()
    if model is None or str(model) in names:
        return bundled_path(str(model or BUNDLED))
    if os.path.exists(model):
        return Path(model)
    snapshot = find_snapshot(str(model))
    if snapshot is None:
        raise KvtuiError(
            f"there is no model {model}: give a file, a folder, a bundled name ({', '.join(names)}), or that of a "
            f"repository in the Hugging Face cache, {hub_folder()} ('kvtui models' lists what is there)"
        )
    return snapshot


def _name(path: Path) -> str:
    """The name of a model on screen: for a snapshot in the Hugging Face cache, the repository without the revision."""
    if path.is_file():
        return path.stem
    repository = path.resolve().parent.parent.name
    return repository.rsplit("--", 1)[-1] if repository.startswith("models--") else path.resolve().name


def load(
    model: str | Path | None = None,
    dtype: Any = np.float32,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    context: int | None = None,
    on_note: Callable[[str], None] = lambda words: None,
) -> Model:
    """Load a model.

    Args:
        model: a file or a folder of any format in :mod:`kvtui.core.formats`, the name of a bundled model or of a
            repository in the Hugging Face cache, or None for the bundled model.
        dtype: float32, or float64 for tests.
        on_progress: called with (parts done, total parts).
        context: positions to use at most, as the cache and the attention record are allocated for all of them; None for
            ``MOST_POSITIONS``.
        on_note: called with each thing in the files that was ignored or contradicts another, in one line. The model's
            ``source`` says them too.

    Raises:
        KvtuiError: the model does not exist, its file is damaged, or it has a feature that is not implemented.
    """
    path = model_path(model)
    name = _name(path)
    found = _shortened(read_model(path, dtype, on_progress), MOST_POSITIONS if context is None else context)
    for words in found.notes:
        on_note(words)
    source = "; ".join((found.source, *found.notes))
    return Model(found.config, found.tokenizer, found.parameters, name, found.training, found.path, source)


def _shortened(found: Checkpoint, positions: int) -> Checkpoint:
    """The same model limited to this many positions: what it computes for them stays the same."""
    own = found.config.context_length
    if own <= positions:
        return found
    config, parameters = replace(found.config, context_length=positions), dict(found.parameters)
    if config.position == "learned":
        parameters["position_embedding"] = parameters["position_embedding"][:positions]
    source = f"{found.source}; {positions:,} of its {own:,} positions are used"
    return replace(found, config=config, parameters=parameters, source=source)
