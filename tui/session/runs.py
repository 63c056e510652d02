"""The texts of a session and their results. Does not import Textual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kvtui.core.sampling import SamplingSettings
from kvtui.tui.session.branches import Branches
from kvtui.tui.session.race import RaceRecord
from kvtui.tui.session.timings import Kind, TimingHistory

RUNS_KEPT = 200

Medians = Mapping[tuple[int, Kind], float]


@dataclass(frozen=True)
class RunRecord:
    """One text, or a lane of a race.

    Attributes:
        model: its name.
        prompt: the text it continues.
        settings: seed, sampling and cache policy, in words.
        seed: of the sampler.
        cache: ``on``, ``off``, or ``both``.
        tokens: number of tokens written, over all branches.
        median: of the token times, in milliseconds.
        p95: of the token times, in milliseconds.
        seconds: total model time.
        medians: milliseconds by context length and kind, for comparing runs.
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


@dataclass(frozen=True)
class Origin:
    """The origin of a text: model name, prompt and sampler seed."""

    model: str
    prompt: str
    seed: int


class Runs:
    """The texts of a session, in the order they were run.

    Attributes:
        finished: earlier texts and race lanes, newest last.
        text: origin of the text in the timeline.

    Args:
        branches: of the text in the timeline.
        sampling: how tokens are chosen.
        text: origin of the first text.
    """

    def __init__(self, branches: Branches, sampling: SamplingSettings, text: Origin) -> None:
        self.finished: list[RunRecord] = []
        self.text = text
        self._branches = branches
        self._sampling = sampling
        self._place = 0  # index of the timeline's text among them; later entries are races

    def all(self, policy: str) -> tuple[list[RunRecord], int | None]:
        """Every text that has tokens, and the index of the timeline's text among them (None if it has none)."""
        times = self._branches.times()
        if not any(branch.total for branch in times):
            return self.finished, None
        text = record(times, self.text, self._sampling, policy)
        return [*self.finished[: self._place], text, *self.finished[self._place :]], self._place

    def begin(self, text: Origin, policy: str) -> None:
        """A new text starts; the previous one was written under ``policy``."""
        runs, _ = self.all(policy)
        self.finished = runs[-RUNS_KEPT:]
        self._place = len(self.finished)
        self.text = text

    def add_race(self, race: RaceRecord, origin: Origin) -> None:
        """A race is over or abandoned: keep the results of its lanes."""
        self.finished = [*self.finished, *lane_records(race, origin, self._sampling)]


def record(branches: Sequence[TimingHistory], origin: Origin, sampling: SamplingSettings, policy: str) -> RunRecord:
    """The result of a run; if tokens have been discarded, median and p95 cover only the newest."""
    own = [times.own() for times in branches]
    kinds = {kind for times in own for kind in times.kinds.tolist()}
    cached, uncached = bool(kinds & {Kind.CACHED, Kind.PREFILL}), Kind.UNCACHED in kinds
    median, p95 = np.percentile(np.concatenate([times.milliseconds for times in own]), [50, 95])
    by_length: dict[tuple[int, Kind], list[float]] = {}
    for times in own:
        for length, milliseconds in times.by_length.items():
            by_length.setdefault(length, []).extend(milliseconds)
    return RunRecord(
        origin.model,
        origin.prompt,
        f"{sampling_words(sampling)} · {policy}",
        origin.seed,
        "both" if cached and uncached else "off" if uncached else "on",
        sum(times.total for times in own),
        float(median),
        float(p95),
        sum(times.seconds for times in own),
        {length: float(np.median(milliseconds)) for length, milliseconds in by_length.items()},
    )


def lane_records(race: RaceRecord, origin: Origin, sampling: SamplingSettings) -> list[RunRecord]:
    """The results of a race's lanes, in order; none before each has a token."""
    records = []
    for lane, plan in zip(race.lanes, race.plan, strict=False):
        history = TimingHistory()
        history.add([entry.token for entry in lane.tokens])
        if not history.total:
            return []
        text = record([history], origin, sampling, plan.policy)
        records.append(replace(text, settings=f"{text.settings} · race"))
    if len({lane.cache for lane in race.lanes}) > 1:  # the race itself has measured the speed-up
        both = {length: median for text in records for length, median in text.medians.items()}
        records = [replace(text, medians=both) for text in records]
    return records


def sampling_words(sampling: SamplingSettings) -> str:
    """How tokens are chosen, in brief."""
    if sampling.temperature == 0:
        return "greedy"
    words = [f"T {sampling.temperature:g}"]
    words += [f"top-k {sampling.top_k}"] if sampling.top_k is not None else []
    words += [f"top-p {sampling.top_p:g}"] if sampling.top_p is not None else []
    return " ".join(words)


def saving(run: RunRecord, runs: Iterable[RunRecord]) -> float | None:
    """How many times as fast the cache makes a token of this run, by medians at the same context length.

    If the run has not measured both ways, the missing times come from the session's other runs of that model.
    """
    comparable = [other for other in runs if other.model == run.model]
    lengths = sorted({length for length, _ in run.medians}, reverse=True)
    for length in lengths:
        cached, uncached = (_median(length, kind, run, comparable) for kind in (Kind.CACHED, Kind.UNCACHED))
        if cached and uncached:
            return uncached / cached
    return None


def _median(length: int, kind: Kind, run: RunRecord, comparable: Sequence[RunRecord]) -> float | None:
    own = run.medians.get((length, kind))
    others = [other.medians[length, kind] for other in comparable if (length, kind) in other.medians]
    return own or (float(np.median(others)) if others else None)
