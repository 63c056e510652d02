"""Keys and values in two arrays that are allocated once: the basis of the full cache and all policies."""

from __future__ import annotations

from typing import Any

import numpy as np

from kvtui.core import layers
from kvtui.core.cache.base import Cache
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array


class ArrayCache(Cache):
    """Writes to slots of the arrays and reads them as views: nothing is copied or concatenated in a step.

    In ``begin``, a subclass calls :meth:`_use` to say which slots a pass writes and which it reads.

    Attributes:
        keys: (layers, G, capacity, D), already rotated if the model has rotary positions.
        values: (layers, G, capacity, D).
        capacity: slots in the arrays.

    Args:
        config: the model's shape.
        capacity: slots to allocate.
        dtype: of the numbers held.
    """

    def __init__(self, config: ModelConfig, capacity: int, dtype: Any) -> None:
        super().__init__(config)
        self.capacity = capacity
        if not 1 <= capacity <= config.context_length:
            raise KvtuiError(f"a cache of {capacity} positions; the model can use 1 to {config.context_length}")
        shape = (config.num_layers, config.num_kv_heads, capacity, config.head_dim)
        self.keys: Array = np.zeros(shape, dtype)
        self.values: Array = np.zeros(shape, dtype)

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all arrays, in use or not."""
        return self.keys.nbytes + self.values.nbytes

    @property
    def bytes_per_token(self) -> int:
        """Bytes per position."""
        return self.bytes_allocated // self.capacity

    @property
    def bytes_used(self) -> int:
        """Bytes of the positions held."""
        return self.num_held * self.bytes_per_token

    def check_room(self, count: int) -> None:
        """Raise KvtuiError unless ``count`` more positions can be run."""
        if self.length + count > self.capacity:
            raise KvtuiError(
                f"the cache has {self.length} of {self.capacity} positions in use, so {count} more do not fit; "
                "truncate or reset it first"
            )

    def _use(self, new: slice, end: int) -> int:
        """A pass writes the slots ``new`` and reads those up to ``end``, as far back as the model looks.

        Returns:
            Number of slots read.
        """
        one, window = new.stop - new.start == 1, self.config.sliding_window
        first = max(0, end - window) if one and window else 0
        self._new_keys, self._new_values = self.keys[:, :, new], self.values[:, :, new]  # (layers, G, T, D)
        self._seen_keys = self.keys[:, :, first:end]  # (layers, G, S, D)
        self._seen_values = self.values[:, :, first:end]
        self._seen_columns = self._seen_keys.swapaxes(2, 3)  # (layers, G, D, S)
        return end - first

    def attend(self, layer: int, query: Array, key: Array, value: Array) -> Array:
        """Store T new positions and let their queries attend to the cache. (H, T, D), (G, T, D), (G, T, D)
        -> (T, H·D)."""
        self.write(layer, key, value)
        keys, values = self._seen_keys[layer], self._seen_values[layer]
        return layers.causal_attention(query, keys, values, window=self.config.sliding_window)

    def write(self, layer: int, key: Array, value: Array) -> None:
        """Store the keys and values of new positions. (G, T, D) each."""
        self._new_keys[layer] = key
        self._new_values[layer] = value

    def score(self, layer: int, query: Array, out: Array) -> None:
        """Products of one position's queries with all keys. (G, H/G, D) -> (G, H/G, S)."""
        np.matmul(query, self._seen_columns[layer], out=out)

    def weighted_values(self, layer: int, weights: Array, out: Array) -> None:
        """Sums of all values by weight. (G, H/G, S) -> (G, H/G, D)."""
        np.matmul(weights, self._seen_values[layer], out=out)

    def advance(self, count: int) -> None:
        """All layers have stored ``count`` positions: count them as in use."""
        self.check_room(count)
        self.length += count

    def truncate(self, length: int) -> None:
        """Discard every position from ``length`` on."""
        if not 0 <= length <= self.length:
            raise KvtuiError(f"cannot truncate to {length} positions: {self.length} are in use")
        self.length = length

    def reset(self) -> None:
        """Discard everything; the memory stays allocated."""
        self.length = 0
