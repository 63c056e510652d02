"""The training run: windows of text in, a model file out."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from threadpoolctl import threadpool_limits

from kvtui.core.config import ModelConfig, parameter_shapes
from kvtui.core.errors import KvtuiError, counted
from kvtui.core.formats.checkpoint import save_checkpoint, write_safetensors
from kvtui.core.layers import Array, IntArray
from kvtui.core.rotary import rotary_table
from kvtui.core.tokenizer import CharTokenizer
from kvtui.core.training.gradients import Pass, window_loss
from kvtui.core.training.optimizer import Optimizer, clip

# A batch is split into this many parts whose gradients are added in order, whatever the number of threads that compute
# them: the sum, and so the whole run, is the same on one core and on many.
SHARDS = 4
VALIDATION_SHARE = 0.1
STATE_FORMAT = "kvtui-training-1"


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. Exactly one of ``steps`` and ``minutes`` ends the run and sets the pace of the decay."""

    steps: int | None = 2600
    minutes: float | None = None
    seed: int = 1
    context_length: int = 512
    num_layers: int = 6
    num_heads: int = 6
    embed_dim: int = 192
    batch_windows: int = 16
    dropout: float = 0.25
    muon_rate: float = 0.02
    adam_rate: float = 0.003
    weight_decay: float = 0.2
    warmup_steps: int = 40
    decay_from: float = 0.4  # share of the run after which both rates fall linearly to zero
    clip_norm: float = 1.0
    validate_every: int = 100

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise KvtuiError("training ends after --steps or after --minutes: give one of them")
        for name in (
            "context_length",
            "num_layers",
            "num_heads",
            "embed_dim",
            "batch_windows",
            "validate_every",
        ):
            if getattr(self, name) < 1:
                raise KvtuiError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.steps is not None and self.steps < 1:
            raise KvtuiError(f"steps is {self.steps}; it must be at least 1")
        for name, lowest in (
            ("seed", 0),
            ("warmup_steps", 0),
            ("decay_from", 0),
            ("muon_rate", 0),
            ("adam_rate", 0),
            ("weight_decay", 0),
            ("clip_norm", 1e-6),
        ):
            if not lowest <= getattr(self, name) < float("inf"):
                raise KvtuiError(f"{name} is {getattr(self, name)}; it must be at least {lowest}")
        if self.minutes is not None and not 0 < self.minutes < 1e6:
            raise KvtuiError(f"minutes is {self.minutes}; it must be above 0")
        if not 0 <= self.dropout < 1:
            raise KvtuiError(f"dropout is {self.dropout}; it must be at least 0 and below 1")
        if self.embed_dim % (2 * self.num_heads):
            raise KvtuiError(
                f"embed_dim {self.embed_dim} does not split over {self.num_heads} heads into even widths; "
                "make it a multiple of twice the heads"
            )

    def model_config(self, vocab_size: int) -> ModelConfig:
        """The decoder for these settings: LayerNorm, rotary positions, GELU, one key/value head per head."""
        return ModelConfig(
            vocab_size=vocab_size,
            context_length=self.context_length,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_kv_heads=self.num_heads,
            head_dim=self.embed_dim // self.num_heads,
            embed_dim=self.embed_dim,
            mlp_dim=4 * self.embed_dim,
        )


@dataclass(frozen=True)
class Progress:
    """Sent after every step. Losses in nats per character; ``validation_loss`` only after a validation."""

    step: int
    done: float  # share of the run, 0 to 1
    loss: float
    validation_loss: float | None
    tokens_per_second: float
    seconds_left: float


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
        KvtuiError: the text is too short for one window in each part.
    """
    if int(len(text) * VALIDATION_SHARE) < settings.context_length + 1:
        raise KvtuiError(
            f"the text has {counted(len(text), 'character')}; context {settings.context_length} needs at least "
            f"{int((settings.context_length + 1) / VALIDATION_SHARE) + 1:,}: give more text or a shorter context"
        )
    tokenizer = CharTokenizer.from_text(text)
    config = settings.model_config(tokenizer.vocab_size)
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
    tensors = {f"parameter.{name}": value for name, value in run.parameters.items()}
    tensors |= {f"optimizer.{name}": value for name, value in run.optimizer.state.items()}
    progress = {"step": run.step, "seconds": run.seconds, "best": run.best, "curve": run.curve}
    metadata = {
        "format": STATE_FORMAT,
        "settings": json.dumps(asdict(run.settings)),
        "progress": json.dumps(progress),
        "text_sha256": run.text_sha256,
    }
    write_safetensors(path, tensors, metadata)


def resume_run(text: str, path: Path) -> Run:
    """Read a run's state.

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
            run = new_run(text, TrainingSettings(**json.loads(metadata["settings"])))
            arrays = {f"parameter.{name}": value for name, value in run.parameters.items()}
            arrays |= {f"optimizer.{name}": value for name, value in run.optimizer.state.items()}
            for name, array in arrays.items():
                stored = file.get_tensor(name)
                if stored.shape != array.shape or stored.dtype != array.dtype or not np.isfinite(stored).all():
                    raise ValueError(f"{name} has a wrong shape or dtype, or holds a NaN or an infinity")
                array[...] = stored
            progress = json.loads(metadata["progress"])
            run.step, run.seconds = int(progress["step"]), float(progress["seconds"])
            run.best, run.curve = float(progress["best"]), list(progress["curve"])
            if run.step < 0 or not 0 <= run.seconds < float("inf") or np.isnan(run.best):
                raise ValueError("impossible progress")
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise KvtuiError(f"{path} is damaged: {error}") from None
    except OSError as error:
        raise KvtuiError(f"cannot read {path}: {error.strerror or error}") from None
    return run


