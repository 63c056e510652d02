"""Cached against uncached on this machine, and both against what memory bandwidth allows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from kvtui.core.cache import Cache
from kvtui.core.config import parameter_shapes
from kvtui.core.errors import KvtuiError, counted
from kvtui.core.layers import IntArray
from kvtui.core.machine import blas_threads, machine
from kvtui.core.measure.load import Load, LoadMeter, worst
from kvtui.core.measure.operations import multiply_adds
from kvtui.core.model import Model

_MOST_ROUNDS = 3  # times those asked for: the rest in place of rounds in which the machine was busy
_SPREAD = 0.3  # of calm times; above it they are in doubt
_LEAST_SPREAD = 4  # rounds that a spread is taken of
_LEAST_RATIO = 8.0  # counted; below it, what is not counted may well be more than what is


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
        rounds: measured, those in which the machine was busy included.
        busy_rounds: how many of them it was busy in; they were measured again, up to twice as many as were asked for.
        spread: distance between the quartiles of a context's times as a share of their median, at the context where it
            is largest; 0 with fewer than four rounds.
        doubts: why the times are doubtful all the same, in words; empty if they are not.
    """

    model: str
    threads: int
    cached_seconds: tuple[tuple[int, float], ...]
    uncached_seconds: tuple[tuple[int, float], ...]
    floor_seconds: float
    machine: str
    rounds: int = 0
    busy_rounds: int = 0
    spread: float = 0.0
    doubts: tuple[str, ...] = ()

    def remarks(self) -> list[str]:
        """Sentences about a machine that was busy meanwhile; none if it was not."""
        words = []
        if self.doubts:
            words.append(f"These times are doubtful: {'; '.join(self.doubts)}.")
        if self.busy_rounds:
            words.append(f"The machine was busy in {self.busy_rounds} of {counted(self.rounds, 'round')}.")
        return words

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Round:
    """Seconds of one round, by context; the load of the machine meanwhile; and whether anything of it is doubtful."""

    cached: dict[int, float]
    uncached: dict[int, float]
    floor: float
    load: Load
    busy: bool


def benchmark(
    model: Model,
    contexts: Sequence[int] | None = None,
    repeats: int = 9,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> BenchResult:
    """Time cached and uncached steps alternately, so that a slow moment of the machine affects both.

    A round in which the machine was busy with something else, or that took what cannot be, is measured again. If there
    are too many of them, the result says so.

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
    run = _rounds(model, contexts)
    next(run)  # warms up and is not counted
    on_progress(0, repeats)
    rounds: list[_Round] = []
    calm: list[_Round] = []
    while len(calm) < repeats and len(rounds) < _MOST_ROUNDS * repeats:
        rounds.append(next(run))
        calm = [one for one in rounds if not one.busy]
        on_progress(len(calm), repeats)
    return _result(model, rounds, calm if len(calm) == repeats else rounds)


def _result(model: Model, rounds: list[_Round], used: list[_Round]) -> BenchResult:
    """Medians of the rounds that are used, and what there is to say about them."""
    cached, uncached = _medians([one.cached for one in used]), _medians([one.uncached for one in used])
    busy = sum(one.busy for one in rounds)
    spread = max(_spread([one.cached for one in used]), _spread([one.uncached for one in used]))
    doubts = worst([one.load for one in used]).reasons()
    doubts += _impossible(model, cached, uncached)
    if spread > _SPREAD:
        doubts.append(f"the middle half of the times at a context spreads over {spread:.0%} of their median")
    if not doubts and any(one.busy for one in used):
        doubts.append(f"{busy} of {len(rounds)} rounds had ratios above what the counted work allows")
    return BenchResult(
        model.name,
        blas_threads(),
        tuple(cached.items()),
        tuple(uncached.items()),
        statistics.median(one.floor for one in used),
        machine(),
        len(rounds),
        busy,
        spread,
        tuple(doubts),
    )


def _rounds(model: Model, contexts: Sequence[int]) -> Iterator[_Round]:
    """A round each time one is asked for."""
    ids = np.random.default_rng(0).integers(model.config.vocab_size, size=model.config.context_length)
    cache = model.new_cache()
    model.forward(ids, cache, last=True)
    floor = floor_run(model)
    meter = LoadMeter(blas_threads())
    while True:
        meter.start()
        cached, uncached = {}, {}
        for context in contexts:
            cached[context] = median_time(partial(_cached_step, model, cache, ids, context), 15)
            uncached[context] = median_time(partial(model.forward, ids[:context], last=True), 1)
        floor_seconds = median_time(floor, 15)
        load = meter.stop()
        busy = bool(load.reasons() or _impossible(model, cached, uncached))
        yield _Round(cached, uncached, floor_seconds, load, busy)


def _impossible(model: Model, cached: dict[int, float], uncached: dict[int, float]) -> list[str]:
    """The worst ratio above what the counted work allows: a cached step makes fewer multiply-adds, and none faster."""
    found = []
    for context, seconds in cached.items():
        ratio = uncached[context] / seconds
        whole, one = (multiply_adds(model.config, computed, context).total for computed in (context, 1))
        if whole / one >= _LEAST_RATIO and ratio > whole / one:
            found.append((ratio * one / whole, ratio, whole / one, context))
    if not found:
        return []
    _, ratio, allowed, context = max(found)
    return [f"{ratio:,.0f} × at {context:,} positions is more than the {allowed:,.0f} × that the counted work allows"]


def _medians(times: Sequence[dict[int, float]]) -> dict[int, float]:
    return {context: statistics.median(one[context] for one in times) for context in times[0]}


def _spread(times: Sequence[dict[int, float]]) -> float:
    """The largest distance of the quartiles of a context's times, as a share of their median."""
    if len(times) < _LEAST_SPREAD:
        return 0.0
    shares = []
    for context in times[0]:
        first, median, last = statistics.quantiles([one[context] for one in times], n=4)
        shares.append((last - first) / median)
    return max(shares)


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
