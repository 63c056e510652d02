"""The policies by name: one file each, found wherever they are asked for; and the earlier names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kvtui
from kvtui.core.cache import (
    KINDS,
    Cache,
    CachePolicy,
    Eviction,
    HeavyHitters,
    Policy,
    PolicyKind,
    SnapKV,
    Window,
    parse_policy,
)
from kvtui.core.cache.full import Full

TOVA = """
import numpy as np

from kvtui.core.cache.eviction import Eviction
from kvtui.core.cache.policy import PolicyKind


class Tova(Eviction):
    watches = "always"
    kept_for = "read by the newest"

    def __init__(self, size):
        self.size = size

    def keeps(self, held, new):
        return min(held + new, self.size)

    def observe(self, attention, weights, rows_left):
        attention[:, : weights.shape[3]] = weights[:, :, -1].mean(axis=1)

    def importance(self, entries):
        return np.where(entries.positions == entries.newest, np.inf, entries.attention)


KINDS = (PolicyKind("tova:N", "tova:64", "the N positions that the newest attends to most", Tova),)
"""


def linked(source: Path, target: Path) -> None:
    """A folder with links to all that is in another."""
    target.mkdir(parents=True)
    for entry in source.iterdir():
        (target / entry.name).symlink_to(entry.resolve())


@pytest.fixture(scope="module")
def with_tova(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a program whose kvtui has one file more."""
    root = tmp_path_factory.mktemp("kvtui")
    package = Path(next(iter(kvtui.__path__)))
    linked(package / "core", root / "kvtui" / "core")
    (root / "kvtui" / "core" / "cache").unlink()
    linked(package / "core" / "cache", root / "kvtui" / "core" / "cache")
    (root / "kvtui" / "__init__.py").symlink_to((package / "__init__.py").resolve())
    (root / "kvtui" / "tui").symlink_to((package / "tui").resolve())
    (root / "kvtui" / "core" / "cache" / "tova.py").write_text(TOVA)
    return {**os.environ, "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1"}


def run(environment: dict[str, str], *words: str) -> str:
    outcome = subprocess.run(
        [sys.executable, *words], cwd=environment["PYTHONPATH"], env=environment, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


@pytest.mark.parametrize("first", ["kvtui.core", "kvtui.core.cache.tova", "kvtui.core.cache.snap", "kvtui.tui.app"])
def test_a_policy_is_one_file_whatever_is_imported_first(with_tova: dict[str, str], first: str) -> None:
    """The registry, completion, the dashboard and the report know it."""
    told = run(
        with_tova,
        "-c",
        f"import {first}\n"
        "from click.shell_completion import ShellComplete\n"
        "from kvtui.core import load\n"
        "from kvtui.core.cache import KINDS, parse_policy\n"
        "from kvtui.core.measure.policy_report import default_policies\n"
        "from kvtui.tui.cli.main import cli\n"
        "from kvtui.tui.panes.policy_screen import CHOICES\n"
        "complete = ShellComplete(cli, {}, 'kvtui', '_KVTUI_COMPLETE')\n"
        "print([kind.name for kind in KINDS])\n"
        "print(parse_policy('tova:9').policy.size, 'tova:64' in CHOICES)\n"
        "print([item.value for item in complete.get_completions(['generate', '--policy'], 'to')])\n"
        "print([policy.spec for policy in default_policies(load().config)])\n",
    ).splitlines()
    assert told == [
        "['full', 'window', 'sink', 'heavy', 'snap', 'tova', 'int8', 'int4']",
        "9 True",
        "['tova:64']",
        "['full', 'window:128', 'sink:4+124', 'heavy:64+64', 'snap:96+32', 'tova:128', 'int8', 'int4', "
        "'int8,window:128', 'int4,sink:4+124']",
    ]


def test_the_command_line_knows_it_too(with_tova: dict[str, str]) -> None:
    entry = ("-c", "from kvtui.tui.cli.entry import main; main()")
    assert "tova:N     the N positions that the newest attends to most" in run(with_tova, *entry, "policies", "--help")
    rows = run(with_tova, *entry, "policies", "--tokens", "64", "--policy", "tova:8", "--csv").splitlines()
    assert [row.partition(",")[0] for row in rows] == ["policy", "full", "tova:8"]


def test_names_are_unique_and_in_order() -> None:
    assert [kind.name for kind in KINDS] == ["full", "window", "sink", "heavy", "snap", "int8", "int4"]
    for kind in KINDS:
        assert parse_policy(kind.keeping(100)).spec == kind.keeping(100)


def test_sizes_for_so_many_positions() -> None:
    found = {kind.name: kind.keeping(100) for kind in KINDS}
    assert found == {
        "full": "full",
        "window": "window:100",
        "sink": "sink:4+96",
        "heavy": "heavy:50+50",
        "snap": "snap:75+25",
        "int8": "int8",
        "int4": "int4",
    }


def test_the_interface_is_that_of_every_cache() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Cache(None)  # type: ignore[abstract, arg-type]
    for kind in KINDS:
        policy = parse_policy(kind.example).policy
        assert isinstance(policy, Policy)
        assert CachePolicy("mine", policy).endless == (kind.name in ("window", "sink"))
    assert parse_policy(Full()).spec == "full"
    assert isinstance(HeavyHitters(1, 2), Eviction)


def test_the_earlier_names_stay_for_a_release() -> None:
    sys.modules.pop("kvtui.core.policies", None)
    with pytest.warns(DeprecationWarning, match="now kvtui.core.cache"):
        from kvtui.core import policies
    assert (policies.Heavy, policies.Snap, policies.Rolling) == (HeavyHitters, SnapKV, Window)
    assert policies.parse_policy("window:8").policy == policies.Rolling(0, 8)
    kind = policies.Kind("tova", "tova:N", "tova:64", "the N most attended", "Oren et al. 2024", HeavyHitters)
    assert isinstance(kind, PolicyKind)
    assert (kind.name, kind.paper) == ("tova", "Oren et al. 2024")
    for name in policies.__all__:
        assert getattr(policies, name) is not None
