"""Memory of this process as the system measures it."""

from __future__ import annotations

import os
from pathlib import Path

_STATM = Path("/proc/self/statm")


def resident_bytes(statm: Path = _STATM) -> int | None:
    """Bytes of this process that are in memory now (its resident set); None if the system does not report it.

    Linux reports it as the second number of ``/proc/self/statm``, in pages (proc(5)). ``getrusage``, available
    elsewhere, reports only the peak, which would not fall when a cache is released, so it is no substitute.
    """
    try:
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
