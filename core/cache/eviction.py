"""Policies that rank positions: a cache of fixed size, and a class per way of deciding which positions matter."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from kvtui.core import layers
from kvtui.core.cache.arrays import ArrayCache
from kvtui.core.cache.base import KeptBecause, reason_words
from kvtui.core.cache.policy import Policy
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array, IntArray
from kvtui.core.rotary import RotationAt


@dataclass(frozen=True)
class Entries:
    """What a policy can base its choice on. Leading axes are (G,) in a prompt's pass and (layers, G) in a single step.

    Attributes:
        positions: (…, S) indices in the text.
        attention: (…, S) attention received, as recorded by the policy's ``observe``.
        keys: (…, S, D).
        values: (…, S, D).
        newest: the newest position of the pass.
    """

    positions: IntArray
    attention: Array
    keys: Array
    values: Array
    newest: int


class Eviction(Policy):
    """Which positions to keep, separately for each head: derive your own policies from this class.

    A pass over several positions (the prompt) attends to everything present, then keeps the most important. A single
    step first drops the least important position if the cache is full, then attends to the rest and to itself. Keys
    keep the rotary angles of their positions in the text, as in the papers' code.

    Attributes:
        watches: which attention weights ``observe`` receives: those of every pass, of the prompt only, or none.
        kept_for: why the policy keeps positions, in a few words; shown on the cache map.
    """

    watches: Literal["always", "prompt", "never"] = "never"
    kept_for: str = reason_words()[KeptBecause.CHOSEN]

    @abstractmethod
    def keeps(self, held: int, new: int) -> int:
        """How many positions to keep when ``new`` ones join the ``held`` ones."""

    @abstractmethod
    def importance(self, entries: Entries) -> Array:
        """A score for each entry, (…, S): the lowest are dropped. Infinity protects."""

    def observe(self, attention: Array, weights: Array, rows_left: int) -> None:
        """Record in ``attention`` what some query rows attended to; by default the sum of all weights.

        Args:
            attention: (G, S), changed in place.
            weights: (G, H/G, rows, keys); keys after them are hidden from these rows.
            rows_left: number of query rows of the pass, counted from the first of these.
        """
        attention[:, : weights.shape[3]] += weights.sum(axis=(1, 2))

    def new_cache(self, config: ModelConfig, dtype: Any, rotation_at: RotationAt) -> EvictingCache:
        """An empty cache controlled by this policy."""
        return EvictingCache(config, self, dtype)


class EvictingCache(ArrayCache):
    """A cache in which every head keeps its own selection of positions.

    Attributes:
        policy: makes the selection.
        places: (layers, G, capacity) index in the text of each entry.
        attention: (layers, G, capacity) attention recorded by the policy.
    """

    def __init__(self, config: ModelConfig, policy: Eviction, dtype: Any) -> None:
        super().__init__(config, min(policy.keeps(config.context_length, 1), config.context_length), dtype)
        self.policy = policy
        self.watches = policy.watches == "always"
        self.reasons = reason_words(policy.kept_for)
        self.places: IntArray = np.zeros(self.keys.shape[:3], np.int32)
        self.attention: Array = np.zeros(self.keys.shape[:3], dtype)
        self._layers: IntArray = np.arange(config.num_layers)[:, None]
        self._heads: IntArray = np.arange(config.num_kv_heads)
        self._num_held = 0
        self._count = 0  # positions in this pass
        self._evicted: list[tuple[IntArray, IntArray]] = []  # for take_evicted, from each pass
        self._dropped: list[IntArray] = []  # (G, n) of each layer of this pass
        self._exact_from = 0  # the shortest length that truncate can restore

    @property
    def num_held(self) -> int:
        """Positions that a head has in the cache."""
        return self._num_held

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all arrays, including the policy's records."""
        return super().bytes_allocated + self.places.nbytes + self.attention.nbytes

    def check_room(self, count: int) -> None:
        """Raise KvtuiError past the model's context: positions are those of the text."""
        if self.length + count > self.config.context_length:
            raise KvtuiError(
                f"{self.length} positions have been run, so {count} more do not fit into the model's context of "
                f"{self.config.context_length}; truncate or reset the cache first"
            )

    def begin(self, count: int) -> int:
        """Find slots: if the cache is full, a single position takes that of the least important one."""
        self.check_room(count)
        self._count, held = count, self._num_held
        self._next = min(self.policy.keeps(held, count), held + count)
        slot: Any = held  # of all heads, or (layers, G)
        if count == 1:
            if self._next <= held:
                slot = self.policy.importance(self._entries(held)).argmin(axis=-1)
                dropped = self.places[self._layers, self._heads, slot][..., None]
                self._evicted.append((dropped, np.array([self.length])))
            self.places[self._layers, self._heads, slot] = self.length
            self.attention[self._layers, self._heads, slot] = 0
        self._slot = slot
        return self._use(slice(held, held + 1), self._next)

    def _entries(self, held: int) -> Entries:
        return Entries(
            self.places[:, :, :held],
            self.attention[:, :, :held],
            self.keys[:, :, :held],
            self.values[:, :, :held],
            self.length,
        )

    def write(self, layer: int, key: Array, value: Array) -> None:
        """Store a single position. (G, 1, D) each."""
        if isinstance(self._slot, int):
            super().write(layer, key, value)
        else:
            self.keys[layer, self._heads, self._slot[layer]] = key[:, 0]
            self.values[layer, self._heads, self._slot[layer]] = value[:, 0]

    def observe(self, layer: int, weights: Array) -> None:
        """Receive one position's attention weights, (G, H/G, S)."""
        self.policy.observe(self.attention[layer], weights[:, :, None], 1)

    def attend(self, layer: int, query: Array, key: Array, value: Array) -> Array:
        """Attend to everything held and new; several new positions then compete with those held. -> (T, H·D)."""
        if self._count == 1:
            self.write(layer, key, value)
            entries = Entries(
                self.places[layer],
                self.attention[layer],
                self._seen_keys[layer],
                self._seen_values[layer],
                self.length,
            )
            return self._watched(query, entries, self.watches)
        held, count = self._num_held, self._count
        new = np.broadcast_to(np.arange(self.length, self.length + count), key.shape[:2])
        entries = Entries(
            np.concatenate([self.places[layer, :, :held], new], axis=1),
            np.concatenate([self.attention[layer, :, :held], np.zeros_like(key[..., 0])], axis=1),
            np.concatenate([self.keys[layer, :, :held], key], axis=1),
            np.concatenate([self.values[layer, :, :held], value], axis=1),
            self.length + count - 1,
        )
        mixed = self._watched(query, entries, self.policy.watches != "never")
        self._keep(layer, entries)
        return mixed

    def _watched(self, query: Array, entries: Entries, watches: bool) -> Array:
        rows, kv_heads = query.shape[1], len(entries.keys)

        def on_weights(first: int, weights: Array) -> None:
            grouped = weights.reshape(kv_heads, -1, *weights.shape[1:])
            self.policy.observe(entries.attention, grouped, rows - first)

        return layers.causal_attention(query, entries.keys, entries.values, on_weights if watches else None)

    def _keep(self, layer: int, entries: Entries) -> None:
        """Store the most important entries in text order."""
        order = np.argsort(-self.policy.importance(entries), axis=-1, kind="stable")  # (G, S)
        chosen = np.sort(order[:, : self._next], axis=-1)
        dropped = np.sort(order[:, self._next :], axis=-1)
        self._dropped.append(np.take_along_axis(entries.positions, dropped, axis=1))
        for noted, found in ((self.places, entries.positions), (self.attention, entries.attention)):
            noted[layer, :, : self._next] = np.take_along_axis(found, chosen, axis=1)
        for stored, found in ((self.keys, entries.keys), (self.values, entries.values)):
            stored[layer, :, : self._next] = np.take_along_axis(found, chosen[..., None], axis=1)

    def advance(self, count: int) -> None:
        """All layers have stored their positions: count them as in use."""
        watched = self.policy.watches == "always" or (self.policy.watches == "prompt" and count > 1)
        evicted = self._next < self._num_held + count
        self.length += count
        self._num_held = self._next
        if self._dropped:
            dropped, self._dropped = np.stack(self._dropped), []
            self._evicted.append((dropped, np.full(dropped.shape[2], self.length)))
        if watched or evicted:
            self._exact_from = self.length

    @property
    def oldest(self) -> int:
        """The first position held by any head."""
        return int(self.places[:, :, : self._num_held].min(initial=self.length))

    def positions(self, layer: int) -> IntArray:
        """The positions held by each head, ascending. (G, K)."""
        return np.sort(self.places[layer, :, : self._num_held], axis=-1)

    def read(self, layer: int) -> tuple[Array, Array]:
        """Keys and values in the order of :meth:`positions`. (G, K, D) each."""
        order = np.argsort(self.places[layer, :, : self._num_held], axis=-1)[..., None]
        return tuple(np.take_along_axis(array[layer], order, axis=1) for array in (self.keys, self.values))  # type: ignore[return-value]

    def reason(self, layer: int) -> IntArray:
        """Positions protected at the policy's last selection are recent, the others were chosen by importance. (G, K).

        Positions that came later, as with SnapKV after the prompt, are kept because the cache was not full.
        """
        if self.length == self._num_held:
            return super().reason(layer)
        looked = replace(self._entries(self._num_held), newest=self._exact_from - 1)
        codes = np.where(np.isinf(self.policy.importance(looked)[layer]), KeptBecause.RECENT, KeptBecause.CHOSEN)
        places = self.places[layer, :, : self._num_held]
        codes[places >= self._exact_from] = KeptBecause.ROOM
        return np.take_along_axis(codes, np.argsort(places, axis=-1), axis=1)

    def take_evicted(self) -> tuple[IntArray, IntArray]:
        """Positions dropped since the last call, (layers, G, n), and for each the first query that missed it, (n,)."""
        parts, self._evicted = [super().take_evicted(), *self._evicted], []
        return np.concatenate([part for part, _ in parts], axis=2), np.concatenate([queries for _, queries in parts])

    def truncate(self, length: int) -> None:
        """Discard every position from ``length`` on, back to the policy's last selection or drop."""
        if 0 < length < self._exact_from:
            raise KvtuiError(
                f"cannot truncate to {length} positions: later drops and records of the policy cannot be undone; "
                "run the text again from its beginning"
            )
        before = self.length
        super().truncate(length)
        if length:
            self._num_held -= before - length
        else:
            self.reset()

    def reset(self) -> None:
        """Discard everything; the memory stays allocated."""
        super().reset()
        self._num_held = self._exact_from = 0
        self._evicted.clear()
