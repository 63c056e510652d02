"""The tour, from its first chapter to its last, with what each of them asks for carried out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

import fake_link
import pytest
from bench import Bench, bench
from fake_link import MODEL, token
from rich.console import Console
from rich.text import Text
from textual.widget import Widget
from textual.widgets import OptionList

from kvtui.core.commands import Fork, Pause, Resume, SetCache
from kvtui.core.events import Branch, End, State
from kvtui.tui.tour.card import ENDED, TourCard
from kvtui.tui.tour.chapters import CHAPTERS
from kvtui.tui.tour.scene import scene

SMALLEST = (64, 20)
SIZES = [SMALLEST, (80, 24), (100, 30), (120, 36), (200, 60)]
# The shape of the bundled model, which the tour is written for: six layers of six heads.
SHAPE = replace(
    fake_link.CONFIG,
    vocab_size=65,
    context_length=512,
    num_layers=6,
    num_heads=6,
    num_kv_heads=6,
    head_dim=32,
    embed_dim=192,
    mlp_dim=768,
)
BUNDLED = replace(MODEL, config=SHAPE, parameters=2_681_664)
# The rows that a pane has to have: all of what it shows, or, of one that shows as much as fits, what its chapter needs.
LENS = 1 + 1 + SHAPE.num_layers  # a heading, the embedding, the layers
HEADS = 1 + SHAPE.num_layers + 1  # a heading, the layers, the chosen head
CANDIDATES = 1 + 10
ROWS = {
    "#output": 6,
    "#attention": 6,
    "#timing": 5,
    "#lens": LENS,
    "#heads": HEADS,
    "#candidates": CANDIDATES,
    "#without": 5,  # how far, likeliest, one that moves, with, without
    "#cache-sizes": 6,
    "#cache-map": 4,
    "#parts": 2,
    "#conclusion": 1,
    "#status": 1,
}
# What a chapter's task changes beside the pane that is outlined.
ALSO = {"Heads": "#without", "Cache size": "#cache-map", "Prefill and decode": "#conclusion"}
# In the smallest terminal the likeliest candidates are shown, and there is no room for both panes of these chapters.
FEWER = {"#candidates": 8, "#cache-map": 0, "#conclusion": 0}


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


@pytest.fixture
def bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of the fake process that have the shape of the bundled model."""
    monkeypatch.setattr(fake_link, "CONFIG", SHAPE)
    monkeypatch.setattr(fake_link, "MODEL", BUNDLED)


def words_in(it: Bench, widget: Widget) -> str:
    """What is on the screen in the place of a widget, in one line."""
    place = widget.content_region
    rows = it.screen_text().splitlines()[place.y : place.bottom]
    return " ".join(" ".join(row[place.x : place.right] for row in rows).split())


def assert_whole(it: Bench, selector: str, size: tuple[int, int]) -> None:
    """A pane is on the screen with all of its rows, and nothing of it is cut off."""
    pane = it.app.main.query_one(selector)
    rows = FEWER.get(selector, ROWS[selector]) if size == SMALLEST else ROWS[selector]
    if not rows:
        return
    assert pane.size.height >= rows, selector
    assert it.app.screen.find_widget(pane).visible_region == pane.region, selector
    assert not pane.region.overlaps(card(it).region), selector


