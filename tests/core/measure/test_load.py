"""Whether the machine was busy, from counts and clocks that are made up."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvtui.core.measure import load
from kvtui.core.measure.load import Load, LoadMeter, worst

CALM = Load(waited=0.02, others=0.1, stolen=0.0, threads=1, cores=2)


@pytest.mark.parametrize(
    ("busy", "words"),
    [
        ({}, []),
        ({"others": None, "stolen": None}, []),
        ({"others": 1.1}, []),  # there is a processor for them
        ({"others": 1.3}, ["other programs used 1.3 of 2 processors"]),
        ({"others": 1.1, "threads": 2}, ["other programs used 1.1 of 2 processors"]),
        ({"stolen": 0.06}, ["other virtual machines took 6% of the processors' time"]),
        ({"waited": 0.25}, ["this program had no processor for 25% of the time"]),
    ],
    ids=str,
)
def test_what_makes_times_doubtful(busy: dict[str, Any], words: list[str]) -> None:
    assert replace(CALM, **busy).reasons() == words


def test_the_worst_of_several() -> None:
    loads = [CALM, replace(CALM, waited=0.5, others=None), replace(CALM, others=1.5, stolen=0.25)]
    assert worst(loads) == Load(0.5, 1.5, 0.25, 1, 2)
    assert worst([replace(CALM, others=None, stolen=None)]).others is None


def stat(path: Path, **ticks: int) -> None:
    """As Linux writes it: processor time since the start, by kind, of all processors and of each."""
    kinds = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
    numbers = " ".join(str(1000 + ticks.get(kind, 0)) for kind in kinds)
    path.write_text(f"cpu  {numbers}\ncpu0 {numbers}\nintr 5\n")


@pytest.mark.parametrize("linux", [True, False])
def test_counts_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linux: bool) -> None:
    """In two seconds this program ran for one, on one thread; others for 1.5, on two processors."""
    path = tmp_path / "stat"
    clocks = {"perf_counter": 10.0, "thread_time": 3.0, "process_time": 4.0}
    for name in clocks:
        monkeypatch.setattr(load, name, lambda name=name: clocks[name])
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sysconf", lambda name: 100, raising=False)
    if linux:
        stat(path)
    meter = LoadMeter(1, path)
    meter.start()
    clocks.update(perf_counter=12.0, thread_time=4.0, process_time=5.0)
    if linux:
        stat(path, user=180, nice=20, system=30, irq=10, softirq=10, steal=40, idle=110, iowait=5, guest=70)
    measured = meter.stop()
    assert (measured.waited, measured.threads, measured.cores) == (0.5, 1, 2)
    assert (measured.others, measured.stolen) == ((0.75, pytest.approx(0.1)) if linux else (None, None))


def test_counts_that_nobody_understands_are_none(tmp_path: Path) -> None:
    path = tmp_path / "stat"
    path.write_text("cpu  1 2\n")
    meter = LoadMeter(1, path)
    meter.start()
    assert (meter.stop().others, meter.stop().stolen) == (None, None)
