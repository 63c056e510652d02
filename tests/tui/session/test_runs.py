"""The texts of a session: the table, and the line over the bars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bench import Bench, bench
from fake_link import token
from racing import end, prefills, rounds

from kvtui.core.events import Branch
from kvtui.core.sampling import SamplingSettings
from kvtui.tui.session.branches import Branches
from kvtui.tui.session.runs import RUNS_KEPT, Origin, RunRecord, Runs, record, sampling_words, saving
from kvtui.tui.session.timeline import Timeline
from kvtui.tui.session.timings import Kind, TimingHistory
from kvtui.tui.views.time.draw_runs import run_lines
from kvtui.tui.views.time.runs import RunsPane


def history(count: int, milliseconds: float, cache: bool = True) -> TimingHistory:
    times = TimingHistory()
    times.add([token(step, cache=cache, seconds=milliseconds / 1e3) for step in range(count)])
    return times


def run(count: int, milliseconds: float, cache: bool = True, model: str = "small") -> RunRecord:
    return record([history(count, milliseconds, cache)], Origin(model, "ROMEO:", 7), SamplingSettings(), "full")


def text(lines: list[list[tuple[str, str]]]) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in lines]


def test_a_record_of_a_run() -> None:
    one = run(100, 2.0)
    assert (one.tokens, one.cache, one.seed, one.settings) == (100, "on", 7, "T 0.8 · full")
    assert (one.median, one.p95) == pytest.approx((2.0, 2.0))
    assert one.seconds == pytest.approx(0.2)
    both = history(60, 1.0)
    both.add([token(step, cache=False, seconds=0.02) for step in range(60, 70)])
    assert record([both], Origin("small", "", 0), SamplingSettings(), "full").cache == "both"


def test_median_and_p95_leave_out_prefills_as_the_other_views_do() -> None:
    times = history(4, 1.0)
    times.add([replace(token(4, seconds=0.5), computed=11)])
    one = record([times], Origin("small", "", 0), SamplingSettings(), "full")
    summary = times.summary()
    assert summary is not None
    assert (one.median, one.p95) == (summary.median, summary.p95) == pytest.approx((1.0, 1.0))
    assert (one.tokens, one.seconds) == (5, pytest.approx(0.504))


def test_what_the_cache_saves_comes_from_the_run_or_from_others_of_the_model() -> None:
    cached, uncached, other = run(50, 1.0), run(50, 20.0, cache=False), run(50, 5.0, cache=False, model="large")
    assert saving(cached, [cached]) is None
    assert saving(cached, [cached, other]) is None
    for one in (cached, uncached):
        found = saving(one, [cached, uncached, other])
        assert found is not None
        assert (found.times, found.lengths) == (pytest.approx(20), "48–63")


def test_a_policy_is_not_credited_with_the_times_of_another() -> None:
    uncached, full = run(50, 20.0, cache=False), run(50, 1.0)
    window = replace(run(50, 0.5), policy="window:8")
    of_full, of_window = saving(uncached, [uncached, full, window]), saving(window, [uncached, full, window])
    assert of_full is not None
    assert of_window is not None
    assert (of_full.times, of_window.times) == pytest.approx((20, 40))


def test_what_a_text_has_measured_itself_stays_and_is_what_the_other_views_show() -> None:
    """At the length nearest to its end, whatever other runs have measured since, and at whatever length."""
    times = history(60, 1.0)
    times.add([token(step, cache=False, seconds=0.01) for step in range(50, 56)])
    times.add([token(step, seconds=0.001) for step in range(60, 230)])
    mine = record([times], Origin("small", "", 0), SamplingSettings(), "full")
    long = record([history(230, 90.0, cache=False)], Origin("small", "", 0), SamplingSettings(), "full")
    assert saving(mine, [mine, long]) == times.comparison()
    rows = text(run_lines([mine, long], 0, 116, 10))
    assert " 10.0 × at 56–71 " in rows[2]
    assert " 90.0 × at 232–247* " in rows[1]


def test_lines_have_the_newest_on_top_and_fit() -> None:
    assert "will appear here" in text(run_lines([], None, 78, 10))[0]
    runs = [run(50, 1.0), run(50, 20.0, cache=False)]
    narrow = text(run_lines(runs, 1, 76, 10))
    assert narrow[1].startswith("●  2 ROMEO:")
    assert narrow[2].startswith("   1 ROMEO:")
    assert "20.0 ×" in narrow[1]
    assert len({len(line) for line in narrow}) == 1
    assert len(narrow[0]) <= 76
    assert "T 0.8 · full · small" in text(run_lines(runs, None, 116, 10))[1]
    assert ["p95" in text(run_lines(runs, None, width, 10))[0] for width in (76, 96, 116, 130)] == [0, 1, 1, 1]
    assert len(run_lines(runs, None, 76, 2)) == 2


class Texts:
    """The runs of a session, one of whose texts after another is written."""

    def __init__(self) -> None:
        self.line = Timeline()
        self.branches = Branches(self.line)
        self.runs = Runs(self.branches, SamplingSettings(), Origin("small", "0", 0))

    def write(self, prompt: str, count: int) -> None:
        self.runs.begin(Origin("small", prompt, 0), "full")
        self.line.start()
        self.branches.start()
        for step in range(count):
            self.line.add(token(step))

    @property
    def listed(self) -> tuple[list[str], int | None]:
        runs, place = self.runs.all("full")
        return [run.prompt for run in runs], place


def test_a_text_stands_among_the_runs_from_its_first_token_on() -> None:
    texts = Texts()
    assert texts.listed == ([], None)
    texts.write("a", 2)
    texts.write("b", 0)
    assert texts.listed == (["a"], None)
    texts.line.add(token(0))
    assert texts.listed == (["a", "b"], 1)


def test_a_text_keeps_the_policy_that_it_ended_with() -> None:
    texts = Texts()
    texts.write("a", 1)
    texts.runs.begin(Origin("small", "b", 0), "window:8")
    assert [run.settings for run in texts.runs.finished] == ["T 0.8 · window:8"]


def test_only_so_many_runs_are_kept_and_they_are_the_newest() -> None:
    texts = Texts()
    for number in range(RUNS_KEPT + 3):
        texts.write(str(number), 1)
    prompts, place = texts.listed
    assert (prompts[0], prompts[-1]) == ("2", str(RUNS_KEPT + 2))
    assert place == len(prompts) - 1 == RUNS_KEPT


def test_the_tokens_of_all_branches_are_those_of_one_run() -> None:
    texts = Texts()
    texts.write("a", 3)
    texts.branches.turn_to(Branch(1, 0, 7, 7, 7, 1, 0.0))
    texts.line.add(token(1))
    ((run,), _) = texts.runs.all("full")
    assert run.tokens == 4


def test_sampling_in_words() -> None:
    assert sampling_words(SamplingSettings(0)) == "greedy"
    assert sampling_words(SamplingSettings(0.7, 5, 0.9)) == "T 0.7 top-k 5 top-p 0.9"


def test_the_text_before_stands_at_the_same_tokens() -> None:
    now, before = history(10, 1.0), history(6, 2.0)
    assert np.array_equal(before.beside(now.columns(20, 1), 1), [2.0] * 6 + [np.nan] * 4, equal_nan=True)
    assert np.array_equal(before.beside(now.columns(6, 1), 1), [2.0] * 2 + [np.nan] * 4, equal_nan=True)
    assert np.array_equal(history(100, 2.0).beside(now.columns(20, 2), 2), [2.0] * 5)
    assert len(before.beside(TimingHistory().columns(20, 1), 1)) == 0


async def two_runs(it: Bench) -> None:
    it.link.write([token(step, seconds=0.001) for step in range(20)])
    await it.until(lambda: it.app.session.state.written == 20)
    await it.press("t", "r")
    await it.until(lambda: len(it.link.starts) == 2)
    it.link.write([token(step, cache=False, seconds=0.02) for step in range(10)])
    await it.until(lambda: it.app.session.timeline.times.total == 10)


async def test_the_run_before_is_drawn_and_listed() -> None:
    async with bench() as it:
        await two_runs(it)
        assert it.app.session.timeline.times_before is not None
        assert it.app.session.timeline.times_before.kinds.tolist() == [Kind.CACHED] * 20
        await it.until(lambda: "─ previous text" in it.screen_text())
        await it.press("5")
        pane = it.app.query_one(RunsPane)
        assert pane.display
        text = it.screen_text()
        assert "●  2 ROMEO:" in text
        assert "20.0 ×" in text


async def test_the_lanes_of_a_race_are_listed() -> None:
    """In the order in which they were run, though the text before the race may still be gone on with."""
    async with bench() as it:
        it.link.write([token(step, seconds=0.001) for step in range(20)])
        await it.until(lambda: it.app.session.state.written == 20)
        session = it.app.session
        session.start_race("JULIET:", seed=3)
        it.link.write([*prefills("JULIET:"), *rounds("abcdefgh"), end(8)], session.run)
        await it.until(lambda: not session.racing)
        runs, current = session.all_runs()
        assert [(run.prompt, run.seed, run.cache, run.tokens) for run in runs] == [
            ("ROMEO:", 0, "on", 20),
            ("JULIET:", 3, "on", 8),
            ("JULIET:", 3, "off", 8),
        ]
        assert current == 0
        assert runs[1].settings == "T 0.8 · full · race"
        assert runs[1].seconds == pytest.approx(8 * 0.0005)
        assert runs[1].median == pytest.approx(0.5)
        found = saving(runs[1], runs)
        assert found is not None
        assert found == saving(runs[2], runs)
        assert (found.times, found.lengths) == (pytest.approx(2.1 / 0.5), "7–14")
        await it.press("5")
        assert "●  1 ROMEO:" in it.screen_text()
        assert "   3 JULIET:" in it.screen_text()
        session.start("NURSE:")
        it.link.write([token(0)])
        await it.until(lambda: session.timeline.times.total == 1)
        assert [run.prompt for run in session.all_runs()[0]] == ["ROMEO:", "JULIET:", "JULIET:", "NURSE:"]


async def test_a_race_that_is_given_up_is_listed_once() -> None:
    async with bench() as it:
        session = it.app.session
        session.start_race("JULIET:")
        it.link.write([*prefills("JULIET:"), *rounds("abc")], session.run)
        await it.until(lambda: session.race.steps == 3)
        session.start_race("NURSE:")
        session.start("ROMEO:")
        assert [run.prompt for run in session.all_runs()[0]] == ["JULIET:", "JULIET:"]


async def test_e_shows_the_runs_in_a_small_terminal() -> None:
    async with bench(size=(80, 24)) as it:
        await two_runs(it)
        await it.press("5")
        assert not it.app.query_one(RunsPane).display
        await it.press("e")
        await it.until(lambda: "●  2 ROMEO:" in it.screen_text())
        await it.press("e")
        assert not it.app.query_one(RunsPane).display


async def test_a_run_without_a_token_leaves_no_line() -> None:
    async with bench() as it:
        await it.press("r", "r")
        assert it.app.session.all_runs() == ([], None)
        assert it.app.session.timeline.times_before is None
