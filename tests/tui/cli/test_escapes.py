"""Nothing that a file, a name or a prompt holds reaches the terminal as it is: no command sets a window's title."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from calling import Kvtui, Outcome
from safetensors import safe_open
from safetensors.numpy import load_file

from kvtui.core.formats.checkpoint import write_safetensors

EVIL = "\x1b]0;owned\x07\x9b31m\u202e"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # Rich's own


@pytest.fixture
def evil_model(tiny_model_file: Path, tmp_path: Path) -> Path:
    """A model whose name and training record hold escape sequences."""
    with safe_open(tiny_model_file, framework="np") as file:
        metadata = file.metadata()
    record = {f"text{EVIL}": EVIL, "note": EVIL, "settings": {"seed": EVIL}, "curve": [{"loss": EVIL}]}
    path = tmp_path / f"m{EVIL}.safetensors"
    write_safetensors(path, load_file(tiny_model_file), metadata | {"training": json.dumps(record)})
    return path


def assert_harmless(outcome: Outcome) -> None:
    for text in (outcome.out, outcome.err):
        hidden = {c for c in _COLOURS.sub("", text) if not c.isprintable() and c not in "\n\t"}
        assert not hidden, repr(text)


@pytest.mark.parametrize(
    "args",
    [
        ("info",),
        ("info", "--json"),
        ("info", "--tensors"),
        ("models", "--models-dir", "."),
        ("bench", "--repeats", 1),
        ("policies", "text.txt", "--policy", "window:8"),
        ("policies", "--tokens", 20, "--policy", "window:8", "--csv"),
        ("eval", "text.txt"),
        ("eval", f"missing{EVIL}.txt"),
        ("generate", f"A{EVIL}"),
        ("generate", "A", "--policy", f"window{EVIL}"),
        ("generate", "A", "-n", f"3{EVIL}"),
        ("train", "text.txt", "--out", f"folder{EVIL}/x"),
        ("figure", "growth", "A", "-o", f"a{EVIL}.xyz"),
        ("watch", f"missing{EVIL}.jsonl"),
        (f"no-command{EVIL}", "x"),
    ],
    ids=lambda args: " ".join(map(str, args)).encode("unicode_escape").decode(),
)
def test_no_command_writes_what_it_was_given_raw(
    kvtui: Kvtui, evil_model: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[object, ...]
) -> None:
    monkeypatch.chdir(evil_model.parent)
    Path("text.txt").write_text("to be or not to be " * 20)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    takes_model = args[0] in ("info", "bench", "policies", "eval", "generate", "figure")
    outcome = kvtui(*args, *(("--model", evil_model) if takes_model else ()))
    assert outcome.out + outcome.err
    assert_harmless(outcome)
