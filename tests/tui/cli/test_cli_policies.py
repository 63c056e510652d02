"""``--policy`` and ``kvtui policies``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calling import Kvtui

from kvtui.core import load
from kvtui.core.cache import KINDS, parse_policy
from kvtui.core.logits import kl_divergence
from kvtui.core.measure.policy_report import compare_policies, default_policies
from kvtui.tui.cli.policies import own_text

FIELDS = ["policy", "kl_mean", "kl_p99", "kl_max", "top1_agreement", "loss", "cache_bytes", "seconds_per_token"]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_generate_under_a_policy(kvtui: Kvtui) -> None:
    outcome = kvtui("generate", "ROMEO:", "-n", "40", "--policy", "sink:4+12", "--json")
    events = lines(outcome.out)
    assert outcome.status == 0
    assert {event["cached_positions"] for event in events if event["event"] == "token"} == {7, 8, *range(9, 17)}
    evicts = [event for event in events if event["event"] == "evict"]
    assert [event["reason"] for event in evicts] == ["policy"] * 30
    assert np.shape(evicts[0]["positions"]) == (6, 6, 1)


def test_the_summary_tells_the_policy(kvtui: Kvtui) -> None:
    outcome = kvtui("generate", "ROMEO:", "-n", "40", "--policy", "window:16")
    assert "cache: 16 positions, 147,456 bytes, policy window:16\n" in outcome.err


@pytest.mark.parametrize("command", ["generate", "policies"])
@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("windw:4", "did you mean window? known are full, window:N"),
        ("window:0", "N must be 1 or more"),
        ("sink:600+4", "600 sinks fill the model's context of 512"),
        ("int4,heavy:3+3", "use one of the two"),
    ],
)
def test_wrong_policies_are_one_line(kvtui: Kvtui, tmp_path: Path, command: str, policy: str, words: str) -> None:
    (tmp_path / "text.txt").write_text("What is it?\n" * 4)
    outcome = kvtui(command, str(tmp_path / "text.txt"), "--policy", policy)
    assert (outcome.status, outcome.out) == (2, "")
    assert words in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_policy_without_a_cache_is_refused(kvtui: Kvtui) -> None:
    outcome = kvtui("generate", "ROMEO:", "--policy", "window:8", "--no-cache")
    assert outcome.status == 2
    assert "cannot be used together" in outcome.err


def test_report_as_json(kvtui: Kvtui) -> None:
    outcome = kvtui("policies", "--tokens", "64", "--policy", "window:8", "--policy", "int4", "--json")
    reports = lines(outcome.out)
    assert [report["policy"] for report in reports] == ["full", "window:8", "int4"]
    for report in reports:
        assert set(FIELDS) <= set(report)
    full, window, _ = reports
    assert (full["kl_max"], full["top1_agreement"], full["compression"], full["tokens"]) == (0, 1, 1, 31)
    assert 0 < window["kl_median"] <= window["kl_mean"] <= window["kl_p99"] <= window["kl_max"]
    assert window["cache_bytes"] == 8 * 9216
    assert window["compression"] == pytest.approx(63 / 8)


def test_small_divergences_are_not_told_as_none(kvtui: Kvtui) -> None:
    full, int8 = kvtui("policies", "--tokens", "128", "--policy", "int8").out.splitlines()[2:4]
    assert full.split()[1:5] == ["0.00000", "0.00000", "0.000", "0.000"]
    assert all(0 < float(figure) < 1e-3 for figure in int8.split()[1:5])


POLICIES = ("full", "window:24", "window:48", "heavy:32+32", "int4", "int8,window:40")


def test_a_policy_that_never_had_to_drop_anything_says_so(kvtui: Kvtui) -> None:
    """Of 40 tokens 39 are run."""
    args = ("policies", "--tokens", "40", *(word for policy in POLICIES for word in ("--policy", policy)))
    dropped = dict(zip(POLICIES, (None, 15, 0, 0, None, 0), strict=True))
    assert {report["policy"]: report["dropped"] for report in lines(kvtui(*args, "--json").out)} == dropped
    rows = csv.DictReader(io.StringIO(kvtui(*args, "--csv").out))
    assert {row["policy"]: row["dropped"] for row in rows} == {
        policy: "" if count is None else str(count) for policy, count in dropped.items()
    }
    table = kvtui(*args).out
    marked = [policy for policy, count in dropped.items() if count == 0]
    assert [line.split()[0] for line in table.splitlines()[2 : 2 + len(POLICIES)]] == [
        policy + "*" * (policy in marked) for policy in POLICIES
    ]
    assert "* never had to drop a position" in table
    assert max(map(len, table.splitlines()[: 2 + len(POLICIES)])) <= 80


def test_no_word_of_dropping_where_every_policy_did(kvtui: Kvtui) -> None:
    assert "*" not in kvtui("policies", "--tokens", "40", "--policy", "window:24", "--policy", "int8").out


def test_positions_dropped_are_those_of_all_windows() -> None:
    model = load()
    ids = own_text(model, 512 + 100, 3)
    _, report = compare_policies(model, ids, [parse_policy("window:64")])
    assert report.dropped == (511 - 64) + (99 - 64)


def test_report_as_csv_and_table(kvtui: Kvtui, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("What light is it? " * 9)
    args = ("policies", str(tmp_path / "text.txt"), "--policy", "int8")
    rows = list(csv.DictReader(io.StringIO(kvtui(*args, "--csv").out)))
    assert [row["policy"] for row in rows] == ["full", "int8"]
    assert set(FIELDS) <= set(rows[0])
    table = kvtui(*args).out
    assert "int8" in table
    assert "80 tokens scored" in table
    assert max(map(len, table.splitlines()[:8])) <= 80


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--json", "--csv"], "cannot be used together"),
        (["missing.txt"], "there is no text file"),
        (["short.txt"], "nothing to compare; give at least 16"),
        (["short.txt", "--seed", "3"], "leave out --seed or TEXTFILE"),
        (["--tokens", "3"], "from 16"),
    ],
)
def test_wrong_usage(
    kvtui: Kvtui, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.txt").write_text("What is it?")
    outcome = kvtui("policies", *args)
    assert (outcome.status, outcome.out) == (2, "")
    assert words in outcome.err


def test_help_names_every_kind(kvtui: Kvtui) -> None:
    text = kvtui("policies", "--help").out
    for kind in KINDS:
        assert f"{kind.form:<10} {kind.summary}" in text


def test_figures_of_a_report_are_those_of_the_logits() -> None:
    model = load()
    ids = own_text(model, 48, 3)
    full, report = compare_policies(model, ids, [parse_policy("window:6")])
    caches = [model.new_cache(name) for name in ("full", "window:6")]
    for cache in caches:
        model.forward(ids[:24], cache)
    kl, agreed, losses = [], [], []
    for place in range(24, 47):
        reference, logits = (model.decode(int(ids[place]), cache).copy() for cache in caches)
        kl.append(kl_divergence(reference, logits))
        agreed.append(reference.argmax() == logits.argmax())
        losses.append(kl_divergence(np.where(np.arange(65) == ids[place + 1], 0.0, -1e9), logits))
    assert report.kl_mean == pytest.approx(np.mean(kl))
    assert report.kl_median == pytest.approx(np.median(kl))
    assert (report.kl_max, report.tokens) == (pytest.approx(max(kl)), 23)
    assert report.top1_agreement == pytest.approx(np.mean(agreed))
    assert report.loss == pytest.approx(np.mean(losses))
    assert full.loss != report.loss


def test_writing_the_text_tells_how_far_it_is() -> None:
    told: list[tuple[int, int]] = []
    ids = own_text(load(), 20, 3, lambda done, total: told.append((done, total)))
    assert told == [(count, 20) for count in range(1, 21)]
    assert len(ids) == 20


def test_default_policies_are_those_the_model_can_have() -> None:
    model = load()
    specs = [policy.spec for policy in default_policies(model.config)]
    assert {"full", "window:128", "sink:4+124", "heavy:64+64", "snap:96+32", "int8", "int4"} <= set(specs)
