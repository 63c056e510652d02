"""The tour, from its first chapter to its last, with what each of them asks for carried out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from bench import Bench, bench
from fake_link import token
from textual.widgets import OptionList

from kvtui.core.commands import Fork, Pause, Resume, SetCache
from kvtui.core.events import Branch, End, State
from kvtui.tui.tour.card import TourCard
from kvtui.tui.tour.chapters import CHAPTERS

SIZES = [(64, 20), (80, 24), (120, 36)]


async def write(it: Bench, count: int = 1, cache: bool = True, computed: int | None = None) -> None:
    """Some more tokens of the newest text."""
    first = it.app.session.state.written
    it.link.write([token(step, cache=cache) for step in range(first, first + count)])
    await it.until(lambda: it.app.session.state.written == first + count)


async def step(it: Bench) -> None:
    await it.press("full_stop")
    it.link.write([State(True, True, 25.0)])
    await write(it)


async def restart(it: Bench) -> None:
    await it.press("R")
    await write(it)


async def cache_off(it: Bench) -> None:
    await it.press("t")
    await write(it, 3, cache=False)


async def cache_on(it: Bench) -> None:
    await it.press("t")
    await write(it, 3)


async def verify(it: Bench) -> None:
    await it.press("v")
    first = it.app.session.state.written
    it.link.write([replace(token(first), max_logit_error=2e-6, argmax_agrees=True)])


async def fork(it: Bench) -> None:
    await it.press("left", "left", "f")
    await it.until(lambda: it.app.screen.query_one(OptionList).option_count > 1)
    await it.press("down", "enter")
    (asked,) = it.link.commands(Fork)
    assert isinstance(asked, Fork)
    it.link.write([Branch(1, 0, asked.position, asked.position, asked.position - 1, 1, 0.001)])
    it.link.write([token(asked.position - 6)])


def pressing(*keys: str) -> Callable[[Bench], Awaitable[None]]:
    """What a chapter asks for, if it is a key and no more."""

    async def press(it: Bench) -> None:
        await it.press(*keys)

    return press


# What the reader does in each chapter.
TASKS: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "Tokens": step,
    "The path of a token": pressing("right_square_bracket"),
    "Attention": pressing("greater_than_sign"),
    "Heads": pressing("x"),
    "Choosing a token": restart,
    "Without a cache": cache_off,
    "The KV cache": cache_on,
    "Cache size": pressing("k"),
    "Prefill and decode": pressing("m"),
    "The same numbers": verify,
    "Going back and branching off": fork,
    "Cache policies": pressing("P", "down", "enter"),
}


def card(it: Bench) -> TourCard:
    return it.app.query_one(TourCard)


@pytest.mark.parametrize("size", SIZES)
async def test_every_chapter_can_be_carried_out_and_hides_nothing_that_it_speaks_of(size: tuple[int, int]) -> None:
    assert list(TASKS) == [chapter.title for chapter in CHAPTERS]
    async with bench(size=size) as it:
        await write(it, 3)
        await it.press("6")
        for number, chapter in enumerate(CHAPTERS):
            assert card(it).chapter is chapter
            assert chapter.view == it.app.main.view.TITLE
            spoken_of = list(it.app.screen.query(".-spoken-of"))
            assert [f"#{pane.id}" for pane in spoken_of] == [chapter.pane]
            assert spoken_of[0].size.height >= 1
            assert it.app.screen.region.contains_region(spoken_of[0].region)
            assert not spoken_of[0].region.overlaps(card(it).region)
            assert it.app.screen.region.contains_region(card(it).region)
            await it.until(lambda: "▷ Try it" in it.screen_text())
            text = it.screen_text()
            assert f"Tour {number + 1} of {len(CHAPTERS)} · {chapter.title}" in text
            assert f"▲ {chapter.look}:" in text
            assert not card(it).done
            await TASKS[chapter.title](it)
            await it.until(lambda: "✔ Done" in it.screen_text())
            await it.press("space")
        assert not card(it).display
        assert not it.app.screen.query(".-spoken-of")


async def test_a_cache_that_was_never_off_is_not_on_again() -> None:
    async with bench() as it:
        await write(it, 3)
        await it.press("6", *["space"] * 6)
        assert card(it).chapter.title == "The KV cache"
        await write(it, 3)
        assert not card(it).done
        await cache_off(it)
        await cache_on(it)
        await it.until(lambda: card(it).done)


async def test_a_pane_that_is_spoken_of_is_outlined_also_with_the_focus() -> None:
    async with bench() as it:
        await write(it, 3)
        await it.press("6", *["space"] * 11)
        assert card(it).chapter.pane == "#cache-map"
        await it.until(lambda: it.app.query_one("#cache-map").has_focus)
        assert it.app.query_one("#cache-map").styles.border_top[0] == "heavy"


async def test_nothing_has_to_be_tried_and_there_is_a_way_back() -> None:
    async with bench() as it:
        await write(it, 3)
        await it.press("f6", "space", "space")
        assert card(it).chapter is CHAPTERS[2]
        await it.press("backspace")
        assert card(it).chapter is CHAPTERS[1]
        await it.press("backspace", "backspace")
        assert card(it).chapter is CHAPTERS[0]
        await it.press("space", "escape")
        assert not card(it).display
        await it.press("6")  # where it was left
        assert card(it).chapter is CHAPTERS[1]
        await it.press("6")
        assert not card(it).display


async def test_a_chapter_is_ticked_for_what_happens_in_it_and_stays_so() -> None:
    async with bench() as it:
        await write(it, 3)
        await it.press("6")
        await step(it)
        await it.until(lambda: card(it).done)
        await it.press("space")
        assert not card(it).done
        await it.press("backspace")
        assert card(it).done


async def test_the_text_goes_on_or_waits_as_the_chapter_wants_it() -> None:
    async with bench() as it:
        await write(it, 3)
        await it.press("6")
        assert not it.link.commands(Pause)
        await it.press("space")  # Anatomy is for reading
        assert it.link.commands(Pause)
        await it.press("space")
        assert it.link.commands(Resume)


async def test_without_a_text_the_card_says_how_to_begin_one() -> None:
    async with bench(None, tour=True) as it:
        assert it.app.focused is it.app.main.prompt.input
        assert "First press p, type a prompt" in it.screen_text()
        await it.press("a", "space", "b")  # typed, not the tour's
        assert it.app.main.prompt.input.value == "a b"
        assert card(it).chapter is CHAPTERS[0]
        await it.press("enter")
        await it.until(lambda: it.app.session.running)
        await write(it)
        await it.until(lambda: CHAPTERS[0].task in it.screen_text())
        await it.press("space")
        assert card(it).chapter is CHAPTERS[1]


async def test_escape_leaves_the_prompt_before_it_leaves_the_tour() -> None:
    async with bench(tour=True) as it:
        await it.press("p", "escape")
        assert card(it).display
        await it.press("escape")
        assert not card(it).display


async def test_space_pauses_again_after_the_tour_and_not_during_it() -> None:
    async with bench(tour=True) as it:
        assert "Space Next" in it.screen_text()
        assert "Space Pause" not in it.screen_text()
        await it.press("escape", "space")
        assert it.link.commands(Pause)
        await it.until(lambda: "Space Resume" in it.screen_text())


async def test_help_over_the_tour_has_the_keys() -> None:
    async with bench(tour=True) as it:
        await it.press("question_mark", "escape")
        assert card(it).display
        assert len(it.app.screen_stack) == 1


async def test_a_text_that_has_ended_can_be_written_again() -> None:
    async with bench(tour=True) as it:
        await write(it, 2)
        it.link.write([End("length", 2, 0.1, 20.0)])
        await it.until(lambda: "The text has ended: press r" in it.screen_text())


async def test_the_tour_quotes_what_was_measured() -> None:
    async with bench() as it:
        it.link.write([token(step, seconds=0.00041) for step in range(5)])
        it.link.write([token(step, cache=False, seconds=0.0142) for step in range(5, 8)])
        it.link.write([token(step, seconds=0.0008) for step in range(70, 110)])  # longer: compared with nothing
        await it.until(lambda: it.app.session.state.written == 110)
        await it.press("6", *["space"] * 6)
        text = " ".join(it.screen_text().split()).replace("┃ ┃ ", "")
        assert card(it).chapter.title == "The KV cache"
        assert "At 8–23 positions it takes 0.41 ms instead of 14.20 ms: 34.6 × faster." in text
        assert re.search("34.6 × faster with (the )?cache at 8–23", text)  # the same in the pane above


async def test_toggling_in_the_tour_reaches_the_worker() -> None:
    async with bench(tour=True) as it:
        await it.press("t")
        assert it.link.commands(SetCache) == [SetCache(False)]


async def test_the_first_screen_tells_of_the_tour() -> None:
    async with bench(None) as it:
        assert "F6 opens a guided tour" in it.screen_text()
