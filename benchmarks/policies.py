"""A decode step with each cache policy against one with ``full`` that attends to as many positions.

    python benchmarks/policies.py [--rounds 40] [--out benchmarks/policies.md]

A round is a burst of 32 steps of each policy and of ``full``, alternating, so that a slow moment of the machine affects
all of them, and the rolling quantised caches pack one group in each burst. The table has the medians of the rounds and
the median of their ratios. The caches are full, so that those that drop positions drop one in every step.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np

from kvtui.core import Cache, Model, load
from kvtui.core.cache import EvictingCache
from kvtui.core.machine import blas_threads, machine

STEPS = 32
LIMITS = {"int4": 3.0}  # all others 1.5
POLICIES = {
    512: ["window:512", "sink:4+508", "heavy:255+256", "snap:448+32", "int8", "int4", "int8,window:512",
          "int4,window:512", "int8,sink:4+508", "int4,sink:4+508"],
    128: ["window:128", "sink:4+124", "heavy:64+64", "snap:96+32", "int8,window:128", "int4,window:128",
          "int8,sink:4+124", "int4,sink:4+124"],
}  # fmt: skip


def filled(model: Model, policy: str, kept: int) -> Cache:
    """A cache that holds this many positions, or slightly fewer if it never drops any."""
    ids = np.random.default_rng(0).integers(model.config.vocab_size, size=2 * model.config.context_length)
    cache = model.new_cache(policy)
    if cache.endless:
        model.forward(ids[: kept + STEPS], cache)
    elif policy.startswith("heavy"):
        model.forward(ids[: min(kept, model.config.context_length - 1)], cache)
    else:
        model.forward(ids[: kept - 1], cache)
    return cache


def burst(model: Model, cache: Cache) -> Callable[[], float]:
    """Seconds per step; a cache that would grow is reset by hand, outside the timing."""
    length, held = cache.length, cache.num_held

    def run() -> float:
        total = 0.0
        for _ in range(STEPS):
            started = perf_counter()
            model.decode(3, cache)
            total += perf_counter() - started
            if not cache.endless:
                cache.length = length
            if isinstance(cache, EvictingCache):
                cache._num_held = held
                cache.take_evicted()
        return total / STEPS

    return run


def measure(model: Model, kept: int, policies: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds per step of each round."""
    runs = {policy: burst(model, filled(model, policy, kept)) for policy in ["full", *policies]}
    times: dict[str, list[float]] = {policy: [] for policy in runs}
    for number in range(-2, rounds):
        for policy, run in runs.items():
            seconds = run()
            if number >= 0:
                times[policy].append(seconds)
        print(f"\r{kept} positions: round {max(0, number + 1)} of {rounds}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return times


def table(kept: int, times: dict[str, list[float]]) -> list[str]:
    """The rows of one number of positions."""
    rows = []
    for policy, seconds in times.items():
        ratio = statistics.median(mine / full for mine, full in zip(seconds, times["full"], strict=True))
        limit = LIMITS.get(policy.partition(",")[0], 1.5)
        bound = "" if policy == "full" else f"{limit} × {'kept' if ratio <= limit else '**missed**'}"
        rows.append(f"| {kept} | `{policy}` | {statistics.median(seconds) * 1e3:.3f} | {ratio:.2f} | {bound} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    model = load()
    lines = [
        "# A decode step with each cache policy",
        "",
        f"Made by `python benchmarks/policies.py --rounds {options.rounds} --out benchmarks/policies.md`: bursts of",
        f"{STEPS} steps, alternating, medians of {options.rounds} rounds, the ratio is to `full` with as many",
        "positions in the same round. Caches that drop positions drop one in every step. The target is",
        "1.5 times the step of `full`,",
        "for `int4` 3 times.",
        "",
        f"{machine()}, {blas_threads()} threads; model {model.name}.",
        "",
        "| positions | policy | ms per token | ÷ full | target |",
        "|---:|---|---:|---:|---|",
    ]
    for kept, policies in POLICIES.items():
        lines += table(kept, measure(model, kept, policies, options.rounds))
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
