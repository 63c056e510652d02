"""Figures: attention heat maps, growth of the cache, time per token. They need Matplotlib (extra ``plot``).

Every function returns a Matplotlib ``Figure`` that belongs to no window (no pyplot, nothing global); those that draw a
single plot take ``ax=`` to draw into a figure of yours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from kvtui.core.attention_maps import AttentionMaps, rollout
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.events import Event, Prefill, Token
from kvtui.core.figure_support import (
    CACHED,
    UNCACHED,
    axes_or_new,
    figure_format,
    figure_of,
    heat_map,
    label_tokens,
    mark_prompt,
    mark_prompt_on_map,
    new_figure,
    save_figure,
)
from kvtui.core.growth import fit_growth
from kvtui.core.layers import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "attention_grid",
    "attention_head",
    "attention_rollout",
    "cache_growth",
    "figure_format",
    "save_figure",
    "time_per_token",
]

Timing = Sequence[tuple[int, float]]
WEIGHT_SCALE = "(colours by square root)"
GRID_CELLS = 128  # rows and columns of a small heat map at most


def attention_head(maps: AttentionMaps, layer: int, head: int, ax: Axes | None = None) -> Figure:
    """Heat map of one head: a row for every query, a column for every key.

    Raises:
        KvtuiError: there is no such layer or head, or Matplotlib is missing.
    """
    maps.check_layer(layer)
    maps.check_head(head)
    return _square(maps, maps.weights[layer, head], f"layer {layer}, head {head}", "attention weight", ax)


def attention_rollout(maps: AttentionMaps, ax: Axes | None = None) -> Figure:
    """Heat map of attention rollout over all layers (Abnar & Zuidema 2020): what each position is made of.

    Raises:
        KvtuiError: Matplotlib is missing.
    """
    shares = rollout(maps.weights)
    largest = float(np.quantile(shares[np.tril_indices(len(shares))], 0.99))  # the first rows have few keys to share
    what = f"attention rollout over {maps.weights.shape[0]} layers"
    return _square(maps, shares, what, "share of the input token", ax, largest)


def attention_grid(
    maps: AttentionMaps, layers: Sequence[int] | None = None, heads: Sequence[int] | None = None
) -> Figure:
    """Small heat maps side by side, a row for each layer and a column for each head; by default all of both.

    The maps of a single layer or a single head fill as square a page as they can.

    Raises:
        KvtuiError: there is no such layer or head, none is asked for, or Matplotlib is missing.
    """
    layers = range(maps.weights.shape[0]) if layers is None else layers
    heads = range(maps.weights.shape[1]) if heads is None else heads
    if not layers or not heads:
        raise KvtuiError("a grid needs at least one layer and one head")
    for layer in layers:
        maps.check_layer(layer)
    for head in heads:
        maps.check_head(head)
    maps_shown = [(layer, head) for layer in layers for head in heads]
    columns = len(heads)
    single = len(layers) == 1 or len(heads) == 1
    if single:  # one row or one column would be a thin strip: fill a page instead
        columns = ceil(len(maps_shown) ** 0.5)
    rows = ceil(len(maps_shown) / columns)
    side = min(4.0, max(1.2, 11.0 / max(rows, columns)))  # inches of one heat map
    figure = new_figure(side * columns + 1.6, side * rows + 1.2)
    pool = -(-len(maps.tokens) // GRID_CELLS)
    grid = figure.subplots(rows, columns, squeeze=False)
    for ax in grid.flat[len(maps_shown) :]:
        ax.set_axis_off()
    image = None
    for (layer, head), ax in zip(maps_shown, grid.flat, strict=False):
        image = heat_map(ax, maps.weights[layer, head], pool=pool)
        mark_prompt_on_map(ax, maps.prompt_tokens, len(maps.tokens))
        ax.set_xticks([])
        ax.set_yticks([])
        if single:
            ax.set_title(f"layer {layer}, head {head}", fontsize=9)
            continue
        if layer == layers[0]:
            ax.set_title(f"head {head}", fontsize=9)
        if head == heads[0]:
            ax.set_ylabel(f"layer {layer}", fontsize=9)
    assert image is not None
    bar = figure.colorbar(image, ax=grid, shrink=min(1.0, 4.0 / (side * rows)), aspect=30)
    bar.set_label(f"attention weight\n{WEIGHT_SCALE}", fontsize=8)
    cells = f", a cell the greatest of {pool} × {pool} weights" if pool > 1 else ""
    figure.suptitle(f"{_what(maps)}\nqueries in rows, keys in columns{cells}", fontsize=10)
    return figure


def cache_growth(config: ModelConfig, events: Iterable[Event], itemsize: int = 4, ax: Axes | None = None) -> Figure:
    """Bytes in the cache after every token, as the events report them, against the formula.

    The formula is 2 · layers · key/value heads · head_dim · itemsize bytes for each position in the context.

    Raises:
        KvtuiError: no event tells the size of the cache, or Matplotlib is missing.
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
    """Model time of one token against the context, with the fitted growth: linear with the cache, quadratic without.

    Args:
        cached: (context, seconds) of tokens or medians, as :class:`kvtui.core.benchmark.BenchResult` holds them.
        uncached: the same without the cache.
        floor_seconds: of reading every weight once; drawn as the limit below which no step can be.
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
    ax.set_title("What a token costs with the KV cache and without" + (f"\n{caption}" if caption else ""), fontsize=10)
    ax.grid(alpha=0.3)
    ax.legend(loc="upper left", fontsize=8, framealpha=0.95)
    return figure_of(ax)


def _square(
    maps: AttentionMaps, weights: Array, what: str, label: str, ax: Axes | None, largest: float = 1.0
) -> Figure:
    """One large heat map with its tokens along both axes. weights: (S, S); what is above ``largest`` looks like it."""
    ax = axes_or_new(ax, 8.2, 7.2)
    image = heat_map(ax, weights, largest)
    extent = " (position, and the text from there)" if label_tokens(ax, maps.tokens) else ""
    mark_prompt_on_map(ax, maps.prompt_tokens, len(maps.tokens), labelled=True)
    ax.set_xlabel(f"key: the token attended to{extent}")
    ax.set_ylabel(f"query: the token attending{extent}")
    ax.set_title(f"{_what(maps)}: {what}", fontsize=10)
    figure = figure_of(ax)
    figure.colorbar(
        image, ax=ax, shrink=0.8, extend="max" if largest < 1 else "neither", label=f"{label} {WEIGHT_SCALE}"
    )
    return figure


def _what(maps: AttentionMaps) -> str:
    generated = len(maps.tokens) - maps.prompt_tokens
    return f"{maps.model}, {maps.prompt_tokens:,} prompt + {generated:,} generated tokens"


def _draw_times(ax: Axes, name: str, times: Timing, style: dict[str, Any], degree: int) -> None:
    """Markers for what was measured, a line for the growth that fits it."""
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
    """An arrow between the two at the longest context that both have, with the ratio beside it."""
    both = {context for context, _ in cached} & {context for context, _ in uncached}
    if not both:
        return
    context = max(both)
    low, high = (1e3 * _around(times, context) for times in (cached, uncached))
    if high <= 1.2 * low:
        return
    ax.annotate("", (context, high / 1.12), (context, low * 1.12), arrowprops={"arrowstyle": "<->", "color": "0.2"})
    ax.annotate(
        f"{high / low:.1f} × at {context:,}",
        (context, (low * high) ** 0.5),
        xytext=(-6, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )


def _around(times: Timing, context: int) -> float:
    """Median seconds at contexts up to a tenth shorter: of one median, or of many single tokens."""
    return median(seconds for other, seconds in times if 0.9 * context < other <= context)
