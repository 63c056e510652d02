"""Notices: at most two, none that no longer holds, none over a dialog."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import Bench, bench
from fake_link import MODEL, token
from racing import end, prefills, rounds
from textual.widgets import Static
from textual.widgets._toast import Toast

from kvtui.core.events import Branch, End
from kvtui.tui.notices import Notice
from kvtui.tui.panes.notices import SECONDS, NoticesPane
from kvtui.tui.screens.fork import NOTHING_WRITTEN
from kvtui.tui.worker import protocol
from kvtui.tui.worker.protocol import Ended, Ready

SIZES = [(80, 24), (120, 36), (200, 60)]


def pane(it: Bench) -> NoticesPane:
    return it.app.main.query_one(NoticesPane)


async def test_there_are_at_most_two_and_the_oldest_makes_room() -> None:
    async with bench() as it:
        for number in range(5):
            it.app.main.tell(Notice(f"notice {number}"))
        await it.settle()
        assert it.shown_notices() == ["notice 3", "notice 4"]
        assert "notice 3" in it.screen_text()
        assert "notice 2" not in it.screen_text()


async def test_the_next_of_a_kind_replaces_the_last_and_an_equal_one_is_not_repeated() -> None:
    async with bench() as it:
        for words in ("one lane", "another lane"):
            it.app.main.tell(Notice(words, about="lanes"))
        it.app.main.tell(Notice("something else"))
        it.app.main.tell(Notice("something else"))
        await it.settle()
        assert it.shown_notices() == ["another lane", "something else"]


async def test_time_passes_only_while_they_can_be_read() -> None:
    async with bench() as it:
        now = 0.0
        pane(it).clock = lambda: now
        await it.settle()
        it.app.main.tell(Notice("read me"))
        await it.press("question_mark")
        now = 10 * SECONDS
        await it.settle()
        assert it.shown_notices() == ["read me"]  # the help screen is over it
        await it.press("escape")
        now += 0.9 * SECONDS
        await it.settle()
        assert it.shown_notices() == ["read me"]
        now += 0.2 * SECONDS
        await it.settle()
        assert not it.shown_notices()
        assert "read me" not in it.screen_text()


async def test_a_click_removes_one() -> None:
    async with bench() as it:
        it.app.main.tell(Notice("first"))
        it.app.main.tell(Notice("second"))
        await it.settle()
        await it.click(pane(it).query(Static).first())
        assert it.shown_notices() == ["second"]


async def test_they_take_no_clicks_beside_them() -> None:
    async with bench() as it:
        it.app.main.tell(Notice("a notice"))
        await it.settle()
        (line,) = (line for line in pane(it).query(Static) if line.display)
        beside, _ = it.app.screen.get_widget_at(line.region.x - 2, line.region.y)
        assert beside is not pane(it)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("key", ["question_mark", "M", "P", "f", "b", "ctrl+p"])
async def test_no_notice_is_beside_or_over_a_dialog(key: str, size: tuple[int, int]) -> None:
    """Whatever tells it, and whichever way: Textual's own toasts become notices too."""
    async with bench(size=size) as it:
        it.link.write([token(step) for step in range(20)])
        it.link.write([Branch(1, 0, 16, 16, 15, 1, 0.001), token(10)])
        await it.until(lambda: len(it.app.session.branches) == 2)
        await it.press(key)
        assert len(it.app.screen_stack) == 2
        it.app.notify("a toast of Textual's own", severity="warning")
        it.app.main.view.notify("a toast of a view")
        await it.settle()
        assert it.shown_notices() == ["a toast of Textual's own", "a toast of a view"]
        assert not it.app.screen.query(Toast)
        assert "a toast" not in it.screen_text()
        await it.press("escape")
        await it.until(lambda: "a toast of a view" in it.screen_text())


# A notice about a state goes when the state goes.


async def test_a_prompt_is_no_longer_asked_for_once_there_is_one() -> None:
    async with bench(None) as it:
        await it.press("escape", "r", "f")
        assert it.shown_notices() == ["Enter a prompt first: press p.", NOTHING_WRITTEN]
        await it.press("p", "H", "i", "enter")
        it.link.write([token(0)])
        await it.until(lambda: it.app.session.state.written == 1)
        await it.settle()
        assert not it.shown_notices()


