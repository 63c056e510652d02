"""Resident memory: it grows with what is touched, and says so when it cannot be known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kvtui.core.machine import resident_bytes


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell")
def test_touched_memory_is_counted() -> None:
    before = resident_bytes()
    block = np.ones(8_000_000)  # 64 MB, written to
    after = resident_bytes()
    assert before is not None
    assert after is not None
    assert after - before > 0.9 * block.nbytes


@pytest.mark.parametrize("content", [None, "", "12", "12 many"])
def test_unknown(tmp_path: Path, content: str | None) -> None:
    statm = tmp_path / "statm"
    if content is not None:
        statm.write_text(content)
    assert resident_bytes(statm) is None
