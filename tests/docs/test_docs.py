"""The documentation: links lead somewhere, code blocks run, tables agree with the code."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
import pytest

from kvtui.core import commands, events, load
from kvtui.core.figures.attention_maps import attention_maps
from kvtui.core.measure.operations import multiply_adds
from kvtui.tui.actions import ACTIONS
from kvtui.tui.cli.main import COMMANDS, DASHBOARD, cli, run
from kvtui.tui.views.table import KEYS, VIEWS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
RESULTS = sorted([*(ROOT / "benchmarks").glob("*.md"), *(ROOT / "core").rglob("*.md")])
SLOW = ("cache.md", "policies.md")  # their commands measure
NOTEBOOK = ROOT / "notebooks" / "demo.ipynb"
FENCE = re.compile(
    r"^(?P<mark><!-- not run: [^>]+ -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of code, and the reason for not running it."""

    language: str
    code: str
    skipped: bool


def blocks(text: str) -> list[Block]:
    return [Block(match["language"], match["code"], match["mark"] is not None) for match in FENCE.finditer(text)]


def prose(path: Path) -> str:
    """The Markdown of a document or of the notebook, without code."""
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*DOCUMENTS, *RESULTS, NOTEBOOK], ids=lambda path: path.name)
def test_relative_links_lead_somewhere(path: Path) -> None:
    missing = []
    for match in LINK.finditer(prose(path)):
        target, _, anchor = match["target"].partition("#")
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.is_relative_to(ROOT) or not file.exists() or (anchor and anchor not in anchors(file)):
            missing.append(match["target"])
    assert not missing


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a document run one after the other, as a reader would paste them."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": path.stem}
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.language == "python" and not block.skipped:
            exec(compile(block.code, str(path), "exec", dont_inherit=True), names)


def shell_lines(path: Path) -> Iterator[list[str]]:
    """The ``kvtui`` commands of a document that end by themselves, as lists of words."""
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.language not in ("sh", "console") or block.skipped:
            continue
        for line in block.code.splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["kvtui"] and words[1:2] and words[1] in COMMANDS:
                yield words[1:]


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow) if path.name in SLOW else path for path in DOCUMENTS],
    ids=lambda path: path.name,
)
def test_commands_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an empty folder with one text, called as in the documentation."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 40)
    for words in shell_lines(path):
        if words[0] == "figure":
            pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install 'kvtui[plot]'")
        assert run(words) == 0, f"kvtui {shlex.join(words)}: {capsys.readouterr().err}"
        capsys.readouterr()


def understood(words: list[str], group: click.Group = cli) -> bool:
    """Whether the command line can be called so; nothing is run."""
    context = click.Context(group, info_name=group.name)
    if group is cli and words[0] not in COMMANDS:
        words = [DASHBOARD, *words]
    name, command, rest = group.resolve_command(context, words)
    assert command is not None
    if isinstance(command, click.Group):
        return understood(rest, command)
    return bool(command.make_context(name, rest, parent=context))


def called(line: str) -> Iterator[list[str]]:
    """The words of each ``kvtui`` in a shell line with pipes."""
    for part in re.split(r"[|>]", line.split("  #")[0]):
        words = shlex.split(part)
        if words[:1] == ["kvtui"]:
            yield words[1:]


def helps(command: click.Command) -> Iterator[str]:
    """The help of a command and of those below it."""
    yield command.help or ""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from helps(below)


def test_examples_in_help_are_understood() -> None:
    lines = [line.strip() for text in helps(cli) for line in text.splitlines()]
    calls = [words for line in lines if line.startswith(("kvtui ", "echo ")) for words in called(line)]
    assert len(calls) > 30
    assert all(understood(words) for words in calls)


@pytest.mark.parametrize("path", [*DOCUMENTS, *RESULTS], ids=lambda path: path.name)
def test_commands_that_are_not_run_are_understood(path: Path) -> None:
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.language == "sh" and block.skipped:
            assert all(understood(words) for line in block.code.splitlines() for words in called(line))


def readme_table(heading: str) -> str:
    return sections((ROOT / "README.md").read_text(encoding="utf-8"), 2)[heading].split("\n\n")[1]


def test_the_readme_names_every_command() -> None:
    named = set(re.findall(r"^\| `kvtui (\w+)", readme_table("Commands"), re.MULTILINE))
    assert named == set(COMMANDS)


def test_the_readme_names_every_key_and_no_other() -> None:
    rows = [row.split("|")[1:3] for row in readme_table("Keys").splitlines()[2:]]
    keys_of = [(set(re.findall(r"`([^`]+)`", keys)), words) for keys, words in rows]
    actions = [*ACTIONS, *(action for view in VIEWS for action in view.ACTIONS)]
    known = {key for action in actions for key in action.shown.split()} | {KEYS[0], KEYS[-1]}
    assert set().union(*(keys for keys, _ in keys_of)) == known
    for key, view in zip(KEYS, VIEWS, strict=True):
        for keys, words in keys_of:
            if f"in view {key}" in words:
                assert keys <= {action.shown for action in view.ACTIONS}, f"view {key}"


