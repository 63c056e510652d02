"""This machine: its processor, the threads of its matrix library, and the memory of this process."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

_STATM = Path("/proc/self/statm")


def resident_bytes(statm: Path = _STATM) -> int | None:
    """Bytes of this process in memory now (its resident set); None if the system does not report it.

    Linux reports it as the second number of ``/proc/self/statm``, in pages (proc(5)). ``getrusage``, available
    elsewhere, reports only the peak, which would not fall when a cache is released, so it is no substitute.
    """
    try:
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def blas_threads() -> int:
    """Threads that NumPy's matrix library may use."""
    return max((int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)


def machine() -> str:
    """Processor, cores and software of this machine, on one line."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        processor = names[0] if names else processor
    return (
        f"{processor}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, NumPy {np.__version__}"
    )
