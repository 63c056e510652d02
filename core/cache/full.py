"""The KV cache: what the model has already worked out about the text so far.

:class:`KVCache` keeps every position. The caches of :mod:`kvtui.core.cache` keep fewer positions, or fewer bits of
each, behind the same methods; :func:`kvtui.core.cache.parse_policy` says which there are.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvtui.core import layers
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array, IntArray

MOST_HIDDEN = 64  # columns of scores that a cache may add beyond the context, their weights zero


class Why(IntEnum):
    """Why a position is in the cache."""

    ROOM = 0  # nothing had to be dropped
    SINK = 1  # one of the first, which are always kept
    RECENT = 2  # one of the last
    HEAVY = 3  # among those that were looked at most
    PACKED = 4  # in few bits


RotationAt = Callable[[int], NDArray[Any]]  # position -> (D/2,) complex, the turn of each pair


class KVCache:
    """Keys and values of every layer for the positions seen so far.

    Allocated once and written in place. A pass over T new positions calls :meth:`open` once, then in each layer
    :meth:`attend`, or for a single position the fast step's :meth:`write`, :meth:`score` and :meth:`mix`; and
    :meth:`advance` at its end. The next pass then starts at position ``length``.

    Attributes:
        keys: (layers, G, capacity, D), rotated already where the model has rotary positions.
        values: (layers, G, capacity, D).
        length: positions that have been run.
        endless: whether positions may go on past the model's context.
        watches: whether :meth:`observe` wants the attention weights of a single position.
        sinks: how many first positions never leave, whatever else does.

    Args:
        config: the model's shape.
        capacity: positions to make room for, the model's context by default.
        dtype: of the numbers held.
    """

    endless: bool = False
    watches: bool = False
    sinks: int = 0

    def __init__(self, config: ModelConfig, capacity: int | None = None, dtype: Any = np.float32) -> None:
        self.config = config
        self.capacity = config.context_length if capacity is None else capacity
        if not 1 <= self.capacity <= config.context_length:
            raise KvtuiError(f"a cache of {self.capacity} positions; the model can use 1 to {config.context_length}")
        shape = (config.num_layers, config.num_kv_heads, self.capacity, config.head_dim)
        self.keys: Array = np.zeros(shape, dtype)
        self.values: Array = np.zeros(shape, dtype)
        self.length = 0

    # What it takes

    @property
    def held(self) -> int:
        """Positions that a head has in the cache."""
        return self.length

    @property
    def bytes_per_token(self) -> int:
        """Bytes that one position takes."""
        return self.bytes_allocated // self.capacity

    @property
    def bytes_used(self) -> int:
        """Bytes of the positions held."""
        return self.held * self.bytes_per_token

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all arrays, in use or not."""
        return self.keys.nbytes + self.values.nbytes

    # A pass of the model

    def check_room(self, count: int) -> None:
        """Raise KvtuiError unless ``count`` more positions can be run."""
        if self.length + count > self.capacity:
            raise KvtuiError(
                f"the cache has {self.length} of {self.capacity} positions in use, so {count} more do not fit; "
                "truncate or reset it first"
            )

    def at_once(self, count: int) -> int:
        """How many of ``count`` new positions one pass may run; what is left goes into passes after it."""
        return count

    def open(self, count: int) -> int:
        """A pass over ``count`` new positions begins: find them places.

        Returns:
            Columns of scores that the newest position will have.
        """
        self.check_room(count)
        return self._place(slice(self.length, self.length + count), self.length + count)

    def _place(self, new: slice, seen: int) -> int:
        """The new positions go to places ``new``; of those up to ``seen`` all are read that the model looks back to."""
        one, window = new.stop - new.start == 1, self.config.sliding_window
        first = max(0, seen - window) if one and window else 0
        self._new_keys, self._new_values = self.keys[:, :, new], self.values[:, :, new]  # (layers, G, T, D)
        self._seen_keys = self.keys[:, :, first:seen]  # (layers, G, S, D)
        self._seen_values = self.values[:, :, first:seen]
        self._seen_columns = self._seen_keys.swapaxes(2, 3)  # (layers, G, D, S)
        return seen - first

    def attend(self, layer: int, query: Array, key: Array, value: Array) -> Array:
        """Store T new positions and let their queries read what the cache holds. (H, T, D), (G, T, D), same
        -> (T, H·D)."""
        self.write(layer, key, value)
        keys, values = self._seen_keys[layer], self._seen_values[layer]
        return layers.causal_attention(query, keys, values, window=self.config.sliding_window)

    def write(self, layer: int, key: Array, value: Array) -> None:
        """Store the keys and values of T new positions in the places that :meth:`open` found. (G, T, D) each."""
        self._new_keys[layer] = key
        self._new_values[layer] = value

    def score(self, layer: int, query: Array, out: Array) -> None:
        """Products of one position's queries with all keys. (G, H/G, D) -> (G, H/G, S)."""
        np.matmul(query, self._seen_columns[layer], out=out)

    def mix(self, layer: int, weights: Array, out: Array) -> None:
        """Sums of all values by weight. (G, H/G, S) -> (G, H/G, D)."""
        np.matmul(weights, self._seen_values[layer], out=out)

    def observe(self, layer: int, weights: Array) -> None:
        """See one position's attention weights, (G, H/G, S); only if ``watches``."""

    def advance(self, count: int) -> None:
        """All layers have stored ``count`` positions: they are in use from now on."""
        self.check_room(count)
        self.length += count

    # What it holds

    @property
    def oldest(self) -> int:
        """The first position that some head holds."""
        return 0

    def sink_scores(self, positions: IntArray, query: Array, keys: Array) -> Array:
        """Scores of queries at ``positions`` with keys of sinks, given as they were at their first places.
        (T,), (H, T, D), (G, S, D) -> (H, T, S)."""
        return layers.attention_scores(query, keys)

    def kept(self, layer: int) -> IntArray:
        """Positions that each head holds, ascending, counted from the first one ever run. (G, K)."""
        return np.broadcast_to(np.arange(self.held), (self.config.num_kv_heads, self.held))

    def read(self, layer: int) -> tuple[Array, Array]:
        """Keys and values as they are read now, in the order of :meth:`kept`. (G, K, D) each."""
        return self.keys[layer, :, : self.held], self.values[layer, :, : self.held]

    def why(self, layer: int) -> IntArray:
        """A :class:`Why` for each position, in the order of :meth:`kept`. (G, K)."""
        return np.full((self.config.num_kv_heads, self.held), Why.ROOM)

    def take_evicted(self) -> tuple[IntArray, IntArray]:
        """Positions dropped since last asked, (layers, G, n), and for each the first query that missed it, (n,)."""
        return np.empty((self.config.num_layers, self.config.num_kv_heads, 0), np.int64), np.empty(0, np.int64)

    def truncate(self, length: int) -> None:
        """Forget every position from ``length`` on.

        Raises:
            KvtuiError: there are not that many, or what was dropped since cannot be had back.
        """
        if not 0 <= length <= self.length:
            raise KvtuiError(f"cannot truncate to {length} positions: {self.length} are in use")
        self.length = length

    def reset(self) -> None:
        """Forget everything; the memory stays allocated."""
        self.length = 0
