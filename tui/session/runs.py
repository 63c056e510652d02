"""The texts of a session and their results. Does not import Textual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kvtui.core.sampling import SamplingSettings
from kvtui.tui.session.branches import Branches
from kvtui.tui.session.comparison import Comparison, compared
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
        settings: sampling and cache policy, in words.
        policy: of the cache.
        seed: of the sampler.
        cache: ``on``, ``off``, or ``both``.
        tokens: number of tokens written, over all branches.
        median: of the token times, in milliseconds; without prefills, unless there is nothing else.
        p95: of the same times, in milliseconds.
        seconds: total model time.
        medians: milliseconds by bin of lengths (:data:`~kvtui.tui.session.comparison.BIN`) and kind.
        length: of the text at its newest token, in positions.
        comparison: of its tokens with the cache and without, as the other views show it; None if it has only one kind.
    """

    model: str
    prompt: str
    settings: str
    policy: str
    seed: int
    cache: str
    tokens: int
    median: float
    p95: float
    seconds: float
    medians: Medians
    length: int
    comparison: Comparison | None


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
    """The result of a run; if tokens have been discarded, median and p95 cover only the newest.

    The last one of the branches is the one being written.
    """
    own = [times.own() for times in branches]
    kinds = np.concatenate([times.kinds for times in own])  # (tokens,)
    uncached, cached = bool((kinds == Kind.UNCACHED).any()), bool((kinds != Kind.UNCACHED).any())
    milliseconds = np.concatenate([times.milliseconds for times in own])  # (tokens,)
    steps = kinds != Kind.PREFILL
    median, p95 = np.percentile(milliseconds[steps] if steps.any() else milliseconds, [50, 95])
    by_length: dict[tuple[int, Kind], list[float]] = {}
    for times in own:
        for length, values in times.by_length.items():
            by_length.setdefault(length, []).extend(values)
    medians = {length: float(np.median(values)) for length, values in by_length.items()}
    newest = branches[-1]
    return RunRecord(
        origin.model,
        origin.prompt,
        f"{sampling_words(sampling)} · {policy}",
        policy,
        origin.seed,
        "both" if cached and uncached else "off" if uncached else "on",
        sum(times.total for times in own),
        float(median),
        float(p95),
        sum(times.seconds for times in own),
        medians,
        newest.length,
        newest.comparison()
        or compared(_of_kind(medians, Kind.CACHED), _of_kind(medians, Kind.UNCACHED), newest.length),
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
    return [replace(text, comparison=race.comparison) for text in records]


def sampling_words(sampling: SamplingSettings) -> str:
    """How tokens are chosen, in brief."""
    if sampling.temperature == 0:
        return "greedy"
    words = [f"T {sampling.temperature:g}"]
    words += [f"top-k {sampling.top_k}"] if sampling.top_k is not None else []
    words += [f"top-p {sampling.top_p:g}"] if sampling.top_p is not None else []
    return " ".join(words)


def saving(run: RunRecord, runs: Iterable[RunRecord]) -> Comparison | None:
    """What the cache saves a token of this run; None if that was not measured.

    If the run has not measured both ways, the missing times come from the session's other runs of that model: those
    with the cache from runs under the same policy.
    """
    if run.comparison is not None:
        return run.comparison
    comparable = [other for other in runs if other.model == run.model]
    cached = _measured(run, [other for other in comparable if other.policy == run.policy], Kind.CACHED)
    return compared(cached, _measured(run, comparable, Kind.UNCACHED), run.length)


def _measured(run: RunRecord, others: Sequence[RunRecord], kind: Kind) -> dict[int, float]:
    """Milliseconds by bin of length: the run's own, and the median of the others' where it has none."""
    found: dict[int, list[float]] = {}
    for other in others:
        for number, milliseconds in _of_kind(other.medians, kind).items():
            found.setdefault(number, []).append(milliseconds)
    return {number: float(np.median(values)) for number, values in found.items()} | _of_kind(run.medians, kind)


def _of_kind(medians: Medians, kind: Kind) -> dict[int, float]:
    return {number: milliseconds for (number, one), milliseconds in medians.items() if one is kind}
