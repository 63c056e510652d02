"""The timing pane, with made-up tokens in a terminal that is none."""

from __future__ import annotations

from textual.app import App, ComposeResult

from kvtui.core.events import Token
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
        add(app.pane, tokens(0, 20, 0.5))
        add(app.pane, tokens(20, 20, 10.0, cache=False, computed=30))
        add(app.pane, tokens(40, 1, 12.0, computed=41))
        add(app.pane, tokens(41, 9, 0.5))
        await pilot.pause()
        text = "\n".join(app.lines())
        assert "20.0 × faster with the cache" in text
        assert "faster with the cache at 40–55:" in text
        assert "^ cache refilled: 41 positions" in text or "cache refilled: 41 positions ^" in text
        assert "⣿" in text
        assert "max  12.0 ms" in (app.pane.border_subtitle or "")


async def test_eighty_columns_hold_all_figures() -> None:
    app = Stage()
    async with app.run_test(size=(80, 6)) as pilot:
        add(app.pane, [*tokens(0, 60, 0.61), *tokens(60, 4, 10.0, cache=False, computed=60)])
        add(app.pane, tokens(200, 60, 0.61))
        await pilot.pause()
        lines = app.lines()
        assert len(lines) == 4
        assert all(len(line) == 78 for line in lines)
        assert " tok/s" in lines[-1]
        assert lines[-1].rstrip().endswith("16.4 × faster with cache at 56–71")


async def test_figures_do_not_move_as_numbers_change() -> None:
    app = Stage()
    async with app.run_test(size=(120, 8)) as pilot:
        places = []
        for milliseconds in (0.05, 0.4, 9.4, 99.4, 1500.0, 150_000.0):
            app.pane.start(TimingHistory())
            add(app.pane, tokens(0, 9, milliseconds))
            await pilot.pause()
            places.append([app.lines()[-1].index(name) for name in ("median", "p95", "tok/s")])
        assert places == [places[0]] * len(places)


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
        assert f"column: median of {app.pane.tokens_per_column:2}" in (app.pane.border_subtitle or "")
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
        await pilot.press("l", "z")
        await pilot.pause()
        app.lines()
        subtitle = app.pane.border_subtitle or ""
        assert "linear scale" in subtitle
        assert "column: median of  2" in subtitle
        await pilot.press(*"zzzzzz")
        assert app.pane.zoom == 0
