"""What a forward pass can record: the time of its parts, queries and keys, and the residual.

Recording is optional and off by default, and never changes a number that the model computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter_ns
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kvtui.core import layers
from kvtui.core.config import ModelConfig
from kvtui.core.layers import Array, IntArray

_NEVER = np.iinfo(np.int64).max // 2


@dataclass(frozen=True)
class Parts:
    """Seconds of one token, by part of the forward pass.

    Attributes:
        embedding: looking up the vectors.
        qkv: norm, query, key and value projections, rotation.
        attention: scores, softmax, weighted values, output projection.
        mlp: norm and MLP.
        output: final norm and logits.
        sampling: choosing the token.
    """

    embedding: float = 0.0
    qkv: float = 0.0
    attention: float = 0.0
    mlp: float = 0.0
    output: float = 0.0
    sampling: float = 0.0

    @property
    def total(self) -> float:
        """Seconds of all parts together."""
        return self.embedding + self.qkv + self.attention + self.mlp + self.output + self.sampling


class SinkCache(Protocol):
    """What :class:`AttentionRecord` needs from a cache: the first positions, which it never drops, and their scores."""

    sinks: int

    def sink_scores(self, positions: IntArray, query: Array, keys: Array) -> Array:
        """Scores of queries at ``positions`` with the keys of sinks. (T,), (H, T, D), (G, S, D) -> (H, T, S)."""
        ...


class Stopwatch:
    """Records the time at the end of each part; :meth:`parts` sums up later, outside the measured time."""

    def __init__(self) -> None:
        self._marks: list[tuple[str, int]] = []
        self.start()

    def start(self) -> None:
        """Discard earlier measurements and start at zero."""
        self._marks = [("", perf_counter_ns())]

    def mark(self, part: str) -> None:
        """Count the time since the last mark, or the start, towards ``part``, a field of :class:`Parts`."""
        self._marks.append((part, perf_counter_ns()))

    def parts(self) -> Parts:
        """The seconds of each part since :meth:`start`."""
        nanoseconds: dict[str, int] = {}
        for (_, start), (part, end) in pairwise(self._marks):
            nanoseconds[part] = nanoseconds.get(part, 0) + end - start
        return Parts(**{part: value / 1e9 for part, value in nanoseconds.items()})


class AttentionRecord:
    """Queries and keys of the newest positions: those in the window, and earlier ones that its rows may have seen.

    Keeping the weights themselves would take layers × heads × S numbers per token (590 kB for GPT-2). A query and a
    key are a few kilobytes, and the weights of the rows on screen are computed from them on request.

    Attributes:
        first: the oldest position on record, in the cache's numbering; rows and keys count from it.
    """

    def __init__(self, config: ModelConfig, dtype: Any = np.float32) -> None:
        self._window = config.sliding_window
        self._context = config.context_length
        room = 2 * self._context  # the second half stays untouched, and takes no memory, until a window moves
        self._queries = np.zeros((config.num_layers, config.num_heads, room, config.head_dim), dtype)
        self._keys = np.zeros((config.num_layers, config.num_kv_heads, room, config.head_dim), dtype)
        # First query row that no longer saw a key.
        self._missed_by = np.full(self._keys.shape[:3], _NEVER, np.int64)
        self._dropped_from = False  # whether any key was missed
        self.restart(None)

    def restart(self, cache: SinkCache | None) -> None:
        """The text starts over at the beginning of the window, into ``cache`` if there is one."""
        self.first = 0
        self._count = 0  # positions on record
        self._cache = cache
        if self._dropped_from:  # not every time: without a cache the text starts over at every token
            self._missed_by[...] = _NEVER
            self._dropped_from = False
        self._sinks = self._keys[:, :, :0]  # keys of sinks no longer on record, (layers, G, sinks, D)

    def drop(self, positions: IntArray, queries: IntArray) -> None:
        """A cache policy dropped positions, (layers, G, n); the first query to miss each is in ``queries``, (n,)."""
        on_record = (positions >= self.first).all(axis=(0, 1))
        columns, rows = positions[:, :, on_record] - self.first, queries[on_record] - self.first
        np.put_along_axis(self._missed_by, columns, rows[None, None], axis=2)
        self._dropped_from = True

    def move(self, window: int) -> None:
        """The window is limited to this many positions from now on, though the cache may continue without a break.

        Positions a whole context before it are discarded: no row of the window has seen them, apart from sinks.
        """
        leaving, kept = self._count - self._context - window, self._context + window
        if leaving <= 0:
            return
        if self._cache is not None and self._cache.sinks > self.first:
            sinks = self._keys[:, :, : min(self._cache.sinks - self.first, leaving)]
            self._sinks = np.concatenate([self._sinks, sinks], axis=2)
        for array in (self._queries, self._keys, self._missed_by):
            array[:, :, :kept] = array[:, :, leaving : leaving + kept]
        self._missed_by[:, :, :kept] -= leaving
        self._missed_by[:, :, kept:] = _NEVER
        self.first += leaving
        self._count = kept

    def write(self, layer: int, start: int, query: Array, key: Array) -> None:
        """Record positions from ``start`` on. query: (H, T, D), key: (G, T, D), both rotated."""
        start -= self.first
        self._count = end = start + query.shape[1]
        self._queries[layer, :, start:end] = query
        self._keys[layer, :, start:end] = key

    def weights(self, layer: int, first: int, last: int) -> Array:
        """Attention weights of query rows ``first`` up to ``last`` over keys 0 up to ``last``. (H, rows, last).

        A row sums to 1, or to less if sinks no longer on record have the rest.
        """
        if self.any_dropped(layer, last):
            return self._kept_weights(layer, first, last)[1]
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

    def any_dropped(self, layer: int, last: int) -> bool:
        """Whether a cache policy has dropped a position that a row before ``last`` missed."""
        return bool(self._sinks.size) or bool((self._missed_by[layer, :, :last] < last).any())

    def dropped(self, layer: int, first: int, last: int) -> NDArray[np.bool_]:
        """Which keys had been dropped when a query came. (H, rows, last)."""
        rows = np.arange(first, last)[:, None]
        gone = self._missed_by[layer, :, None, :last] <= rows  # (G, rows, last)
        return np.repeat(gone, self._queries.shape[1] // len(gone), axis=0)

    @property
    def sinks(self) -> int:
        """Number of sinks no longer on record."""
        return self._sinks.shape[2]

    def keys(self, layer: int, last: int) -> Array:
        """Keys of those sinks, and of the first ``last`` positions on record. (G, sinks + last, D)."""
        return np.concatenate([self._sinks[layer], self._keys[layer, :, :last]], axis=1)

    def columns(self, positions: IntArray) -> IntArray:
        """Where positions of the cache are in that order: sinks first, then the record. Same shape."""
        return np.where(positions < self.first, positions, positions - self.first + self.sinks)

    def sink_weights(self, layer: int, first: int, last: int) -> Array:
        """Weights that rows give to sinks no longer on record. (H, rows, sinks), no sinks if there are none."""
        if not self._sinks.size:
            return np.empty((self._queries.shape[1], last - first, 0), np.float32)
        return self._kept_weights(layer, first, last)[0]

    def _kept_weights(self, layer: int, first: int, last: int) -> tuple[Array, Array]:
        """Weights of what the cache held at each row: of sinks before the record, and of the record."""
        queries, keys, cache = self._queries[layer, :, first:last], self._keys[layer, :, :last], self._cache
        assert cache is not None
        rows = np.arange(first, last)
        scores = layers.attention_scores(queries, keys)  # (H, rows, last)
        outside = scores[..., :0]  # (H, rows, 0)
        if cache.sinks:
            places = rows + self.first
            outside = cache.sink_scores(places, queries, self._sinks[layer])
            inside = max(0, min(cache.sinks - self.first, last))
            scores[..., :inside] = cache.sink_scores(places, queries, keys[:, :inside])
        scores[:, np.arange(last) > rows[:, None]] = -np.inf
        scores[self.dropped(layer, first, last)] = -np.inf
        weights = layers.softmax(np.concatenate([outside, scores], axis=2)).astype(np.float32)
        return weights[..., : outside.shape[2]], weights[..., outside.shape[2] :]


class ResidualRecord:
    """The residual of the newest position: as it leaves the embedding, then as it leaves each block."""

    def __init__(self) -> None:
        self._rows: list[Array] = []

    def write(self, residual: Array) -> None:
        """Record the last row of (T, E)."""
        self._rows.append(residual[-1].copy())

    def stacked(self) -> Array:
        """(layers + 1, E), the embedding first."""
        return np.stack(self._rows)
