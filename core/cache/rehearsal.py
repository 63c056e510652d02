"""A step that is repeated without a trace, so that the next one finds everything in the processor's caches."""

from __future__ import annotations

import numpy as np

from kvtui.core import layers
from kvtui.core.cache.base import Cache
from kvtui.core.layers import Array, IntArray


class Rehearsal(Cache):
    """A cache as its newest position found it: a pass over that position alone can be repeated, and changes nothing.

    It reads what the newest step has read, in the same way, and leaves out whatever would change the cache: finding
    places, writing, and noting attention. If the newest pass was over several positions, as a prompt's is, it reads
    the positions held. The logits that come out of it are good for nothing.

    Args:
        cache: of any kind, with one position or more.
    """

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache.config)
        self.length = cache.length - 1
        self.endless = cache.endless
        self.watches = cache.watches
        self._cache = cache
        self._columns = cache.step_columns or cache.num_held
        self._scores: Array | None = None  # (G, H/G, S), the same in all layers, as in a step

    def check_room(self, count: int) -> None:
        """The position has its room already."""

    def begin(self, count: int) -> int:
        """S, as in the newest step, or the number of positions held."""
        return self._columns

    def attend(self, layer: int, query: Array, key: Array, value: Array) -> Array:
        """Let the position's query read what the cache holds. (H, 1, D), (G, 1, D), (G, 1, D) -> (1, H·D)."""
        grouped = query.reshape(len(key), -1, query.shape[2])  # (G, H/G, D)
        if self._scores is None:
            self._scores = np.empty((*grouped.shape[:2], self._columns), query.dtype)
        self.score(layer, grouped, self._scores)
        layers.softmax(self._scores)
        mixed = np.empty_like(grouped)
        self.weighted_values(layer, self._scores, mixed)
        return mixed.reshape(1, -1)

    def write(self, layer: int, key: Array, value: Array) -> None:
        """They are there already."""

    def score(self, layer: int, query: Array, out: Array) -> None:
        """Products of the position's queries with all keys. (G, H/G, D) -> (G, H/G, S)."""
        if self._cache.step_columns:
            self._cache.score(layer, query, out)
        else:
            np.matmul(query, self.read(layer)[0].swapaxes(1, 2), out=out)

    def weighted_values(self, layer: int, weights: Array, out: Array) -> None:
        """Sums of all values by weight. (G, H/G, S) -> (G, H/G, D)."""
        if self._cache.step_columns:
            self._cache.weighted_values(layer, weights, out)
        else:
            np.matmul(weights, self.read(layer)[1], out=out)

    def advance(self, count: int) -> None:
        """The position is counted already."""

    @property
    def num_held(self) -> int:
        """As the cache says."""
        return self._cache.num_held

    @property
    def bytes_used(self) -> int:
        """As the cache says."""
        return self._cache.bytes_used

    def positions(self, layer: int) -> IntArray:
        """As the cache says. (G, K)."""
        return self._cache.positions(layer)

    def read(self, layer: int) -> tuple[Array, Array]:
        """As the cache says. (G, K, D) each."""
        return self._cache.read(layer)

    def truncate(self, length: int) -> None:
        """Nothing of it can be forgotten."""

    def reset(self) -> None:
        """Nothing of it can be forgotten."""
