"""The KV cache: what the model has already worked out about the text so far."""

from __future__ import annotations

from typing import Any

import numpy as np

from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array


class KVCache:
    """Keys and values of every layer for the positions seen so far.

    Allocated once and written in place. A forward pass over T new positions calls :meth:`write` in each layer and
    :meth:`advance` once at its end; the next pass then starts at position ``length``.

    Attributes:
        keys: (layers, G, capacity, D), rotated already where the model has rotary positions.
        values: (layers, G, capacity, D).
        length: positions in use.

    Args:
        config: the model's shape.
        capacity: positions to make room for, the model's context by default.
        dtype: of the numbers held.
    """

    def __init__(self, config: ModelConfig, capacity: int | None = None, dtype: Any = np.float32) -> None:
        self.capacity = config.context_length if capacity is None else capacity
        if not 1 <= self.capacity <= config.context_length:
            raise KvtuiError(f"a cache of {self.capacity} positions; the model can use 1 to {config.context_length}")
        shape = (config.num_layers, config.num_kv_heads, self.capacity, config.head_dim)
        self.keys: Array = np.zeros(shape, dtype)
        self.values: Array = np.zeros(shape, dtype)
        self.length = 0

    @property
    def bytes_per_token(self) -> int:
        """Bytes that one position takes."""
        return self.bytes_allocated // self.capacity

    @property
    def bytes_used(self) -> int:
        """Bytes of the positions in use."""
        return self.length * self.bytes_per_token

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all positions, in use or not."""
        return self.keys.nbytes + self.values.nbytes

    def check_room(self, count: int) -> None:
        """Raise KvtuiError unless ``count`` more positions fit."""
        if self.length + count > self.capacity:
            raise KvtuiError(
                f"the cache has {self.length} of {self.capacity} positions in use, so {count} more do not fit; "
                "truncate or reset it first"
            )

    def write(self, layer: int, key: Array, value: Array) -> tuple[Array, Array]:
        """Store the keys and values of T new positions behind those in use.

        Args:
            layer: counted from 0.
            key: (G, T, D).
            value: (G, T, D).

        Returns:
            Views of all keys and all values of the layer, the new ones included, (G, S, D) each.
        """
        end = self.length + key.shape[1]
        self.keys[layer, :, self.length : end] = key
        self.values[layer, :, self.length : end] = value
        return self.keys[layer, :, :end], self.values[layer, :, :end]

    def advance(self, count: int) -> None:
        """All layers have written ``count`` positions: they are in use from now on."""
        self.check_room(count)
        self.length += count

    def truncate(self, length: int) -> None:
        """Forget every position from ``length`` on.

        Raises:
            KvtuiError: there are not that many.
        """
        if not 0 <= length <= self.length:
            raise KvtuiError(f"cannot truncate to {length} positions: {self.length} are in use")
        self.length = length

    def reset(self) -> None:
        """Forget everything; the memory stays allocated."""
        self.length = 0
