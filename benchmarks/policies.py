"""A decode step with each cache policy against one with ``full`` that attends to as many positions; then each policy
paced, unpaced and headless.

    python benchmarks/policies.py [--rounds 40] [--pace-rounds 5] [--only steps | pace] [--out benchmarks/policies.md]

A round is a burst of 32 steps of each policy and of ``full``, alternating, so that a slow moment of the machine affects
all of them, and the rolling quantised caches pack one group in each burst. The table has the medians of the rounds and
the median of their ratios. The caches are full, so that those that drop positions drop one in every step.

The second table has the time of a token as programs tell it: headless, at a pace, and from the dashboard's generator
process at both. A pace must not make a smaller cache look slower.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
from threadpoolctl import threadpool_limits

from kvtui.core import Cache, GenerationLoop, GenerationSettings, Model, load
from kvtui.core.cache import EvictingCache
from kvtui.core.errors import counted
from kvtui.core.events import End, Event, Token
from kvtui.core.machine import blas_threads, machine
from kvtui.core.measure.load import LoadMeter
from kvtui.tui.worker.link import WorkerLink
from kvtui.tui.worker.protocol import Batch, Start

STEPS = 32
PROMPT = "ROMEO:\n" + "But soft, what light through yonder window breaks?\nIt is the east, and Juliet is the sun.\n" * 2
STEP_HEADING = "# A decode step with each cache policy"
PACE_HEADING = "## Paced, unpaced and headless"
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


# Paced, unpaced and headless


@dataclass(frozen=True)
class Text:
    """What is written with one policy: from a prompt longer than it keeps, so that it drops a position at each token.

    Attributes:
        policy: of the cache, None for no cache.
        prompt: what to continue.
        tokens: to write.
        pace: in tokens a second, where it is paced.
    """

    policy: str | None
    prompt: str = PROMPT
    tokens: int = 120
    pace: float = 100.0

    def settings(self, pace: float | None) -> GenerationSettings:
        """As a program passes them on."""
        return GenerationSettings(
            max_new_tokens=self.tokens, seed=1, cache=self.policy is not None, policy=self.policy or "full", pace=pace
        )

    def written(self, model: Model, pace: float | None) -> float:
        """Median seconds of a token, written in this process."""
        return median_seconds(GenerationLoop(model, self.prompt, self.settings(pace)).run())

    def in_worker(self, link: WorkerLink, run: int, pace: float | None) -> float:
        """Median seconds of a token, written by the dashboard's generator process."""
        link.send(Start(run, self.prompt, self.settings(pace)))
        found: list[Event] = []
        while not any(isinstance(event, End) for event in found):
            sleep(0.01)
            for report in link.drain():
                if isinstance(report, Batch) and report.run == run:
                    found += report.events
        return median_seconds(found)


TEXTS = [
    *(Text(policy) for policy in ("full", "window:128", "sink:4+124", "heavy:64+64", "snap:96+32", "int8", "int4")),
    Text(None, "ROMEO:", 40, 20.0),
]


def median_seconds(events: Iterable[Event]) -> float:
    """Median model time of a token; the first ones, after which a refill is still felt, do not count."""
    return statistics.median([event.seconds for event in events if isinstance(event, Token)][3:])


def compare_paces(model: Model, rounds: int) -> list[str]:
    """The rows of every text; its four ways take turns, and the texts as well."""
    link = WorkerLink()
    link.start()
    link.wait_ready()
    run = count(1)
    times: dict[Text, list[tuple[float, ...]]] = {text: [] for text in TEXTS}
    for number in range(rounds):
        for text in TEXTS:
            times[text].append(
                (
                    text.written(model, None),
                    text.written(model, text.pace),
                    text.in_worker(link, next(run), None),
                    text.in_worker(link, next(run), text.pace),
                )
            )
        print(f"\rpaced: round {number + 1} of {rounds}", end="", file=sys.stderr)
    print(file=sys.stderr)
    link.close()
    return [pace_row(text, found, times[TEXTS[0]]) for text, found in times.items()]


