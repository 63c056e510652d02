"""Wrong usage and numbers out of range: one line that names the option, status 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from calling import Kvtui, assert_refused

WRONG = [
    ("-n", "-1", "0 to 10,000,000"),
    ("-n", "99999999999999999999", "0 to 10,000,000"),
    ("-n", "ten", "0 to 10,000,000"),
    ("-n", "", "'' is not a whole number"),
    ("--temperature", "-0.5", "0 to 100"),
    ("--temperature", "nan", "0 to 100"),
    ("--temperature", "inf", "0 to 100"),
    ("--temperature", "warm", "0 to 100"),
    ("--top-k", "0", "from 1"),
    ("--top-k", "-3", "from 1"),
    ("--top-k", "1e3", "from 1"),
    ("--top-p", "0", "above 0 and at most 1"),
    ("--top-p", "1.1", "above 0 and at most 1"),
    ("--top-p", "nan", "above 0 and at most 1"),
    ("--seed", "-1", "from 0"),
    ("--seed", "1" * 5000, "from 0"),
    ("--policy", "window", "window:N"),
]


@pytest.mark.parametrize(("option", "value", "range_"), WRONG)
def test_generate_names_option_and_range(kvtui: Kvtui, option: str, value: str, range_: str) -> None:
    outcome = kvtui("generate", "ROMEO:", option, value)
    assert_refused(outcome, f"'{option}'", range_)
    assert len(outcome.err) < 300


@pytest.mark.parametrize("value", ["0", "-5", "nan", "inf", "fast"])
def test_dashboard_pace(kvtui: Kvtui, value: str) -> None:
    assert_refused(kvtui("ROMEO:", "--pace", value), "'--pace'", "0.01 to 1,000,000", "unlimited")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--steps", "0"),
        ("--steps", "-4"),
        ("--minutes", "0"),
        ("--minutes", "nan"),
        ("--context", "0"),
        ("--layers", "1000000000"),
        ("--heads", "0"),
        ("--embed", "99999999"),
        ("--batch", "0"),
        ("--dropout", "1"),
        ("--muon-rate", "inf"),
        ("--validate-every", "0"),
    ],
)
def test_train_settings(kvtui: Kvtui, tmp_path: Path, option: str, value: str) -> None:
    outcome = kvtui("train", tmp_path / "text", "--out", tmp_path / "model", option, value)
    assert_refused(outcome, f"'{option}'", "must be")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("value", "command"), [("0", "eval"), ("1.5", "eval"), ("nan", "eval")])
def test_eval_share(kvtui: Kvtui, tmp_path: Path, value: str, command: str) -> None:
    assert_refused(kvtui(command, tmp_path / "text", "--last", value), "'--last'", "above 0 and at most 1")


def test_bench_repeats(kvtui: Kvtui) -> None:
    assert_refused(kvtui("bench", "--repeats", "0"), "'--repeats'")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["generate"], ["PROMPT"]),
        (["generate", "A", "B"], ["B"]),
        (["generate", "A", "--frobnicate"], ["--frobnicate"]),
        (["generate", "A", "--greedy", "--temperature", "1"], ["--greedy", "--temperature"]),
        (["trian", "text"], ["'trian' is not a command", "quotes"]),
        (["--seed", "3", "train"], ["kvtui train"]),
        (["train", "text"], ["--out"]),
        (["train", "text", "--out", "x", "--steps", "1", "--minutes", "1"], ["--steps", "--minutes"]),
    ],
)
def test_wrong_usage_is_one_line_with_a_hint(kvtui: Kvtui, args: list[str], words: list[str]) -> None:
    assert_refused(kvtui(*args), "--help", *words)
