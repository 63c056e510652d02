"""The training run: windows of text in, a model file out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from kvtui.core.errors import KvtuiError
from kvtui.core.formats.checkpoint import save_checkpoint
from kvtui.core.layers import Array, IntArray
from kvtui.core.rotary import rotary_table
from kvtui.core.training.gradients import Pass, window_loss
from kvtui.core.training.optimizer import clip
from kvtui.core.training.run import VALIDATION_SHARE, Run, save_run, state_path

# A batch is split into this many parts whose gradients are added in order, whatever the number of threads that compute
# them: the sum, and so the whole run, is the same on one core and on many.
SHARDS = 4


@dataclass(frozen=True)
class Progress:
    """Sent after every step. Losses in nats per character; ``validation_loss`` only after a validation."""

    step: int
    done: float  # share of the run, 0 to 1
    loss: float
    validation_loss: float | None
    tokens_per_second: float
    seconds_left: float


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