def pace_row(text: Text, found: list[tuple[float, ...]], full: list[tuple[float, ...]]) -> str:
    """Milliseconds of each way, the ratios paced to unpaced, and those to ``full``, medians of the rounds."""
    columns = [f"{statistics.median(column) * 1e3:.3f}" for column in zip(*found, strict=True)]
    columns += [
        f"{statistics.median(one[paced] / one[unpaced] for one in found):.2f}" for paced, unpaced in ((1, 0), (3, 2))
    ]
    if text.policy is not None:
        pairs = list(zip(found, full, strict=True))
        columns += [f"{statistics.median(mine[way] / theirs[way] for mine, theirs in pairs):.2f}" for way in (0, 3)]
    else:
        columns += ["", ""]
    name = f"`{text.policy}`" if text.policy else "no cache"
    return f"| {name} | " + " | ".join(columns) + " |"


def step_section(model: Model, rounds: int) -> list[str]:
    """The first table, and what it is of."""
    lines = [
        STEP_HEADING,
        "",
        f"Made by `python benchmarks/policies.py --rounds {rounds} --out benchmarks/policies.md`: bursts of",
        f"{STEPS} steps, alternating, medians of {rounds} rounds, the ratio is to `full` with as many positions",
        "in the same round. Caches that drop positions drop one in every step. The target is 1.5 times the step of",
        "`full`, for `int4` 3 times.",
        "",
        f"{machine()}, {blas_threads()} threads; model {model.name}.",
        "",
        "| positions | policy | ms per token | ÷ full | target |",
        "|---:|---|---:|---:|---|",
    ]
    for kept, policies in POLICIES.items():
        lines += table(kept, measure(model, kept, policies, rounds))
    return lines


def pace_section(model: Model, rounds: int) -> list[str]:
    """The second table, and what it is of."""
    threads = max(1, (os.cpu_count() or 1) - 1)  # as many as the dashboard's generator process takes
    meter = LoadMeter(threads)
    with threadpool_limits(threads, user_api="blas"):
        meter.start()
        rows = compare_paces(model, rounds)
        others = meter.stop().others
    cached, uncached = TEXTS[0], TEXTS[-1]
    load = "" if others is None else f"; all other processes, the dashboard's among them, used {others:.1f} processors"
    return [
        PACE_HEADING,
        "",
        f"Made by `python benchmarks/policies.py --only pace --pace-rounds {rounds} --out benchmarks/policies.md`:",
        f"model milliseconds per token, medians of {rounds} rounds, each with all policies and ways in turn;",
        f"ratios are within a round. {cached.tokens} tokens after a prompt of {len(cached.prompt)},",
        f"paced at {cached.pace:.0f} a second; without a cache, {uncached.tokens} tokens after {len(uncached.prompt)},",
        f"paced at {uncached.pace:.0f} a second.",
        "Headless is `generate` in this process; the dashboard is its generator process, which also times the parts",
        "of each token and records queries and keys.",
        "",
        f"{machine()}, {counted(threads, 'thread')}; model {model.name}{load}.",
        "",
        "| policy | headless | paced | dashboard | paced | paced ÷ headless | dashboard, paced ÷ unpaced "
        "| ÷ full, headless | ÷ full, dashboard paced |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--pace-rounds", type=int, default=5)
    parser.add_argument("--only", choices=["steps", "pace"], help="one table; the other one in --out stays as it is")
    parser.add_argument("--out", type=Path, help="also write the tables to this file")
    options = parser.parse_args()
    model = load()
    before = options.out.read_text() if options.only and options.out and options.out.exists() else ""
    steps, heading, pace = before.partition(PACE_HEADING)
    pace = heading + pace
    if options.only != "pace":
        steps = "\n".join(step_section(model, options.rounds))
    if options.only != "steps":
        pace = "\n".join(pace_section(model, options.pace_rounds))
    text = "\n\n".join(part.strip() for part in (steps, pace) if part) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
