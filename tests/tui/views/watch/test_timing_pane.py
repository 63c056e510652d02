"""The timing pane, with made-up tokens in a terminal that is none."""

from __future__ import annotations

import pytest
from bench import bench
from fake_link import token
from textual.app import App, ComposeResult

from kvtui.core.events import Branch, Prefill, Token
from kvtui.tui.session.timings import TimingHistory
from kvtui.tui.views.watch.timing import EMPTY, TimingPane


class Stage(App[None]):
    """An app with nothing but the pane."""

    CSS = "TimingPane { border: round white; height: 100%; }"

    def compose(self) -> ComposeResult:
        yield TimingPane()

    @property
    def pane(self) -> TimingPane:
        return self.query_one(TimingPane)

    def lines(self) -> list[str]:
        """What stands inside of the border."""
        pane = self.pane
        strips = pane.render_lines(pane.size.region.grow((1, 1, 1, 1)).translate((1, 1)))
        return [strip.text[1:-1] for strip in strips[1:-1]]


def tokens(start: int, count: int, milliseconds: float, cache: bool = True, computed: int = 1) -> list[Token]:
    """Tokens of which only the timing matters."""
    steps = range(start, start + count)
    seconds = milliseconds / 1e3
    return [Token(step, step, 0, "a", -1.0, seconds, cache, step % 500 + 1, computed, step, 0) for step in steps]


def add(pane: TimingPane, new: list[Token]) -> None:
    """As the view does when tokens were written."""
    pane.history.add(new)
    pane.grow(len(new))


def squeezed(text: str) -> str:
    """Without the spaces that keep numbers in their places."""
    return " ".join(text.split())


async def test_empty_pane_says_what_will_appear() -> None:
    app = Stage()
    async with app.run_test(size=(80, 8)) as pilot:
        await pilot.pause()
        assert EMPTY[0] in app.lines()[0]


async def test_cached_tokens_ask_for_the_other_measurement() -> None:
    app = Stage()
    async with app.run_test(size=(120, 8)) as pilot:
        add(app.pane, tokens(0, 30, 0.5))
        await pilot.pause()
        text = "\n".join(app.lines())
        assert " 0.50 ms" in text
        assert " 2,000 tok/s" in text
        assert "press t: run without the cache to measure what it saves" in text
        assert "█" in text or "▅" in text
        assert "⣿" not in text


async def test_both_modes_give_the_saving_and_the_reason_of_the_spike() -> None:
    app = Stage()
    async with app.run_test(size=(120, 12)) as pilot:
        app.pane.zoom = 1
        add(app.pane, tokens(0, 20, 0.5))
        add(app.pane, tokens(20, 60, 10.0, cache=False, computed=30))
        add(app.pane, tokens(80, 1, 12.0, computed=41))
        add(app.pane, tokens(81, 9, 0.5))
        await pilot.pause()
        text = "\n".join(app.lines())
        assert "20.0 × faster with the cache at 80–95 positions: 10.0 ms without, 0.50 ms with" in squeezed(text)
        assert "prefill, cache on: 41 tokens in 12.0 ms, 3,417 tok/s ^" in text
        assert "⣿" in text


async def test_the_prefill_of_the_prompt_is_in_title_and_graph() -> None:
    app = Stage()
    async with app.run_test(size=(120, 12)) as pilot:
        app.pane.zoom = 1
        app.pane.start(TimingHistory(prefill=Prefill(6, 0.0032, True, 0, "ROMEO:")))
        await pilot.pause()
        lines = app.lines()
        assert app.pane.border_title == "Time per token · prefill: 6 tokens in 3.20 ms, 1,875 tok/s"
        assert [line[-1] for line in lines[:-2]] == [" ", "▅", "█", "█", "█", "█", "█", "^"]
        assert lines[-3].endswith(" prefill ^")
        add(app.pane, tokens(0, 30, 0.5))
        await pilot.pause()
        assert "^ prefill ────── cached ──" in app.lines()[-3]
        add(app.pane, tokens(30, 300, 0.5))
        await pilot.pause()
        assert "^" not in app.lines()[-3]
        assert "prefill: 6 tokens in 3.20 ms" in (app.pane.border_title or "")


