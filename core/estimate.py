"""What a race would take, before it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from timeit import repeat

import numpy as np

from kvtui.core.events import RaceEstimate
from kvtui.core.measure.growth import fit_operations
from kvtui.core.measure.operations import multiply_adds
from kvtui.core.model import Model
from kvtui.core.race import LANES, Lane

_PASSES = (1, 8, 32, 128, 512)  # positions of the passes that are timed
_PASS_SECONDS = 0.25  # no pass is tried that would take longer


def estimate_race(model: Model, prompt_tokens: int, max_new_tokens: int, lanes: Sequence[Lane] = LANES) -> RaceEstimate:
    """Model time of every lane, from a few timed passes over made-up tokens and counted operations.

    Passes without the cache are timed at growing lengths as long as none takes more than a quarter of a second, and
    a cached step at its shortest. Times at other lengths follow from the multiply-adds. Takes a second or two.
    """
    config = model.config
    uncached = fit_operations(_time_passes(model), lambda context: multiply_adds(config, context, context).total)
    step = _least_time(partial(_first_step, model), 5) / multiply_adds(config, 1, 1).total
    start = max(1, min(prompt_tokens, config.context_length))
    plan = list(_contexts(config.context_length, start, max_new_tokens))
    seconds = []
    for lane in lanes:
        total = uncached.seconds(start)
        for context, moved in plan:
            one = lane.cache and not moved
            total += step * multiply_adds(config, 1, context).total if one else uncached.seconds(context)
        seconds.append(total)
    labels = tuple(lane.label for lane in lanes)
    return RaceEstimate(max_new_tokens, labels, tuple(seconds), sum(moved for _, moved in plan))


def _contexts(context_length: int, start: int, tokens: int) -> Iterator[tuple[int, bool]]:
    """Context of each token to come, and whether the window moves before it, as in the generation loop."""
    context = start
    for _ in range(tokens):
        moved = context == context_length
        context = (max(1, context_length // 2) if moved else context) + 1
        yield context, moved


def _time_passes(model: Model) -> list[tuple[int, float]]:
    """(positions, seconds) of passes without a cache that do not take too long."""
    ids = np.arange(_PASSES[-1]) % model.config.vocab_size
    times: list[tuple[int, float]] = []
    for positions in _PASSES:
        too_long = times and times[-1][1] * positions / times[-1][0] > _PASS_SECONDS
        if too_long or positions > model.config.context_length:
            break
        times.append((positions, _least_time(partial(model.forward, ids[:positions]), 2)))
    return times


def _first_step(model: Model) -> None:
    model.decode(0, model.new_cache())


def _least_time(work: Callable[[], object], times: int) -> float:
    """Seconds of the fastest of several runs."""
    work()
    return min(repeat(work, number=1, repeat=times))
