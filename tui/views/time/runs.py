"""The texts of the session: prompt, settings and cost."""

from __future__ import annotations

from functools import partial
from time import monotonic

from kvtui.tui.panes.lines import LinesPane
from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update
from kvtui.tui.views.time.draw_runs import run_lines

SECONDS = 0.5


class RunsPane(LinesPane):
    """A row for each text, newest first."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(partial(run_lines, (), None), "Runs of this session", id=id)
        self.border_subtitle = "speed-up: cached against uncached · * one of them from another text"
        self._last_drawn = (-1, -1, -1, -1)
        self._at = 0.0

    def feed(self, update: Update, session: Session) -> None:
        """Show the runs so far, including the one being written, twice per second."""
        line = session.timeline
        state, now = (session.run, len(session.runs.finished), line.text, line.times.total), monotonic()
        if state[:2] != self._last_drawn[:2] or (state != self._last_drawn and now - self._at >= SECONDS):
            self._last_drawn, self._at = state, now
            runs, current = session.all_runs()
            self.show(partial(run_lines, runs, current))