async def test_figures_are_of_the_tokens_that_are_drawn() -> None:
    app = Stage()
    async with app.run_test(size=(80, 12)) as pilot:
        app.pane.zoom = 1
        add(app.pane, tokens(0, 100, 20.0))
        add(app.pane, tokens(100, 60, 1.0))
        await pilot.pause()
        room = app.pane.size.width - 9
        assert f"{room} cached: median 1.00 p95 20.00 max 20.00 ms 1,000 tok/s" in squeezed(app.lines()[-2])
        add(app.pane, tokens(160, 9, 1.0))
        await pilot.pause()
        assert f"{room} cached: median 1.00 p95 1.00 max 1.00 ms 1,000 tok/s" in squeezed(app.lines()[-2])
        app.pane.look(tokens(20, 1, 20.0)[0])
        await pilot.pause()
        assert "then 20.0 ms" in app.lines()[-2]
        assert "median 20.00 p95 20.00 max 20.00 ms 50 tok/s" in squeezed(app.lines()[-2])
        assert set(app.lines()[0][9:]) == {" ", "█"}


async def test_an_outlier_of_the_previous_text_does_not_flatten_the_bars() -> None:
    app = Stage()
    async with app.run_test(size=(80, 12)) as pilot:
        before = TimingHistory()
        before.add([*tokens(0, 3, 2.0), *tokens(3, 1, 80.0), *tokens(4, 40, 2.0)])
        app.pane.zoom = 1
        app.pane.start(TimingHistory(), before)
        add(app.pane, tokens(0, 40, 1.0))
        await pilot.pause()
        lines = app.lines()
        assert lines[0].startswith("    2 ms│")
        assert lines[0].count("─") == 39  # the one of 80 ms has no place


async def test_the_mark_of_the_selected_token_is_no_part_of_a_word() -> None:
    app = Stage()
    async with app.run_test(size=(80, 12)) as pilot:
        app.pane.zoom = 1
        add(app.pane, [*tokens(0, 30, 0.5), *tokens(30, 1, 9.0, computed=257), *tokens(31, 30, 0.5)])
        for token in tokens(0, 61, 0.5):
            app.pane.look(token)
            await pilot.pause()
            band = app.lines()[-3]
            assert band.count("▲") == 1
            assert ("^" in band) != (token.step == 30)
            words = [word.strip() for word in band.replace("^", "─").replace("▲", "─").split("─")]
            assert {word for word in words if word} <= {
                "cached",
                "prefill",
                "prefill, policy or heads changed",
                "prefill, policy or heads changed: 257 tokens",
            }


async def test_eighty_columns_hold_all_figures() -> None:
    app = Stage()
    async with app.run_test(size=(80, 7)) as pilot:
        app.pane.zoom = 1
        add(app.pane, [*tokens(0, 60, 0.61), *tokens(60, 4, 10.0, cache=False, computed=60)])
        add(app.pane, tokens(200, 70, 0.61))
        await pilot.pause()
        lines = app.lines()
        assert len(lines) == 5
        assert all(len(line) == 78 for line in lines)
        assert squeezed(lines[-2]) == "now 0.61 ms 69 cached: median 0.61 p95 0.61 max 0.61 ms 1,639 tok/s"
        assert squeezed(lines[-1]) == "16.4 × faster with the cache at 56–71 positions: 10.0 ms without, 0.61 ms with"


async def test_a_low_pane_has_median_and_saving_on_one_line() -> None:
    app = Stage()
    async with app.run_test(size=(80, 6)) as pilot:
        app.pane.zoom = 1
        add(app.pane, [*tokens(0, 60, 0.61), *tokens(60, 4, 10.0, cache=False, computed=60)])
        add(app.pane, tokens(200, 70, 0.61))
        await pilot.pause()
        assert squeezed(app.lines()[-1]) == "now 0.61 ms 69 cached: median 0.61 ms 16.4 × faster with cache at 56–71"


