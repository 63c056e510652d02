"""The texts of a session, and what each has come to. Nothing of Textual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kvtui.core.sampling import SamplingSettings
from kvtui.tui.session.race import RaceRecord
from kvtui.tui.session.timings import Kind, TimingHistory

Medians = Mapping[tuple[int, Kind], float]


@dataclass(frozen=True)
class RunRecord:
    """One text, or a lane of a race.

    Attributes:
        model: its name.
        prompt: what it goes on from.
        settings: seed, sampling and cache policy, as words.
        seed: of the sampler.
        cache: ``on``, ``off``, or ``both``.
        tokens: that were written, those of all branches.
        median: of their times, in milliseconds.
        p95: of their times, in milliseconds.
        seconds: model time of all.
        medians: milliseconds by context length and kind, for the comparison of runs.
    """

    model: str
    prompt: str
    settings: str
    seed: int
    cache: str
    tokens: int
    median: float
    p95: float
    seconds: float
    medians: Medians


def record(
    history: TimingHistory, model: str, prompt: str, seed: int, sampling: SamplingSettings, policy: str
) -> RunRecord:
    """What a run has come to; of one with more tokens than are kept, median and p95 are those of the newest."""
    kinds = set(history.kinds.tolist())
    cached, uncached = bool(kinds & {Kind.CACHED, Kind.REFILL}), Kind.UNCACHED in kinds
    median, p95 = np.percentile(history.milliseconds, [50, 95])
    return RunRecord(
        model,
        prompt,
        f"{sampling_words(sampling)} · {policy}",
        seed,
        "both" if cached and uncached else "off" if uncached else "on",
        history.total,
        float(median),
        float(p95),
        history.seconds,
        history.medians(),
    )


def lane_records(race: RaceRecord, model: str, prompt: str, seed: int, sampling: SamplingSettings) -> list[RunRecord]:
    """What the lanes of a race have come to, in order; none before each has a token."""
    records = []
    for lane, plan in zip(race.lanes, race.plan, strict=False):
        history = TimingHistory()
        history.add([entry.token for entry in lane.tokens])
        if not history.total:
            return []
        text = record(history, model, prompt, seed, sampling, plan.policy)
        records.append(replace(text, settings=f"{text.settings} · race"))
    if len({lane.cache for lane in race.lanes}) > 1:  # then it has measured itself what the cache saves
        both = {length: median for text in records for length, median in text.medians.items()}
        records = [replace(text, medians=both) for text in records]
    return records


def sampling_words(sampling: SamplingSettings) -> str:
    """How tokens are chosen, short."""
    if sampling.temperature == 0:
        return "greedy"
    words = [f"T {sampling.temperature:g}"]
    words += [f"top-k {sampling.top_k}"] if sampling.top_k is not None else []
    words += [f"top-p {sampling.top_p:g}"] if sampling.top_p is not None else []
    return " ".join(words)


def saving(run: RunRecord, runs: Iterable[RunRecord]) -> float | None:
    """How many times as fast the cache makes a token of this run, by medians at the same context length.

    What the run has not measured itself, cached or uncached, is taken from the session's other runs of that model.
    """
    alike = [other for other in runs if other.model == run.model]
    lengths = sorted({length for length, _ in run.medians}, reverse=True)
    for length in lengths:
        cached, uncached = (_median(length, kind, run, alike) for kind in (Kind.CACHED, Kind.UNCACHED))
        if cached and uncached:
            return uncached / cached
    return None


def _median(length: int, kind: Kind, run: RunRecord, alike: Sequence[RunRecord]) -> float | None:
    own = run.medians.get((length, kind))
    others = [other.medians[length, kind] for other in alike if (length, kind) in other.medians]
    return own or (float(np.median(others)) if others else None)
