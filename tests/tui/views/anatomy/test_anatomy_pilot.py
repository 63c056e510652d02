"""View 4, driven through its keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from bench import Bench, bench
from fake_link import ANSWERS, CONFIG, inspection, token

from kvtui.core.commands import Inspect, SetHeads, ShowAttention
from kvtui.core.events import End, State, Unanswered
from kvtui.tui.session.update import Update
from kvtui.tui.views.anatomy.view import CONTINUATION, AnatomyView


@asynccontextmanager
async def anatomy(size: tuple[int, int] = (120, 36)) -> AsyncIterator[tuple[Bench, AnatomyView]]:
    """View 4, some tokens into a text."""
    async with bench(size=size) as it:
        it.link.write([token(step, letter) for step, letter in enumerate("the stars")])
        await it.press("4")
        await it.until(lambda: "▸s " in it.screen_text())
        yield it, it.app.query_one(AnatomyView)


def inspects(it: Bench) -> list[Inspect]:
    return [request for request in it.link.sent if isinstance(request, Inspect)]


async def test_nothing_is_asked_before_the_view_is_shown_and_only_then() -> None:
    async with bench() as it:
        it.link.write([token(0)])
        await it.until(lambda: it.app.session.state.written)
        assert not inspects(it)
        await it.press("4")
        await it.until(lambda: inspects(it))


async def test_before_there_is_a_text_the_panes_say_what_they_will_show() -> None:
    async with bench(None) as it:
        await it.press("escape", "4")
        text = it.screen_text()
        assert "could have been chosen" in text
        assert "press p" in text
        await it.press("x", "w")
        assert "r writes it again" in it.notices()


async def test_all_four_panes_show_the_newest_token() -> None:
    async with anatomy() as (it, _):
        text = it.screen_text()
        assert "Candidates · ROMEO:the␣star▸s" in text
        assert "▶ s  60.0 %" in text
        assert "✂ top-p" in text
        assert "✂ top-k" in text
        assert "s leads from layer 2 on" in text
        assert "temperature 0.8 · after 14 tokens" in text
        assert "[0.00]" in text
        assert "All heads are on" in text
        it.link.write([token(9, "?")])
        await it.until(lambda: "ROMEO:the␣stars▸?" in it.screen_text())


async def test_a_text_that_waits_is_asked_about_by_its_place() -> None:
    """A large model is asked seldom; once the text waits, its newest token must not stay unexplained for a minute."""
    async with anatomy() as (it, _):
        assert inspects(it)[-1].position is None
        await it.press("space")
        newest = it.app.session.timeline.tokens[-1].position
        await it.until(lambda: inspects(it)[-1].position == newest)
        it.link.write([token(9, "?"), State(True, True, 25.0)])
        await it.until(lambda: inspects(it)[-1].position == newest + 1)


async def test_layers_and_heads_are_chosen_with_keys_round_and_round() -> None:
    async with anatomy() as (it, view):
        await it.press("right_square_bracket", "greater_than_sign")
        assert view.chosen == (1, 1)
        await it.press("greater_than_sign", "left_square_bracket", "left_square_bracket", "less_than_sign")
        assert view.chosen == (CONFIG.num_layers - 1, 1)
        await it.until(lambda: "L3 H2 attends to ≈" in it.screen_text())
        await it.until(lambda: it.link.commands(ShowAttention)[-1].heads == (1,))  # type: ignore[union-attr]
        await it.until(lambda: "1 back" in it.screen_text())  # what it looked at


async def test_what_a_head_looked_at_stays_when_the_next_token_is_told_of_first() -> None:
    async with anatomy() as (it, view):
        await it.until(lambda: "1 back" in it.screen_text())
        told = view._weighed
        assert told is not None
        view.show(Update(answers=[replace(told, position=told.position + 1)]), it.app.session)
        assert view._weighed is told
        view.show(Update(answers=[replace(told, position=told.position + 2)]), it.app.session)
        assert view._weighed is None  # too long ago


async def test_any_token_of_the_text_is_explained() -> None:
    async with anatomy() as (it, _):
        await it.press("left", "left")
        await it.until(lambda: "ROMEO:the␣st▸a" in it.screen_text())
        assert inspects(it)[-1].position == 12
        await it.until(lambda: it.link.commands(ShowAttention)[-1].position == 12)  # type: ignore[union-attr]
        await it.press("end")
        await it.until(lambda: "ROMEO:the␣star▸s" in it.screen_text())


@pytest.mark.parametrize(
    ("size", "lens", "heads"),
    [
        ((80, 24), "Logit lens · at “t” → “a”", "Heads, nats · query “t” → “a”"),
        ((120, 36), "Logit lens · at “t”, predicting “a”", "Heads · entropy in nats · query “t”, predicting “a”"),
    ],
)
async def test_lens_and_heads_say_that_they_are_of_the_token_before(
    size: tuple[int, int], lens: str, heads: str
) -> None:
    """Which predicted the one that every other pane is about."""
    async with anatomy(size) as (it, _):
        await it.press("left", "left")
        await it.until(lambda: "▸a" in it.screen_text() and heads in it.screen_text())
        assert lens in it.screen_text()
        assert it.app.session.cursor.position == 12


async def test_a_click_chooses_a_head() -> None:
    async with anatomy() as (it, view):
        await it.click("#heads", offset=(2 + 4 + 6 + 2, 3))  # border, padding, gutter, one cell; second layer
        await it.settle()
        assert view.chosen == (1, 1)
        await it.click("#heads", offset=(2, 1))
        assert view.chosen == (1, 1)


async def test_a_head_switched_off_is_compared_and_the_text_stays_as_it_is() -> None:
    async with anatomy() as (it, view):
        await it.press("x")
        await it.until(lambda: "KL 0.1250 nats" in it.screen_text())
        assert inspects(it)[-1].heads_off == ((0, 0),)
        assert "Without L1 H1" in it.screen_text()
        await it.until(lambda: "[off ]" in it.screen_text())
        assert not it.link.commands(SetHeads)
        await it.press("right_square_bracket", "x")
        await it.until(lambda: "KL 0.2500 nats" in it.screen_text())
        assert "Without L1 H1, L2 H1" in it.screen_text()
        await it.press("x")
        await it.until(lambda: inspects(it)[-1].heads_off == ((0, 0),))
        await it.press("X")
        await it.until(lambda: "All heads are on" in it.screen_text())
        assert not view.off


async def test_both_go_on_once_the_text_waits() -> None:
    async with anatomy() as (it, _):
        await it.press("x")
        await it.until(lambda: "pause (Space)" in it.screen_text())
        assert inspects(it)[-1].continuation == 0
        await it.press("space")
        it.link.write([State(True, True, 25.0)])
        await it.until(lambda: "without nothing" in it.screen_text())
        assert "with    to␣write" in it.screen_text()
        assert inspects(it)[-1].continuation == CONTINUATION


async def test_the_text_goes_on_without_heads_and_the_status_line_says_so() -> None:
    async with anatomy() as (it, _):
        await it.press("w")
        assert "x switches the chosen head off" in it.notices()
        await it.press("x", "w")
        assert it.link.commands(SetHeads) == [SetHeads(((0, 0),))]
        await it.until(lambda: "· without L1 H1" in it.screen_text().splitlines()[1])
        await it.press("right_square_bracket", "x", "right_square_bracket", "x")  # it follows
        assert it.link.commands(SetHeads)[-1] == SetHeads(((0, 0), (1, 0), (2, 0)))
        await it.until(lambda: "without 3 heads" in it.screen_text())
        await it.press("w")
        assert it.link.commands(SetHeads)[-1] == SetHeads(())
        await it.until(lambda: "without 3 heads" not in it.screen_text())


async def test_another_text_is_the_whole_models_again() -> None:
    async with anatomy() as (it, _):
        await it.press("x", "w", "r")
        assert it.app.session.state.heads_off == ()
        it.link.write([End("cancelled", 0, 0.0, 0.0)])
        await it.until(lambda: not it.app.session.running)
        await it.press("w")
        assert "r writes it again" in it.notices()


async def test_a_token_without_an_answer_says_why() -> None:
    async with anatomy() as (it, _):
        await it.until(lambda: it.link.quiet)
        it.link.write([Unanswered(inspects(it)[-1], "token 0 was not predicted: predictions start at token 1")])
        await it.until(lambda: "token 0 was not predicted" in it.screen_text())
        it.link.write([token(9, "?")])
        await it.until(lambda: "▸?" in it.screen_text())


async def test_while_an_answer_is_worked_out_the_panes_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a large model it takes seconds."""
    monkeypatch.delitem(ANSWERS, Inspect)
    async with bench() as it:
        it.link.write([token(0)])
        await it.until(lambda: it.app.session.state.written)
        await it.press("4")
        await it.until(lambda: "Computing" in it.screen_text())
        assert "press p" not in it.screen_text()
        it.link.write([inspection(it.link, inspects(it)[-1])])
        await it.until(lambda: "All heads are on" in it.screen_text())
        await it.press("x")
        await it.until(lambda: "Computing" in it.screen_text())
        assert "All heads are on" not in it.screen_text()
        it.link.write([inspection(it.link, inspects(it)[-1])])
        await it.until(lambda: "KL 0.1250 nats" in it.screen_text())


@pytest.mark.parametrize("size", [(64, 20), (80, 24), (120, 36), (200, 60)])
async def test_every_pane_has_room(size: tuple[int, int]) -> None:
    async with anatomy(size) as (it, _):
        await it.press("x")
        await it.until(lambda: "KL 0.1250 nats" in it.screen_text())
        for name in ("candidates", "lens", "heads", "without"):
            pane = it.app.query_one(f"#{name}")
            assert pane.size.width >= 26
            assert pane.size.height >= 3
            assert it.app.screen.region.contains_region(pane.region)
