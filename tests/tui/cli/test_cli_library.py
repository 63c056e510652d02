"""``kvtui models``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from calling import Kvtui, assert_refused
from rich.cells import cell_len


@pytest.fixture
def shelf(tmp_path: Path, tiny_model_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shelf"
    folder.mkdir()
    shutil.copy(tiny_model_file, folder)
    (folder / "pickle.pt").write_bytes(b"\x80\x02" + bytes(20))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "nowhere"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


def test_a_table_with_a_line_a_model(kvtui: Kvtui, shelf: Path) -> None:
    outcome = kvtui("models", "--models-dir", shelf)
    assert outcome.status == 0
    head, bundled, pickled, tiny = outcome.out.splitlines()
    assert head.split() == ["name", "parameters", "size", "kind", "--model"]
    assert bundled.endswith("  shakespeare")
    assert "not usable: " in pickled
    assert "PyTorch pickle" in pickled
    assert tiny.split()[0] == "tiny"
    assert tiny.endswith("  ~/shelf/tiny.safetensors")
    assert " k " in tiny


def test_json_has_a_line_a_model_with_a_path_that_loads(kvtui: Kvtui, shelf: Path) -> None:
    outcome = kvtui("models", "--models-dir", shelf, "--json")
    values = [json.loads(line) for line in outcome.out.splitlines()]
    assert [value["name"] for value in values] == ["shakespeare", "pickle", "tiny"]
    assert all(
        list(value) == ["name", "path", "kind", "parameters", "file_bytes", "problem", "bundled"] for value in values
    )
    assert [bool(value["problem"]) for value in values] == [False, True, False]
    told = json.loads(kvtui("info", "--model", values[2]["path"], "--json").out)
    assert told["parameters"] == values[2]["parameters"]
    assert told["file_bytes"] == values[2]["file_bytes"]


def test_where_it_looked_is_said_if_nothing_was_there(kvtui: Kvtui, shelf: Path) -> None:
    outcome = kvtui("models")
    assert outcome.status == 0
    assert "shakespeare" in outcome.out
    assert "nowhere: for another folder give --models-dir DIR" in outcome.err


def test_a_missing_folder_is_refused(kvtui: Kvtui, shelf: Path) -> None:
    assert_refused(kvtui("models", "--models-dir", shelf / "x"), "there is no folder")


def test_names_of_wide_characters_keep_the_columns(kvtui: Kvtui, tmp_path: Path, tiny_model_file: Path) -> None:
    shutil.copy(tiny_model_file, tmp_path / "漢字😀.safetensors")
    shutil.copy(tiny_model_file, tmp_path / "plain.safetensors")
    lines = kvtui("models", "--models-dir", tmp_path).out.splitlines()
    assert len({cell_len(line[: line.index("kvtui, F16")]) for line in lines if "kvtui, F16" in line}) == 1
