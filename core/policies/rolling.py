"""The first S and the last N positions: a window that rolls for ever (StreamingLLM, Xiao et al. 2023)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvtui.core.cache import KVCache, RotationAt, Why
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array, IntArray


class RollingCache(KVCache):
    """Keeps the first S positions, the attention sinks, and the last N; S = 0 is a plain window.

    Rotary positions are those within the cache (sec. 3.2 of the paper). Attention only sees distances, so the last N
    may keep the angles of their places in the text: in place of moving all of them back by one for each position that
    is dropped, the S sinks move forward. The paper's own code turns every key anew; the distances are the same.

    Args:
        config: the model's shape.
        sinks: S.
        recent: N, at least 1, cut to what the model's context leaves.
        dtype: of the numbers held.
        rotation_at: the turn of a position.
        places: to allocate in full precision, as many as are kept by default.
    """

    endless: bool = True

    def __init__(
        self,
        config: ModelConfig,
        sinks: int,
        recent: int,
        dtype: Any,
        rotation_at: RotationAt,
        places: int | None = None,
    ) -> None:
        kept = min(sinks + recent, config.context_length)
        super().__init__(config, places or kept, dtype)
        self.sinks = sinks
        self.recent = kept - sinks
        self._sink_keys: Array = np.zeros_like(self.keys[:, :, :sinks])  # at their first places
        self._rotation_at = rotation_at
        self._told = 0  # evictions that have been told

    @property
    def held(self) -> int:
        """Positions that a head has in the cache."""
        return min(self.length, self.sinks + self.recent)

    @property
    def evicted(self) -> int:
        """Positions dropped so far."""
        return self.length - self.held

    @property
    def bytes_used(self) -> int:
        """Bytes of the positions held, and of the sinks' keys at their first places once they have moved."""
        return self.held * (self.keys.nbytes + self.values.nbytes) // self.capacity + self._sink_copy_bytes

    @property
    def _sink_copy_bytes(self) -> int:
        return self._sink_keys.nbytes if self.evicted else 0

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all arrays, in use or not."""
        return super().bytes_allocated + self._sink_keys.nbytes

    def check_room(self, count: int) -> None:
        """There always is."""

    def at_once(self, count: int) -> int:
        """As many as fit without dropping any; after that one by one, as each one drops another."""
        return min(count, max(1, self.sinks + self.recent - self.length))

    def open(self, count: int) -> int:
        """Find places; a full window gives the new position that of its oldest."""
        if self.length + count <= self.capacity:
            return super().open(count)
        if self.sinks:
            self._move_sinks(self.evicted + 1)
        slot = self.sinks + (self.length - self.sinks) % self.recent
        return self._place(slice(slot, slot + 1), self.capacity)

    def _move_sinks(self, distance: int) -> None:
        if distance == 1:
            self._sink_keys[...] = self.keys[:, :, : self.sinks]
        rotation = self._rotation_at(distance)
        moved = self._sink_keys.view(rotation.dtype) * rotation  # (layers, G, S, D/2)
        self.keys[:, :, : self.sinks] = moved.view(self.keys.dtype)

    @property
    def oldest(self) -> int:
        """The first position that some head holds."""
        return 0 if self.sinks else self.evicted

    def sink_turns(self, positions: IntArray) -> NDArray[Any]:
        """How far the sinks are turned towards the queries at ``positions``. (n,) -> (n, D/2) complex."""
        return np.array([self._rotation_at(max(0, int(p) + 1 - self.sinks - self.recent)) for p in positions])

    def kept(self, layer: int) -> IntArray:
        """Positions that each head holds. (G, K)."""
        positions = np.arange(self.held)
        positions[self.sinks :] += self.evicted
        return np.broadcast_to(positions, (self.config.num_kv_heads, self.held))

    def read(self, layer: int) -> tuple[Array, Array]:
        """Keys and values in the order of :meth:`kept`. (G, K, D) each."""
        order = np.arange(self.held)
        order[self.sinks :] = self.sinks + (order[self.sinks :] - self.sinks + self.evicted) % self.recent
        return self.keys[layer][:, order], self.values[layer][:, order]

    def why(self, layer: int) -> IntArray:
        """The first are sinks, the others are recent. (G, K)."""
        codes = np.where(np.arange(self.held) < self.sinks, Why.SINK, Why.RECENT)
        return np.broadcast_to(codes, (self.config.num_kv_heads, self.held))

    def take_evicted(self) -> tuple[IntArray, IntArray]:
        """Positions dropped since last asked, (layers, G, n), and for each the first query that missed it, (n,)."""
        positions = np.arange(self._told, self.evicted) + self.sinks
        self._told = self.evicted
        return np.broadcast_to(positions, (*self.keys.shape[:2], len(positions))), positions + self.recent

    def truncate(self, length: int) -> None:
        """Forget every position from ``length`` on, which is possible until one was dropped."""
        if self.evicted and 0 < length < self.length:
            raise KvtuiError(
                f"cannot truncate to {length} positions: {self.evicted} of those before were dropped; "
                "run the text again from its beginning"
            )
        super().truncate(length)
        self._told = min(self._told, self.evicted)

    def reset(self) -> None:
        """Forget everything; the memory stays allocated."""
        super().reset()
        self._told = 0