def test_the_readme_has_ten_things_to_try() -> None:
    things = sections((ROOT / "README.md").read_text(encoding="utf-8"), 2)["Things to try"]
    assert re.findall(r"^(\d+)\. ", things, re.MULTILINE) == [str(number) for number in range(1, 11)]


def test_heads_that_the_readme_names_do_what_it_says() -> None:
    """L3 H4 looks at line breaks, L2 H5 at the character before; the screen counts both from 1."""
    maps = attention_maps(load(), "ROMEO:", 300, 7)
    breaks = np.array([token == "\n" for token in maps.tokens])
    assert maps.weights[2, 3, 30:][:, breaks].sum(axis=-1).mean() > 10 * breaks.mean()
    before = np.array([np.diagonal(of_head, -1).mean() for of_layer in maps.weights for of_head in of_layer])
    assert before.argmax() == 1 * 6 + 4


def sections(text: str, level: int) -> dict[str, str]:
    """Heading -> what stands below it, up to the next heading of this level or above."""
    parts = re.split(rf"^#{{2,{level}}} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


EVENTS_PAGE = runpy.run_path(str(ROOT / "docs" / "make_events.py"))
KINDS = list(EVENTS_PAGE["kinds"]().values())


def test_every_event_and_command_has_its_place_in_the_table_of_kinds() -> None:
    said = [*get_args(events.Event), *get_args(commands.Command)]
    said += [*events.Answer.__subclasses__(), *commands.Question.__subclasses__()]
    ours = [kind for kind in said if is_dataclass(kind) and kind.__module__.startswith("kvtui.")]
    assert set(ours) <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_events_and_commands_are_documented_field_by_field(kind: type) -> None:
    section = sections((ROOT / "docs" / "events.md").read_text(encoding="utf-8"), 3)[kind.__name__]
    documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert documented == [field.name for field in fields(kind)]


def test_the_tables_of_the_events_are_made_from_their_docstrings() -> None:
    text = EVENTS_PAGE["PAGE"].read_text(encoding="utf-8")
    assert text == EVENTS_PAGE["page"](text), "run: python docs/make_events.py"


def test_no_event_is_documented_that_does_not_exist() -> None:
    text = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (\w+)$", text, re.MULTILINE)) == {kind.__name__ for kind in KINDS}


def table(mark: str) -> list[list[str]]:
    """The rows of the table in docs/cache.md that a comment marks."""
    text = (ROOT / "docs" / "cache.md").read_text(encoding="utf-8")
    lines = text.split(f"<!-- checked: {mark} -->\n")[1].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_counted_operations_are_those_of_the_bundled_model() -> None:
    config = load().config
    rows = table("operations")
    assert len(rows) == 5
    for row in rows:
        context, cached, uncached = (int(cell.replace(",", "")) for cell in row[:3])
        assert cached == multiply_adds(config, 1, context).total
        assert uncached == multiply_adds(config, context, context).total
        assert row[3] == f"{uncached / cached:.1f}"


def test_counted_parts_are_those_of_the_bundled_model() -> None:
    config = load().config
    cached, uncached = multiply_adds(config, 1, 512), multiply_adds(config, 512, 512)
    for row, name in zip(table("parts"), ("projections", "attention", "mlp", "logits"), strict=True):
        assert row[2:] == [f"{getattr(cached, name):,}", f"{getattr(uncached, name):,}"]


def test_screenshots_come_from_the_running_app() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "screenshots.py"))
    picture = asyncio.run(script["shoot"](script["Shot"]("test", 80, 24, ((4, "t"), (8, "t"), (12, "space")))))
    assert picture.startswith("<svg")
    assert "ROMEO:" in picture


def test_every_picture_is_made_by_a_script() -> None:
    shots = {f"{shot.name}.svg" for shot in runpy.run_path(str(ROOT / "docs" / "screenshots.py"))["SHOTS"]}
    script = runpy.run_path(str(ROOT / "docs" / "figures.py"))
    figures = {*script["FIGURES"], *script["FROM_BENCHMARKS"]}
    assert {path.name for path in (ROOT / "docs" / "images").iterdir()} <= shots | figures


def test_every_picture_is_shown_somewhere() -> None:
    words = "".join(path.read_text(encoding="utf-8") for path in [*DOCUMENTS, *RESULTS])
    assert not [path.name for path in (ROOT / "docs" / "images").iterdir() if f"images/{path.name}" not in words]
