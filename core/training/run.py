"""A training run's whole state: made new, written beside the model file, and read back to resume exactly."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from kvtui.core.config import ModelConfig, parameter_shapes
from kvtui.core.errors import KvtuiError, brief, clip_message, counted
from kvtui.core.formats.checkpoint import write_safetensors
from kvtui.core.layers import Array
from kvtui.core.tokenizer import CharTokenizer
from kvtui.core.training.optimizer import Optimizer, state_names
from kvtui.core.training.settings import RANGES, Range, TrainingSettings

VALIDATION_SHARE = 0.1
STATE_FORMAT = "kvtui-training-1"


@dataclass
class Run:
    """Everything that a run needs to continue where it stopped."""

    settings: TrainingSettings
    config: ModelConfig
    tokenizer: CharTokenizer
    text_sha256: str
    parameters: dict[str, Array]
    optimizer: Optimizer
    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    curve: list[dict[str, float]] = field(default_factory=list)

    def done(self) -> float:
        """Share of the run that is done, 0 to 1."""
        if self.settings.steps is not None:
            return self.step / self.settings.steps
        assert self.settings.minutes is not None
        return min(1.0, self.seconds / 60 / self.settings.minutes)

    def record(self) -> dict[str, Any]:
        """The training record that goes into the model file."""
        tokens = self.step * self.settings.batch_windows * self.settings.context_length
        return {
            "text_sha256": self.text_sha256,
            "steps": self.step,
            "tokens": tokens,
            "minutes": round(self.seconds / 60, 1),
            "settings": asdict(self.settings),
            "curve": self.curve,
        }


def initial_parameters(config: ModelConfig, seed: int) -> dict[str, Array]:
    """Random weights: 0.02 for the embeddings (GPT-2), half of 1/√inputs inside, zero for what writes to the residual.

    With these at zero every block starts as the identity (Zhang et al. 2019, "Fixup").
    """
    rng = np.random.default_rng(seed)
    parameters: dict[str, Array] = {}
    for name, shape in parameter_shapes(config).items():
        if name.endswith(".gain"):
            value = np.ones(shape)
        elif name.endswith((".bias", "attention.output.weight", "mlp.down.weight")):
            value = np.zeros(shape)
        elif name.startswith("blocks."):
            value = rng.normal(0.0, 0.5 * shape[0] ** -0.5, shape)
        else:
            value = rng.normal(0.0, 0.02, shape)
        parameters[name] = value.astype(np.float32)
    return parameters


def new_run(text: str, settings: TrainingSettings) -> Run:
    """A run at its first step.

    Raises:
        KvtuiError: the text is too short for one window in each part, or the model too large to train.
    """
    tokenizer = CharTokenizer.from_text(text)
    config = settings.model_config(tokenizer.vocab_size)
    if int(len(text) * VALIDATION_SHARE) < settings.context_length + 1:
        raise KvtuiError(
            f"the text has {counted(len(text), 'character')}; context {settings.context_length} needs at least "
            f"{int((settings.context_length + 1) / VALIDATION_SHARE) + 1:,}: give more text or a shorter context"
        )
    parameters = initial_parameters(config, settings.seed)
    optimizer = Optimizer(parameters, settings.weight_decay)
    return Run(settings, config, tokenizer, _sha256(text), parameters, optimizer)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def state_path(out: Path) -> Path:
    """The file where a run stores what it needs to resume, beside its model file."""
    return out.with_name(out.name + ".resume")


def save_run(run: Run, path: Path) -> None:
    """Write the whole state of a run, atomically."""
    progress = {"step": run.step, "seconds": run.seconds, "best": run.best, "curve": run.curve}
    metadata = {
        "format": STATE_FORMAT,
        "settings": json.dumps(asdict(run.settings)),
        "progress": json.dumps(progress),
        "text_sha256": run.text_sha256,
    }
    write_safetensors(path, _arrays(run), metadata)


def resume_run(text: str, path: Path) -> Run:
    """Read a run's state. Nothing in the file is trusted: what it says is checked before it is allocated or used.

    Raises:
        KvtuiError: the state is missing, damaged, or belongs to another text.
    """
    try:
        if not path.is_file():
            raise KvtuiError(f"nothing to resume: there is no {path}")
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != STATE_FORMAT:
                raise KvtuiError(f"{path} is not the state of a training run")
            if metadata["text_sha256"] != _sha256(text):
                raise KvtuiError(f"{path} belongs to a run on another text")
            settings = TrainingSettings(**json.loads(metadata["settings"]))
            _check_arrays(file, settings.model_config(CharTokenizer.from_text(text).vocab_size))
            run = new_run(text, settings)
            for name, array in _arrays(run).items():
                array[...] = file.get_tensor(name)
                if not np.isfinite(array).all():
                    raise ValueError(f"{name} holds a NaN or an infinity")
            _read_progress(run, json.loads(metadata["progress"]))
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise KvtuiError(f"{path} is damaged: {clip_message(error)}") from None
    except KvtuiError as error:
        raise error if str(path) in str(error) else KvtuiError(f"{path} is damaged: {error}") from None
    except OSError as error:
        raise KvtuiError(f"cannot read {path}: {error.strerror or error}") from None
    return run


def _arrays(run: Run) -> dict[str, Array]:
    """All numbers of a run by their names in the file."""
    arrays = {f"parameter.{name}": value for name, value in run.parameters.items()}
    return arrays | {f"optimizer.{name}": value for name, value in run.optimizer.state.items()}


def _check_arrays(file: Any, config: ModelConfig) -> None:
    """Compare the file's names, shapes and dtypes with those that a run needs, before any of them takes memory."""
    shapes = parameter_shapes(config)
    wanted = {f"parameter.{name}": shape for name, shape in shapes.items()}
    wanted |= {f"optimizer.{state}": shapes[name] for name in shapes for state in state_names(name)}
    for name, shape in wanted.items():
        stored = file.get_slice(name)
        if tuple(stored.get_shape()) != shape or stored.get_dtype() != "F32":
            raise ValueError(f"{name} has a wrong shape or dtype")


def _read_progress(run: Run, progress: Any) -> None:
    """Take over how far the run had come.

    Raises:
        ValueError: numbers that no run can have.
    """
    step, seconds, best, curve = (progress[name] for name in ("step", "seconds", "best", "curve"))
    most = run.settings.steps or RANGES["steps"].high
    if not Range(0, most, whole=True).holds(step):
        raise ValueError(f"step is {brief(step)}")
    if not Range(0, 1e12).holds(seconds):
        raise ValueError(f"seconds is {brief(seconds)}")
    if best != float("inf") and not Range(0, 1e12).holds(best):
        raise ValueError(f"best is {brief(best)}")
    if not isinstance(curve, list) or len(curve) > step:
        raise ValueError("the curve has more points than the run has steps")
    for point in curve:
        if set(point) != {"step", "loss", "validation_loss"} or not all(map(Range(0, 1e12).holds, point.values())):
            raise ValueError(f"the curve has the point {brief(point)}")
    run.step, run.seconds, run.best, run.curve = step, float(seconds), float(best), curve
