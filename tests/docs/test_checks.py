"""The checks of a commit are those of .ci/run and of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_commit_is_checked_by_what_ci_runs() -> None:
    hooks = re.findall(r"^ +entry: (.+)$", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    recipes = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(PYTHON)", ".venv/bin/python").splitlines()
    assert len(hooks) == 3
    assert set(hooks) <= set(ci)
    assert {f"\t{hook}" for hook in hooks} <= set(recipes)


def test_contributing_names_targets_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8") + (ROOT / "RELEASING.md").read_text(encoding="utf-8")
    named = {word for words in re.findall(r"`make ([a-z -]+)`", text) for word in words.split() if word != "-k"}
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert named <= set(targets)
