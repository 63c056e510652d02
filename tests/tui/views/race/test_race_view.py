"""The race view, through its keys."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench import Bench, bench
from fake_link import CONFIG, token
from racing import end, prefills, rounds
from textual.widgets import Static

from kvtui.core.commands import Pause, Resume, SetCache, SetVerify, Step, Stop
from kvtui.core.events import RaceEstimate, State
from kvtui.core.race import LANES
from kvtui.tui.views.race.lane import LanePane
from kvtui.tui.views.race.score import ScorePane
from kvtui.tui.views.race.view import RaceView, length_words
from kvtui.tui.worker.protocol import RACE_TOKENS, Ended, Notice, Start, StartRace

TEXT = "\nWhat light is this"


async def race(it: Bench, text: str = TEXT, over: bool = False, **options) -> RaceView:
    """The view with a race that has written a text."""
    await it.press("2", "enter")
    await it.until(lambda: it.link.races)
    events = [*prefills(), *rounds(text, **options), *([end(len(text))] if over else [])]
    it.link.write(events, it.link.races[-1].run)
    await it.until(lambda: it.app.session.race.steps == len(text) and bool(it.app.session.race.end) == over)
    view = it.app.main.view
    assert isinstance(view, RaceView)
    await it.until(lambda: view.query_one(ScorePane)._race.steps == len(text))
    return view


async def test_it_says_what_will_stand_there_and_enter_starts_it() -> None:
    async with bench(seed=5) as it:
        await it.press("2")
        assert "Enter starts it" in it.screen_text()
        await it.press("enter")
        await it.until(lambda: it.link.races)
        request = it.link.races[0]
        assert (request.prompt, request.lanes, request.tokens, request.confirmed) == ("ROMEO:", LANES, None, False)
        assert request.settings.seed == 5
        await it.until(lambda: "Timing a few passes" in it.screen_text())


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_both_texts_the_marks_and_the_speed_up(size: tuple[int, int]) -> None:
    async with bench(size=size) as it:
        view = await race(it, differs=frozenset({12}))
        first, second = view.query(LanePane)
        assert first.transcript.text == second.transcript.text == "ROMEO:" + TEXT
        await it.until(lambda: it.screen_text().count("What light is this") == 2)
        text = it.screen_text()
        assert "18 of 19 agree" in text
        assert text.count("✓") == 18
        assert text.count("✗") == 1
        assert f"cached is 6.4 × as fast at 7–25{' positions' if size[0] > 80 else ' '}" in text
        assert "19 of 26 tokens" in text


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_the_status_line_tells_of_the_lanes_and_the_past_of_the_text_before(size: tuple[int, int]) -> None:
    async with bench(size=size) as it:
        it.link.write([token(step) for step in range(40)])
        await it.until(lambda: it.app.session.state.written == 40)
        await race(it)
        top = it.screen_text().splitlines()[:2]
        assert "▶ racing" in "".join(top)
        assert "CACHE" not in top[0]
        if size[0] == 120:
            assert f"{len(TEXT)} tokens in each lane" in top[1]
        await it.press("1", "left")
        assert "◀ token 39 of 40" in it.screen_text()


async def test_the_end_has_a_verdict() -> None:
    async with bench() as it:
        await race(it, over=True)
        await it.until(lambda: "All 19 tokens agree" in it.screen_text())
        assert "at 7–25 positions, took" in it.screen_text()
        assert it.app.session.state.phase == "ended"
        assert it.app.session.state.written == len(TEXT)


async def test_pause_step_stop_and_the_toggle() -> None:
    async with bench() as it:
        await race(it)
        await it.press("space")
        assert it.link.commands(Pause)
        it.link.write([State(True, True, 25.0)], it.link.races[-1].run)
        await it.until(lambda: it.app.session.state.phase == "paused")
        await it.press("full_stop", "space", "s")
        assert [len(it.link.commands(kind)) for kind in (Step, Resume, Stop)] == [1, 1, 1]
        await it.press("t")  # the lanes are what they are; the next text will be without
        assert not it.link.commands(SetCache)
        assert not it.app.session.state.cache
        assert "The next text will be written without the cache" in it.notices()


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_the_line_at_the_top_speaks_of_the_race(size: tuple[int, int]) -> None:
    """Not of the text before, nor of a cache that is on in one lane and off in the other."""
    async with bench(size=size, policy="window:8") as it:
        await it.press("v")
        it.link.write(
            [
                replace(token(0), max_logit_error=1e-6, argmax_agrees=True),
                State(True, False, 25.0, (), True, "window:8"),
            ]
        )
        await it.until(lambda: it.app.session.state.written == 1)
        assert ("Δlogits ≤" if size == (80, 24) else "logits differ by up to") in it.screen_text()
        await race(it)
        await it.until(lambda: "▶ racing" in it.screen_text())
        top = "\n".join(it.screen_text().splitlines()[:2])
        assert not [word for word in ("CACHE", "window:8", "differs", "verif") if word in top]
        await it.press("space")
        assert "‖ paused" in it.screen_text()
        it.link.write([end(len(TEXT))], it.link.races[-1].run)
        await it.until(lambda: "■ ended" in it.screen_text())


async def test_keys_that_concern_a_text_say_so_during_a_race() -> None:
    async with bench() as it:
        it.link.write([token(step) for step in range(30)])
        await it.until(lambda: it.app.session.state.written == 30)
        await race(it)
        await it.press("v", "f", "4")
        assert "Verifying applies to the next text" in it.notices()
        assert "the text can be forked after it ends" in it.notices()
        assert "A race is running" in it.screen_text()
        assert not it.link.commands(SetVerify)
        await it.press("1", "left")
        await it.until(lambda: "token 29 of 30" in it.screen_text())  # of the text, not of the race


def test_a_race_to_the_end_of_a_long_context_has_an_end_before() -> None:
    assert length_words(None, CONFIG) == "to the end of the context"
    longer = replace(CONFIG, context_length=RACE_TOKENS + 1)
    assert length_words(None, longer) == "to the end of the context, 512 tokens at most"
    assert length_words(1024, CONFIG) == "1,024 tokens"


async def test_space_and_r_after_the_end_race_again() -> None:
    async with bench(seed=1) as it:
        await race(it, over=True)
        await it.press("r")
        await it.press("R")
        assert [request.settings.seed for request in it.link.races] == [1, 1, 2]
        assert len(it.link.starts) == 1


async def test_a_prompt_written_in_the_view_is_raced() -> None:
    async with bench(None) as it:
        await it.press("escape", "2", "p", "H", "i", "enter")
        await it.until(lambda: it.link.races)
        assert it.link.races[0].prompt == "Hi"
        assert not it.link.starts


async def test_lengths_and_the_context() -> None:
    async with bench() as it:
        await it.press("2", "n")
        await it.until(lambda: "64 tokens" in it.screen_text())
        assert "exceed the context of 32: the window moves" in it.notices()
        await it.press("enter")
        await it.until(lambda: it.link.races)
        assert it.link.races[0].tokens == 64
        await it.press("n", "n", "n", "n", "n")
        assert "to the end of the context" in it.notices()
        assert len(it.shown_notices()) == 1  # they do not pile up over the screen


async def test_a_long_race_is_estimated_and_asked_about() -> None:
    async with bench() as it:
        await it.press("2", "enter")
        await it.until(lambda: it.link.races)
        it.link.write([RaceEstimate(26, ("cached", "uncached"), (2.0, 240.0), 0)], it.link.races[0].run)
        await it.until(lambda: "about 4 min 02 s" in it.screen_text())
        assert "starts it anyway" in it.screen_text()
        assert not it.app.session.running
        await it.press("enter")
        assert [request.confirmed for request in it.link.races] == [False, True]
        assert it.link.races[1].tokens == 26


async def test_another_length_takes_the_question_back() -> None:
    async with bench() as it:
        await it.press("2", "enter")
        await it.until(lambda: it.link.races)
        it.link.write([RaceEstimate(26, ("cached", "uncached"), (2.0, 240.0), 0)], it.link.races[0].run)
        await it.until(lambda: it.app.session.race.estimate)
        await it.press("n", "enter")
        await it.until(lambda: len(it.link.races) == 2)
        assert (it.link.races[1].tokens, it.link.races[1].confirmed) == (64, False)


async def test_the_time_axis() -> None:
    async with bench() as it:
        view = await race(it)
        await it.press("l")
        await it.until(lambda: view._logarithmic and view._drawn["race-times"][3])  # type: ignore[index]


async def test_the_text_of_view_one_stays_and_a_new_text_ends_the_race() -> None:
    async with bench() as it:
        await race(it)
        await it.press("1")
        assert it.watch.output.transcript.text == "ROMEO:"
        await it.press("r")
        assert isinstance(it.link.sent[-1], Start) or it.link.starts[-1].run > it.link.races[-1].run
        assert not it.app.session.racing
        it.link.write(rounds("late", len(TEXT)), it.link.races[-1].run)
        await it.press("2")
        assert it.app.session.race.steps == len(TEXT)


async def test_a_race_that_fails_or_dies_says_so() -> None:
    async with bench() as it:
        await it.press("2", "enter")
        await it.until(lambda: it.link.races)
        it.link.say(Notice(it.link.races[0].run, "the weights are damaged", fatal=True))
        await it.until(lambda: "damaged" in it.notices())
        assert not it.app.session.racing
        await it.press("enter")
        await it.until(lambda: len(it.link.races) == 2)
        it.link.say(Ended("signal 9"))
        await it.until(lambda: it.link.restarts)
        assert not it.app.session.racing
        assert isinstance(it.link.sent[-1], StartRace)
        assert "Enter" in str(it.app.main.view.query_one("#race-hint", Static).render())


async def test_a_hidden_race_is_caught_up_with() -> None:
    async with bench() as it:
        view = await race(it)
        await it.press("3")
        it.link.write(rounds(" that breaks", len(TEXT)), it.link.races[-1].run)
        await it.until(lambda: it.app.session.race.steps == len(TEXT) + 12)
        assert view.query(LanePane)[0].transcript.text == "ROMEO:" + TEXT
        await it.press("2")
        await it.until(lambda: view.query(LanePane)[1].transcript.text.endswith(" that breaks"))
