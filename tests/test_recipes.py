"""The recipes of docs/panes.md, architecture.md, policies.md and models.md, carried out as a reader of them would.

A block of code under ``<!-- file: … -->`` is written to a copy of the source, the changes of a block under
``<!-- lines: … -->`` are made there: ``+`` lines stand behind the lines before them, in place of ``-`` lines. Then the
dashboard and the command line of that copy are used.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import bench
import fake_link
import numpy as np
import pytest
import random_model
from hf_folder import LLAMA, llama_config, llama_tensors, random_parameters, write_folder

from kvtui.core import generate, load
from kvtui.core.cache import Eviction
from kvtui.core.commands import Command, Question
from kvtui.core.config import ModelConfig
from kvtui.core.event_json import to_json
from kvtui.core.events import Answer, Token
from kvtui.core.inspection import ANSWERS
from kvtui.tui.actions import number_keys
from kvtui.tui.views.table import VIEWS

ROOT = Path(__file__).resolve().parents[1]
HELPERS = [str(Path(str(module.__file__)).parent) for module in (bench, fake_link, random_model)]
STEP = re.compile(r"<!-- (?P<kind>file|lines): (?P<path>\S+) -->\n```\w+\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)

HUNK = re.compile(r"(?:^ .*\n)*(?:^[-+].*\n)+", re.MULTILINE)  # lines that are there, and what changes behind them


@dataclass(frozen=True)
class Recipe:
    """What a section of a page says to do: new files, and lines behind lines that are there."""

    files: dict[str, str]
    lines: dict[str, str]

    @property
    def touched(self) -> set[str]:
        """The files that are new or changed."""
        return {*self.files, *self.lines}

    @property
    def added(self) -> list[str]:
        """The new lines, their imports left out."""
        plus = [line[1:] for diff in self.lines.values() for line in diff.splitlines() if line.startswith("+")]
        return [line for line in plus if not line.startswith("from ")]

    def carry_out(self, root: Path) -> None:
        for path, code in self.files.items():
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).parent.joinpath("__init__.py").touch()
            (root / path).write_text(code, encoding="utf-8")
        for path, diff in self.lines.items():
            text = "\n" + (root / path).read_text(encoding="utf-8")
            for hunk in HUNK.findall(diff):
                lines = hunk.splitlines(keepends=True)
                old, new = ("\n" + "".join(line[1:] for line in lines if line[0] != sign) for sign in "+-")
                assert text.count(old) == 1, f"{path} has this {text.count(old)} times: {old!r}"
                text = text.replace(old, new)
            (root / path).write_text(text[1:], encoding="utf-8")


def recipe(page: str, heading: str) -> Recipe:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    section = re.split(r"^#{2,3} ", text.split(f"# {heading}\n")[1], flags=re.MULTILINE)[0]
    steps = [(step["kind"], step["path"], step["code"]) for step in STEP.finditer(section)]
    return Recipe(
        {path: code for kind, path, code in steps if kind == "file"},
        {path: code for kind, path, code in steps if kind == "lines"},
    )


PANE = recipe("panes.md", "Add a pane")
VIEW = recipe("panes.md", "Add a view")
COMMAND = recipe("architecture.md", "A command")
FIELD = recipe("panes.md", "Add a field to an event")
QUESTION = recipe("panes.md", "Ask the worker for something")
POLICY = recipe("policies.md", "A policy of your own")
FAMILY = recipe("models.md", "Add a family")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source in which all the recipes have been carried out."""
    root = tmp_path_factory.mktemp("source")
    for folder in ("core", "tui", "kvtui"):
        shutil.copytree(ROOT / folder, root / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for one in (PANE, VIEW, COMMAND, FIELD, QUESTION, POLICY, FAMILY):
        one.carry_out(root)
    return root


def run(copy: Path, *args: str, stdin: str = "") -> str:
    """What a Python process prints that finds the copy first."""
    paths = os.pathsep.join([str(copy), *HELPERS])
    done = subprocess.run(
        [sys.executable, *args],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=copy,
        env=os.environ | {"PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


WATCH = """
import asyncio, json
from dataclasses import replace
import kvtui.tui.app
from bench import bench
from fake_link import ANSWERS, token
from kvtui.core.inspection.repeat import AskRepeat, Repeat
from kvtui.tui.views.table import KEYS, VIEWS

ANSWERS[AskRepeat] = lambda link, question: Repeat(3)

async def look():
    async with bench() as it:
        screens, app = {"source": kvtui.tui.app.__file__}, it.app
        await it.press("1")
        screens["before"] = it.screen_text()
        tokens = [token(step, "abab"[step], logprob=-0.25) for step in range(4)]
        it.link.write([replace(token, text_seconds=0.5 * token.step) for token in tokens])
        await it.until(lambda: app.session.state.written == 4)
        screens["watch"] = it.screen_text()
        await it.press(KEYS[-1])
        screens["tally"] = it.screen_text()
        it.link.write([token(4, "b")])
        await it.until(lambda: app.session.state.written == 5)
        screens["grown"] = it.screen_text()
        await it.press("o")
        screens["ordered"] = it.screen_text()
        screens["palette"] = [command.title for command in app.get_system_commands(app.screen)]
        await it.press("question_mark")
        screens["help"] = it.screen_text()
        await it.press("escape", "6")
        screens["tour"] = it.screen_text()
        screens["keys"] = KEYS
    print(json.dumps(screens))

asyncio.run(look())
"""


@pytest.fixture(scope="module")
def watched(copy: Path) -> dict[str, Any]:
    """Screens of the dashboard of the copy, with a fake worker."""
    screens: dict[str, Any] = json.loads(run(copy, "-c", WATCH))
    assert Path(screens["source"]).is_relative_to(copy)
    return screens


def test_what_the_recipes_take() -> None:
    assert (len(PANE.files), len(PANE.added)) == (1, 1)
    assert (len({Path(path).parent for path in VIEW.files}), len(VIEW.added)) == (1, 1)
    assert (len(COMMAND.files), len(COMMAND.added)) == (1, 1)
    assert (len(POLICY.files), len(POLICY.lines)) == (1, 0)
    assert len(FIELD.touched) == 3
    assert len(QUESTION.touched) == 3
    assert FAMILY.touched == {"core/formats/families.py", "core/formats/gguf.py"}  # the second for GGUF files alone
    new = [path for one in (PANE, VIEW, COMMAND, FIELD, QUESTION, POLICY, FAMILY) for path in one.files]
    assert not [path for path in new if (ROOT / path).exists()]


def test_the_table_says_what_the_recipes_take() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Add something\n")[1]
    counts = dict(re.findall(r"^\| an? ([^|]+?) \| (\d)", table, re.MULTILINE))
    assert counts == {
        "cache policy": f"{len(POLICY.touched)}",
        "pane": f"{len(PANE.files)}",
        "view": f"{len({Path(path).parent for path in VIEW.files})}",
        "subcommand": f"{len(COMMAND.files)}",
        "field of an event, shown in a pane": f"{len(FIELD.touched)}",
        "question": f"{len(QUESTION.touched)}",
        "family of models that the options of `ModelConfig` cover": "1",
    }


def test_a_new_pane_is_fed_without_another_word(watched: dict[str, Any]) -> None:
    assert "surprise: nothing written yet" in watched["before"]
    assert "surprise 0.25 nats per token" in watched["watch"]


def test_a_new_view_has_a_key_that_nothing_else_has_and_a_tab(watched: dict[str, Any]) -> None:
    key = number_keys(len(VIEWS) + 1)[-1]
    assert tuple(watched["keys"]) == number_keys(len(VIEWS) + 1)
    assert f"[{key} Tally]" in watched["tally"]
    assert "surprise" not in watched["tally"]
    assert "[1 Watch]" in watched["watch"]
    assert f"{key} Tally" in watched["watch"]


def test_a_new_view_shows_what_happened_before_it_was_visible(watched: dict[str, Any]) -> None:
    rows = [re.findall(r"([ab]) +█+ +(\d)", watched[name]) for name in ("tally", "grown", "ordered")]
    assert rows == [[("a", "2"), ("b", "2")], [("b", "3"), ("a", "2")], [("a", "2"), ("b", "3")]]


def test_a_new_view_is_in_the_palette_and_in_the_help(watched: dict[str, Any]) -> None:
    key = watched["keys"][-1]
    assert {f"View Tally  ({key})", "Order of the tally  (o in Tally)"} <= set(watched["palette"])
    assert "view Tally" in watched["help"]


def test_the_tour_keeps_its_key_when_there_is_a_view_more(watched: dict[str, Any]) -> None:
    assert "Tour 1 of " in watched["tour"]


ENTRY = "from kvtui.tui.cli.entry import main; main()"


def test_a_new_command_runs_and_is_in_the_help(copy: Path) -> None:
    lines = run(copy, "-c", ENTRY, "tokens", "To").splitlines()
    tokenizer = load().tokenizer
    assert lines == [f"{id:6}  {tokenizer.decode([id])!r}" for id in tokenizer.encode("To")]
    assert "How a text is cut into tokens." in run(copy, "-c", ENTRY, "--help")
    assert "--model" in run(copy, "-c", ENTRY, "tokens", "--help")


def test_a_new_command_is_completed(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_KVTUI_COMPLETE": "bash_complete", "COMP_WORDS": "kvtui tok", "COMP_CWORD": "1"}.items():
        monkeypatch.setenv(name, value)
    assert run(copy, "-c", ENTRY).splitlines() == ["plain,tokens"]


def test_a_new_field_is_shown_and_in_the_json_lines(copy: Path, watched: dict[str, Any]) -> None:
    assert "surprise 0.25 nats per token · 1.50 s of model time" in watched["watch"]
    lines = run(copy, "-c", ENTRY, "generate", "ROMEO:", "-n", "3", "--json").splitlines()
    tokens = [event for event in map(json.loads, lines) if event["event"] == "token"]
    assert [token["text_seconds"] for token in tokens] == list(itertools.accumulate(t["seconds"] for t in tokens))


PARSE = """
import sys
from kvtui.core.event_json import parse_line
print(*(parse_line(line).event.text_seconds for line in sys.stdin.buffer if b'"token"' in line))
"""
TABLE = """
import runpy, sys
page = runpy.run_path(sys.argv[1])
print(page["table"](page["kinds"]()["Token"]), page["table"](page["kinds"]()["Repeat"]))
"""


def test_streams_without_the_new_field_are_still_read(copy: Path) -> None:
    old = [json.dumps(to_json(event)) for event in generate(load(), "ROMEO:", max_new_tokens=2)]
    assert run(copy, "-c", PARSE, stdin="\n".join(old)).split() == ["0.0", "0.0"]


def test_a_new_field_and_a_new_answer_are_in_the_tables_of_the_events(copy: Path) -> None:
    tables = run(copy, "-c", TABLE, str(ROOT / "docs" / "make_events.py"))
    assert "| `text_seconds` | model time of all tokens so far" in tables
    assert "| `tokens` | of the longest end of the window" in tables


REPEAT = """
from kvtui.core import generate, load
from kvtui.core.inspection.repeat import AskRepeat, Repeat

class Source:
    questions = iter([AskRepeat()])
    def poll(self, timeout):
        return next(self.questions, None)

for event in generate(load(), "to be or not to be", max_new_tokens=1, commands=Source()):
    if isinstance(event, Repeat):
        print(event.tokens)
"""


def test_a_new_question_is_answered_and_its_answer_is_shown(copy: Path, watched: dict[str, Any]) -> None:
    assert run(copy, "-c", REPEAT).split() == [str(len("to be"))]
    assert "the last 3 tokens occurred before" in watched["tally"]


READ = """
import sys
import numpy as np
from kvtui.core import generate, load
from kvtui.core.events import Token

model, expected = load(sys.argv[1]), np.load(sys.argv[2])
assert list(model.parameters) == list(expected)
assert all(np.array_equal(model.parameters[name], expected[name]) for name in expected)
texts = [
    [event.id for event in generate(model, "abc", max_new_tokens=8, cache=cache) if isinstance(event, Token)]
    for cache in (True, False)
]
assert texts[0] == texts[1]
print(model.source, model.config.qkv_bias, model.config.tied_output)
"""


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelConfig, dict[str, Any], Path]:
    """Shape and parameters of a random model of the new family, and a file of the parameters."""
    config = llama_config(qkv_bias=True, tied_output=True)
    parameters = random_parameters(config)
    path = tmp_path_factory.mktemp("acme") / "expected.npz"
    np.savez(path, **parameters)  # type: ignore[arg-type]
    return config, parameters, path


def test_a_new_family_is_read_from_folders(
    copy: Path, acme: tuple[ModelConfig, dict[str, Any], Path], tmp_path: Path
) -> None:
    pytest.importorskip("tokenizers", reason="needs the package tokenizers: pip install 'kvtui[hf]'")
    config, parameters, expected = acme
    values = {name: value for name, value in LLAMA.items() if name != "tie_word_embeddings"}
    values["architectures"] = ["AcmeForCausalLM"]
    folder = write_folder(tmp_path / "acme", values, llama_tensors(config, parameters))
    assert run(copy, "-c", READ, str(folder), str(expected)) == "Hugging Face AcmeForCausalLM, F32 True True\n"
    assert "AcmeForCausalLM" in run(copy, "-c", ENTRY, "info", "--model", str(folder))


def test_a_new_family_is_read_from_gguf_files(
    copy: Path, acme: tuple[ModelConfig, dict[str, Any], Path], tmp_path: Path
) -> None:
    pytest.importorskip("gguf", reason="needs the package gguf: pip install 'kvtui[gguf]'")
    from test_gguf import gguf_tensors, write_gguf

    config, parameters, expected = acme
    path = write_gguf(tmp_path / "acme.gguf", "acme", config, gguf_tensors("qwen2", config, parameters))
    assert run(copy, "-c", READ, str(path), str(expected)) == "GGUF acme, F32 True True\n"


def test_a_new_policy_has_a_name(copy: Path) -> None:
    lines = run(copy, "-c", ENTRY, "generate", "ROMEO: what light", "-n", "9", "--policy", "tova:16", "--json")
    tokens = [event for event in map(json.loads, lines.splitlines()) if event["event"] == "token"]
    assert {token["cached_positions"] for token in tokens} == {16}


def test_a_policy_is_a_class() -> None:
    """The one of docs/policies.md: its block of code is all that there is to it."""
    text = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
    code = text.split("## A policy of your own\n")[1].split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {"__name__": "policies"}
    exec(compile(code, "policies.md", "exec"), names)
    kinds = [value for value in names.values() if isinstance(value, type) and issubclass(value, Eviction)]
    policy_class: Any = next(kind for kind in kinds if kind.__module__ == "policies")
    policy = policy_class(16)
    written = list(generate(load(), "ROMEO: what light", max_new_tokens=20, seed=7, policy=policy))
    tokens = [event for event in written if isinstance(event, Token)]
    assert len(tokens) == 20
    assert {token.cached_positions for token in tokens} == {16}


@dataclass(frozen=True)
class Length(Answer):
    """How long the text is.

    Attributes:
        tokens: of the text, the prompt included.
    """

    tokens: int


@dataclass(frozen=True)
class AskLength(Question):
    """Ask how long the text is."""

    answer: ClassVar[type[Answer]] = Length


class Plan:
    """Gives one command after the first token."""

    def __init__(self, command: Command) -> None:
        self._left: Iterator[Command | None] = iter((None, None, command))

    def poll(self, timeout: float | None) -> Command | None:
        return next(self._left, None)


def test_a_question_is_two_classes_and_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANSWERS, AskLength, lambda generation, question: Length(len(generation.window)))
    events = list(generate(load(), "ROMEO:", max_new_tokens=4, seed=7, commands=Plan(AskLength())))
    assert [event for event in events if isinstance(event, Answer)] == [Length(8)]


def test_the_tables_of_the_events_find_a_question_in_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANSWERS, AskLength, lambda generation, question: Length(0))
    page = runpy.run_path(str(ROOT / "docs" / "make_events.py"))
    assert {"AskLength", "Length"} <= page["kinds"]().keys()
    assert "| `tokens` | of the text, the prompt included |" in page["table"](Length)
