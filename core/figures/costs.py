"""What writing costs: bytes in the cache and time per token, against the context."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.events import Event, Prefill, Token
from kvtui.core.figures.support import CACHED, PLAIN, UNCACHED, axes_or_new, figure_of, mark_prompt
from kvtui.core.measure.growth import fit_growth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Timing = Sequence[tuple[int, float]]


def cache_growth(config: ModelConfig, events: Iterable[Event], itemsize: int = 4, ax: Axes | None = None) -> Figure:
    """Bytes in the cache after every token, as the events report them, against the formula.

    The formula is 2 · layers · key/value heads · head_dim · itemsize bytes for each position in the context.

    Raises:
        KvtuiError: no event carries the size of the cache, or Matplotlib is missing.
    """
    positions: list[int] = []
    context: list[int] = []
    measured: list[int] = []
    prompt_end = None
    for event in events:
        if isinstance(event, Prefill):
            prompt_end = event.dropped + event.tokens
            positions.append(prompt_end)
            context.append(event.tokens)
            measured.append(event.cache_bytes)
        elif isinstance(event, Token):
            positions.append(event.position + 1)
            context.append(event.context)
            measured.append(event.cache_bytes)
    if not positions:
        raise KvtuiError("there are no prefill or token events to draw the cache's growth from")
    ax = axes_or_new(ax, 7.5, 4.8)
    a_position = config.cache_bytes_per_token(itemsize)
    allocated = a_position * config.context_length
    unit, name = (1e6, "MB") if allocated >= 1e6 else (1e3, "kB")
    formula = (
        f"formula: 2 · {config.num_layers} layers · {config.num_kv_heads} key/value heads · {config.head_dim} "
        f"numbers · {itemsize} bytes\n= {a_position:,} bytes for each position in the context"
    )
    ax.axhline(
        allocated / unit, color="0.35", linestyle=":", label=f"allocated for {config.context_length:,} positions"
    )
    ax.plot(positions, np.array(context) * a_position / unit, color="0.1", linewidth=1.2, label=formula)
    style: dict[str, Any] = {**CACHED, "linestyle": "none"}
    every = max(1, len(positions) // 40)
    ax.plot(positions, np.array(measured) / unit, markersize=5, markevery=every, label="measured", **style)
    if prompt_end is not None:
        mark_prompt(ax, prompt_end)
    ax.set_xlabel("text so far (positions)")
    ax.set_ylabel(f"keys and values in the cache ({name})")
    ax.set_title("Growth of the KV cache")
    ax.set_xlim(left=0)
    ax.set_ylim(0, 1.35 * allocated / unit)
    ax.grid(alpha=0.3)
    ax.legend(loc="upper left", fontsize=8, framealpha=0.95)
    return figure_of(ax)


def time_per_token(
    cached: Timing,
    uncached: Timing,
    floor_seconds: float | None = None,
    caption: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Model time of one token against context, with the fitted growth: linear with the cache, quadratic without.

    Args:
        cached: (context, seconds) of tokens or medians, as :class:`~kvtui.core.measure.benchmark.BenchResult` has them.
        uncached: the same without the cache.
        floor_seconds: time to read every weight once; drawn as the lower limit of any step.
        caption: where it was measured.
        ax: where to draw.

    Raises:
        KvtuiError: nothing to draw, or Matplotlib is missing.
    """
    if not cached and not uncached:
        raise KvtuiError("there are no times to draw")
    ax = axes_or_new(ax, 7.5, 5.2)
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for name, times, style, degree in (("uncached", uncached, UNCACHED, 2), ("cached", cached, CACHED, 1)):
        if times:
            _draw_times(ax, name, times, style, degree)
    if floor_seconds:
        ax.axhline(floor_seconds * 1e3, color="0.35", linestyle=":", label="floor: every weight read once")
    _mark_speed_up(ax, cached, uncached)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(top=4 * ax.get_ylim()[1])  # room for the legend
    ax.set_xlabel("context (positions, n)")
    ax.set_ylabel("model time per token (ms)")
    ax.set_title(
        "What a token costs with the KV cache and without" + (f"\n{caption}" if caption else ""), fontsize=10, **PLAIN
    )
    ax.grid(alpha=0.3)
    ax.legend(loc="upper left", fontsize=8, framealpha=0.95)
    return figure_of(ax)


def _draw_times(ax: Axes, name: str, times: Timing, style: dict[str, Any], degree: int) -> None:
    """Markers for the measurements, a line for the fitted growth."""
    milliseconds = [seconds * 1e3 for _, seconds in times]
    contexts = [context for context, _ in times]
    points = {**style, "linestyle": "none"}
    many = len(times) > 64
    ax.plot(contexts, milliseconds, markersize=3 if many else 6, alpha=0.35 if many else 1.0, **points)
    growth = fit_growth(times, degree)
    span = np.geomspace(max(1, min(contexts)), max(contexts), 100)
    line = {**style, "marker": "none"}
    ax.plot(span, growth.seconds(span) * 1e3, linewidth=1.6, **line)
    ax.plot([], [], label=f"{name}: fitted {growth}", markersize=6, **style)  # the legend's marker and line together


def _mark_speed_up(ax: Axes, cached: Timing, uncached: Timing) -> None:
    """An arrow between the two at the longest context that both have, labelled with the ratio and its lengths."""
    both = {context for context, _ in cached} & {context for context, _ in uncached}
    if not both:
        return
    context = max(both)
    near = [
        [one for one in times if one[0] in both and 0.9 * context < one[0] <= context] for times in (cached, uncached)
    ]
    low, high = (1e3 * median(seconds for _, seconds in times) for times in near)
    if high <= 1.2 * low:
        return
    shortest = min(near[0])[0]
    lengths = f"{shortest:,}–{context:,}" if shortest < context else f"{context:,}"
    ax.annotate("", (context, high / 1.12), (context, low * 1.12), arrowprops={"arrowstyle": "<->", "color": "0.2"})
    ax.annotate(
        f"{high / low:.1f} × at {lengths}",
        (context, (low * high) ** 0.5),
        xytext=(-6, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )
