"""Was the machine busy with something else while a time was measured?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, process_time, thread_time

_STAT = Path("/proc/stat")
_WAITED = 0.1  # shares of time above which a measurement is in doubt
_STOLEN = 0.05
_OTHERS = 0.2  # processors; the system itself takes a few hundredths


@dataclass(frozen=True)
class Load:
    """What kept this program from its processors, over some time.

    Attributes:
        waited: share of the time in which its main thread did not run, 0 to 1.
        others: processors that other programs used; None if the system does not report it.
        stolen: share of the processors' time that went to other virtual machines, 0 to 1; None as above.
        threads: that the program computes on.
        cores: processors of the machine.
    """

    waited: float
    others: float | None
    stolen: float | None
    threads: int
    cores: int

    def reasons(self) -> list[str]:
        """In words, what makes times measured under this load doubtful; empty if nothing does."""
        words = []
        if self.others is not None and self.others + self.threads > self.cores + _OTHERS:
            words.append(f"other programs used {self.others:.1f} of {self.cores} processors")
        if self.stolen is not None and self.stolen > _STOLEN:
            words.append(f"other virtual machines took {self.stolen:.0%} of the processors' time")
        if self.waited > _WAITED:
            words.append(f"this program had no processor for {self.waited:.0%} of the time")
        return words


def worst(loads: Sequence[Load]) -> Load:
    """The largest of each figure."""
    others = [load.others for load in loads if load.others is not None]
    stolen = [load.stolen for load in loads if load.stolen is not None]
    return replace(
        loads[0],
        waited=max(load.waited for load in loads),
        others=max(others, default=None),
        stolen=max(stolen, default=None),
    )


class LoadMeter:
    """Measures the load from one call of :meth:`start` to :meth:`stop`.

    Linux counts the time of all processors in ``/proc/stat``, in ticks (proc(5)); elsewhere only the time that this
    program waited is known. A thread that waits for another by spinning seems to run.

    Args:
        threads: that the program computes on.
        stat: where the system keeps its counts.
    """

    def __init__(self, threads: int, stat: Path = _STAT) -> None:
        self._threads = threads
        self._stat = stat
        self._cores = os.cpu_count() or 1

    def start(self) -> None:
        """Begin."""
        self._begin = perf_counter(), thread_time(), process_time(), _ticks(self._stat)

    def stop(self) -> Load:
        """The load since :meth:`start`, which has to be in the same thread."""
        wall, running, own, before = self._begin
        wall, running, own = perf_counter() - wall, thread_time() - running, process_time() - own
        others = stolen = None
        if before is not None and (after := _ticks(self._stat)) is not None and wall > 0:
            busy, steal = (later - earlier for earlier, later in zip(before, after, strict=True))
            others = max(0.0, busy - own) / wall
            stolen = steal / wall / self._cores
        waited = max(0.0, 1.0 - running / wall) if wall > 0 else 0.0
        return Load(waited, others, stolen, self._threads, self._cores)


def _ticks(stat: Path) -> tuple[float, float] | None:
    """Seconds that all processors have worked, and that were stolen; None if the system does not report them."""
    try:
        name, *counts = stat.read_text().split("\n", 1)[0].split()
        user, nice, system, _, _, interrupts, soft, steal = (int(count) for count in counts[:8])
        second = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None
    return ((user + nice + system + interrupts + soft) / second, steal / second) if name == "cpu" else None
