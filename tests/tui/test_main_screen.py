"""The main screen's own business: which keys are bound, and one gate for what another program's stream cannot do."""

from __future__ import annotations

from dataclasses import replace

from bench import bench
from fake_link import MODEL
from textual.binding import Binding

from kvtui.core.commands import SetCache
from kvtui.tui.actions import ACTIONS, ALWAYS, MODEL_IS_ELSEWHERE, TOUR, Action, number_keys
from kvtui.tui.app import KvtuiApp
from kvtui.tui.main_screen import MainScreen
from kvtui.tui.views.table import KEYS, OWN_KEYS, VIEWS

STREAM = replace(MODEL, stream=True)


def words(action: Action) -> str:
    """What the dashboard has to say instead of carrying it out."""
    return action.elsewhere or f"{action.title}: {MODEL_IS_ELSEWHERE}"


async def test_every_action_that_needs_the_model_only_says_so_on_a_stream() -> None:
    """Those of the dashboard, and those of the views that a stream can be shown in."""
    async with bench(model=STREAM) as it:
        for number, view in enumerate(VIEWS):
            if view.ASKS:
                continue
            await it.press(KEYS[number])
            before, state = list(it.link.sent), it.app.session.state
            for action in (*ACTIONS, *view.ACTIONS):
                if not action.asks:
                    continue
                for key in action.keys.split(","):
                    told = it.notices().count(words(action))
                    await it.press(key)
                    assert it.notices().count(words(action)) == told + 1, action.name
            assert it.link.sent == before
            assert it.app.session.state == state
            assert it.app.screen is it.app.main
            assert it.app.main.view.TITLE == view.TITLE
            assert it.app.focused is not it.app.main.prompt.input


async def test_the_gate_stands_before_the_keys_that_work_in_the_prompt_and_before_the_palette() -> None:
    async with bench(model=STREAM) as it:
        it.app.main.prompt.input.focus()
        await it.press("ctrl+t", "f2", "f6")
        toggle, tour = (next(a for a in ACTIONS if a.name == name) for name in ("toggle_cache", "tour"))
        assert (it.notices().count(words(toggle)), it.notices().count(words(tour))) == (2, 1)
        commands = {command.title: command for command in it.app.get_system_commands(it.app.screen)}
        await commands[f"{toggle.title}  ({toggle.shown})"].callback()  # type: ignore[misc]
        assert it.notices().count(words(toggle)) == 3
        assert not it.link.commands(SetCache)
        assert not it.app.main.tour.display


async def test_the_gate_is_open_for_a_model_of_our_own() -> None:
    async with bench() as it:
        for action in (*ACTIONS, *VIEWS[0].ACTIONS):
            if action.asks:
                await it.press(action.first_key, "escape")
                assert words(action) not in it.notices(), action.name
        assert it.link.commands(SetCache)


def test_only_what_asks_the_model_has_words_for_its_absence() -> None:
    actions = (*ACTIONS, *(action for view in VIEWS for action in view.ACTIONS))
    assert all(action.asks for action in actions if action.elsewhere)


def test_the_keys_are_those_of_the_tables_and_each_is_bound_once() -> None:
    """Space is the only one with two meanings: the card of the tour has it while it is open."""
    bound = [binding.key for binding in Binding.make_bindings((*MainScreen.BINDINGS, *KvtuiApp.BINDINGS))]
    tables = [key for action in ACTIONS for key in action.keys.split(",")]
    tables += [key for keys, *_ in (*TOUR, *ALWAYS) for key in keys.split(",")]
    made = [key for keys in (*tables, *KEYS, *OWN_KEYS) for key in keys.split(",")]
    assert {key for key in made if made.count(key) > 1} == {"space"}
    assert sorted(bound) == sorted(binding.key for binding in Binding.make_bindings((key, "", "") for key in made))


def test_the_number_keys_are_those_that_the_table_of_views_leaves_over() -> None:
    assert number_keys(len(VIEWS)) == KEYS
    digits = {key for action in ACTIONS for key in action.keys.split(",") if key.isdigit()}
    assert digits.isdisjoint(KEYS)
    assert sorted(KEYS) == list(KEYS)
