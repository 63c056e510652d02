"""What is in the cache, as one number a head and position: the norm of the value or key, or how much it is read."""

from __future__ import annotations

import numpy as np

from kvtui.core.cache import KVCache
from kvtui.core.commands import ShowCache
from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array
from kvtui.core.observe import AttentionRecord


def cache_contents(cache: KVCache, record: AttentionRecord | None, wanted: ShowCache) -> Array:
    """One number for every layer asked for, key/value head and position in the cache.

    Nothing that is in the cache changes until it is dropped, so its first n positions are what it held when there
    were n.

    Args:
        cache: as it stands now.
        record: queries and keys of the text; only to tell what was read.
        wanted: which number, of which layers, and how many positions.

    Returns:
        (layers, G, positions) float32. ``value`` and ``key``: Euclidean norms. ``read``: the newest query's attention
        weights, the mean over the query heads that share a key/value head; a head's sum to 1.

    Raises:
        KvtuiError: no such layers, or nothing was recorded.
    """
    layers = range(cache.keys.shape[0])[wanted.first_layer : wanted.last_layer]
    if wanted.first_layer < 0 or not len(layers):
        raise KvtuiError(f"there are no layers {wanted.first_layer} to {wanted.last_layer} in the cache")
    length = cache.length if wanted.length is None else max(0, min(wanted.length, cache.length))
    if wanted.shade == "read":
        if record is None:
            raise KvtuiError("what was read is only recorded with observe=True")
        return _read(record, layers, cache.keys.shape[1], length)
    kept = cache.keys if wanted.shade == "key" else cache.values
    part = kept[layers.start : layers.stop, :, :length]  # (layers, G, S, D)
    return np.sqrt(np.vecdot(part, part)).astype(np.float32)


def _read(record: AttentionRecord, layers: range, kv_heads: int, length: int) -> Array:
    weights = np.zeros((len(layers), kv_heads, length), np.float32)
    if length:
        for place, layer in enumerate(layers):
            rows = record.weights(layer, length - 1, length)  # (H, 1, S)
            weights[place] = rows.reshape(kv_heads, -1, length).mean(axis=1)
    return weights
