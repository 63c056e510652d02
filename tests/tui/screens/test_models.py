"""The picker: what stands in it, and what happens when another model is chosen."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from bench import Bench, bench
from fake_link import CONFIG, token

from kvtui.core.commands import ShowAttention
from kvtui.core.loading.library import LibraryModel
from kvtui.tui.screens.models import ModelsScreen, line
from kvtui.tui.worker.protocol import Ended, Loading, ModelInfo, Ready, Refused

OTHER = Ready(ModelInfo("tiny", CONFIG, 99, 4))


@pytest.fixture
def shelf(tmp_path: Path, tiny_model_file: Path) -> Path:
    shutil.copy(tiny_model_file, tmp_path)
    (tmp_path / "pickle.pt").write_bytes(b"\x80\x02" + bytes(20))
    return tmp_path


@asynccontextmanager
async def picking(shelf: Path, size: tuple[int, int] = (120, 36)) -> AsyncIterator[Bench]:
    """The dashboard with the picker open and filled."""
    async with bench(models_dir=shelf, size=size) as it:
        await it.press("M")
        await it.until(lambda: "shakespeare" in it.screen_text())
        yield it


async def choose_tiny(it: Bench, shelf: Path) -> None:
    """The second usable line, past the one that cannot be chosen."""
    await it.press("down", "enter")
    await it.until(lambda: it.link.loads)
    assert it.link.loads == [str(shelf / "tiny.safetensors")]


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_a_line_a_model_and_why_one_cannot_be_used(shelf: Path, size: tuple[int, int]) -> None:
    async with picking(shelf, size) as it:
        lines = it.screen_text().splitlines()
        (bundled,) = [text for text in lines if "shakespeare" in text]
        (pickled,) = [text for text in lines if " pickle " in text]
        assert "2.7 M" in bundled
        assert "MB" in bundled
        assert "kvtui, F16" in bundled
        assert "not usable" in pickled
        await it.press("escape")
        assert not isinstance(it.app.screen, ModelsScreen)
        assert not it.link.loads


async def test_a_chosen_model_is_loaded_and_writes_the_same_prompt(shelf: Path) -> None:
    async with picking(shelf) as it:
        it.link.write([token(0, "old")])
        await choose_tiny(it, shelf)
        assert "Loading tiny" in it.notices()
        assert "◌ loading" in it.screen_text()
        await it.press("r")
        assert "tiny is still loading" in it.notices()
        assert len(it.link.starts) == 1
        it.link.say(Loading(1, 4))
        await it.until(lambda: "◌ loading 25 %" in it.screen_text())
        it.link.write([token(1, "late")], run=1)
        it.link.say(OTHER)
        await it.until(lambda: len(it.link.starts) == 2)
        assert it.link.starts[1].prompt == "ROMEO:"
        await it.until(lambda: "tiny · 99 parameters" in it.screen_text())
        it.link.write([token(0, "new")])
        await it.until(lambda: it.watch.output.transcript.text == "ROMEO:new")
        asked = len(it.link.commands(ShowAttention))
        it.link.write([token(1, "er")])
        await it.until(lambda: len(it.link.commands(ShowAttention)) > asked)
        await it.press("M")
        await it.until(lambda: "● tiny" in it.screen_text())


@pytest.mark.parametrize("failure", [Refused("the file is damaged"), Ended("ended by signal SIGKILL")])
async def test_a_model_that_cannot_be_loaded_leaves_the_one_before(shelf: Path, failure: Refused | Ended) -> None:
    async with picking(shelf) as it:
        await choose_tiny(it, shelf)
        it.link.say(failure, Ended("exit status 2"))  # of the process that has just refused: no failure of the next
        await it.until(lambda: len(it.link.loads) == 2)
        assert it.link.loads[1] is None
        reason = failure.message if isinstance(failure, Refused) else failure.reason
        await it.until(lambda: f"tiny could not be loaded: {reason}. Back to small." in it.notices())
        it.link.say(Ready(ModelInfo("small", CONFIG, 12_345, 4)))
        await it.until(lambda: len(it.link.starts) == 2)
        await it.until(lambda: "small is loaded" in it.notices())


async def test_if_the_one_before_is_gone_too_a_key_tries_again(shelf: Path) -> None:
    async with picking(shelf) as it:
        await choose_tiny(it, shelf)
        it.link.say(Refused("damaged"))
        await it.until(lambda: len(it.link.loads) == 2)
        it.link.say(Refused("deleted"))
        await it.until(lambda: "small could not be loaded again: deleted" in it.notices())
        await it.press("r")
        assert it.link.restarts == 1
        assert len(it.link.loads) == 2


async def test_a_second_choice_waits_for_the_first(shelf: Path) -> None:
    async with picking(shelf) as it:
        await choose_tiny(it, shelf)
        await it.press("M")
        await it.until(lambda: "shakespeare" in it.screen_text())
        await it.press("enter")
        await it.until(lambda: "tiny is still loading" in it.notices())
        assert len(it.link.loads) == 1


async def test_an_empty_or_missing_folder_is_told(tmp_path: Path) -> None:
    async with picking(tmp_path) as it:
        await it.until(lambda: "kvtui --models-dir DIR" in it.screen_text())
    async with bench(models_dir=tmp_path / "nowhere") as it:
        await it.press("M")
        await it.until(lambda: "there is no folder" in it.screen_text())
        await it.press("enter", "escape")
        assert not it.link.loads


def test_names_from_disk_cannot_break_a_line() -> None:
    model = LibraryModel("漢" * 20 + "\x1b[2J", Path("x"), "kind\n", 12_000_000_000, 24_000_000_000)
    text = line(model, False)
    assert text.cell_len == line(LibraryModel("a", Path("x"), "kind\n", 1, 1), True).cell_len
    assert "\n" not in text.plain
    assert "\x1b" not in text.plain
    assert "12.0 G" in text.plain
    assert "24.0 GB" in text.plain
