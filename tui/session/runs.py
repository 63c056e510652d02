"""The texts of a session, each in a line of figures. Nothing of Textual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kvtui.core.sampling import SamplingSettings
from kvtui.tui.drawing.bars import figure
from kvtui.tui.drawing.labels import piece
from kvtui.tui.drawing.lines import Line
from kvtui.tui.session.timings import Kind, TimingHistory

Medians = Mapping[tuple[int, Kind], float]
EMPTY = "A line for every text of this session will stand here: write a prompt."
WIDE = 110  # cells from which on the settings are told too


@dataclass(frozen=True)
class RunRecord:
    """One text.

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


def run_lines(runs: Sequence[RunRecord], current: bool, width: int, height: int) -> list[Line]:
    """A heading and a line a run, newest first; the one that is being written, if ``current``, has a mark."""
    if not runs:
        return [[(EMPTY, "lines--hint")]]
    wide = width >= WIDE
    heading = f"   # {'prompt':14}  seed cache  tokens {'median':>8} {'p95':>8} {'total':>9}   saves"
    lines: list[Line] = [[(heading + ("  settings" if wide else ""), "lines--label")]]
    for number in range(len(runs), 0, -1):
        run = runs[number - 1]
        times = saving(run, runs)
        now = current and number == len(runs)
        words = f"{'●' if now else ' '}{number:3} {piece(run.prompt, 14)} {run.seed:5} {run.cache:5} {run.tokens:7,}"
        cost = f" {figure(run.median):>8} {figure(run.p95):>8} {run.seconds:7.2f} s"
        saves = f" {times:5.1f} ×" if times else "       –"
        settings = f"  {run.settings} · {run.model}" if wide else ""
        lines.append([(words, ""), (cost, "lines--figure"), (saves, ""), (settings, "lines--label")])
    return lines[:height]
