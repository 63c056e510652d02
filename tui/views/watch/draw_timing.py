"""The words around the bars of the time per token: title, legend, figures, and how much faster the cache makes it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeVar

from kvtui.tui.drawing.lines import Line
from kvtui.tui.panes.bars import figure, prefill_words, unit_of
from kvtui.tui.session.comparison import Comparison
from kvtui.tui.session.timings import Kind, PrefillTime, TimingHistory, TimingSummary

TITLE = "Time per token"

T = TypeVar("T", str, Line)


def title(prompt: PrefillTime | None, room: int) -> str:
    """The name of the pane, with what the prefill of the prompt has cost."""
    if prompt is None:
        return TITLE
    return _first_that_fits([*(f"{TITLE} · {words}" for words in prefill_words(prompt)[:2]), TITLE], room)


def legend(per: int, logarithmic: bool, before: TimingSummary | None, room: int) -> str:
    """What the characters of the graph mean, in at most ``room`` cells if possible.

    Args:
        per: tokens of a column.
        logarithmic: the scale.
        before: of the previous text, the same tokens; None if it is not drawn.
        room: cells.
    """
    bars, slowest, scale = "█ cached  ⣿ uncached", "│ slowest", "linear"
    if logarithmic:
        bars, slowest, scale = "▀ cached  ⠛ uncached", "• slowest", "log"
    prefill = "  ^ prefill"
    median = "" if before is None else f" {figure(before.median).strip()}"
    previous = "" if before is None else f"  ─ previous text, median{median}"
    brief = "" if before is None else f"  ─ before{median}"
    briefest = "" if before is None else "  ─ before"
    column = "column: 1 token" if per == 1 else f"column: median of {per:2}, {slowest}"
    columns = "" if per == 1 else f"median of {per:2}, {slowest} · "
    return _first_that_fits(
        [
            f"{bars}{prefill}{previous} · {column} · {scale} scale",
            f"{bars}{prefill}{brief} · {column} · {scale} scale",
            f"{bars}{prefill}{brief} · {column} · {scale}",
            f"{bars}{prefill}{brief} · {columns}{scale}",
            f"{bars}{prefill}{briefest} · {columns}{scale}",
            f"{bars}{briefest} · {columns}{scale}",
            f"{bars} · {scale}",
        ],
        room,
    )


def figures(name: str, milliseconds: float, summary: TimingSummary | None, mode: Kind, room: int) -> Line:
    """One token's time and the figures of the tokens that are shown, numbers of fixed width; at most ``room`` cells.

    Args:
        name: of the token.
        milliseconds: its time.
        summary: of the tokens shown that were computed as this one is, in ``mode``; None if there are none.
        mode: with the cache or without.
        room: cells.
    """
    newest: Line = [(name, "timing--axis"), (figure(milliseconds), "timing--figure")]
    if summary is None:
        return newest
    kind = "uncached" if mode is Kind.UNCACHED else "cached"
    times, unit = _in_one_unit(summary)
    speed = summary.tokens_per_second
    rate = "     –" if math.isnan(speed) else f"{speed:6,.0f}" if speed >= 9.995 else f"{speed:6.2f}"
    per_second = (f"{rate} tok/s", "timing--figure")

    def labelled(gap: str, labels: tuple[str, ...] = ("median", "p95", "max")) -> Line:
        line: Line = []
        for label, time in zip(labels, times, strict=False):
            line += [(f"{gap}{label} ", "timing--axis"), (time, "timing--figure")]
        return [*line, (f" {unit:2}", "timing--figure")]

    plural = "token" if summary.tokens == 1 else "tokens"
    shown = (f"  {summary.tokens:,} {kind} {plural} shown:", "timing--axis")
    counted = (f" {summary.tokens:,} {kind}:", "timing--axis")
    return _first_that_fits(
        [
            [*newest, shown, *labelled("  "), ("  at the median ", "timing--axis"), per_second],
            [*newest, (" ", ""), counted, *labelled("  "), ("  ", ""), per_second],
            [*newest, counted, *labelled(" "), (" ", ""), per_second],
            [*newest, counted, *labelled(" ")],
            [*newest, counted, *labelled(" ", ("median",))],
            newest,
        ],
        room,
    )


def speed_up(comparison: Comparison, room: int) -> Line:
    """How much faster the cache makes a token, and of which lengths of context; at most ``room`` cells if possible."""
    times = f"{comparison.times:4.1f} × faster with"
    lengths = f"at {comparison.lengths}"
    uncached = [(figure(comparison.uncached), "timing--figure"), (" without", "timing--axis")]
    cached = [(",", "timing--axis"), (figure(comparison.cached), "timing--figure"), (" with", "timing--axis")]

    def line(saving: str, *rest: tuple[str, str]) -> Line:
        return [(saving, "timing--saving"), *rest]

    return _first_that_fits(
        [
            line(f"{times} the cache", (f" {lengths} positions:", "timing--axis"), *uncached, *cached),
            line(f"{times} cache", (f" {lengths} positions:", "timing--axis"), *uncached, *cached),
            line(f"{times} cache", (f" {lengths}:", "timing--axis"), *uncached, *cached),
            line(f"{times} cache", (f" {lengths}:", "timing--axis"), *uncached),
            line(f"{times} cache", (f" {lengths}", "timing--axis")),
        ],
        room,
    )


def what_to_press(history: TimingHistory, brief: bool) -> str:
    """How to measure what the cache saves, as long as there is nothing to compare."""
    if not history.measured(cached=False):
        return "t: compare without the cache" if brief else "press t: run without the cache to measure what it saves"
    if not history.measured(cached=True):
        return "t: compare with the cache" if brief else "press t: run with the cache to measure what it saves"
    return "t: compare at this length" if brief else "press t: measure the other way at this length too"


def width_of(line: Line | str) -> int:
    """Cells of a line; all of its characters are of one cell."""
    return len(line) if isinstance(line, str) else sum(len(text) for text, _ in line)


def _first_that_fits(choices: Iterable[T], room: int) -> T:
    """The first of these that fits, else the last."""
    chosen = list(choices)
    return next((choice for choice in chosen if width_of(choice) <= room), chosen[-1])


def _in_one_unit(summary: TimingSummary) -> tuple[list[str], str]:
    """Median, p95 and max in the unit of the greatest, each of five cells."""
    scale, unit = unit_of(summary.max)
    values = [scale * time for time in (summary.median, summary.p95, summary.max)]
    return [f"{value:5.{2 if value < 99.995 else 1 if value < 999.95 else 0}f}" for value in values], unit
