"""The texts of a session, one row of figures each. Does not import Textual."""

from __future__ import annotations

from collections.abc import Sequence

from kvtui.tui.drawing.labels import piece
from kvtui.tui.drawing.lines import Line
from kvtui.tui.panes.bars import figure
from kvtui.tui.session.runs import RunRecord, saving

EMPTY = "Each text of this session will appear here: press p and type a prompt."
WIDE = 110  # cells: from here on the settings fit as well
_PROMPT = (11, 14)  # cells of the prompt, in a narrow table and in any other
_P95 = 9  # cells of the column for which the room is made last
BORROWED = "*"


def run_lines(runs: Sequence[RunRecord], current: int | None, width: int, height: int) -> list[Line]:
    """A heading and a row per run, newest first; the one at ``current``, shown in the other views, is marked."""
    if not runs:
        return [[(EMPTY, "lines--hint")]]
    settings = [f"  {run.settings} · {run.model}" if width >= WIDE else "" for run in runs]
    prompt = _PROMPT[_PROMPT[1] + 65 <= width]
    p95 = prompt + 65 + max(map(len, settings)) + _P95 <= width
    costs = " ".join(f"{name:>8}" for name in (("median", "p95") if p95 else ("median",)))
    heading = f"   # {'prompt':{prompt}}  seed cache  tokens {costs} {'total':>9} {'speed-up at length':20}"
    heading += "  settings" if width >= WIDE else ""
    lines: list[Line] = [[(heading, "lines--label")]]
    for number in range(len(runs), max(len(runs) - (height - 1), 0), -1):
        run = runs[number - 1]
        now = "●" if number - 1 == current else " "
        words = f"{now}{number:3} {piece(run.prompt, prompt)} {run.seed:5} {run.cache:5} {run.tokens:7,}"
        costs = " ".join(f"{figure(cost):>8}" for cost in ((run.median, run.p95) if p95 else (run.median,)))
        lines.append(
            [
                (words, ""),
                (f" {costs} {run.seconds:7.2f} s", "lines--figure"),
                (f" {_speed_up(run, runs):20}", ""),
                (settings[number - 1], "lines--label"),
            ]
        )
    return lines


def _speed_up(run: RunRecord, runs: Sequence[RunRecord]) -> str:
    """How many times as fast the cache makes a token, and at which length; a sign if other texts are needed for it."""
    comparison = saving(run, runs)
    if comparison is None:
        return "    –"
    return f"{comparison.times:5.1f} × at {comparison.lengths}{'' if run.comparison else BORROWED}"
