"""Choosing what the cache keeps, while the model writes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench import bench
from fake_link import token
from textual.widgets import Input

from kvtui.core.commands import SetPolicy
from kvtui.core.events import State, Token, Unanswered
from kvtui.tui.panes.policy_screen import CHOICES, PolicyScreen, meaning


async def test_a_known_policy_is_chosen_with_the_arrows() -> None:
    async with bench(size=(80, 24)) as it:
        await it.press("P")
        assert isinstance(it.app.screen, PolicyScreen)
        text = it.screen_text()
        assert "● full" in text
        assert all(choice in text for choice in CHOICES)
        await it.press("down", "down", "down", "up")
        assert "sink:S+N: the first S and the last N positions" in it.screen_text()
        field = it.app.screen.query_one(Input)
        assert field.value == "sink:4+124"
        await it.press("enter")
        assert it.link.commands(SetPolicy) == [SetPolicy("sink:4+124")]


async def test_a_typed_policy_is_applied_and_named_in_the_status_line() -> None:
    async with bench(size=(80, 24)) as it:
        await it.press("P", *"sink", "colon", "2", "plus", "8")
        assert it.app.screen.query_one(Input).value == "sink:2+8"
        await it.press("enter")
        assert it.link.commands(SetPolicy) == [SetPolicy("sink:2+8")]
        assert not isinstance(it.app.screen, PolicyScreen)
        assert "sink:2+8" in it.screen_text().splitlines()[0]
        await it.press("r")
        assert it.link.starts[-1].settings.policy == "sink:2+8"
        await it.press("P")
        assert it.app.screen.query_one(Input).value == "sink:2+8"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("snik:4+8", "did you mean sink?"),
        ("window:0", "N must be 1 or more"),
        ("sink:32+4", "32 sinks fill the model's context of 32"),
        ("heavy:4", "write heavy:H+N, such as heavy:64+64"),
        ("int8,heavy:4+4", "use one of the two"),
        ("", "there is no cache policy"),
    ],
)
async def test_what_cannot_be_is_told_and_stays(spec: str, reason: str) -> None:
    async with bench(size=(80, 24)) as it:
        await it.press("P")
        it.app.screen.query_one(Input).value = spec
        await it.press("enter")
        assert isinstance(it.app.screen, PolicyScreen)
        words = " ".join(it.screen_text().replace("│", " ").split())
        assert reason in words
        assert not it.link.commands(SetPolicy)
        await it.press("escape")
        assert not isinstance(it.app.screen, PolicyScreen)


async def test_the_cache_bar_tells_what_a_position_takes_under_the_policy() -> None:
    async with bench() as it:
        it.link.write([token(0)])
        await it.until(lambda: it.app.session.state.written == 1)
        assert "of 12.3 kB · 384 B per token" in it.screen_text()
        await it.press("P", *"heavy", "colon", "4", "plus", "4", "enter")
        it.link.write([replace(token(1), cached_positions=8, cache_bytes=8 * 400)])
        await it.until(lambda: it.app.session.state.written == 2)
        assert "of 12.3 kB · 400 B per token" in it.screen_text()


async def test_off_tells_how_many_positions_are_run_not_how_many_were_kept() -> None:
    async with bench() as it:
        await it.press("P", *"window", "colon", "4", "enter")
        it.link.write([replace(token(step), context=4, cached_positions=4) for step in range(10)])
        await it.until(lambda: it.app.session.state.written == 10)
        await it.press("t")
        assert "off: nothing is kept · all 16 positions recomputed for each token" in it.screen_text()


async def test_the_same_policy_changes_nothing() -> None:
    async with bench() as it:
        await it.press("P", "enter")
        assert not it.link.commands(SetPolicy)


async def test_a_click_applies() -> None:
    async with bench() as it:
        await it.press("P")
        await it.click("#policy-list", offset=(4, 1))
        await it.until(lambda: it.link.commands(SetPolicy) == [SetPolicy("window:128")])


async def test_off_says_that_it_has_to_be_turned_on() -> None:
    async with bench() as it:
        await it.press("t", "P", "down", "enter")
        assert "press t to switch it on" in it.notices()


async def test_the_process_has_the_last_word() -> None:
    async with bench() as it:
        it.link.write([token(0)])
        await it.press("P", "down", "enter")
        it.link.write(
            [Unanswered(SetPolicy("window:128"), "this model cannot"), State(True, False, 25.0, policy="full")]
        )
        await it.until(lambda: it.app.session.state.policy == "full")
        assert "this model cannot" in it.notices()


async def test_during_a_race_it_is_for_the_next_text() -> None:
    async with bench() as it:
        await it.press("2", "enter")
        await it.until(lambda: it.app.session.racing)
        await it.press("P", *"window", "colon", "4", "enter")
        assert "A race keeps its lanes. window:4 applies to the next text" in it.notices()
        assert not it.link.commands(SetPolicy)
        assert it.app.session.state.policy == "window:4"


async def test_the_dashboard_starts_under_a_policy() -> None:
    async with bench(policy="window:16") as it:
        assert it.link.starts[0].settings.policy == "window:16"
        assert "window:16" in it.screen_text()


def test_every_choice_can_be_had() -> None:
    assert all(meaning(choice) for choice in CHOICES)


async def test_under_a_policy_the_window_is_the_models_and_not_what_the_cache_keeps() -> None:
    def kept(step: int, start: int) -> Token:
        return replace(token(step), context=8, cached_positions=8, window_start=start)

    async with bench(policy="window:8") as it:
        for count, start in (
            (20, 0),
            (6, 0),
            (1, 16),
            (16, 32),
        ):  # with the prompt 26 fill 32
            first = it.app.session.state.written
            it.link.write([kept(first + step, start) for step in range(count)])
            await it.until(lambda first=first, count=count: it.app.session.state.written == first + count)
            assert it.app.session.window_start == start


async def test_a_policy_from_the_palette() -> None:
    async with bench() as it:
        commands = {command.title: command for command in it.app.get_system_commands(it.app.screen)}
        commands["Cache policy sink:4+124"].callback()
        assert it.link.commands(SetPolicy) == [SetPolicy("sink:4+124")]
        it.app.main.set_policy("sink:40+4")
        await it.settle()
        assert "40 sinks fill the model's context of 32" in it.notices()
        assert len(it.link.commands(SetPolicy)) == 1
