"""The cache view, driven through its keys."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench import Bench, bench
from fake_link import ANSWERS, CONFIG, cache, token

from kvtui.core.commands import ShowCache
from kvtui.core.events import Unanswered
from kvtui.tui.views.cache.draw_map import RAMPS
from kvtui.tui.views.cache.draw_sizes import Sizes
from kvtui.tui.views.cache.known_models import KnownModelsPane
from kvtui.tui.views.cache.view import BELOW, CacheView, growth

QUANTITY_NAMES = [
    ("key", "key norm"),
    ("attention", "√ of attention weight"),
    ("reason", "why it is kept"),
    ("value", "value norm"),
]
SIZES = [(80, 24), (120, 36), (200, 60)]


async def opened(it: Bench, tokens: int = 3) -> CacheView:
    """The view with a few tokens and an answer on its map."""
    it.link.write([token(step) for step in range(tokens)])
    await it.press("3")
    view = it.app.query_one(CacheView)
    await it.until(lambda: "▲" in it.screen_text())
    return view


@pytest.mark.parametrize("size", SIZES)
async def test_map_and_sums_are_there_at_every_size(size: tuple[int, int]) -> None:
    async with bench(size=size) as it:
        await opened(it)
        await it.until(lambda: "value norm ░ 0.0 to █  6.0 · a cell is 1 position" in it.screen_text())
        text = it.screen_text()
        assert "L1 H1 ░░▒▓▓██░░···" in text
        assert "384 B  1 position" in text
        assert "9 positions, measured" in text
        assert "143.2 MB  resident set, measured" in text
        assert "2 × 3 layers × 2 key/value heads × 8 head_dim" in text
        assert "4 bytes = 3,456 B" in text  # by formula: 2 · 3 · 2 · 8 · 9 · 4


async def test_only_what_is_shown_is_asked_and_only_while_visible() -> None:
    async with bench(size=(80, 24)) as it:
        assert not it.link.commands(ShowCache)
        await opened(it)
        await it.until(lambda: it.link.commands(ShowCache)[-1] == ShowCache("value", 0, 3))
        await it.press("1")
        asked = len(it.link.commands(ShowCache))
        it.link.write([token(3), token(4)])
        await it.until(lambda: it.app.session.state.written == 5)
        assert len(it.link.commands(ShowCache)) == asked


async def test_the_shade_is_asked_for_and_named() -> None:
    async with bench() as it:
        await opened(it)
        for quantity, name in QUANTITY_NAMES:
            await it.press("k")
            await it.until(lambda quantity=quantity: it.link.commands(ShowCache)[-1].quantity == quantity)  # type: ignore[union-attr]
            await it.until(lambda name=name: name in it.screen_text())


async def test_the_attention_is_that_of_the_token_that_the_title_names() -> None:
    async with bench() as it:
        it.link.write([token(step, letter) for step, letter in enumerate("stars")])
        await it.press("3", "k", "k")
        await it.until(lambda: "√ of attention weight, query “s”" in it.screen_text())
        assert "written by the newest step" in it.screen_text()
        it.link.write([token(5, "?")])
        await it.until(lambda: "√ of attention weight, query “?”" in it.screen_text())
        await it.press("left")
        await it.until(lambda: "written by the chosen token’s step" in it.screen_text())


async def test_layers_rows_and_pages_scroll() -> None:
    async with bench(size=(80, 24)) as it:
        view = await opened(it)
        view.map.styles.height = 6  # two rows
        await it.until(lambda: "rows 1–2 of 6" in it.screen_text())
        await it.press("right_square_bracket")
        assert view.map.top == 2
        await it.until(lambda: it.link.commands(ShowCache)[-1] == ShowCache("value", 1, 2))
        await it.press("down")
        await it.until(lambda: it.link.commands(ShowCache)[-1] == ShowCache("value", 1, 3))
        assert "rows 4–5 of 6" in it.screen_text()
        await it.press("left_square_bracket")
        assert view.map.top == 2
        await it.press("pagedown", "pagedown", "pagedown", "pagedown")
        assert view.map.top == 4
        await it.press("pageup", "up", "up", "up", "up")
        assert view.map.top == 0


async def test_zoom_and_ramp() -> None:
    async with bench(size=(80, 24)) as it:
        view = await opened(it)
        await it.press("z")
        assert not view.map.fitted
        await it.press("z", "g")
        assert view.map.fitted
        assert f"{RAMPS[1][0]} 0.0 to {RAMPS[1][-1]}" in it.screen_text()
        await it.press("g")
        assert f"{RAMPS[0][0]} 0.0 to {RAMPS[0][-1]}" in it.screen_text()


@pytest.mark.parametrize("size", SIZES)
async def test_what_stands_below_the_map(size: tuple[int, int]) -> None:
    async with bench(size=size) as it:
        view = await opened(it)
        for expected in (*BELOW[1:], BELOW[0]):
            await it.press("m")
            assert view.below == expected
            text = it.screen_text()
            assert ("Llama-2 7B" in text) == (expected == "-models" or (expected == "-all" and size[1] == 60))
            assert ("Growth" in text) == (expected == "-growth" or (expected == "-all" and size[1] > 24))
            assert ("Cache size" in text) == (expected == "-all")
            assert "Cache map" in text


async def test_a_context_is_picked_with_keys_and_clicks() -> None:
    async with bench() as it:
        view = await opened(it)
        await it.press("m", "m")
        assert "[8k]" in it.screen_text()
        await it.press("right_curly_bracket")
        assert "at 16k" in it.screen_text()
        assert "2.1 GB" in it.screen_text()  # Llama-3.1 8B: 131,072 bytes a token
        await it.press(*["left_curly_bracket"] * 20)
        assert "[1k]" in it.screen_text()
        pane = view.query_one(KnownModelsPane)
        await it.click(pane, offset=(2 + len("context  1k  2k  4"), 1))
        await it.until(lambda: "[4k]" in it.screen_text())


async def test_off_is_shown() -> None:
    async with bench() as it:
        await opened(it)
        await it.press("t")
        await it.until(
            lambda: "off: nothing is kept, all 9 positions are recomputed for each token" in it.screen_text()
        )
        assert "the cache is off" in it.screen_text()


async def test_before_a_text_the_map_says_what_will_appear() -> None:
    async with bench(None) as it:
        await it.press("escape", "3")
        text = it.screen_text()
        assert "The cache will appear here as a map" in text
        assert "will appear here with the text" in text


async def test_a_new_text_empties_the_map_and_the_chart() -> None:
    async with bench() as it:
        view = await opened(it, 9)
        assert len(view._points) == 10
        await it.press("r")
        await it.until(lambda: len(view._points) == 1)


def test_growth_is_what_was_measured_and_the_formula() -> None:
    sizes = Sizes(CONFIG, 4, True, 9, 9 * 768)
    drawing = growth([(6.0, 0.0046), (9.0, 0.0069), (40.0, 0.0123)], sizes)
    formula, measured, _ = drawing.curves
    full = 2 * 3 * 2 * 8 * 32 * 4 / 1e6
    assert formula.points == [(0.0, 0.0), (32, full)]
    assert measured.points[-1] == (40.0, 0.0123)
    assert (drawing.x.low, drawing.x.high) == (0, 40.0)
    assert drawing.y.high is not None
    assert drawing.y.high >= full


async def test_an_earlier_token_shows_the_cache_as_it_was() -> None:
    async with bench() as it:
        await opened(it, 9)
        await it.press("left", "left")
        await it.until(lambda: it.link.commands(ShowCache)[-1].length == 13)  # type: ignore[union-attr]
        await it.until(lambda: "13 positions, measured" in it.screen_text())
        await it.press("end")
        await it.until(lambda: it.link.commands(ShowCache)[-1].length is None)  # type: ignore[union-attr]


async def test_a_cache_that_is_gone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench() as it:
        monkeypatch.setitem(ANSWERS, ShowCache, lambda link, asked: replace(cache(link, asked), position=20))
        await opened(it, 3)
        await it.press("left")
        await it.until(lambda: "the cache has been refilled since then" in it.screen_text())


async def test_a_cache_that_has_dropped_positions_since_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench() as it:
        await opened(it, 3)
        monkeypatch.setitem(ANSWERS, ShowCache, lambda link, asked: Unanswered(asked, "it has dropped positions since"))
        await it.press("left")
        await it.until(lambda: "it has dropped positions since" in it.screen_text())


async def test_why_is_shown_in_signs() -> None:
    async with bench() as it:
        await opened(it)
        await it.press("k", "k", "k")
        await it.until(lambda: "L1 H1 ■SRHQ■SRH···" in it.screen_text())
        assert "S sink, R recent window, H heavy hitter, Q quantised" in it.screen_text()
