"""Switching between the views."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from bench import bench
from fake_link import token
from textual.binding import Binding

from kvtui.core.commands import SetCache, ShowAttention
from kvtui.tui.actions import ACTIONS, ALWAYS, TOUR, number_keys
from kvtui.tui.panes.tabs import TabsPane
from kvtui.tui.screens.help import HelpScreen
from kvtui.tui.views.switcher import ViewSwitcher
from kvtui.tui.views.table import KEYS, OWN_KEYS, VIEWS
from kvtui.tui.views.view import View


async def test_number_keys_show_the_views_and_the_tabs_say_which() -> None:
    async with bench(size=(80, 24)) as it:
        for key, view in zip(KEYS, VIEWS, strict=True):
            await it.press(key)
            assert isinstance(it.app.main.view, view)
            assert f"[{key} {view.TITLE}]" in it.screen_text()
            assert [other.display for other in it.app.query_one(ViewSwitcher).views].count(True) == 1


async def test_a_tab_can_be_clicked() -> None:
    async with bench() as it:
        text = it.app.query_one(TabsPane).render().plain  # type: ignore[union-attr]
        await it.click(TabsPane, offset=(text.index("Time") + 1, 0))
        await it.until(lambda: it.app.main.view.TITLE == "Time")


async def test_digits_go_into_the_prompt_while_it_has_the_focus() -> None:
    async with bench(None) as it:
        await it.press("2")
        assert it.app.main.prompt.input.value == "2"
        assert it.app.main.view.TITLE == "Watch"


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
        for key in KEYS:
            await it.press(key, "t")
        assert len(it.link.commands(SetCache)) == len(VIEWS)


async def test_the_keys_of_a_view_work_only_while_it_is_visible() -> None:
    async with bench() as it:
        await it.press("right_square_bracket")
        assert it.watch.attention.layer_index == 1
        assert "Layer" in it.screen_text()
        await it.press("5", "right_square_bracket")
        assert it.watch.attention.layer_index == 1
        assert "Layer" not in it.screen_text()


def keys_of(bindings: Iterable[tuple[str, str]]) -> list[str]:
    """Every key of (keys, action) pairs, as Textual calls it."""
    return [binding.key for binding in Binding.make_bindings((keys, name, "") for keys, name in bindings)]


EVERYWHERE = keys_of(
    [
        *((action.keys, action.name) for action in ACTIONS),
        *(entry[:2] for entry in ALWAYS),
        *((key, "") for key in KEYS),
    ]
)
ON_THE_CARD = keys_of(entry[:2] for entry in TOUR)  # Space is Pause where no card is


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.TITLE)
def test_no_key_is_bound_twice_where_it_can_be_pressed(view: type[View]) -> None:
    own = keys_of((action.keys, action.name) for action in view.ACTIONS)
    assert len({*EVERYWHERE, *own}) == len(EVERYWHERE) + len(own)
    assert not {*ON_THE_CARD} & {*own}
    assert len({*ON_THE_CARD}) == len(ON_THE_CARD)
    assert {*own} <= {*OWN_KEYS}


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.TITLE)
async def test_no_pane_takes_a_key_of_the_dashboard(view: type[View]) -> None:
    """A pane that has the focus comes before the app: what it binds is for it alone, or does what its view does."""
    async with bench() as it:
        await it.press(KEYS[VIEWS.index(view)])
        for pane in it.app.main.view.query("*"):
            bound = [binding.key for binding in Binding.make_bindings(type(pane).__dict__.get("BINDINGS", ()))]
            if type(pane).__module__.startswith("kvtui"):
                assert not {*bound} & {*EVERYWHERE, *ON_THE_CARD}, pane


def test_views_take_the_digits_that_no_action_has() -> None:
    assert number_keys(6) == ("1", "2", "3", "4", "5", "7")  # 6 is the tour's
    assert len(number_keys(9)) == 9
    with pytest.raises(ValueError, match="10 views"):
        number_keys(10)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.TITLE)
def test_every_action_has_a_method_and_every_view_says_what_it_is(view: type[View]) -> None:
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
        assert it.app.main.view is it.watch
        assert it.watch.attention.layer_index == 1
