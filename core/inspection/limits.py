"""The limits of this machine, and where the time of one more token goes: measured on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np

from kvtui.core.cache import FullCache
from kvtui.core.config import parameter_count
from kvtui.core.errors import KvtuiError
from kvtui.core.events import Breakdown, Limits
from kvtui.core.machine import blas_threads
from kvtui.core.model import Model
from kvtui.core.observe import Parts, Stopwatch
from kvtui.core.sampling import Sampler, SamplingSettings

_COLUMNS = 1024  # of the matrix that is read to measure the bandwidth
_SQUARE = 384  # rows and columns of the multiplied matrices; small, because one undisturbed run is what counts
_MOST_BYTES = 1 << 28  # read at a time if the model is larger


def measure_limits(model: Model, seconds: float = 1.0) -> Limits:
    """Bandwidth of matrix-vector products and rate of matrix-matrix products: the best of many, half the time for each.

    The bandwidth is that of reading as many bytes as the model has weights, because data that fits into the
    processor's caches is read several times as fast.
    """
    size = min(parameter_count(model.config) * model.dtype.itemsize, _MOST_BYTES)
    rows = max(1, size // (_COLUMNS * model.dtype.itemsize))
    matrix = np.ones((rows, _COLUMNS), model.dtype)
    vector, out = np.ones(rows, model.dtype), np.empty(_COLUMNS, model.dtype)
    read = _least_time(lambda: np.dot(vector, matrix, out=out), seconds / 2)
    square = np.ones((_SQUARE, _SQUARE), model.dtype)
    product = np.empty_like(square)
    multiplied = _least_time(lambda: np.matmul(square, square, out=product), seconds / 2)
    return Limits(matrix.nbytes / read, 2 * _SQUARE**3 / multiplied, matrix.nbytes, blas_threads())


def measure_parts(model: Model, ids: Sequence[int], seconds: float = 0.5) -> Breakdown:
    """Where the time of the last of these tokens goes, with the cache and without it.

    Both ways are run in turn, at least once, until the time is up; for each, the run with the median total counts. The
    cache used is separate, so nothing being written changes.

    Args:
        model: the decoder.
        ids: (S,) the context, at most as long as the model's.
        seconds: time after which no further round starts.

    Raises:
        KvtuiError: no ids, or more than the context holds.
    """
    if not 1 <= len(ids) <= model.config.context_length:
        raise KvtuiError(f"the parts of a token can be measured at 1 to {model.config.context_length} positions")
    cache, sampler, stopwatch = (
        FullCache(model.config, len(ids), model.dtype),
        Sampler(SamplingSettings(), 0),
        Stopwatch(),
    )
    logits = model.forward(ids[:-1], cache, last=True)[0] if len(ids) > 1 else np.zeros(model.config.vocab_size)

    def run(cached: bool) -> Parts:
        stopwatch.start()
        sampler.sample(logits)
        stopwatch.mark("sampling")
        if cached:
            cache.truncate(len(ids) - 1)
            model.decode(ids[-1], cache, stopwatch=stopwatch)
        else:
            model.forward(ids, last=True, stopwatch=stopwatch)
        return stopwatch.parts()

    runs: tuple[list[Parts], list[Parts]] = ([], [])
    run(True)  # prepares the step
    ends = perf_counter() + seconds
    while not runs[0] or perf_counter() < ends:
        for _ in range(5):  # after a long pass, the processor's caches hold other things than weights
            runs[0].append(run(True))
        runs[1].append(run(False))
    return Breakdown(len(ids), _median(runs[0]), _median(runs[1]), len(runs[1]))


def _median(runs: list[Parts]) -> Parts:
    """The run whose total is the median (the lower one of two)."""
    return sorted(runs, key=lambda parts: parts.total)[(len(runs) - 1) // 2]


def _least_time(work: Callable[[], object], seconds: float) -> float:
    """Seconds of the fastest run, of as many as there is time for and at least one."""
    work()
    least, ends = np.inf, perf_counter() + seconds
    while not np.isfinite(least) or perf_counter() < ends:
        started = perf_counter()
        work()
        least = min(least, perf_counter() - started)
    return float(least)
