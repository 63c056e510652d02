"""What each token cost: bars of model time, with the cache and without, and the figures of both."""

from __future__ import annotations

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
from kvtui.tui.panes.bars import PREVIOUS, band, bars, runs, scale_for
from kvtui.tui.panes.lines import strip
from kvtui.tui.session.session import Session
from kvtui.tui.session.timings import Columns, Floats, Integers, Kind, TimingHistory, TimingSummary, mode_of
from kvtui.tui.session.update import Update
from kvtui.tui.views.watch.draw_timing import TITLE, figures, legend, speed_up, title, what_to_press, width_of

_GUTTER = 9  # cells of the axis: "   50 ms│", "  0.2 ms│"
_WIDE = 185  # cells: from here on all figures fit on one line
_LEAST_SAVING = 35  # cells for "16.4 × faster with cache at 64–127" beside the figures
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
        "timing--prefill",
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

    logarithmic: reactive[bool] = reactive(False)
    zoom: reactive[int] = reactive(0)  # tokens per column; 0: as many as the pace asks for

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.border_title = TITLE
        self.history = TimingHistory()  # the timeline keeps it
        self._batch = 0.0  # tokens per call of grow, smoothed; 0 before the first
        self._automatic = 1
        self._lines: list[Strip] = []
        self._words = (TITLE, "")  # title and legend, as they are in the border
        self._looking: Token | None = None
        self.before: TimingHistory | None = None  # the previous text, drawn as a line above the bars
        self.stream = False  # another program writes the text: the cache cannot be switched from here

    def render(self) -> RenderResult:
        """Unused, as render_line draws; defined so that nothing else is drawn."""
        return ""

    def feed(self, update: Update, session: Session) -> None:
        """Take in the times of new tokens."""
        self.set_class(session.prompt is None, "-unused")
        if update.reset or update.model:
            self.stream = session.model.stream
        if update.reset and session.prompt is not None:
            self.start(session.timeline.times, session.timeline.times_before)
        if update.prefill is not None:
            self.refresh()
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
        # Three columns a redraw can still be followed by eye. Shrinking is delayed, so that the graph does not flap.
        while self._automatic < min(self._batch / 3, _LARGEST_ZOOM):
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
        history = self.history
        if not len(history) and history.prefill is None:
            self._describe(TITLE, "")
            return [
                strip(self, [(text, "timing--hint")], width) for part in EMPTY for text in wrap(part, max(width, 8))
            ]
        columns, place = self._columns(max(width - _GUTTER, 1))
        before = None if self.before is None else self.before.summary(None, *columns.tokens)
        room = self.size.width - 2
        self._describe(
            title(history.prompt_time, room),
            legend(self.tokens_per_column, self.logarithmic, before, room),
        )
        lines = self._figure_lines(columns, width, height)
        rows = height - len(lines) - 1
        graph = self._graph_lines(columns, place, width, rows) if rows > 0 else []
        return [*graph, *(strip(self, line, width) for line in lines)]

    def _describe(self, title: str, legend: str) -> None:
        """Set both, if they have changed: setting them requests another redraw, which would never end."""
        if self._words != (title, legend):
            self._words = self.border_title, self.border_subtitle = title, legend

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

    def _graph_lines(self, columns: Columns, place: int | None, width: int, rows: int) -> list[Strip]:
        before = np.full(len(columns.kinds), np.nan)
        if self.before is not None:
            before = self.before.beside(columns, self.tokens_per_column)
        drawn = np.concatenate((columns.medians, columns.slowest, _usual(before)))
        scale = scale_for(drawn, self.logarithmic)
        before = np.where(before > scale.high, np.nan, before)  # no place for it
        left = max(width - _GUTTER, 1) - len(columns.kinds)
        cells, owners = bars(columns, before, scale, rows)
        lines = [self._bar_line(cells[row], owners[row], left, scale.label(row, rows)) for row in range(rows)]
        text, kinds = band(columns, left, place)
        pieces = [(text[start:end], _STYLES[int(kinds[start])]) for start, end in runs(kinds)]
        lines.append(strip(self, [(" " * _GUTTER, ""), *pieces], width))
        return lines

    def _bar_line(self, cells: npt.NDArray[np.str_], owners: Integers, left: int, label: str) -> Strip:
        axis = f"{label:>{_GUTTER - 1}}│"
        pieces = [(axis, "timing--axis"), (" " * left, "")]
        pieces += [("".join(cells[start:end].tolist()), _STYLES[int(owners[start])]) for start, end in runs(owners)]
        return strip(self, pieces, left + _GUTTER + len(owners))

    def _figure_lines(self, columns: Columns, width: int, height: int) -> list[Line]:
        """Figures of the tokens that the columns show, and how much faster the cache makes a token."""
        token = self._looking or self.history.newest
        name = "now " if self._looking is None else "then"
        summary: TimingSummary | None = None
        milliseconds, mode = float("nan"), Kind.CACHED
        if token is not None:
            milliseconds, mode = 1e3 * token.seconds, mode_of(token)
            summary = self.history.summary(mode, *columns.tokens)
        if width < _WIDE and height >= 5:
            return [figures(name, milliseconds, summary, mode, width), self._speed_up(width)]
        line = figures(name, milliseconds, summary, mode, max(width - _LEAST_SAVING, width // 2))
        return [[*line, ("  ", ""), *self._speed_up(width - width_of(line) - 2, brief=width < _WIDE)]]

    def _speed_up(self, room: int, brief: bool = False) -> Line:
        comparison = self.history.comparison()
        if comparison is not None:
            return speed_up(comparison, room)
        # no key switches the cache of another program
        return [("" if self.stream else what_to_press(self.history, brief), "timing--hint")]


def _usual(before: Floats) -> Floats:
    """(0 or 1,) what the axis has to reach for the previous text, whose outliers must not flatten the bars."""
    known = before[~np.isnan(before)]
    return np.percentile(known, [95]) if len(known) else known


_STYLES: dict[int, str] = {
    Kind.CACHED: "timing--cached",
    Kind.UNCACHED: "timing--uncached",
    Kind.PREFILL: "timing--prefill",
    PREVIOUS: "timing--previous",
}
