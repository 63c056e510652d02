"""``kvtui doctor``: what it says is true of this process, and a cache that is wrong is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from calling import Kvtui

from kvtui.core.cache.full import FullCache


def test_it_names_versions_machine_terminal_and_the_outcome(
    kvtui: Kvtui, tiny_model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm\x1b]0;owned\x07")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    outcome = kvtui("doctor", "--model", tiny_model_file)
    assert (outcome.status, outcome.err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in outcome.out.splitlines())
    assert list(rows) == ["versions", "machine", "BLAS", "settings", "terminal", "encoding", "self-test"]
    assert f"numpy {np.__version__}" in rows["versions"]
    assert "OPENBLAS_CORETYPE=Haswell" in rows["settings"]
    assert "not a terminal" in rows["terminal"]
    assert "\x1b" not in outcome.out
    assert rows["self-test"].startswith("passed: 64 tokens of tiny, largest logit difference ")


def test_a_wrong_cache_is_found(kvtui: Kvtui, tiny_model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = FullCache.write

    def damaged(self: FullCache, layer: int, key: np.ndarray, value: np.ndarray) -> None:
        write(self, layer, key, value * (1.05 if self.length > 20 else 1.0))

    monkeypatch.setattr(FullCache, "write", damaged)
    outcome = kvtui("doctor", "--model", tiny_model_file)
    assert outcome.status == 1
    assert "failed: 64 tokens of tiny" in outcome.out
    assert "more than rounding explains from token " in outcome.out


def test_a_model_that_cannot_be_loaded_fails_the_test_and_the_rest_is_said(kvtui: Kvtui, tmp_path: Path) -> None:
    outcome = kvtui("doctor", "--model", tmp_path / "none.safetensors")
    assert outcome.status == 1
    assert "versions" in outcome.out
    assert "failed: there is no" in outcome.out
