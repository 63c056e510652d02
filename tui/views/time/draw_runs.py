"""The texts of a session, one row of figures each. Does not import Textual."""

from __future__ import annotations

from collections.abc import Sequence

from kvtui.tui.drawing.labels import piece
from kvtui.tui.drawing.lines import Line
from kvtui.tui.panes.bars import figure
from kvtui.tui.session.runs import RunRecord, saving

EMPTY = "Each text of this session will appear here: press p and type a prompt."
WIDE = 110  # cells: from here on the settings fit as well


def run_lines(runs: Sequence[RunRecord], current: int | None, width: int, height: int) -> list[Line]:
    """A heading and a row per run, newest first; the one at ``current``, shown in the other views, is marked."""
    if not runs:
        return [[(EMPTY, "lines--hint")]]
    wide = width >= WIDE
    heading = f"   # {'prompt':14}  seed cache  tokens {'median':>8} {'p95':>8} {'total':>9} speed-up"
    lines: list[Line] = [[(heading + ("  settings" if wide else ""), "lines--label")]]
    for number in range(len(runs), 0, -1):
        run = runs[number - 1]
        times = saving(run, runs)
        now = number - 1 == current
        words = f"{'●' if now else ' '}{number:3} {piece(run.prompt, 14)} {run.seed:5} {run.cache:5} {run.tokens:7,}"
        cost = f" {figure(run.median):>8} {figure(run.p95):>8} {run.seconds:7.2f} s"
        speed_up = f"  {times:5.1f} ×" if times else "        –"
        settings = f"  {run.settings} · {run.model}" if wide else ""
        lines.append([(words, ""), (cost, "lines--figure"), (speed_up, ""), (settings, "lines--label")])
    return lines[:height]
