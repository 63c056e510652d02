"""The notebook runs from top to bottom in a new kernel, and is stored as a reader without one can use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvtui.core
from kvtui.core.config import ModelConfig
from kvtui.core.model import Model
from tests.random_model import random_model

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "demo.ipynb"
LETTERS = "\n" + "".join(map(chr, range(32, 127)))
SMALL = ModelConfig(len(LETTERS), 512, 2, 2, 2, 32, 64, 128)  # as the cells expect it: plain heads, LayerNorm, rotary


def cells(path: Path) -> list[dict[str, Any]]:
    """The cells that hold code."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def test_it_executes(tmp_path: Path) -> None:
    for module in ("nbclient", "nbformat", "ipykernel", "matplotlib"):
        pytest.importorskip(module, reason="needs Jupyter: pip install 'kvtui[notebook]'")
    target = tmp_path / "demo.ipynb"
    command = [sys.executable, str(ROOT / "notebooks" / "execute.py"), "--to", str(target)]
    environment = os.environ | {
        "OPENBLAS_NUM_THREADS": "1"
    }  # two threads that wait for each other crawl on a busy machine
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert all(cell["execution_count"] == place for place, cell in enumerate(cells(target), 1))


def test_it_is_stored_with_outputs_and_small() -> None:
    assert NOTEBOOK.stat().st_size < 1_500_000
    stored = cells(NOTEBOOK)
    assert [cell["execution_count"] for cell in stored] == list(range(1, len(stored) + 1))
    assert sum("image/png" in output.get("data", {}) for cell in stored for output in cell["outputs"]) >= 8
    assert not any(output["output_type"] == "error" for cell in stored for output in cell["outputs"])


def test_without_ipywidgets_it_is_complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    guarded = [source for cell in cells(NOTEBOOK) if "ipywidgets" in (source := "".join(cell["source"]))]
    assert len(guarded) == 2
    for source in guarded:
        exec(source, {})
        assert "ipywidgets" in capsys.readouterr().out


def test_a_reader_with_only_a_browser_sees_words_for_the_controls() -> None:
    for cell in cells(NOTEBOOK):
        for output in cell["outputs"]:
            if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
                assert "controls" in "".join(output["data"]["text/plain"])


def test_it_names_no_place_of_the_machine_that_ran_it() -> None:
    assert str(ROOT) not in NOTEBOOK.read_text(encoding="utf-8")


def small(dtype: Any = np.float32) -> Model:
    """In place of the bundled model: the cells do the same with it, in no time."""
    return random_model(SMALL, scale=0.1, dtype=dtype, vocabulary=LETTERS)


@pytest.mark.parametrize(
    ("prompt", "new_tokens"),
    [
        pytest.param("ROMEO:", 1, id="one token"),
        pytest.param("", 5, id="no prompt"),
        pytest.param("a|b\n", 45, id="a bar and a line break"),
        pytest.param("x" * 600, 30, id="a prompt longer than the context"),
        pytest.param("ROMEO:", 520, id="more tokens than the context"),
    ],
)
def test_every_cell_can_be_run_again(monkeypatch: pytest.MonkeyPatch, prompt: str, new_tokens: int) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs Jupyter: pip install 'kvtui[notebook]'")
    pytest.importorskip("IPython", reason="needs Jupyter: pip install 'kvtui[notebook]'")
    pyplot.switch_backend("agg")
    monkeypatch.setattr(kvtui.core, "load", small)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    sources = ["".join(cell["source"]).replace("%matplotlib inline", "") for cell in cells(NOTEBOOK)]
    places = [*(place for place in range(len(sources)) for _ in range(2)), *reversed(range(len(sources)))]
    names: dict[str, Any] = {"display": lambda *_: None}
    for place in places:
        exec(sources[place], names)
        if "new_tokens = " in sources[place]:
            names |= {"prompt": prompt, "new_tokens": new_tokens}
        pyplot.close("all")


def test_the_controls_work_after_every_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs Jupyter: pip install 'kvtui[notebook]'")
    pytest.importorskip("ipywidgets", reason="needs ipywidgets")
    pyplot.switch_backend("agg")
    monkeypatch.setattr(kvtui.core, "load", small)
    names: dict[str, Any] = {"display": lambda *_: None}
    for cell in cells(NOTEBOOK):
        exec("".join(cell["source"]).replace("%matplotlib inline", ""), names)
        pyplot.close("all")
    names["output"].value = ""
    names["button"].click()
    assert "in all" in names["output"].value
