"""Do the instruments change what they measure? Timing by part, a pace, and the turns of a race.

    python benchmarks/instruments.py [--rounds 9] [--tokens 200] [--model M]

Four ways of writing the same text with the cache, alternating: plain; with the parts of each token timed; at 50 tokens
per second, with waits between the tokens; as a lane of a race against itself without the cache. The result is the
median model time of a token relative to plain. All should be near 1: a pace and a race repeat the newest step untimed
before each token (``Generation.warm_up``), as waits and other work evict a small model's weights from the processor's
caches."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator

from threadpoolctl import threadpool_limits

from kvtui.core import GenerationSettings, Model, generate, load
from kvtui.core.events import Event, RaceToken, Token
from kvtui.core.machine import machine
from kvtui.core.race import Race

PROMPT = "ROMEO:"
PACE = 50.0


def median_seconds(events: Iterator[Event]) -> float:
    """Median model time of a token, of a text or of a race's first lane."""
    tokens = [event.token if isinstance(event, RaceToken) else event for event in events if is_first(event)]
    return statistics.median(token.seconds for token in tokens if isinstance(token, Token))


def is_first(event: Event) -> bool:
    return isinstance(event, Token) or (isinstance(event, RaceToken) and event.lane == 0)


def ways(model: Model, tokens: int) -> dict[str, Callable[[], Iterator[Event]]]:
    """The ways that are compared with the first of them."""
    return {
        "plain": lambda: generate(model, PROMPT, max_new_tokens=tokens),
        "stopwatch": lambda: generate(model, PROMPT, max_new_tokens=tokens, parts=True),
        "paced": lambda: generate(model, PROMPT, max_new_tokens=tokens, pace=PACE),
        "race": lambda: Race(model, PROMPT, settings=GenerationSettings(max_new_tokens=tokens)).run(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--model")
    options = parser.parse_args()
    model = load(options.model)
    print(machine(), f"{model.name}, one thread, {options.tokens} tokens", sep="\n")
    ratios: dict[str, list[float]] = {}
    with threadpool_limits(1, user_api="blas"):
        for _ in range(options.rounds):
            times = {name: median_seconds(run()) for name, run in ways(model, options.tokens).items()}
            for name, seconds in times.items():
                ratios.setdefault(name, []).append(seconds / times["plain"])
            print("  ".join(f"{name} {seconds * 1e3:.3f} ms" for name, seconds in times.items()))
    for name, found in ratios.items():
        print(f"{name:10} {statistics.median(found):.3f} × plain")


if __name__ == "__main__":
    main()
