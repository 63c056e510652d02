"""Instruments that a forward pass can carry: a stopwatch, a record from which attention weights are worked out, and a
record of the residual.

All are optional and off by default. None changes a number that the model computes.
"""

from __future__ import annotations

from itertools import pairwise
from time import perf_counter_ns
from typing import Any

import numpy as np

from kvtui.core import layers
from kvtui.core.config import ModelConfig
from kvtui.core.events import Parts
from kvtui.core.layers import Array


class Stopwatch:
    """Notes the time at the end of each part. Adding up waits until :meth:`parts`, outside of what is measured."""

    def __init__(self) -> None:
        self._marks: list[tuple[str, int]] = []
        self.start()

    def start(self) -> None:
        """Forget what was measured and start at zero."""
        self._marks = [("", perf_counter_ns())]

    def mark(self, part: str) -> None:
        """The time since the last mark, or the start, belongs to ``part``, a field of :class:`Parts`."""
        self._marks.append((part, perf_counter_ns()))

    def parts(self) -> Parts:
        """Seconds by part."""
        nanoseconds: dict[str, int] = {}
        for (_, start), (part, end) in pairwise(self._marks):
            nanoseconds[part] = nanoseconds.get(part, 0) + end - start
        return Parts(**{part: value / 1e9 for part, value in nanoseconds.items()})


class AttentionRecord:
    """Queries and keys of every position in the window.

    Keeping the weights themselves would cost layers × heads × S numbers a token (590 kB for GPT-2); a query and a key
    are a few kilobytes, and the weights of the rows that a reader looks at follow from them when asked for.
    """

    def __init__(self, config: ModelConfig, dtype: Any = np.float32) -> None:
        self._window = config.sliding_window
        self._queries = np.zeros((config.num_layers, config.num_heads, config.context_length, config.head_dim), dtype)
        self._keys = np.zeros((config.num_layers, config.num_kv_heads, config.context_length, config.head_dim), dtype)

    def write(self, layer: int, start: int, query: Array, key: Array) -> None:
        """Record positions from ``start`` on. query: (H, T, D), key: (G, T, D), both rotated."""
        end = start + query.shape[1]
        self._queries[layer, :, start:end] = query
        self._keys[layer, :, start:end] = key

    def weights(self, layer: int, first: int, last: int) -> Array:
        """Attention weights of query rows ``first`` up to ``last`` over keys 0 up to ``last``. (H, rows, last)."""
        collected: list[Array] = []
        keys = self._keys[layer, :, :last]
        layers.causal_attention(
            self._queries[layer, :, first:last],
            keys,
            keys,
            lambda _, weights: collected.append(weights),
            window=self._window,
        )
        rows = np.zeros((self._queries.shape[1], last - first, last), np.float32)
        row = 0
        for weights in collected:
            rows[:, row : row + weights.shape[1], : weights.shape[2]] = weights
            row += weights.shape[1]
        return rows


class ResidualRecord:
    """The residual of the newest position: as it leaves the embedding, then as it leaves each block."""

    def __init__(self) -> None:
        self._rows: list[Array] = []

    def write(self, residual: Array) -> None:
        """Note the last row of (T, E)."""
        self._rows.append(residual[-1].copy())

    def stacked(self) -> Array:
        """(layers + 1, E), the embedding first."""
        return np.stack(self._rows)
