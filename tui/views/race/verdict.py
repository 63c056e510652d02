"""What a race is estimated to take, and its result, in sentences."""

from __future__ import annotations

from kvtui.core.errors import counted
from kvtui.core.events import RaceEstimate
from kvtui.tui.drawing.words import duration, size_words, three_digits
from kvtui.tui.session.comparison import lengths_words
from kvtui.tui.session.race import LaneRecord, RaceRecord


def estimate_words(estimate: RaceEstimate) -> str:
    """What a race would take, for the user who decides whether to start it."""
    lanes = " and ".join(
        f"{duration(seconds)} {label}" for label, seconds in zip(estimate.labels, estimate.seconds, strict=True)
    )
    words = (
        f"This race of {estimate.tokens:,} tokens would take about {duration(sum(estimate.seconds))}: {lanes}. "
        "This is an estimate from a few timed passes and counted operations."
    )
    if estimate.moves:
        words += f" It is longer than the context: the window moves {_often(estimate.moves)}, in both lanes."
    return words


def verdict(race: RaceRecord) -> str:
    """A paragraph that sums up a race in numbers; empty until both lanes have a token."""
    if race.faster is None:
        return ""
    words = _policy_verdict(race) if race.follows else _cache_verdict(race, *race.faster)
    if race.end is not None and race.end.reason == "stop":
        words.append("The model ended the text there.")
    return " ".join(words)


def _cache_verdict(race: RaceRecord, faster: LaneRecord, ratio: float) -> list[str]:
    """How much faster one lane is, over which lengths, and why."""
    first, second, steps = race.lanes[0], race.lanes[1], race.steps
    slower = second if faster is first else first
    tokens = counted(steps, "token")
    agreed = f"All {steps:,} tokens agree" if second.agreed == steps else f"{second.agreed:,} of {tokens} agree"
    work = slower.multiply_adds / faster.multiply_adds
    dearer = work / ratio
    words = [
        f"{tokens}, at {lengths_words(*race.lengths)} positions, took {duration(faster.seconds)} "
        f"{faster.label} and {duration(slower.seconds)} {slower.label}: {times(ratio)} as fast.",
        f"{agreed}; the logits differ by at most {second.max_logit_difference:.1e}.",
        f"By count, {faster.label} took {three_digits(faster.multiply_adds)} multiply-adds and {slower.label} "
        f"{three_digits(slower.multiply_adds)}, {times(work)} as many.",
    ]
    if faster.cache and not slower.cache and dearer > 1.5:
        words.append(
            f"A multiply-add took {times(dearer)} as long {faster.label}: a single position has to read every weight, "
            "while many positions share each read."
        )
    if race.moves:
        words.append(f"The window moved {_often(race.moves)}, in both lanes.")
    return words


def _often(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _policy_verdict(race: RaceRecord) -> list[str]:
    """What one policy costs compared with another, on the text of the first lane."""
    first, second, steps = race.lanes[0], race.lanes[1], race.steps
    divergences = [entry.kl for entry in second.tokens if entry.kl is not None]
    before, after = (lane.tokens[steps - 1].token for lane in (first, second))
    words = [
        f"On the text that {first.label} wrote, {second.label} would have chosen the same token {second.agreed:,} of "
        f"{steps:,} times."
    ]
    if divergences:
        words.append(
            f"KL divergence of its predictions: mean {sum(divergences) / len(divergences):.2g} nats, "
            f"at most {max(divergences):.2g}."
        )
    words.append(
        f"At the end its cache took {size_words(after.cache_bytes)} against {size_words(before.cache_bytes)}, "
        f"and its tokens {duration(second.seconds)} against {duration(first.seconds)}."
    )
    return words


def times(ratio: float) -> str:
    """A ratio as text: ``44.3 times``."""
    return f"{ratio:.1f} times" if ratio < 99.95 else f"{ratio:,.0f} times"