def learning_rate(run: Run) -> float:
    """Factor on both learning rates, 0 to 1: linear warm-up, constant, then linear decay to zero."""
    warm = min(1.0, (run.step + 1) / run.settings.warmup_steps) if run.settings.warmup_steps else 1.0
    decay_from = run.settings.decay_from
    return warm * min(1.0, (1.0 - run.done()) / (1.0 - decay_from)) if decay_from < 1 else warm


def train(
    run: Run,
    text: str,
    out: Path,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train until the run is over or ``should_stop`` says so.

    ``out`` always holds the model with the best validation loss so far, and the resume file beside it the state from
    which to continue; the latter is removed when the run is over.

    Raises:
        KvtuiError: ``out`` cannot be written, or the loss is no longer a number.
    """
    settings = run.settings
    ids = np.array(run.tokenizer.encode(text))
    cut = len(ids) - int(len(ids) * VALIDATION_SHARE)
    training, validation = ids[:cut], ids[cut:]
    rotation = rotary_table(settings.context_length, run.config.head_dim, run.config.rotary_base)
    shards = [
        {name: np.zeros_like(value) for name, value in run.parameters.items()}
        for _ in range(min(SHARDS, settings.batch_windows))
    ]
    threads = min(len(shards), os.cpu_count() or 1)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        while run.done() < 1 and not should_stop():
            started = time.perf_counter()
            loss = _batch_gradients(run, rotation, training, shards, pool)
            clip(shards[0], settings.clip_norm)
            rate = learning_rate(run)
            run.step += 1
            run.optimizer.step(shards[0], run.step, rate * settings.muon_rate, rate * settings.adam_rate)
            step_seconds = time.perf_counter() - started
            run.seconds += step_seconds
            if not np.isfinite(loss):
                raise KvtuiError(f"the loss became {loss} at step {run.step}; lower the learning rates and start again")

            validation_loss = None
            if run.step % settings.validate_every == 0 or run.done() >= 1:
                validation_loss = _validation_loss(run, rotation, validation, pool)
                _keep_best(run, out, loss, validation_loss)
                save_run(run, state_path(out))
            left = run.seconds / run.done() * (1 - run.done())
            tokens = settings.batch_windows * settings.context_length
            on_progress(Progress(run.step, run.done(), loss, validation_loss, tokens / step_seconds, left))
    if run.done() >= 1:
        state_path(out).unlink(missing_ok=True)
    else:
        save_run(run, state_path(out))
        if not run.curve:
            save_checkpoint(out, run.config, run.tokenizer, run.parameters, run.record())


def _batch_gradients(
    run: Run, rotation: Any, training: IntArray, shards: list[dict[str, Array]], pool: ThreadPoolExecutor
) -> float:
    """Mean loss of a batch in nats; its gradients are left in the first of the shards."""
    parts = pool.map(
        lambda shard: _shard_gradients(run, rotation, training, shard, len(shards), shards[shard]),
        range(len(shards)),
    )
    loss = sum(parts) / (run.settings.batch_windows * run.settings.context_length)
    for other in shards[1:]:
        for name, total in shards[0].items():
            total += other[name]
    return loss


def _validation_loss(run: Run, rotation: Any, validation: IntArray, pool: ThreadPoolExecutor) -> float:
    """Mean loss in nats over non-overlapping windows of the whole context; a remainder at the end is not used."""
    context = run.settings.context_length
    starts = range(0, len(validation) - context, context)
    losses = pool.map(lambda start: _forward_only(run, rotation, validation, start), starts)
    return sum(losses) / (len(starts) * context)


def _keep_best(run: Run, out: Path, loss: float, validation_loss: float) -> None:
    """Record a point of the curve, and write the model file if no earlier validation was better."""
    run.curve.append({"step": run.step, "loss": round(loss, 4), "validation_loss": round(validation_loss, 4)})
    if validation_loss < run.best:
        run.best = validation_loss
        save_checkpoint(out, run.config, run.tokenizer, run.parameters, run.record())


def _shard_gradients(
    run: Run, rotation: Any, training: IntArray, shard: int, shards: int, gradients: dict[str, Array]
) -> float:
    """Summed loss of every ``shards``-th window of the batch; its gradients are left in ``gradients``.

    Random numbers come from (seed, step, shard) alone: that is what lets a run resume exactly.
    """
    settings = run.settings
    rng = np.random.default_rng((settings.seed, run.step, shard))
    for gradient in gradients.values():
        gradient.fill(0.0)
    scale = 1.0 / (settings.batch_windows * settings.context_length)
    loss = 0.0
    for _ in range(shard, settings.batch_windows, shards):
        start = int(rng.integers(len(training) - settings.context_length))
        window = training[start : start + settings.context_length + 1]
        state = Pass(run.config, run.parameters, gradients, rotation, settings.dropout, rng)
        loss += window_loss(window[:-1], window[1:], state, scale)
    return loss


def _forward_only(run: Run, rotation: Any, ids: IntArray, start: int) -> float:
    window = ids[start : start + run.settings.context_length + 1]
    return window_loss(window[:-1], window[1:], Pass(run.config, run.parameters, {}, rotation, 0.0, None), None)
