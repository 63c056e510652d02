"""The dashboard, driven through its keys, with a fake generator process."""

from __future__ import annotations

import pytest
from bench import bench
from fake_link import CONFIG, MODEL, token
from textual.command import CommandList
from textual.widgets import Static

from kvtui.core.commands import Pause, Resume, SetCache, SetPace, ShowAttention, Step, Stop
from kvtui.core.events import End, Evict
from kvtui.tui.actions import ACTIONS, ALWAYS
from kvtui.tui.panes.keys import KeysPane
from kvtui.tui.panes.status import StatusPane
from kvtui.tui.screens.help import HelpScreen
from kvtui.tui.screens.palette import Palette
from kvtui.tui.views.watch.cache_bar import CachePane
from kvtui.tui.worker.protocol import Answering, Ended, ModelInfo, Notice, Ready, Refused, Silent

SIZES = [(80, 24), (120, 36), (200, 60)]


async def test_a_prompt_starts_at_once_and_the_text_streams() -> None:
    async with bench(seed=7, pace=10.0) as it:
        start = it.link.starts[0]
        assert (start.prompt, start.settings.seed, start.settings.pace, start.settings.cache) == (
            "ROMEO:",
            7,
            10.0,
            True,
        )
        it.link.write([token(step, text) for step, text in enumerate("what light")])
        await it.until(lambda: it.watch.output.transcript.text == "ROMEO:what light")
        assert "what light" in it.screen_text()
        assert it.app.session.state.written == 10


async def test_no_prompt_opens_with_the_prompt_focused_and_panes_that_explain() -> None:
    async with bench(None) as it:
        assert it.app.focused is it.app.main.prompt.input
        assert not it.link.starts
        text = it.screen_text()
        assert "Type a prompt" in text
        assert "ctrl+t while typing" in text
        await it.press(*"tq")  # letters, not actions
        assert it.app.main.prompt.input.value == "tq"
        assert it.app.session.state.cache
        await it.press("enter")
        assert it.link.starts[0].prompt == "tq"
        assert it.app.focused is it.watch.output


@pytest.mark.parametrize("key", ["ctrl+t", "f2"])
async def test_the_cache_is_toggled_from_inside_the_prompt(key: str) -> None:
    async with bench() as it:
        it.app.main.action_prompt()
        await it.press("x", key)
        assert it.link.commands(SetCache) == [SetCache(False)]
        assert it.app.main.prompt.input.value == "ROMEO:x"


async def test_toggling_is_seen_at_once() -> None:
    async with bench(size=(80, 24)) as it:
        assert " CACHE ON " in it.screen_text()
        await it.press("t")
        assert it.link.commands(SetCache) == [SetCache(False)]
        text = it.screen_text()
        assert "CACHE OFF" in text
        assert "off: nothing is kept" in text
        await it.press("t", "t", "t")
        assert [command.on for command in it.link.commands(SetCache)] == [False, True, False, True]  # type: ignore[union-attr]
        assert " CACHE ON " in it.screen_text()


async def test_pause_step_and_pace() -> None:
    async with bench() as it:
        await it.press("space", "full_stop", "space")
        assert [type(command) for command in it.link.sent if isinstance(command, Pause | Step | Resume)] == [
            Pause,
            Step,
            Resume,
        ]
        await it.press("minus", "plus", "plus", "u", "u", "s")
        paces = [command.tokens_per_second for command in it.link.commands(SetPace)]  # type: ignore[union-attr]
        assert paces == [10.0, 25.0, 50.0, None, 50.0]
        assert it.link.commands(Stop)


async def test_restart_with_the_same_and_with_the_next_seed() -> None:
    async with bench(seed=3) as it:
        it.link.write([token(0, "old")])
        await it.press("t", "r", "R")
        assert [start.settings.seed for start in it.link.starts] == [3, 3, 4]
        assert [start.settings.cache for start in it.link.starts] == [True, False, False]
        it.link.write([token(0, "late")], run=1)
        it.link.write([token(0, "new")])
        await it.until(lambda: "new" in it.watch.output.transcript.text)
        assert it.watch.output.transcript.text == "ROMEO:new"


async def test_restart_without_a_prompt_says_what_to_do() -> None:
    async with bench(None) as it:
        await it.press("escape", "r")
        assert "press p" in it.notices()


async def test_attention_is_asked_for_as_the_pane_shows_it() -> None:
    async with bench() as it:
        await it.until(lambda: it.link.commands(ShowAttention))
        await it.press("right_square_bracket")
        await it.until(lambda: it.link.commands(ShowAttention)[-1].layer == 1)  # type: ignore[union-attr]
        await it.press("greater_than_sign")
        await it.until(lambda: it.link.commands(ShowAttention)[-1].heads == (1,))  # type: ignore[union-attr]
        await it.press("h")
        await it.until(lambda: it.link.commands(ShowAttention)[-1].heads is None)  # type: ignore[union-attr]
        assert it.link.commands(ShowAttention)[-1].first_row == it.watch.attention.question.first_row  # type: ignore[union-attr]


