"""The interface of every cache to the model, its fast step, and the generation loop.

Letters in shape comments are those of :mod:`kvtui.core.layers`; K is the number of positions that a head holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum

import numpy as np

from kvtui.core import layers
from kvtui.core.config import ModelConfig
from kvtui.core.layers import Array, IntArray

MAX_HIDDEN_COLUMNS = 64  # columns of scores that a cache may have beyond the context, with weights of zero


class KeptBecause(IntEnum):
    """Why a position is in the cache: indices into :attr:`Cache.reasons`."""

    ROOM = 0  # nothing had to be dropped
    SINK = 1  # one of the first positions, which are always kept
    RECENT = 2  # one of the last positions
    CHOSEN = 3  # picked by the policy, which names the reason in its own words
    PACKED = 4  # stored in few bits


def reason_words(chosen: str = "chosen by the policy") -> tuple[str, ...]:
    """A phrase for each :class:`KeptBecause`; ``chosen`` says why the policy picks positions."""
    return "cache not full", "sink", "recent window", chosen, "quantised"


class Cache(ABC):
    """What the model has already computed for the text so far: keys and values of all positions, or of some.

    A pass over T new positions calls :meth:`begin` once, then :meth:`attend` in each layer, and :meth:`advance` at its
    end; the next pass starts at position ``length``. The fast step for a single position calls :meth:`write`,
    :meth:`score`, :meth:`weighted_values` and, if the cache ``watches``, :meth:`observe` in place of ``attend``. After
    a pass over a single position, ``score`` and ``weighted_values`` may be called again until the next ``begin``, and
    change nothing that counts: a :class:`~kvtui.core.cache.rehearsal.Rehearsal` does.

    Attributes:
        config: the model's shape.
        length: positions run so far.
        endless: whether positions may continue past the model's context.
        watches: whether :meth:`observe` wants the attention weights of a single position.
        sinks: number of first positions that always stay.
        step_columns: S of the newest pass, set by the model; 0 if that was over several positions.
        reasons: a phrase for each number returned by :meth:`reason`; the first means that nothing had to be dropped.
    """

    endless: bool = False
    watches: bool = False
    sinks: int = 0
    step_columns: int = 0
    reasons: tuple[str, ...] = reason_words()

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.length = 0

    # A pass of the model

    @abstractmethod
    def check_room(self, count: int) -> None:
        """Raise KvtuiError unless ``count`` more positions can be run."""

    def max_pass(self, count: int) -> int:
        """How many of ``count`` new positions one pass may run; the rest take further passes."""
        return count

    @abstractmethod
    def begin(self, count: int) -> int:
        """Begin a pass over ``count`` new positions: find slots for them.

        Returns:
            S, the number of columns in the newest position's scores.
        """

    @abstractmethod
    def attend(self, layer: int, query: Array, key: Array, value: Array) -> Array:
        """Store T new positions and let their queries attend to the cache. (H, T, D), (G, T, D), (G, T, D)
        -> (T, H·D)."""

    @abstractmethod
    def write(self, layer: int, key: Array, value: Array) -> None:
        """Store the keys and values of new positions in the slots found by :meth:`begin`. (G, T, D) each."""

    @abstractmethod
    def score(self, layer: int, query: Array, out: Array) -> None:
        """Products of one position's queries with all keys. (G, H/G, D) -> (G, H/G, S)."""

    @abstractmethod
    def weighted_values(self, layer: int, weights: Array, out: Array) -> None:
        """Sums of all values by weight. (G, H/G, S) -> (G, H/G, D)."""

    def observe(self, layer: int, weights: Array) -> None:  # noqa: B027 - most caches do not need it
        """Receive one position's attention weights, (G, H/G, S); only called if ``watches``."""

    @abstractmethod
    def advance(self, count: int) -> None:
        """All layers have stored ``count`` positions: count them as in use."""

    # Contents

    @property
    @abstractmethod
    def num_held(self) -> int:
        """K, the number of positions that a head has in the cache."""

    @property
    @abstractmethod
    def bytes_used(self) -> int:
        """Bytes in use."""

    @abstractmethod
    def positions(self, layer: int) -> IntArray:
        """The positions held by each head, ascending, counted from the first one ever run. (G, K)."""

    @abstractmethod
    def read(self, layer: int) -> tuple[Array, Array]:
        """Keys and values as they are read, in the order of :meth:`positions`. (G, K, D) each."""

    def reason(self, layer: int) -> IntArray:
        """Why each position is kept, as an index into ``reasons``, in the order of :meth:`positions`. (G, K)."""
        return np.full((self.config.num_kv_heads, self.num_held), KeptBecause.ROOM)

    @property
    def oldest(self) -> int:
        """The first position held by any head."""
        return 0

    def take_evicted(self) -> tuple[IntArray, IntArray]:
        """Positions dropped since the last call, (layers, G, n), and for each the first query that missed it, (n,)."""
        return np.empty((self.config.num_layers, self.config.num_kv_heads, 0), np.int64), np.empty(0, np.int64)

    def sink_scores(self, positions: IntArray, query: Array, keys: Array) -> Array:
        """Scores of queries at ``positions`` with the keys of sinks at their original positions.
        (T,), (H, T, D), (G, S, D) -> (H, T, S)."""
        return layers.attention_scores(query, keys)

    # Going back

    @abstractmethod
    def truncate(self, length: int) -> None:
        """Discard every position from ``length`` on.

        Raises:
            KvtuiError: there are fewer positions, or some dropped since cannot be restored.
        """

    @abstractmethod
    def reset(self) -> None:
        """Discard everything; the memory stays allocated."""
