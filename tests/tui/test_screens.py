"""Every screen as text, at two sizes, against the files in ``snapshots``.

A screen is a function below that brings the app there, with :func:`screen` before it. To write the files anew, and to
look at what has changed::

    KVTUI_RENEW=1 python -m pytest tests/tui/test_screens.py -k NAME
    git diff tests/tui/snapshots
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bench import Bench, bench
from fake_link import ANSWERS, PARTS, token
from racing import end, prefills, rounds
from textual.widgets import Input

from kvtui.core.events import Branch, End, RacePrefill, RaceToken
from kvtui.tui.panes.chart import Chart
from kvtui.tui.screens.overlay import Overlay

SIZES = [(80, 24), (120, 36)]
SNAPSHOTS = Path(__file__).parent / "snapshots"
RENEW = bool(os.environ.get("KVTUI_RENEW"))
RACED = "\nWhat light is this breaks"
TEXT = "\nWhat light is this that breaks upon the night,\nAnd stars that"

Prepare = Callable[[Bench], Awaitable[None]]
SCREENS: dict[str, tuple[Prepare, str | None]] = {}


def screen(prepare: Prepare) -> Prepare:
    """Compare the screen that this function leaves, after the prompt was run."""
    SCREENS[prepare.__name__] = (prepare, "ROMEO:")
    return prepare


def write(it: Bench, text: str = TEXT, first: int = 0, cache: bool = True) -> None:
    """Tokens of made-up times, each a character."""
    it.link.write(
        [
            token(
                step,
                character,
                cache=cache,
                seconds=(0.0005 if cache else 0.0002 * (step + 7)) * (1 + step % 3 / 4),
                logprob=-0.1 - step % 7,
            )
            for step, character in enumerate(text, first)
        ]
    )


async def first(it: Bench) -> None:
    """What the reader sees first, without a prompt."""


SCREENS["first"] = (first, None)


@screen
async def watch(it: Bench) -> None:
    write(it)
    await it.until(lambda: it.app.session.state.written == len(TEXT))
    await it.press("t")
    write(it, " fall", len(TEXT), cache=False)
    it.link.write([End("length", 5, 0.1, 50.0)])


@screen
async def cache(it: Bench) -> None:
    write(it)
    await it.press("3")
    chart = it.app.main.view.query_one(Chart)
    await it.until(lambda: "resident" in it.screen_text() and chart.up_to_date)


@screen
async def cache_read_bars_and_models(it: Bench) -> None:
    write(it)
    await it.press("3", "k", "k", "g", "m", "m", "right_curly_bracket")
    await it.until(lambda: "√ of attention weight, query" in it.screen_text())


@screen
async def watch_looking_back(it: Bench) -> None:
    write(it, TEXT[:20])
    await it.until(lambda: it.app.session.state.written == 20)
    await it.press(*["left"] * 8)


@screen
async def race_before(it: Bench) -> None:
    await it.press("2")


@screen
async def race(it: Bench) -> None:
    await it.press("2", "enter")
    await it.until(lambda: it.link.races)
    it.link.write([*prefills(), *rounds(RACED, differs=frozenset({12})), end(len(RACED))], it.link.races[-1].run)
    await charted(it)


@screen
async def race_of_policies(it: Bench) -> None:
    await it.press("2", "o")
    it.app.screen.query_one(Input).value = "sink:2+8"
    await it.press("enter", "enter")
    await it.until(lambda: it.link.races)
    told = [*prefills(), *rounds(RACED), end(len(RACED))]
    for place, event in enumerate(told):
        if isinstance(event, RacePrefill):
            both = replace(event.prefill, cache=True)
            told[place] = replace(event, label=("full", "sink:2+8")[event.lane], prefill=both)
        elif isinstance(event, RaceToken) and event.lane == 1:
            told[place] = replace(event, kl=10.0 ** (event.token.step % 6 - 5), agrees=event.token.step % 6 < 4)
    it.link.write(told, it.link.races[-1].run)
    await charted(it)


@screen
async def time(it: Bench) -> None:
    it.link.write([replace(token(step), parts=PARTS) for step in range(5)])
    await it.press("5", "m")
    await it.until(lambda: "memory-bound" in it.screen_text())
    await charted(it)


async def charted(it: Bench) -> None:
    """Wait for the charts of the visible view: they are drawn a few times a second."""
    charts = [chart for chart in it.app.main.view.query(Chart) if chart.display]
    await it.until(lambda: all(any(curve.points for curve in chart._shown.curves) for chart in charts))


@screen
async def policy(it: Bench) -> None:
    await it.press("P", "down", "down")


@screen
async def watch_second_run(it: Bench) -> None:
    write(it)
    await it.until(lambda: it.app.session.state.written == len(TEXT))
    await it.press("t", "r")
    await it.until(lambda: len(it.link.starts) == 2)
    write(it, TEXT[:30], cache=False)
    await it.until(lambda: it.app.session.timeline.times.total == 30)


@screen
async def runs(it: Bench) -> None:
    await watch_second_run(it)
    await it.press("5", "e")


@screen
async def fork(it: Bench) -> None:
    write(it, TEXT[:20])
    await it.until(lambda: it.app.session.state.written == 20)
    await it.press("left", "left")
    await settled(it)
    await it.press("f")


@screen
async def branches(it: Bench) -> None:
    write(it, TEXT[:20])
    it.link.write([Branch(1, 0, 16, 16, 15, 1, 0.001)])
    write(it, "t? It is", 10)
    await it.until(lambda: it.app.session.branches.current == 1)
    await it.press("b")


@screen
async def verified(it: Bench) -> None:
    await it.press("v")
    it.link.write([replace(token(step), max_logit_error=2e-6, argmax_agrees=True) for step in range(9)])
    await it.until(lambda: it.app.session.state.verification.checked == 9)


@screen
async def cache_wrong(it: Bench) -> None:
    await it.press("v")
    it.link.write([replace(token(step), max_logit_error=0.25, argmax_agrees=step < 5) for step in range(9)])
    await it.until(lambda: it.app.session.state.verification.checked == 9)


@screen
async def help_of_watch(it: Bench) -> None:
    await it.press("question_mark")


@screen
async def anatomy(it: Bench) -> None:
    write(it, "\nWhat light")
    await it.press("4", "right_square_bracket", "greater_than_sign", "x")
    it.link.write([End("length", 11, 0.1, 50.0)])


@screen
async def tour(it: Bench) -> None:
    write(it, "\nWhat light")
    await it.until(lambda: it.app.session.state.written == 11)
    it.link.write([End("length", 11, 0.1, 50.0)])
    await it.press("6")


@screen
async def tour_of_heads(it: Bench) -> None:
    write(it, "\nWhat light")
    await it.until(lambda: it.app.session.state.written == 11)
    await it.press("6", "space", "space", "space", "x")
    it.link.write([End("length", 11, 0.1, 50.0)])


def answered(it: Bench) -> bool:
    """Whether everything that is shown now was asked for, and has been told."""
    app = it.app
    asker = app.screen if isinstance(app.screen, Overlay) else app.main.view
    for question in asker.questions(app.session) if app.session.answering else ():
        last = app.main.questions._asked.get(type(question))
        if type(question) in ANSWERS and (last is None or last.question != question or last.waiting):
            return False
    return it.link.quiet


async def settled(it: Bench) -> str:
    """The screen when nothing changes on it any more."""
    now, before_that = it.screen_text(), False
    for _ in range(100):
        was, now_answered = now, answered(it)
        await it.settle()
        now = it.screen_text()
        if was == now and before_that and now_answered:
            return "".join(f"{line.rstrip()}\n" for line in now.splitlines())
        before_that = now_answered
    raise AssertionError("the screen does not come to rest")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", SCREENS)
async def test_the_screen_is_as_it_was(name: str, size: tuple[int, int]) -> None:
    prepare, prompt = SCREENS[name]
    async with bench(prompt, size) as it:
        await prepare(it)
        text = await settled(it)
    path = SNAPSHOTS / f"{name}-{size[0]}x{size[1]}.txt"
    if RENEW:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"if this is meant: KVTUI_RENEW=1 pytest {__file__} -k {name}"


def test_no_snapshot_is_left_over() -> None:
    expected = {f"{name}-{width}x{height}.txt" for name in SCREENS for width, height in SIZES}
    assert {path.name for path in SNAPSHOTS.glob("*.txt")} == expected
