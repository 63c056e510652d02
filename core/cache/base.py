"""What every cache does: the interface between a cache and the model, its fast step, and the loop that writes text.

Letters in shape comments are those of :mod:`kvtui.core.layers`; K is the number of positions that a head holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum

import numpy as np

from kvtui.core import layers
from kvtui.core.config import ModelConfig
from kvtui.core.layers import Array, IntArray

MAX_HIDDEN_COLUMNS = 64  # columns of scores that a cache may add beyond the context, their weights zero


class KeptBecause(IntEnum):
    """Why a position is in the cache: indices into :attr:`Cache.reasons`."""

    ROOM = 0  # nothing had to be dropped
    SINK = 1  # one of the first, which are always kept
    RECENT = 2  # one of the last
    CHOSEN = 3  # picked by the policy, which says in its own words for what
    PACKED = 4  # in few bits


def reason_words(chosen: str = "chosen by the policy") -> tuple[str, ...]:
    """A word for each :class:`KeptBecause`, ``chosen`` being what the policy picks positions for."""
    return "there is room", "sink", "recent window", chosen, "quantised"


class Cache(ABC):
    """What the model has already computed about the text so far: keys and values, all of them or some.

    A pass over T new positions calls :meth:`begin` once, then :meth:`attend` in each layer, and :meth:`advance` at its
    end; the next pass starts at position ``length``. The fast step for a single position calls :meth:`write`,
    :meth:`score`, :meth:`weighted_values` and, if the cache ``watches``, :meth:`observe` in place of ``attend``.

    Attributes:
        config: the model's shape.
        length: positions that have been run.
        endless: whether positions may go on past the model's context.
        watches: whether :meth:`observe` wants the attention weights of a single position.
        sinks: how many of the first positions always stay.
        reasons: a word for each number that :meth:`reason` gives; the first stands for "nothing had to be dropped".
    """

    endless: bool = False
    watches: bool = False
    sinks: int = 0
    reasons: tuple[str, ...] = reason_words()

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.length = 0

    # A pass of the model

    @abstractmethod
    def check_room(self, count: int) -> None:
        """Raise KvtuiError unless ``count`` more positions can be run."""

    def max_pass(self, count: int) -> int:
        """How many of ``count`` new positions one pass may run; the others go into passes after it."""
        return count

    @abstractmethod
    def begin(self, count: int) -> int:
        """A pass over ``count`` new positions begins: find places for them.

        Returns:
            S, the number of columns that the newest position's scores will have.
        """

    @abstractmethod
    def attend(self, layer: int, query: Array, key: Array, value: Array) -> Array:
        """Store T new positions and let their queries read what the cache holds. (H, T, D), (G, T, D), (G, T, D)
        -> (T, H·D)."""

    @abstractmethod
    def write(self, layer: int, key: Array, value: Array) -> None:
        """Store the keys and values of new positions in the places that :meth:`begin` found. (G, T, D) each."""

    @abstractmethod
    def score(self, layer: int, query: Array, out: Array) -> None:
        """Products of one position's queries with all keys. (G, H/G, D) -> (G, H/G, S)."""

    @abstractmethod
    def weighted_values(self, layer: int, weights: Array, out: Array) -> None:
        """Sums of all values by weight. (G, H/G, S) -> (G, H/G, D)."""

    def observe(self, layer: int, weights: Array) -> None:  # noqa: B027 - most caches have no use for it
        """See one position's attention weights, (G, H/G, S); only called if ``watches``."""

    @abstractmethod
    def advance(self, count: int) -> None:
        """All layers have stored ``count`` positions: they are in use from now on."""

    # What it holds

    @property
    @abstractmethod
    def num_held(self) -> int:
        """K, the number of positions that a head has in the cache."""

    @property
    @abstractmethod
    def bytes_used(self) -> int:
        """Bytes of what is held."""

    @abstractmethod
    def positions(self, layer: int) -> IntArray:
        """The positions that each head holds, ascending, counted from the first one ever run. (G, K)."""

    @abstractmethod
    def read(self, layer: int) -> tuple[Array, Array]:
        """Keys and values as they are read now, in the order of :meth:`positions`. (G, K, D) each."""

    def reason(self, layer: int) -> IntArray:
        """Why each position is kept, as an index into ``reasons``, in the order of :meth:`positions`. (G, K)."""
        return np.full((self.config.num_kv_heads, self.num_held), KeptBecause.ROOM)

    @property
    def oldest(self) -> int:
        """The first position that some head holds."""
        return 0

    def take_evicted(self) -> tuple[IntArray, IntArray]:
        """Positions dropped since last asked, (layers, G, n), and for each the first query that missed it, (n,)."""
        return np.empty((self.config.num_layers, self.config.num_kv_heads, 0), np.int64), np.empty(0, np.int64)

    def sink_scores(self, positions: IntArray, query: Array, keys: Array) -> Array:
        """Scores of queries at ``positions`` with the keys of sinks as they were at their first places.
        (T,), (H, T, D), (G, S, D) -> (H, T, S)."""
        return layers.attention_scores(query, keys)

    # Going back

    @abstractmethod
    def truncate(self, length: int) -> None:
        """Forget every position from ``length`` on.

        Raises:
            KvtuiError: there are not that many, or what was dropped since cannot be restored.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget everything; the memory stays allocated."""
