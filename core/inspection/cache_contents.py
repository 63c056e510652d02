"""What is in the cache, as one number a head and position: the norm of the value or key, or how much it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kvtui.core.commands import ShowCache
from kvtui.core.errors import KvtuiError
from kvtui.core.events import CacheContents
from kvtui.core.layers import Array, IntArray
from kvtui.core.measure.machine import resident_bytes

if TYPE_CHECKING:
    from kvtui.core.generation import Generation


def cache_contents(generation: Generation, wanted: ShowCache) -> CacheContents:
    """One number for every layer asked for, key/value head and position in the cache.

    ``value`` and ``key`` are Euclidean norms. ``read`` is the newest query's attention, the mean over the query heads
    that share a key/value head, so that a head's numbers sum to 1, or to less where a prompt was cut down once its
    queries had looked at all of it. ``why`` are indices into the cache's ``reasons``.
    Nothing that is in the cache changes until it is dropped: if nothing was, its first n positions are what it held
    when there were n. Of what was dropped since, keys are still on record, values are not.

    Raises:
        KvtuiError: no such layers, ``read`` is asked for when not observing, or what the cache once held is gone.
    """
    cache = generation.cache
    layers = range(cache.config.num_layers)[wanted.first_layer : wanted.last_layer]
    if wanted.first_layer < 0 or not len(layers):
        raise KvtuiError(f"there are no layers {wanted.first_layer} to {wanted.last_layer} in the cache")
    length = cache.length if wanted.length is None else max(0, min(wanted.length, cache.length))
    if length < cache.length != cache.num_held:
        kept = np.array([_kept_then(generation, wanted, layer, length) for layer in layers])
    else:
        kept = np.array([cache.positions(layer)[:, : min(cache.num_held, length)] for layer in layers])
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
        reasons=cache.reasons if wanted.shade == "why" else (),
    )


def _kept_then(generation: Generation, wanted: ShowCache, layer: int, length: int) -> IntArray:
    """Positions that each head held when there were ``length``, though some have been dropped since. (G, K)."""
    record = generation.record
    if record is None or wanted.shade not in ("key", "read"):
        raise KvtuiError("values dropped since are gone: keys are on record, and what was read of them")
    if generation.cache_start + length <= generation.dropped:
        raise KvtuiError("that was before the window: what the cache held then is gone")
    row = length - record.first - 1
    dropped = record.dropped(layer, row, row + 1)[:, 0]  # (H, S)
    kept = ~dropped[:: len(dropped) // generation.model.config.num_kv_heads]  # (G, S)
    places = np.nonzero(kept)[1].reshape(len(kept), -1) + record.first
    sinks = np.broadcast_to(np.arange(record.sinks), (len(kept), record.sinks))
    return np.concatenate([sinks, places], axis=1)


def _shade(generation: Generation, wanted: ShowCache, layer: int, places: IntArray, length: int) -> Array:
    """One number for each position held. (G, K) -> (G, K)."""
    if wanted.shade == "read":
        return _read(generation, layer, places, length)
    if wanted.shade == "why":
        return generation.cache.reason(layer)[:, : places.shape[1]].astype(np.float32)
    if length < generation.cache.length and wanted.shade == "key" and generation.record is not None:
        keys = generation.record.keys(layer, length - generation.record.first)
        columns = generation.record.columns(places)[..., None]
        return np.linalg.norm(np.take_along_axis(keys, columns, axis=1), axis=2)
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
    sinks = record.sink_weights(layer, newest - 1, newest)[:, 0]  # (H, sinks before the record)
    mean = np.concatenate([sinks, rows], axis=1).reshape(len(places), -1, sinks.shape[1] + newest).mean(axis=1)
    return np.take_along_axis(mean, record.columns(places), axis=1)
