"""The full cache: every position stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kvtui.core.cache.arrays import ArrayCache
from kvtui.core.cache.policy import Policy, PolicyKind
from kvtui.core.config import ModelConfig
from kvtui.core.layers import Array, IntArray
from kvtui.core.rotary import RotationAt


class FullCache(ArrayCache):
    """Keys and values of every layer for all positions so far, in order.

    Args:
        config: the model's shape.
        capacity: maximum number of positions, by default the model's context.
        dtype: of the numbers held.
    """

    def __init__(self, config: ModelConfig, capacity: int | None = None, dtype: Any = np.float32) -> None:
        super().__init__(config, config.context_length if capacity is None else capacity, dtype)

    def begin(self, count: int) -> int:
        """The new positions come after all others."""
        self.check_room(count)
        end = self.length + count
        return self._use(slice(self.length, end), end)

    @property
    def num_held(self) -> int:
        """Positions that a head has in the cache."""
        return self.length

    def positions(self, layer: int) -> IntArray:
        """All positions. (G, K)."""
        return np.broadcast_to(np.arange(self.length), (self.config.num_kv_heads, self.length))

    def read(self, layer: int) -> tuple[Array, Array]:
        """Keys and values of all positions, as views. (G, K, D) each."""
        return self.keys[layer, :, : self.length], self.values[layer, :, : self.length]


@dataclass(frozen=True)
class Full(Policy):
    """Keep everything."""

    @property
    def keeps_all(self) -> bool:
        """Always."""
        return True

    def new_cache(self, config: ModelConfig, dtype: Any, rotation_at: RotationAt) -> FullCache:
        """An empty cache with the capacity of the model's context."""
        return FullCache(config, dtype=dtype)


KINDS = (PolicyKind("full", "full", "every position, up to the model's context", Full, order=0),)