async def test_figures_do_not_move_as_numbers_change() -> None:
    app = Stage()
    for width in (80, 120, 200):
        async with app.run_test(size=(width, 8)) as pilot:
            places = []
            for milliseconds in (0.05, 0.4, 9.4, 99.4, 1500.0, 150_000.0):
                app.pane.start(TimingHistory())
                add(app.pane, tokens(0, 9, milliseconds))
                await pilot.pause()
                figures = next(line for line in app.lines() if line.startswith("now "))
                places.append([figures.index(name) for name in ("median", "p95", "max", "tok/s")])
            assert places == [places[0]] * len(places)
        app = Stage()


async def test_any_size_and_any_batch_is_drawn() -> None:
    app = Stage()
    async with app.run_test(size=(120, 36)) as pilot:
        add(app.pane, tokens(0, 5000, 0.5))
        for size in ((20, 3), (1, 1), (10, 4), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            add(app.pane, tokens(5000, 300, 0.5))
            await pilot.pause()
            assert all(len(line) == app.pane.size.width for line in app.lines())


async def test_fast_batches_share_columns_and_start_clears() -> None:
    app = Stage()
    async with app.run_test(size=(80, 8)) as pilot:
        for batch in range(30):
            add(app.pane, tokens(100 * batch, 100, 0.5))
        await pilot.pause()
        app.lines()
        assert app.pane.tokens_per_column > 1
        assert f"column: median of {app.pane.tokens_per_column:2}, │ slowest" in (app.pane.border_subtitle or "")
        app.pane.start(TimingHistory())
        await pilot.pause()
        assert EMPTY[0] in app.lines()[0]
        assert app.pane.tokens_per_column == 1


async def test_keys_change_scale_and_zoom() -> None:
    app = Stage()
    async with app.run_test(size=(80, 8)) as pilot:
        add(app.pane, tokens(0, 30, 0.5))
        app.pane.zoom = 1
        app.pane.focus()
        await pilot.pause()
        app.lines()
        assert "█ cached  ⣿ uncached  ^ prefill · column: 1 token · linear" in (app.pane.border_subtitle or "")
        await pilot.press("l", "z")
        await pilot.pause()
        app.lines()
        subtitle = app.pane.border_subtitle or ""
        assert "▀ cached  ⠛ uncached  ^ prefill · column: median of  2, • slowest · log" in subtitle
        await pilot.press(*"zzzzzz")
        assert app.pane.zoom == 0


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 36), (200, 60)])
async def test_the_graph_has_five_rows_before_the_output_has_empty_ones(size: tuple[int, int]) -> None:
    async with bench(size=size) as it:
        it.link.write([token(step) for step in range(9)])
        await it.settle()
        lines = it.screen_text().splitlines()
        axis = [
            line
            for line in lines
            if line[10:11] == "│" and line[0] == "│" and line[2:10].strip(" .0123456789µms") == ""
        ]
        assert len(axis) >= 5
        assert it.watch.output.size.height >= 6


async def test_before_the_first_text_the_pane_leaves_its_rows_to_the_hint() -> None:
    async with bench(None, size=(80, 24)) as it:
        before = it.watch.timing.size.height
        assert "Type a prompt" in it.screen_text()
        await it.press(*"ab", "enter")
        assert it.watch.timing.size.height > before


async def test_the_prefill_stays_known_in_the_next_text_and_in_branches() -> None:
    async with bench() as it:
        title = "Time per token · prefill: 6 tokens in 10.0 ms, 600 tok/s"
        assert title in it.screen_text()
        it.link.write([*(token(step) for step in range(9)), Branch(1, 0, 10, 10, 9, 1, 0.001)])
        await it.until(lambda: it.app.session.branches.current == 1)
        assert title in it.screen_text()
        assert "^" in it.screen_text().splitlines()[it.watch.timing.region.bottom - 4]
        await it.press("r")
        await it.until(lambda: len(it.link.starts) == 2)
        it.link.write([token(0)])
        await it.settle()
        assert title in it.screen_text()
        assert it.app.session.timeline.times_before is not None
        assert it.app.session.timeline.times_before.prompt_time == it.app.session.timeline.times.prompt_time