async def test_the_end_is_no_longer_told_of_once_the_text_is_written_again() -> None:
    async with bench() as it:
        it.link.write([token(0), End("stop", 1, 0.1, 10.0)])
        await it.until(lambda: "The model has ended the text" in it.notices())
        assert it.shown_notices()
        await it.press("r")
        assert not it.shown_notices()


async def test_what_was_told_of_a_text_goes_with_it() -> None:
    async with bench() as it:
        it.link.say(protocol.Notice(1, "Removed from the prompt: 'é'"))
        it.link.write([token(step) for step in range(12)])
        it.link.write([Branch(1, 0, 16, 16, 15, 1, 0.001)])
        it.link.write([Branch(2, 0, 16, 16, 15, 1, 0.001)])
        await it.until(lambda: "Branch 2" in it.notices())
        assert [words[:8] for words in it.shown_notices()] == ["Removed ", "Branch 2"]
        await it.press("R")
        assert not it.shown_notices()


async def test_a_process_that_is_back_is_not_said_to_be_gone() -> None:
    async with bench() as it:
        it.link.write([token(0)])
        it.link.say(Ended("ended by signal SIGKILL"))
        await it.until(lambda: it.link.restarts)
        assert "A new one is being started" in it.shown_notices()[0]
        it.link.say(Ready(MODEL))
        await it.until(lambda: "ready again" in it.notices())
        (words,) = it.shown_notices()
        assert "ready again" in words
        await it.press("r")
        assert not it.shown_notices()


async def test_loading_is_told_of_until_the_model_is_there() -> None:
    async with bench() as it:
        it.app.session.load("other", "other")
        await it.press("r")
        assert it.shown_notices() == ["other is still loading."]
        it.link.say(Ready(MODEL))
        await it.until(lambda: "is loaded" in it.notices())
        assert it.shown_notices() == [f"{MODEL.name} is loaded."]


async def test_the_cache_is_no_longer_said_to_be_off_once_it_is_on() -> None:
    async with bench() as it:
        await it.press("t", "P", "down", "enter")
        assert it.shown_notices() == ["The cache is off: press t to switch it on with this policy."]
        await it.press("t")
        assert not it.shown_notices()


async def test_what_was_told_during_a_race_goes_with_it() -> None:
    async with bench() as it:
        await it.press("2", "n")
        assert it.shown_notices()[0].startswith("Next race: ")
        await it.press("enter")
        await it.until(lambda: it.link.races)
        assert not it.shown_notices()
        await it.press("t", "v")
        (words,) = it.shown_notices()
        assert "Verifying applies to the next text" in words
        run = it.link.races[-1].run
        it.link.write([*prefills(), *rounds("\nWhat"), end(5)], run)
        await it.until(lambda: not it.app.session.racing)
        await it.settle()
        assert not it.shown_notices()


async def test_a_head_that_is_off_is_not_said_to_be_on() -> None:
    async with bench() as it:
        it.link.write([token(0)])
        await it.press("4", "w")
        assert it.shown_notices() == ["All heads are on: x switches the chosen head off."]
        await it.press("x")
        assert not it.shown_notices()


# Screenshots


async def saved(it: Bench) -> str:
    """What is said after the palette's screenshot."""
    commands = {command.title: command for command in it.app.get_system_commands(it.app.screen)}
    commands["Screenshot"].callback()
    await it.until(lambda: "creenshot" in it.notices())
    return it.notices()


async def test_a_screenshot_is_saved_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "no home"))  # nor a folder for downloads in it
    monkeypatch.chdir(tmp_path)
    async with bench() as it:
        said = await saved(it)
        (path,) = tmp_path.glob("*.svg")
        assert said == f"Screenshot saved: {path}"
        assert "ROMEO:" in path.read_text(encoding="utf-8")


async def test_why_a_screenshot_cannot_be_saved_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    async with bench() as it:
        monkeypatch.chdir(gone)
        gone.rmdir()
        assert await saved(it) == "The screenshot could not be saved: No such file or directory."