def assert_nothing_is_cut_off(it: Bench, size: tuple[int, int]) -> None:
    """Each pane of the view that is shown is shown to its end."""
    if size == SMALLEST:
        return
    shown = [pane for pane in it.app.main.view.query(Widget) if pane.id and pane.size and pane.display]
    assert shown
    for pane in shown:
        assert it.app.screen.find_widget(pane).visible_region == pane.region, pane.id


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_every_chapter_can_be_carried_out_and_its_pane_is_whole(size: tuple[int, int], bundled: None) -> None:
    assert list(TASKS) == [chapter.title for chapter in CHAPTERS]
    async with bench(size=size, model=BUNDLED) as it:
        await write(it, 20)
        await it.press("6")
        place = card(it).region
        for number, chapter in enumerate(CHAPTERS):
            assert card(it).chapter is chapter
            assert chapter.view == it.app.main.view.TITLE
            assert [f"#{pane.id}" for pane in it.app.screen.query(".-spoken-of")] == [chapter.pane]
            panes = [chapter.pane, *([ALSO[chapter.title]] if chapter.title in ALSO else [])]
            await it.until(lambda: "▷ Try it" in it.screen_text())
            assert f"Tour {number + 1} of {len(CHAPTERS)} · {chapter.title}" in it.screen_text()
            for done in (False, True):
                assert card(it).done == done
                for pane in panes:
                    assert_whole(it, pane, size)
                assert_nothing_is_cut_off(it, size)
                assert card(it).region == place  # nothing moves
                said = words_in(it, card(it))
                assert said.startswith(f"▲ {chapter.look}: ")
                assert said.endswith(f"{'✔ Done' if done else '▷ Try it'}: {chapter.task}")
                if not done:
                    await TASKS[chapter.title](it)
                    await it.until(lambda: "✔ Done" in it.screen_text())
            await it.press("space")
        assert not card(it).display
        assert not it.app.screen.query(".-spoken-of")


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_the_card_has_room_for_all_that_it_may_have_to_say(size: tuple[int, int]) -> None:
    async with bench(size=size, model=BUNDLED, tour=True) as it:
        it.link.write([replace(token(step), max_logit_error=2e-6, argmax_agrees=True) for step in range(300)])
        await it.until(lambda: it.app.session.state.written == 300)
        now = replace(scene(it.app.session, (), ()), cached=0.00041, uncached=0.1234)
        room = card(it).content_size
        for chapter in CHAPTERS:
            task = f"▷ Try it: {ENDED if chapter.writing else ''}{chapter.task}"
            said = Text(f"▲ {chapter.look}: {chapter.text(now)}\n{task}")
            assert len(said.wrap(Console(), room.width)) <= room.height, chapter.title


@pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=str)
async def test_what_a_chapter_speaks_of_is_on_the_screen(size: tuple[int, int], bundled: None) -> None:
    """Every layer of the lens, every head, every candidate, the whole formula."""
    async with bench(size=size, model=BUNDLED) as it:
        await write(it, 20)
        await it.press("6", "space")
        await it.until(lambda: "leads from" in it.screen_text())
        lens = words_in(it, it.app.main.query_one("#lens"))
        assert all(f"layer {number}" in lens for number in range(1, 7)), lens
        await it.press("space", "space")
        heads = words_in(it, it.app.main.query_one("#heads"))
        assert all(f"H{number}" in heads and f"L{number}" in heads for number in range(1, 7)), heads
        assert "attends to" in heads
        await it.press("space")
        assert words_in(it, it.app.main.query_one("#candidates")).count(" %") >= 10
        await it.press("space", "space", "space")
        await it.until(lambda: "resident" in it.screen_text())
        assert words_in(it, it.app.main.query_one("#cache-sizes")).endswith("bytes = 239,616 B")


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


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_without_a_text_the_card_says_what_to_do_where_the_focus_is(size: tuple[int, int]) -> None:
    async with bench(None, size=size, tour=True) as it:
        assert it.app.focused is it.app.main.prompt.input
        assert words_in(it, card(it)).endswith("▷ First type a prompt such as ROMEO: and press Enter.")
        assert "Space: next" not in it.screen_text()
        await it.press("a", "space", "b", "backspace")  # typed, not the tour's
        assert it.app.main.prompt.input.value == "a "
        assert card(it).chapter is CHAPTERS[0]
        await it.press("escape")
        assert card(it).display
        assert words_in(it, card(it)).endswith("▷ First press p, type a prompt such as ROMEO: and press Enter.")
        await it.press("space", "backspace")  # the tour's, as it says now
        assert card(it).chapter is CHAPTERS[0]
        await it.press("p", "b", "enter")
        assert it.link.starts[0].prompt == "a b"
        await it.until(lambda: it.app.session.running)
        await write(it)
        await it.until(lambda: CHAPTERS[0].task in it.screen_text())
        await it.press("space")
        assert card(it).chapter is CHAPTERS[1]


async def test_the_card_names_its_keys_only_where_they_work() -> None:
    async with bench(tour=True) as it:
        assert "Space: next · Backspace: back · Esc: leave" in it.screen_text()
        await it.press("p")
        assert "Enter: write · Esc: leave the prompt" in it.screen_text()
        assert "Space: next" not in it.screen_text()
        await it.press("escape")
        assert "Space: next · Backspace: back · Esc: leave" in it.screen_text()


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
