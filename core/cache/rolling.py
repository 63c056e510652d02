"""The first S and the last N positions: a window that moves on indefinitely (StreamingLLM, Xiao et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kvtui.core import layers
from kvtui.core.cache.arrays import ArrayCache
from kvtui.core.cache.base import KeptBecause
from kvtui.core.cache.policy import Policy, PolicyKind
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array, IntArray
from kvtui.core.rotary import RotationAt, rotate


@dataclass(frozen=True)
class Window(Policy):
    """Keep the first ``sinks`` and the last ``recent`` positions."""

    sinks: int
    recent: int

    @property
    def endless(self) -> bool:
        """A text can continue indefinitely."""
        return True

    def check(self, config: ModelConfig, spec: str) -> None:
        """Raise KvtuiError without rotary positions, or if the sinks leave no room."""
        if config.position != "rotary":
            raise KvtuiError(
                f"{spec} needs rotary positions, which can be counted within the cache; this model has "
                "learned positions, which are part of everything it has cached: use full, heavy, snap, int8 or int4"
            )
        if self.sinks >= config.context_length:
            raise KvtuiError(
                f"{spec}: {self.sinks} sinks fill the model's context of {config.context_length} and leave no room for "
                f"recent positions: give fewer than {config.context_length}"
            )

    def new_cache(self, config: ModelConfig, dtype: Any, rotation_at: RotationAt) -> RollingCache:
        """An empty cache for both, limited to the model's context."""
        return RollingCache(config, self.sinks, self.recent, dtype, rotation_at)


class WindowedCache(ArrayCache):
    """Common to every cache of the first S positions, the attention sinks, and the last N, however they are stored.

    Rotary positions are those within the cache (sec. 3.2 of the paper). Attention depends only on distances, so the
    last N may keep the angles of their positions in the text: instead of moving all of them back by one for each
    dropped position, the S sinks move forward. The paper's own code re-rotates every key; the distances are the same.

    Attributes:
        sinks: S.
        recent: N.

    Args:
        config: the model's shape.
        sinks: S.
        recent: N, at least 1, limited to what the model's context leaves.
        dtype: of the numbers held.
        rotation_at: the rotation of a position.
        capacity: slots to allocate in full precision; by default, the number of positions kept.
    """

    def __init__(
        self,
        config: ModelConfig,
        sinks: int,
        recent: int,
        dtype: Any,
        rotation_at: RotationAt,
        capacity: int | None = None,
    ) -> None:
        most = min(sinks + recent, config.context_length)
        super().__init__(config, capacity or most, dtype)
        self.sinks = sinks
        self.recent = most - sinks
        self._sink_keys: Array = np.zeros_like(self.keys[:, :, :sinks])  # at their original positions
        self._rotation_at = rotation_at
        self._reported = 0  # evictions reported so far

    @property
    def num_held(self) -> int:
        """Positions that a head has in the cache."""
        return min(self.length, self.sinks + self.recent)

    @property
    def evicted(self) -> int:
        """Positions dropped so far."""
        return self.length - self.num_held

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all arrays, in use or not."""
        return super().bytes_allocated + self._sink_keys.nbytes

    @property
    def _sink_copy_bytes(self) -> int:
        """Bytes of the sinks' keys at their original positions, once they have moved."""
        return self._sink_keys.nbytes if self.evicted else 0

    def drops(self, count: int) -> bool:
        """Whether ``count`` new positions cause others to be dropped."""
        return self.length + count > self.sinks + self.recent

    def _look_back(self, layer: int, query: Array, keys: Array, values: Array) -> Array:
        """Attention of the newest T positions to the sinks and to the last N of each. (G, S, D) -> (T, H·D)."""
        positions = np.arange(self.length, self.length + query.shape[1])
        scores = self.sink_scores(positions, query, self._sink_keys[layer])
        return layers.causal_attention(query, keys, values, window=self.recent, sink_scores=scores)

    def _move_sinks(self, distance: int) -> None:
        if not self.sinks:
            return
        if not self.evicted:
            self._sink_keys[...] = self.keys[:, :, : self.sinks]
        rotation = self._rotation_at(distance)
        read = self.keys[:, :, : self.sinks].view(rotation.dtype)  # (layers, G, S, D/2)
        np.multiply(self._sink_keys.view(rotation.dtype), rotation, out=read)

    @property
    def oldest(self) -> int:
        """The first position held by any head."""
        return 0 if self.sinks else self.evicted

    def sink_scores(self, positions: IntArray, query: Array, keys: Array) -> Array:
        """Scores of queries at ``positions`` with the keys of sinks at their original positions.

        Instead of rotating the keys forward for each query, the query is rotated back: the product is the same.
        (T,), (H, T, D), (G, S, D) -> (H, T, S).
        """
        distances = np.maximum(0, positions + 1 - self.sinks - self.recent).tolist()
        rotation = np.array([self._rotation_at(distance) for distance in distances])  # (T, D/2)
        rotated = rotate(np.ascontiguousarray(query.swapaxes(0, 1)), rotation.conj())  # (T, H, D)
        return layers.attention_scores(rotated.swapaxes(0, 1), keys)

    def positions(self, layer: int) -> IntArray:
        """The positions held by each head, ascending. (G, K)."""
        positions = np.arange(self.num_held)
        positions[self.sinks :] += self.evicted
        return np.broadcast_to(positions, (self.config.num_kv_heads, self.num_held))

    def reason(self, layer: int) -> IntArray:
        """The first are sinks, the others are recent. (G, K)."""
        codes = np.where(np.arange(self.num_held) < self.sinks, KeptBecause.SINK, KeptBecause.RECENT)
        return np.broadcast_to(codes, (self.config.num_kv_heads, self.num_held))

    def take_evicted(self) -> tuple[IntArray, IntArray]:
        """Positions dropped since the last call, (layers, G, n), and for each the first query that missed it, (n,)."""
        positions = np.arange(self._reported, self.evicted) + self.sinks
        self._reported = self.evicted
        return np.broadcast_to(positions, (*self.keys.shape[:2], len(positions))), positions + self.recent

    def truncate(self, length: int) -> None:
        """Discard every position from ``length`` on; possible until one has been dropped."""
        if self.evicted and 0 < length < self.length:
            raise KvtuiError(
                f"cannot truncate to {length} positions: {self.evicted} earlier ones have been dropped; "
                "run the text again from its beginning"
            )
        super().truncate(length)
        self._reported = min(self._reported, self.evicted)

    def reset(self) -> None:
        """Discard everything; the memory stays allocated."""
        super().reset()
        self._reported = 0


