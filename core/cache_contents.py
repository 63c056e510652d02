"""What is in the cache, as one number a head and position: the norm of the value or key, or how much it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kvtui.core.commands import ShowCache
from kvtui.core.errors import KvtuiError
from kvtui.core.events import CacheContents
from kvtui.core.layers import Array
from kvtui.core.memory import resident_bytes

if TYPE_CHECKING:
    from kvtui.core.generation import Generation


def cache_contents(generation: Generation, wanted: ShowCache) -> CacheContents:
    """One number for every layer asked for, key/value head and position in the cache.

    ``value`` and ``key`` are Euclidean norms. ``read`` is the newest query's attention, the mean over the query heads
    that share a key/value head, so that a head's numbers sum to 1. Nothing that is in the cache changes until it is
    dropped: its first n positions are what it held when there were n.

    Raises:
        KvtuiError: no such layers, or ``read`` is asked for when not observing.
    """
    cache = generation.cache
    layers = range(cache.keys.shape[0])[wanted.first_layer : wanted.last_layer]
    if wanted.first_layer < 0 or not len(layers):
        raise KvtuiError(f"there are no layers {wanted.first_layer} to {wanted.last_layer} in the cache")
    length = cache.length if wanted.length is None else max(0, min(wanted.length, cache.length))
    if wanted.shade == "read":
        shades = _read(generation, layers, length)
    else:
        held = cache.keys if wanted.shade == "key" else cache.values
        part = held[layers.start : layers.stop, :, :length]  # (layers, G, S, D)
        shades = np.sqrt(np.vecdot(part, part)).astype(np.float32)
    return CacheContents(
        shade=wanted.shade,
        first_layer=wanted.first_layer,
        kept=np.broadcast_to(np.arange(length), shades.shape),
        shades=shades,
        length=length,
        position=generation.dropped,
        written=min(generation.computed, length),
        process_bytes=resident_bytes(),
    )


def _read(generation: Generation, layers: range, length: int) -> Array:
    if generation.record is None:
        raise KvtuiError("what was read is only recorded with observe=True")
    kv_heads = generation.cache.keys.shape[1]
    weights = np.zeros((len(layers), kv_heads, length), np.float32)
    if length:
        for place, layer in enumerate(layers):
            rows = generation.record.weights(layer, length - 1, length)  # (H, 1, S)
            weights[place] = rows.reshape(kv_heads, -1, length).mean(axis=1)
    return weights
