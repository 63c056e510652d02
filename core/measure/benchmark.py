"""Cached against uncached on this machine, and both against what memory bandwidth allows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from kvtui.core.cache import Cache
from kvtui.core.config import parameter_shapes
from kvtui.core.errors import KvtuiError
from kvtui.core.layers import IntArray
from kvtui.core.machine import blas_threads, machine
from kvtui.core.model import Model


@dataclass(frozen=True)
class BenchResult:
    """Median seconds per token.

    Attributes:
        model: its name.
        threads: number that the matrix library may use.
        cached_seconds: (context, seconds) of one cached step that ends with this many positions.
        uncached_seconds: (context, seconds) of running this many positions without a cache.
        floor_seconds: time to read every weight once in matrix-vector products: no step is faster.
        machine: processor and software.
    """

    model: str
    threads: int
    cached_seconds: tuple[tuple[int, float], ...]
    uncached_seconds: tuple[tuple[int, float], ...]
    floor_seconds: float
    machine: str

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return asdict(self)


def benchmark(
    model: Model,
    contexts: Sequence[int] | None = None,
    repeats: int = 9,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> BenchResult:
    """Time cached and uncached steps alternately, so that a slow moment of the machine affects both.

    Args:
        model: the decoder.
        contexts: context lengths to time, by default powers of two up to the model's context.
        repeats: rounds; the medians are reported.
        on_progress: called with (rounds done, total rounds).

    Raises:
        KvtuiError: a context that the model does not have, or no rounds.
    """
    limit = model.config.context_length
    contexts = contexts or sorted(
        {1 << power for power in range(4, limit.bit_length()) if 1 << power <= limit} | {limit}
    )
    if repeats < 1 or not all(1 <= context <= limit for context in contexts):
        raise KvtuiError(f"contexts must be from 1 to {limit}, and there must be at least one round")
    ids = np.random.default_rng(0).integers(model.config.vocab_size, size=limit)
    cache = model.new_cache()
    model.forward(ids, cache, last=True)
    cached: dict[int, list[float]] = {context: [] for context in contexts}
    uncached: dict[int, list[float]] = {context: [] for context in contexts}
    floors: list[float] = []
    floor = floor_run(model)
    for done in range(-1, repeats):  # round -1 warms up and is not counted
        for context in contexts:
            cached_time = median_time(partial(_cached_step, model, cache, ids, context), 15)
            uncached_time = median_time(partial(model.forward, ids[:context], last=True), 1)
            if done >= 0:
                cached[context].append(cached_time)
                uncached[context].append(uncached_time)
        floors.append(median_time(floor, 15))
        on_progress(max(0, done + 1), repeats)
    return BenchResult(
        model.name,
        blas_threads(),
        tuple((context, statistics.median(times)) for context, times in cached.items()),
        tuple((context, statistics.median(times)) for context, times in uncached.items()),
        statistics.median(floors[1:]),
        machine(),
    )


def _cached_step(model: Model, cache: Cache, ids: IntArray, context: int) -> None:
    cache.length = context - 1  # the later positions are still there from the first pass
    model.decode(int(ids[context - 1]), cache)


def floor_run(model: Model) -> Callable[[], None]:
    """A function that multiplies a vector with every matrix that a step reads, and does nothing else."""
    shapes = parameter_shapes(model.config)
    matrices = [model.parameters[name] for name, shape in shapes.items() if len(shape) == 2 and "embedding" not in name]
    if model.config.tied_output:
        matrices.append(model.parameters["token_embedding"].T)
    vectors = [np.ones(len(matrix), model.dtype) for matrix in matrices]
    outs = [np.empty(matrix.shape[1], model.dtype) for matrix in matrices]
    work = list(zip(vectors, matrices, outs, strict=True))

    def run() -> None:
        for vector, matrix, out in work:
            np.dot(vector, matrix, out=out)

    return run


def median_time(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the median of several runs."""
    times = []
    for _ in range(repeats):
        started = perf_counter()
        work()
        times.append(perf_counter() - started)
    return statistics.median(times)
