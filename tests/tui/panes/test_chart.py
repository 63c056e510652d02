"""The chart: what is drawn, how often, and in which sizes."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from kvtui.tui.drawing.chart import Axis, Curve, Drawing
from kvtui.tui.panes import chart as module
from kvtui.tui.panes.chart import Chart

LINE = Curve([(n, n / 10) for n in range(1, 501)], label="uncached")


class Stage(App[None]):
    CSS = "Chart { border: round white; } .chart--first { color: red; }"

    def compose(self) -> ComposeResult:
        yield Chart("Time")

    @property
    def chart(self) -> Chart:
        return self.query_one(Chart)


async def test_axes_labels_and_curve() -> None:
    app = Stage()
    async with app.run_test(size=(60, 14)) as pilot:
        app.chart.show(Drawing((LINE,), Axis(0, 512), Axis()))
        await pilot.pause()
        text = app.chart.render().plain
        assert "uncached" in text
        assert " 400 " in text
        assert any("⠀" < character < "⣿" for character in text)
        assert [len(line) for line in text.splitlines()] == [58] * 12


async def test_it_is_drawn_at_most_four_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    app = Stage()
    async with app.run_test(size=(60, 14)) as pilot:
        built = []
        build = app.chart._build
        monkeypatch.setattr(app.chart, "_build", lambda: built.append(1) or build())
        for tick in range(24):  # two seconds of a dashboard's ticks
            app.chart.show(Drawing((Curve([(1, 1), (2, tick + 1)]),)))
            now[0] += 1 / 12
            await pilot.pause()
        assert 6 <= len(built) <= 9
        app.chart.show(app.chart._shown)
        await pilot.pause()
        assert len(built) <= 9


async def test_any_size_and_any_points() -> None:
    app = Stage()
    drawings = (
        Drawing(),
        Drawing((Curve([]), Curve([(1, 0)]), LINE), Axis(logarithmic=True), Axis(logarithmic=True)),
        Drawing((Curve([(5, 2e6)], marker="q", joined=False, label="q"),), Axis(0, 10), Axis(1, 1e7, True)),
    )
    async with app.run_test(size=(60, 14)) as pilot:
        for size in ((4, 3), (14, 6), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            for drawing in drawings:
                app.chart._drawn_at = 0.0
                app.chart.show(drawing)
                await pilot.pause()
        assert "2,000,000" not in app.chart.render().plain
        assert "1,000,000" in app.chart.render().plain


async def test_the_theme_may_change() -> None:
    app = Stage()
    async with app.run_test(size=(60, 14)) as pilot:
        app.chart.show(Drawing((LINE,)))
        await pilot.pause()
        before = app.chart.render()
        app.theme = "textual-light"
        await pilot.pause()
        assert app.chart.render() is not before