async def test_the_prompt_has_a_history_and_line_breaks() -> None:
    async with bench() as it:
        await it.press("p", "end", "ctrl+n", "x", "enter")
        assert it.link.starts[-1].prompt == "ROMEO:\nx"
        await it.press("p", "y", "up", "up")
        assert it.app.main.prompt.input.value == "ROMEO:"
        await it.press("down", "down")
        assert it.app.main.prompt.input.value == "ROMEO:↵xy"


async def test_what_the_worker_notices_is_shown() -> None:
    async with bench() as it:
        it.link.say(Notice(1, "dropped from the prompt: 'é'"), Notice(0, "of another run"))
        await it.until(lambda: it.notices())
        assert "'é'" in it.notices()
        assert "another run" not in it.notices()


async def test_a_dead_process_is_replaced_with_a_notice() -> None:
    async with bench() as it:
        it.link.write([token(0, "a")])
        it.link.say(Ended("ended by signal SIGKILL"))
        await it.until(lambda: it.link.restarts)
        assert "SIGKILL" in it.notices()
        await it.press("r")  # not before it is ready: asks for a process once more
        assert len(it.link.starts) == 1
        it.link.say(Ready(MODEL))
        await it.until(lambda: "ready again" in it.notices())
        await it.press("r")
        assert len(it.link.starts) == 2


async def test_a_process_that_dies_again_is_not_started_for_ever() -> None:
    async with bench() as it:
        it.link.say(Ended("exit status 1"), Refused("no such file"), Ended("exit status 2"))
        await it.until(lambda: "died again" in it.notices())
        assert it.link.restarts == 1
        assert "no such file" in it.notices()


async def test_the_end_and_the_evictions_are_told() -> None:
    async with bench() as it:
        it.link.write([token(0), Evict(16, 16, 16), token(1), End("cancelled", 2, 0.002, 1000.0)])
        await it.until(lambda: it.app.session.state.phase == "ended")
        assert it.app.session.state.evictions == 1
        assert "■ ended" in it.screen_text()


@pytest.mark.parametrize("size", SIZES)
async def test_every_pane_has_room(size: tuple[int, int]) -> None:
    async with bench(size=size) as it:
        it.link.write([token(step) for step in range(30)])
        await it.until(lambda: it.app.session.state.written == 30)
        for pane in (it.watch.output, it.watch.attention, it.watch.timing):
            assert pane.size.width >= 30
            assert pane.size.height >= 4
        for line in (
            it.app.main.prompt,
            it.app.query_one(StatusPane),
            it.app.query_one(CachePane),
            it.app.query_one(KeysPane),
        ):
            assert line.size.height >= 1
            assert it.app.screen.region.contains_region(line.region)
        assert "q Quit" in it.screen_text()
        assert f"of {CONFIG.context_length} positions" in it.screen_text()


async def test_a_terminal_too_small_says_what_is_needed() -> None:
    async with bench() as it:
        await it.resize(50, 10)
        await it.until(lambda: "64 × 20 cells; this terminal has 50 × 10" in " ".join(it.screen_text().split()))
        await it.resize(80, 24)
        await it.until(lambda: not it.app.query_one("#too-small", Static).display)


async def test_scrolling_up_stops_following_and_the_end_key_follows_again() -> None:
    async with bench(size=(80, 24)) as it:
        it.link.write([token(step, "a\n") for step in range(100)])
        await it.until(lambda: it.watch.output.scroll_y > 80)
        await it.press("pageup")
        await it.until(lambda: it.watch.output.scroll_y < it.watch.output.max_scroll_y)
        place = it.watch.output.scroll_y
        it.link.write([token(step, "b\n") for step in range(100, 120)])
        await it.until(lambda: it.app.session.state.written == 120)
        assert it.watch.output.scroll_y == place
        await it.press("end")
        await it.until(lambda: it.watch.output.scroll_y == it.watch.output.max_scroll_y)
        it.link.write([token(120, "c\n")])
        await it.until(lambda: it.app.session.state.written == 121)
        await it.until(lambda: it.watch.output.scroll_y == it.watch.output.max_scroll_y)