class RollingCache(WindowedCache):
    """The first S and the last N positions in full precision; S = 0 is a plain window. Endless."""

    endless = True

    @property
    def bytes_used(self) -> int:
        """Bytes of the positions held, and of the second copy of the sinks' keys."""
        return self.num_held * (self.keys.nbytes + self.values.nbytes) // self.capacity + self._sink_copy_bytes

    def check_room(self, count: int) -> None:
        """There is always room."""

    def max_pass(self, count: int) -> int:
        """As many as fit without dropping any; then up to a context's worth, each of which drops one."""
        room = self.sinks + self.recent - self.length
        return min(count, room if room > 0 else self.config.context_length)

    def begin(self, count: int) -> int:
        """Find slots; in a full window, a new position replaces the oldest."""
        if not self.drops(count):
            return self._use(slice(self.length, self.length + count), self.length + count)
        self._move_sinks(self.evicted + count)
        slot = self.sinks + (self.length - self.sinks) % self.recent
        return self._use(slice(slot, slot + 1), self.capacity)

    def attend(self, layer: int, query: Array, key: Array, value: Array) -> Array:
        """When new positions drop others, each sees what it would see in a single step. -> (T, H·D)."""
        count = key.shape[1]
        if count == 1 or not self.drops(count):
            return super().attend(layer, query, key, value)
        seen = [np.concatenate(pair, axis=1) for pair in zip(self.read(layer), (key, value), strict=True)]
        newest = min(count, self.recent)
        places = self.sinks + (np.arange(count - newest, count) + self.length - self.sinks) % self.recent
        self.keys[layer][:, places] = key[:, count - newest :]
        self.values[layer][:, places] = value[:, count - newest :]
        return self._look_back(layer, query, *seen)

    def read(self, layer: int) -> tuple[Array, Array]:
        """Keys and values in the order of :meth:`positions`. (G, K, D) each."""
        order = np.arange(self.num_held)
        order[self.sinks :] = self.sinks + (order[self.sinks :] - self.sinks + self.evicted) % self.recent
        return self.keys[layer][:, order], self.values[layer][:, order]


def _few_sinks(positions: int) -> tuple[int, int]:
    sinks = min(4, positions // 2)
    return sinks, positions - sinks


KINDS = (
    PolicyKind(
        "window:N",
        "window:128",
        "the last N positions; text can be endless",
        lambda recent: Window(0, recent),
        "Beltagy et al. 2020 (Longformer), sec. 3.1",
        order=10,
    ),
    PolicyKind(
        "sink:S+N",
        "sink:4+124",
        "the first S and the last N positions; text can be endless",
        Window,
        "Xiao et al. 2023 (StreamingLLM)",
        split=_few_sinks,
        order=20,
    ),
)
