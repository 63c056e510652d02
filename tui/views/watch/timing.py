"""What each token cost: bars of model time, with the cache and without, and the figures of both."""

from __future__ import annotations

import math
from dataclasses import replace
from textwrap import wrap
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from textual import events
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from kvtui.core.events import Token
from kvtui.tui.drawing.lines import Line
from kvtui.tui.panes.bars import band, bars, figure, line, runs, scale_for
from kvtui.tui.panes.lines import strip
from kvtui.tui.session.session import Session
from kvtui.tui.session.timings import Columns, Kind, TimingHistory, TimingSummary
from kvtui.tui.session.update import Update

_GUTTER = 9  # cells of the axis: "   50 ms│", "  0.2 ms│"
_WIDE = 116  # cells: from here on all figures fit on one line
_LARGEST_ZOOM = 64

EMPTY = (
    "One bar per token will appear here: how long the model took to compute it.",
    "Type a prompt and press Enter; then press t to switch the cache and watch the bars jump.",
)


class TimingPane(Widget, can_focus=True):
    """Bars of model time per token, newest at the right, and the measured speed-up from the cache at this length."""

    ALLOW_SELECT = False  # a drawing, not text: dragging selects nothing
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "timing--cached",
        "timing--uncached",
        "timing--refill",
        "timing--previous",
        "timing--axis",
        "timing--figure",
        "timing--saving",
        "timing--hint",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "toggle_scale", "Log/linear", tooltip="Logarithmic or linear time axis"),
        Binding("z", "zoom(2)", "Zoom", tooltip="More tokens in a column; after the last, automatic again"),
    ]

    logarithmic: reactive[bool] = reactive(True)
    zoom: reactive[int] = reactive(0)  # tokens per column; 0: as many as the pace asks for

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.border_title = "Time per token"
        self.history = TimingHistory()  # the timeline keeps it
        self._batch = 0.0  # tokens per call of grow, smoothed; 0 before the first
        self._automatic = 1
        self._lines: list[Strip] = []
        self._subtitle = ""
        self._looking: Token | None = None
        self.before: TimingHistory | None = None  # the previous text, drawn as a line over the bars
        self.stream = False  # another program writes the text: the cache cannot be switched from here

    def render(self) -> RenderResult:
        """Unused, as render_line draws; defined so that nothing else is drawn."""
        return ""

    def feed(self, update: Update, session: Session) -> None:
        """Take in the times of new tokens."""
        if update.reset or update.model:
            self.stream = session.model.stream
        if update.reset and session.prompt is not None:
            self.start(session.timeline.times, session.timeline.times_before)
        self.grow(len(update.tokens))
        self.look(session.cursor.token)

    def start(self, history: TimingHistory, before: TimingHistory | None = None) -> None:
        """Draw the times of a text from now on, and those of the previous text as a line."""
        self.history, self.before = history, before
        self._batch, self._automatic, self._looking = 0.0, 1, None
        self.refresh()

    def grow(self, tokens: int) -> None:
        """The history has grown by this many tokens. Drawing waits for the next refresh."""
        if not tokens:
            return
        if not self._batch:  # many may arrive at once then, but not because the pace is high
            self._batch = 1.0
        else:
            self._batch += 0.2 * (min(tokens, 2 * _LARGEST_ZOOM) - self._batch)
        # Two columns a redraw can still be followed by eye. Shrinking is delayed, so that the graph does not flap.
        while self._automatic < min(self._batch / 2, _LARGEST_ZOOM):
            self._automatic *= 2
        while self._automatic > 1 and self._batch < self._automatic / 4:
            self._automatic //= 2
        self.refresh()

    def look(self, token: Token | None) -> None:
        """Mark the column of a token and show its time; None shows the newest."""
        if token is not self._looking:
            self._looking = token
            self.refresh()

    @property
    def tokens_per_column(self) -> int:
        """Number of tokens that share a column now."""
        return self.zoom or self._automatic

    def action_toggle_scale(self) -> None:
        """Switch between a logarithmic and a linear axis."""
        self.logarithmic = not self.logarithmic

    def action_zoom(self, factor: int) -> None:
        """Put more tokens into a column; after the maximum, return to automatic."""
        wider = self.tokens_per_column * factor
        self.zoom = wider if wider <= _LARGEST_ZOOM else 0

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Zoom out."""
        self.zoom = min(self.tokens_per_column * 2, _LARGEST_ZOOM)
        event.stop()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Zoom in."""
        self.zoom = max(self.tokens_per_column // 2, 1)
        event.stop()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw everything once per refresh; render_line returns it line by line."""
        self._lines = self._draw(self.size.width, self.size.height)
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Return one line of the content."""
        if y < len(self._lines):
            return self._lines[y]
        return Strip.blank(self.size.width, self.rich_style)

    def _draw(self, width: int, height: int) -> list[Strip]:
        if not len(self.history):
            if self._subtitle:  # setting it requests another redraw, which would never end
                self.border_subtitle = self._subtitle = ""
            return [
                strip(self, [(text, "timing--hint")], width) for part in EMPTY for text in wrap(part, max(width, 8))
            ]
        figures = self._figure_lines(width, height)
        rows = height - len(figures) - 1
        graph = self._graph_lines(width, rows) if rows > 0 else []
        return [*graph, *figures]

    def _graph_lines(self, width: int, rows: int) -> list[Strip]:
        room = max(width - _GUTTER, 1)
        columns, place = self._columns(room)
        before = np.full(len(columns.kinds), np.nan)
        if self.before is not None:
            before = self.before.beside(columns, self.tokens_per_column)
        scale = scale_for(np.concatenate((columns.milliseconds, before[~np.isnan(before)])), self.logarithmic)
        self._describe(columns)
        left = room - len(columns.kinds)
        cells, marks = bars(columns, scale, rows), line(before, scale, rows)
        cells = np.where(marks, "─", cells)
        kinds = np.where(marks, _PREVIOUS, columns.kinds[None, :])
        lines = [self._bar_line(cells[row], kinds[row], left, scale.label(row, rows)) for row in range(rows)]
        text, band_kinds = band(columns, left)
        if place is not None:
            text = f"{text[: left + place]}▲{text[left + place + 1 :]}"
        pieces = [(text[start:end], _STYLES[int(band_kinds[start])]) for start, end in runs(band_kinds)]
        lines.append(strip(self, [(" " * _GUTTER, ""), *pieces], width))
        return lines

    def _columns(self, room: int) -> tuple[Columns, int | None]:
        """The newest columns, or those around the selected token, and the one that holds that token."""
        per = self.tokens_per_column
        columns = self.history.columns(room, per)
        if self._looking is None:
            return columns, None
        column = (self._looking.position - self.history.first_position) // per
        if column < columns.first:
            columns = self.history.columns(room, per, (column + room // 2 + 1) * per)
        place = column - columns.first
        return columns, place if 0 <= place < len(columns.kinds) else None

    def _bar_line(self, cells: npt.NDArray[np.str_], kinds: npt.NDArray[np.int64], left: int, label: str) -> Strip:
        axis = f"{label:>{_GUTTER - 1}}│"
        pieces = [(axis, "timing--axis"), (" " * left, "")]
        pieces += [("".join(cells[start:end].tolist()), _STYLES[int(kinds[start])]) for start, end in runs(kinds)]
        return strip(self, pieces, left + _GUTTER + len(kinds))

    def _describe(self, columns: Columns) -> None:
        scale, names = "log" if self.logarithmic else "linear", "█ cached  ⣿ uncached"
        per = self.tokens_per_column
        share = "1 token" if per == 1 else f"median of {per:2}"
        largest = f"max {figure(float(columns.milliseconds.max()))}"
        before, brief = ("", "") if self.before is None else ("  ─ previous text", "  ─ before")
        choices = (
            f"{names}{before} · {scale} scale · column: {share} · {largest}",
            f"{names}{brief} · {scale} · column: {share} · {largest}",
            f"{names}{brief} · {scale} · {share} · {largest}",
            f"{names}{brief} · {scale} · {largest}",
        )
        subtitle = next((choice for choice in choices if len(choice) <= self.size.width - 2), choices[-1])
        if self._subtitle != subtitle:
            self.border_subtitle = self._subtitle = subtitle

    def _figure_lines(self, width: int, height: int) -> list[Strip]:
        summary = self.history.summary()
        if summary is None:
            return []
        if self._looking is not None:
            summary = replace(summary, last=1e3 * self._looking.seconds)
        last = "now " if self._looking is None else "then"
        if width >= _WIDE:
            pieces = [*_now(summary, last), ("  ", "")]
            return [strip(self, [*pieces, *self._speed_up(width - _width_of(pieces))], width)]
        if height >= 5:
            return [strip(self, _now(summary, last), width), strip(self, self._speed_up(width), width)]
        pieces = [*_now(summary, last, True), ("  ", "")]
        return [strip(self, [*pieces, *self._speed_up(width - _width_of(pieces), brief=True)], width)]

    def _speed_up(self, room: int, brief: bool = False) -> Line:
        """The speed-up from the cache, or what to press to measure it; at most ``room`` cells if possible."""
        comparison = self.history.comparison()
        if comparison is None:
            return [(self._missing(brief), "timing--hint")]
        times = f"{comparison.times:4.1f} × faster with"
        faster = (f"{times} the cache", "timing--saving")
        uncached = [(figure(comparison.uncached), "timing--figure"), (" without", "timing--axis")]
        cached = [(",", "timing--axis"), (figure(comparison.cached), "timing--figure"), (" with", "timing--axis")]
        at, briefly = f"at {comparison.lengths} positions", f"at {comparison.lengths}"
        choices: tuple[Line, ...] = (
            [faster, (f" {at}:", "timing--axis"), *uncached, *cached],
            [faster, (f" {briefly}:", "timing--axis"), *uncached, *cached],
            [faster, (f" {at}:", "timing--axis"), *uncached],
            [faster, (f" {briefly}:", "timing--axis"), *uncached],
            [faster, (f" {briefly}", "timing--axis")],
            [(f"{times} cache", "timing--saving"), (f" {briefly}", "timing--axis")],
            [(f"{times} cache", "timing--saving"), (f" at ≈{comparison.middle}", "timing--axis")],
        )
        return next((choice for choice in choices if _width_of(choice) <= room), choices[-1])

    def _missing(self, brief: bool) -> str:
        history = self.history
        if self.stream:
            return ""  # no key switches it
        if not history.measured(cached=False):
            return (
                "t: compare without the cache" if brief else "press t: run without the cache to measure what it saves"
            )
        if not history.measured(cached=True):
            return "t: compare with the cache" if brief else "press t: run with the cache to measure what it saves"
        return "t: compare at this length" if brief else "press t: measure the other way at this length too"


_PREVIOUS = 3  # the previous text, beside the kinds
_STYLES: dict[int, str] = {
    Kind.CACHED: "timing--cached",
    Kind.UNCACHED: "timing--uncached",
    Kind.REFILL: "timing--refill",
    _PREVIOUS: "timing--previous",
}


def _now(summary: TimingSummary, last: str, brief: bool = False) -> Line:
    """The newest time under its name, median, 95th percentile and speed, each of fixed width.

    Without the percentile where there is little room.
    """
    speed = summary.tokens_per_second
    rate = "     –" if math.isnan(speed) else f"{speed:6,.0f}" if speed >= 9.995 else f"{speed:6.2f}"
    gap = " " if brief else "  "
    pieces = [(last, "timing--axis"), (figure(summary.last), "timing--figure")]
    pieces += [(f"{gap}median ", "timing--axis"), (figure(summary.median), "timing--figure")]
    if not brief:
        pieces += [(f"{gap}p95 ", "timing--axis"), (figure(summary.p95), "timing--figure")]
    return [*pieces, (f"{gap}{rate} tok/s", "timing--figure")]


def _width_of(line: Line) -> int:
    return sum(len(text) for text, _ in line)
