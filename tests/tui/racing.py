"""Events of a race as the generator process would send them, with made-up times."""

from __future__ import annotations

from typing import Any

from fake_link import token

from kvtui.core.events import Prefill, RaceEnd, RacePrefill, RaceToken
from kvtui.core.measure.operations import multiply_adds

LABELS = ("cached", "uncached")


def prefills(prompt: str = "ROMEO:", tokens: int | None = 26) -> list[Any]:
    """Both lanes have run the prompt."""
    return [
        RacePrefill(lane, label, Prefill(6, 0.01, lane == 0, 768, prompt), tokens, 0.0, 1e-6 * lane, 50_000)
        for lane, label in enumerate(LABELS)
    ]


def rounds(text: str, first: int = 0, differs: frozenset[int] = frozenset()) -> list[Any]:
    """A token a character in each lane: half a millisecond with the cache, and without it more the longer the text."""
    from fake_link import CONFIG

    events: list[RaceToken] = []
    for step, character in enumerate(text, first):
        for lane in range(2):
            cached = lane == 0
            agrees = cached or step not in differs
            written = token(step, character, cache=cached, seconds=0.0005 if cached else 0.0002 * (step + 7))
            counted = multiply_adds(CONFIG, written.computed, written.context).total
            apart = min(differs, default=step + 1) <= step and not cached
            events.append(
                RaceToken(lane, written, agrees, None if apart else 1e-12, None if apart else 2e-6 * lane, counted)
            )
    return events


def end(tokens: int, reason: str = "length") -> RaceEnd:
    """It is over; the record has its own sums."""
    return RaceEnd(
        reason,  # type: ignore[arg-type]
        tokens,
        (0.1, 0.2),
        (0.01, 0.01),
        (tokens, tokens),
        (0.0, 0.0),
        (0.0, 2e-6),
        (1, 2),
    )
