"""What is in the cache, as one number a head and position: the norm of the value or key, or how much it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kvtui.core.commands import ShowCache
from kvtui.core.errors import KvtuiError
from kvtui.core.events import CacheContents
from kvtui.core.layers import Array, IntArray
from kvtui.core.memory import resident_bytes

if TYPE_CHECKING:
    from kvtui.core.generation import Generation


def cache_contents(generation: Generation, wanted: ShowCache) -> CacheContents:
    """One number for every layer asked for, key/value head and position in the cache.

    ``value`` and ``key`` are Euclidean norms. ``read`` is the newest query's attention, the mean over the query heads
    that share a key/value head, so that a head's numbers sum to 1. ``why`` are the numbers of
    :class:`kvtui.core.cache.Why`. Nothing that is in the cache changes until it is
    dropped: if nothing was, its first n positions are what it held when there were n.

    Raises:
        KvtuiError: no such layers, ``read`` is asked for when not observing, or what the cache once was is gone.
    """
    cache = generation.cache
    layers = range(cache.config.num_layers)[wanted.first_layer : wanted.last_layer]
    if wanted.first_layer < 0 or not len(layers):
        raise KvtuiError(f"there are no layers {wanted.first_layer} to {wanted.last_layer} in the cache")
    length = cache.length if wanted.length is None else max(0, min(wanted.length, cache.length))
    if length < cache.length != cache.held:
        raise KvtuiError("the cache has dropped positions since: it can only be shown as it is now")
    held = min(cache.held, length)
    kept = np.array([cache.kept(layer)[:, :held] for layer in layers])
    shades = [_shade(generation, wanted, layer, places, length) for layer, places in zip(layers, kept, strict=True)]
    return CacheContents(
        shade=wanted.shade,
        first_layer=wanted.first_layer,
        kept=kept,
        shades=np.array(shades, np.float32),
        length=length,
        position=generation.cache_start,
        written=min(generation.computed, length),
        process_bytes=resident_bytes(),
    )


def _shade(generation: Generation, wanted: ShowCache, layer: int, places: IntArray, length: int) -> Array:
    """One number for each position held. (G, K) -> (G, K)."""
    if wanted.shade == "read":
        return _read(generation, layer, places, length)
    if wanted.shade == "why":
        return generation.cache.why(layer)[:, : places.shape[1]].astype(np.float32)
    keys, values = generation.cache.read(layer)
    held = (keys if wanted.shade == "key" else values)[:, : places.shape[1]]
    return np.sqrt(np.vecdot(held, held))


def _read(generation: Generation, layer: int, places: IntArray, length: int) -> Array:
    record = generation.record
    if record is None:
        raise KvtuiError("what was read is only recorded with observe=True")
    if not length:
        return np.zeros(places.shape)
    newest = length - record.first
    rows = record.weights(layer, newest - 1, newest)[:, 0]  # (H, S)
    sinks = record.sink_weights(layer, newest - 1, newest)[:, 0]  # (H, sinks before the window)
    mean = np.concatenate([sinks, rows], axis=1).reshape(len(places), -1, sinks.shape[1] + newest).mean(axis=1)
    first = record.first - sinks.shape[1]  # what the first column would be, but for the sinks
    columns = np.where(places < record.first, places, places - first)
    return np.take_along_axis(mean, columns, axis=1)
