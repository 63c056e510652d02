"""``kvtui figure``: files of every kind, and one line for whatever cannot be drawn or written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from calling import Kvtui, assert_refused

pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install 'kvtui[plot]'")

STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.mark.parametrize("suffix", STARTS)
@pytest.mark.parametrize(
    "arguments",
    [
        ("attention", "Now is", "-n", 8),
        ("attention", "Now is", "-n", 8, "--layer", 1),
        ("attention", "Now is", "-n", 0, "--layer", 1, "--head", 0),
        ("attention", "Now is", "-n", 40, "--rollout", "--seed", 3),
        ("growth", "Now is", "-n", 40),
        ("timing", "Now is", "-n", 40),
        ("timing", "--repeats", 1),
    ],
)
def test_files(kvtui: Kvtui, tmp_path: Path, tiny_model_file: Path, arguments: tuple[object, ...], suffix: str) -> None:
    out = tmp_path / f"figure{suffix}"
    outcome = kvtui("figure", *arguments, "--model", tiny_model_file, "-o", out)
    assert (outcome.status, outcome.out, outcome.err) == (0, "", f"kvtui: wrote {out}\n")
    assert out.read_bytes().startswith(STARTS[suffix])
    assert list(tmp_path.iterdir()) == [out]


def test_bundled_model(kvtui: Kvtui, tmp_path: Path) -> None:
    assert kvtui("figure", "attention", "ROMEO:", "-n", 20, "--head", 5, "-o", tmp_path / "a.png").status == 0


def test_without_a_prompt_it_starts_from_a_newline_and_says_so(
    kvtui: Kvtui, tmp_path: Path, tiny_model_file: Path
) -> None:
    outcome = kvtui("figure", "growth", "-n", 3, "--model", tiny_model_file, "-o", tmp_path / "a.svg")
    assert outcome.status == 0
    assert "no PROMPT was given: starting from a newline" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pie",), ("no figure 'pie'", "attention, growth, timing", "kvtui figure --help")),
        ((), ("Missing command", "kvtui figure --help")),
        (("attention", ""), ("the prompt is empty",)),
        (("attention", "Now", "--layer", 2), ("no layer 2: the model has layers 0 to 1",)),
        (("attention", "Now", "--layer", -1), ("no layer -1: the model has layers 0 to 1",)),
        (("attention", "Now", "--head", 7, "--layer", 0), ("no head 7: the model has heads 0 to 1",)),
        (("attention", "Now", "--head", "first"), ("'--head'", "'first'")),
        (("attention", "Now", "--rollout", "--layer", 0), ("--rollout", "leave out")),
        (("attention", "Now", "-n", -1), ("'-n'", "0 to 100,000")),
        (("attention", "Émile"), ("does not know the character 'É' (U+00C9)",)),
        (("attention", "Now", "--seed", -1), ("'--seed'",)),
        (("timing", "Now", "--repeats", 2), ("--repeats", "PROMPT")),
        (("timing", "-n", 5), ("-n", "PROMPT")),
        (("timing", "Now", "-n", 1), ("at least two tokens",)),
        (("growth", "Now", "--layer", 1), ("No such option", "--layer")),
    ],
)
def test_bad_input(
    kvtui: Kvtui, tmp_path: Path, tiny_model_file: Path, arguments: tuple[object, ...], words: tuple[str, ...]
) -> None:
    extra = ("--model", tiny_model_file, "-o", tmp_path / "a.png") if len(arguments) > 1 else ()
    assert_refused(kvtui("figure", *arguments, *extra), *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.bmp", "a", "png", ".png"])
def test_unknown_formats(kvtui: Kvtui, tmp_path: Path, name: str) -> None:
    assert_refused(kvtui("figure", "attention", "Now", "-o", tmp_path / name), ".png, .svg or .pdf")


def test_places_that_cannot_be_written(kvtui: Kvtui, tmp_path: Path) -> None:
    assert_refused(kvtui("figure", "growth", "Now", "-o", tmp_path / "no" / "a.png"), f"no folder {tmp_path / 'no'}")
    folder = tmp_path / "folder.png"
    folder.mkdir()
    assert_refused(kvtui("figure", "growth", "Now", "-o", folder), "is a folder")
    assert_refused(kvtui("figure", "growth", "Now"), "'-o'")


def test_existing_file_is_kept_unless_forced(kvtui: Kvtui, tmp_path: Path, tiny_model_file: Path) -> None:
    out = tmp_path / "a.png"
    out.write_text("mine")
    command = ("figure", "growth", "Now", "-n", 3, "--model", tiny_model_file, "-o", out)
    assert_refused(kvtui(*command), "already exists", "--force")
    assert out.read_text() == "mine"
    assert kvtui(*command, "--force").status == 0
    assert out.read_bytes().startswith(STARTS[".png"])


def test_missing_model(kvtui: Kvtui, tmp_path: Path) -> None:
    assert_refused(kvtui("figure", "timing", "--model", "nowhere", "-o", tmp_path / "a.png"), "no model nowhere")


def test_without_matplotlib(kvtui: Kvtui, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    outcome = kvtui("figure", "growth", "Now", "-o", tmp_path / "a.png")
    assert_refused(outcome)
    assert outcome.err == "kvtui: figures need Matplotlib: pip install 'kvtui[plot]'\n"


@pytest.mark.parametrize(
    "arguments", [("figure",), ("figure", "attention"), ("figure", "growth"), ("figure", "timing")]
)
def test_help_carries_examples(kvtui: Kvtui, arguments: tuple[str, ...]) -> None:
    outcome = kvtui(*arguments, "--help")
    assert outcome.status == 0
    assert f"kvtui {' '.join(arguments)}" in outcome.out.split("Usage:")[1].split("\n", 1)[1]
