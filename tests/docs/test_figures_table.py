"""docs/figures.md lists every figure: its places of computation exist, and no figure is missing from it."""

from __future__ import annotations

import dataclasses
import importlib
import re
import typing
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from kvtui.core import events
from kvtui.core.event_json import ModelWords
from kvtui.core.loading.library import LibraryModel
from kvtui.core.measure.benchmark import BenchResult
from kvtui.core.measure.evaluation import Evaluation
from kvtui.core.measure.policy_report import PolicyReport
from kvtui.core.training.loop import Progress

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "figures.md"
SNAPSHOTS = sorted((ROOT / "tests" / "tui" / "snapshots").glob("*.txt"))
REPORTS = (BenchResult, PolicyReport, Evaluation, LibraryModel, Progress)  # what the commands' JSON and tables hold
NUMBER = r"[-+≈]?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?(?: [kMG]\b)?"
STANDS_FOR = {  # in the forms of the table
    "NN": rf"(?:(?:{NUMBER}|–)\s*)+",
    "N": rf"{NUMBER}(?:–\d[\d,]*)?",
    "TIME": rf"(?:{NUMBER} (?:µs|ms|s|min)\b|–)",
    "SIZE": rf"{NUMBER} [kMGT]?B\b",
    "…": r".*?",
    "▁": r"[▁▂▃▄▅▆▇█]",
}
NO_FIGURES = (  # digits that are names or text, or stand along an axis
    r"\b(?:ctrl\+\w|F)\d*\b|\bF\d\b",  # keys
    r"[\[ ]\d (?:Watch|Race|Cache|Anatomy|Time|W$)|\bview \d",  # views
    r"\[?\b[LH]\d+\b\]?",  # layers and heads
    r"(?:int\d|window:\d+|(?:sink|snap|heavy):\d+\+\d+)",  # policies
    r"et al\. \d{4}|sec\. [\d.]+|\(H2O\)|\b[48] bits per number",  # what a policy's line says about it
    r"(?:GPT-2|Llama-[\d.]+|Qwen[\d.]+)(?: XL)?(?: [\d.]+[BM])?|Mistral 7B v[\d.]+",  # models
    r"\bp95 +total|^ *6 +Tour\.",  # the heading of a column, a key in help
    r"^\s*\d+ ─*$",  # what a dialog leaves of a line
    r"^\s*[\d.]+ (?:µs|ms|s)$|[\d.,]+[┤┼]|^[\s│║]*(?:[\d.,]+\s+)*[\d.,]+[\s│]*$",  # axes
)
PLACE = re.compile(r"\[([\w.]+)\]\(\.\./([\w/]+)\.py\)")


@lru_cache(maxsize=1)
def rows() -> list[list[str]]:
    """The four cells of every row."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in cells if row[0] != "figure" and not row[0].startswith("---")]


def attribute_of(owner: Any, name: str) -> Any:
    """An attribute of a module or class, or the annotation of a field that has no default."""
    if hasattr(owner, name):
        return getattr(owner, name)
    return typing.get_type_hints(owner)[name]


def dataclasses_in(kind: Any) -> Iterator[type]:
    """A dataclass, and those of its fields."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        yield kind
        for hint in get_type_hints(kind).values():
            yield from dataclasses_in(hint)
    for part in get_args(kind):
        yield from dataclasses_in(part)


def is_number(hint: Any) -> bool:
    """Whether values of this type hold numbers."""
    if get_origin(hint) in (tuple, list, UnionType, typing.Union):
        return any(map(is_number, get_args(hint)))
    if get_origin(hint) is np.ndarray:
        return "bool" not in str(hint)
    return hint in (int, float)


def test_each_row_is_complete() -> None:
    assert len(rows()) > 100
    for row in rows():
        assert list(map(bool, row)) == [True] * 4, row


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:40])
def test_its_place_of_computation_exists(row: list[str]) -> None:
    places = PLACE.findall(row[3])
    assert places
    for names, path in places:
        assert (ROOT / f"{path}.py").is_file()
        found: Any = importlib.import_module(f"kvtui.{path.replace('/', '.')}")
        for name in names.split("."):
            found = attribute_of(found, name)


def test_each_number_in_an_event_or_a_report_has_a_row() -> None:
    of_events = [*get_args(events.Event), *events.Answer.__subclasses__()]
    kinds = {kind for whole in (*of_events, ModelWords, *REPORTS) for kind in dataclasses_in(whole)}
    assert {events.Parts, events.Candidate, events.WithoutHeads} <= kinds
    numbers = {
        f"{kind.__name__}.{name}" for kind in kinds for name, hint in get_type_hints(kind).items() if is_number(hint)
    }
    listed = {name for row in rows() for name in re.findall(r"`([A-Z]\w+\.\w+)`", row[0])}
    assert numbers - listed == set()
    assert listed - numbers == {"Evaluation.perplexity"}  # a property


def pattern(form: str) -> re.Pattern[str]:
    """What a form of the table stands for on a screen, whose numbers may be padded."""
    words = re.split(r"((?<![A-Za-z])(?:NN|N|TIME|SIZE)(?![A-Z])|[…▁]|\s+)", form)
    return re.compile("".join(STANDS_FOR.get(word, r"\s+" if word.isspace() else re.escape(word)) for word in words))


@lru_cache(maxsize=1)
def known() -> list[re.Pattern[str]]:
    """The forms in the table, the longest first."""
    forms = {form for row in rows() for form in re.findall(r"`([^`]+)`", row[0]) if re.search(r"N|TIME|SIZE", form)}
    return [re.compile(words) for words in NO_FIGURES] + [
        pattern(form) for form in sorted(forms, key=len, reverse=True)
    ]


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda path: path.stem)
def test_each_number_on_a_screen_is_a_figure_of_the_table(snapshot: Path) -> None:
    for line in re.split(r"[\n│┃╮╭╯╰]", snapshot.read_text(encoding="utf-8")):
        left = line
        for words in known():
            left = words.sub(" ", left)
        assert not re.search(r"\d", left), f"{left.strip()} is not in {PAGE.name}: {line}"