async def test_colours_themes_ramp_and_bars_have_keys() -> None:
    async with bench() as it:
        it.link.write([token(0, "a", logprob=-9.0), token(1, "b", seconds=0.5)])
        await it.until(lambda: it.app.session.state.written == 2)
        await it.press("c")
        assert "the fastest" in it.screen_text()
        await it.press("c")
        assert "probability" in it.screen_text()
        await it.press("d")
        assert not it.app.current_theme.dark
        ramp, scale = it.watch.attention.ramp, it.watch.timing.logarithmic
        await it.press("g", "l", "z")
        assert (it.watch.attention.ramp, it.watch.timing.logarithmic) != (ramp, scale)


async def test_help_opens_and_closes() -> None:
    async with bench() as it:
        await it.press("question_mark")
        assert isinstance(it.app.screen, HelpScreen)
        it.link.write([token(0, "on")])
        await it.until(lambda: it.watch.output.transcript.text == "ROMEO:on")
        await it.press("escape")
        assert not isinstance(it.app.screen, HelpScreen)


async def test_help_is_scrolled_with_keys() -> None:
    async with bench(size=(80, 24)) as it:
        await it.press("question_mark")
        text = it.app.screen.query_one("#help")
        await it.press("pagedown")
        await it.until(lambda: text.scroll_y > 10)
        await it.press("end")
        await it.until(lambda: text.scroll_y == text.max_scroll_y)
        await it.press("home")
        await it.until(lambda: text.scroll_y == 0)


async def test_the_palette_has_every_action_and_keys_can_be_clicked() -> None:
    async with bench() as it:
        titles = [command.title for command in it.app.get_system_commands(it.app.screen)]
        assert all(any(title.startswith(action.title) for title in titles) for action in ACTIONS)
        for name in [action.name for action in ACTIONS] + [name for _, name, _ in ALWAYS]:
            assert hasattr(it.app.main, f"action_{name}") or hasattr(it.app, f"action_{name}")
        await it.click(KeysPane, offset=(3, 0))
        assert it.link.commands(SetCache) == [SetCache(False)]


@pytest.mark.parametrize("key", ["question_mark", "M", "P", "ctrl+p"])
async def test_a_screen_that_is_closed_twice_is_closed_once(key: str) -> None:
    async with bench() as it:
        await it.press(key)
        above = it.app.screen
        assert len(it.app.screen_stack) == 2
        for _ in range(2):  # as two presses of Escape do that were both on their way before the first was answered
            above.dismiss(None)
        await it.until(lambda: len(it.app.screen_stack) == 1)
        await it.settle()
        assert it.app.is_running


async def test_a_page_down_in_a_palette_without_a_height_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_lines(self: object, direction: int) -> None:
        raise KeyError(0)  # what Textual's list does then

    monkeypatch.setattr(CommandList, "_move_page", no_lines)
    async with bench() as it:
        await it.press("ctrl+p")
        await it.press("pagedown")
        assert isinstance(it.app.screen, Palette)
        await it.press("escape")


async def test_a_palette_that_is_closed_while_it_looks_for_commands_ends_nothing() -> None:
    async with bench() as it:
        await it.press("ctrl+p")
        palette = it.app.screen
        assert isinstance(palette, Palette)
        await it.press("escape")
        palette._watch__list_visible()  # what its search does once it has found something
        await palette._watch__show_busy()


@pytest.mark.parametrize(("key", "status"), [("q", 0), ("ctrl+q", 0), ("ctrl+c", 130)])
async def test_quitting(key: str, status: int) -> None:
    async with bench() as it:
        await it.press(key)
        await it.until(lambda: it.app.return_code is not None)
        assert it.app.return_code == status


async def test_another_model_after_a_restart_is_shown() -> None:
    async with bench() as it:
        it.link.say(Ready(ModelInfo("other", CONFIG, 99, 4)))
        await it.until(lambda: "other · 99 parameters" in it.screen_text())


async def test_a_silent_process_is_in_the_status_line_and_r_replaces_it() -> None:
    async with bench() as it:
        it.link.say(Silent(5.0))
        await it.settle()
        assert "silent" in it.screen_text()
        it.link.say(Answering())
        await it.settle()
        assert "silent" not in it.screen_text()
        it.link.say(Silent(5.0))
        await it.settle()
        await it.press("r")
        assert it.link.restarts == 1
        assert "restarting" in it.screen_text()
        it.link.say(Ready(MODEL))
        await it.settle()
        await it.press("r")
        assert len(it.link.starts) == 2


async def test_the_text_is_held_while_the_program_is_suspended() -> None:
    async with bench() as it:
        it.app.app_suspend_signal.publish(it.app)
        assert it.link.sent[-1] == Pause()
        it.app.app_resume_signal.publish(it.app)
        assert it.link.sent[-1] == Resume()
        await it.press("ctrl+z")
        assert "cannot be suspended here" in it.notices()
