"""Heat maps of attention weights: one head, all of them side by side, and rollout over the layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from kvtui.core.errors import KvtuiError
from kvtui.core.figures.attention_maps import AttentionMaps, rollout
from kvtui.core.figures.support import (
    PLAIN,
    axes_or_new,
    figure_of,
    heat_map,
    label_tokens,
    mark_prompt_on_map,
    new_figure,
    short_name,
)
from kvtui.core.layers import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WEIGHT_SCALE = "(colours by square root)"
GRID_CELLS = 128  # rows and columns of a small heat map at most


def attention_head(maps: AttentionMaps, layer: int, head: int, ax: Axes | None = None) -> Figure:
    """Heat map of one head: a row for every query, a column for every key.

    Raises:
        KvtuiError: the layer or head does not exist, or Matplotlib is missing.
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

    The maps of a single layer or head fill a page that is as square as possible.

    Raises:
        KvtuiError: a layer or head does not exist, none is requested, or Matplotlib is missing.
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
    cells = f", each cell the largest of {pool} × {pool} weights" if pool > 1 else ""
    figure.suptitle(f"{_what(maps)}\nqueries in rows, keys in columns{cells}", fontsize=10, **PLAIN)
    return figure


def _square(
    maps: AttentionMaps, weights: Array, what: str, label: str, ax: Axes | None, largest: float = 1.0
) -> Figure:
    """One large heat map with its tokens along both axes. weights: (S, S); values above ``largest`` get its colour."""
    ax = axes_or_new(ax, 8.2, 7.2)
    image = heat_map(ax, weights, largest)
    extent = " (position, and the text from there)" if label_tokens(ax, maps.tokens) else ""
    mark_prompt_on_map(ax, maps.prompt_tokens, len(maps.tokens), labelled=True)
    ax.set_xlabel(f"key: the token attended to{extent}")
    ax.set_ylabel(f"query: the token attending{extent}")
    ax.set_title(f"{_what(maps)}\n{what}", fontsize=10, **PLAIN)
    figure = figure_of(ax)
    figure.colorbar(
        image, ax=ax, shrink=0.8, extend="max" if largest < 1 else "neither", label=f"{label} {WEIGHT_SCALE}"
    )
    return figure


def _what(maps: AttentionMaps) -> str:
    generated = len(maps.tokens) - maps.prompt_tokens
    return f"{short_name(maps.model)}, {maps.prompt_tokens:,} prompt + {generated:,} generated tokens"
