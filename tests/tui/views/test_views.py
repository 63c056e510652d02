"""Switching between the views."""

from __future__ import annotations

from bench import bench
from fake_link import token

from kvtui.core.commands import SetCache, ShowAttention
from kvtui.tui.actions import ACTIONS, ALWAYS
from kvtui.tui.panes.tabs import TabsPane
from kvtui.tui.screens.help import HelpScreen
from kvtui.tui.views.table import VIEWS


async def test_number_keys_show_the_views_and_the_tabs_say_which() -> None:
    async with bench(size=(80, 24)) as it:
        for number, view in enumerate(VIEWS):
            await it.press(str(number + 1))
            assert isinstance(it.app.view, view)
            assert f"[{number + 1} {view.TITLE}]" in it.screen_text()
            assert [other.display for other in it.app.views].count(True) == 1


async def test_a_tab_can_be_clicked() -> None:
    async with bench() as it:
        text = it.app.query_one(TabsPane).render().plain  # type: ignore[union-attr]
        await it.click(TabsPane, offset=(text.index("Time") + 1, 0))
        await it.until(lambda: it.app.view.TITLE == "Time")


async def test_digits_go_into_the_prompt_while_it_has_the_focus() -> None:
    async with bench(None) as it:
        await it.press("2")
        assert it.app.prompt.input.value == "2"
        assert it.app.view.TITLE == "Watch"


async def test_a_hidden_view_is_not_called_and_catches_up_when_shown() -> None:
    async with bench() as it:
        it.link.write([token(0, "a")])
        await it.until(lambda: it.watch.output.transcript.text == "ROMEO:a")
        await it.press("5")
        asked = len(it.link.commands(ShowAttention))
        it.link.write([token(1, "b"), token(2, "c")])
        await it.until(lambda: it.app.session.state.written == 3)
        assert it.watch.output.transcript.text == "ROMEO:a"
        assert len(it.link.commands(ShowAttention)) == asked
        await it.press("1")
        assert it.watch.output.transcript.text == "ROMEO:abc"
        assert len(it.watch.timing.history) == 3
        await it.until(lambda: len(it.link.commands(ShowAttention)) > asked)


async def test_a_text_that_began_while_hidden_is_shown_whole() -> None:
    async with bench() as it:
        it.link.write([token(0, "a")])
        await it.until(lambda: it.watch.output.transcript.text == "ROMEO:a")
        await it.press("3", "r")
        await it.until(lambda: len(it.link.starts) == 2)
        it.link.write([token(0, "x")])
        await it.until(lambda: it.app.session.state.written == 1)
        await it.press("1")
        assert it.watch.output.transcript.text == "ROMEO:x"


async def test_the_toggle_works_in_every_view() -> None:
    async with bench() as it:
        for number in range(len(VIEWS)):
            await it.press(str(number + 1), "t")
        assert len(it.link.commands(SetCache)) == len(VIEWS)


async def test_the_keys_of_a_view_work_only_while_it_is_visible() -> None:
    async with bench() as it:
        await it.press("right_square_bracket")
        assert it.watch.attention.layer_index == 1
        assert "Layer" in it.screen_text()
        await it.press("5", "right_square_bracket")
        assert it.watch.attention.layer_index == 1
        assert "Layer" not in it.screen_text()


def test_every_action_has_a_method_and_no_key_is_taken_twice() -> None:
    always = [key for keys, _, _ in ALWAYS for key in keys.split(",")]
    common = [key for action in ACTIONS for key in action.keys.split(",")] + always
    common += [str(number + 1) for number in range(len(VIEWS))]
    for view in VIEWS:
        keys = common + [key for action in view.ACTIONS for key in action.keys.split(",")]
        assert len(keys) == len(set(keys)), view
        assert all(hasattr(view, f"action_{action.name}") for action in view.ACTIONS)
        assert view.SUMMARY
        assert view.PARAGRAPHS


async def test_help_speaks_of_the_visible_view() -> None:
    async with bench() as it:
        await it.press("5", "question_mark")
        assert isinstance(it.app.screen, HelpScreen)
        assert "view Time" in it.screen_text()


async def test_the_palette_shows_the_view_of_an_action_first() -> None:
    async with bench() as it:
        await it.press("3")
        commands = {command.title: command for command in it.app.get_system_commands(it.app.screen)}
        assert all(any(title.startswith(f"View {view.TITLE}") for title in commands) for view in VIEWS)
        commands["Next layer  (] in Watch)"].callback()
        await it.settle()
        assert it.app.view is it.watch
        assert it.watch.attention.layer_index == 1
