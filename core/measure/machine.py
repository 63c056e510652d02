"""Memory of this process as the system measures it."""

from __future__ import annotations

import os
from pathlib import Path

_STATM = Path("/proc/self/statm")


def resident_bytes(statm: Path = _STATM) -> int | None:
    """Bytes of this process that are in memory now (its resident set); None where the system does not tell.

    Linux tells it, as the second number of ``/proc/self/statm``, in pages (proc(5)). What ``getrusage`` tells
    elsewhere is the greatest it has ever been, which would not fall when a cache is given back: that is no substitute.
    """
    try:
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
