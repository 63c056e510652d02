"""The cache's contents as one number for each head and position: a norm, the attention to it, or why it is kept."""

from __future__ import annotations

import numpy as np

from kvtui.core.commands import ShowCache
from kvtui.core.errors import KvtuiError
from kvtui.core.events import CacheContents
from kvtui.core.generation import Generation
from kvtui.core.layers import Array, IntArray
from kvtui.core.machine import resident_bytes


def cache_contents(generation: Generation, wanted: ShowCache) -> CacheContents:
    """One number for every requested layer, key/value head and position in the cache.

    ``value`` and ``key`` are Euclidean norms. ``attention`` is that of the newest query, the mean over the query heads
    that share a key/value head, so that a head's numbers sum to 1, or to less if a prompt was reduced after its
    queries had attended to all of it. ``reason`` has indices into the cache's ``reasons``.
    Entries never change until they are dropped: if none were, the first n positions are what the cache held at n
    positions. For positions dropped since, the keys are still on record, the values are not.

    Raises:
        KvtuiError: no such layers, ``attention`` is requested without observing, or what the cache once held is gone.
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
    numbers = [_numbers(generation, wanted, layer, places, length) for layer, places in zip(layers, kept, strict=True)]
    return CacheContents(
        quantity=wanted.quantity,
        first_layer=wanted.first_layer,
        kept=kept,
        numbers=np.array(numbers, np.float32),
        length=length,
        position=generation.cache_start,
        written=min(generation.computed, length),
        process_bytes=resident_bytes(),
        reasons=cache.reasons if wanted.quantity == "reason" else (),
    )


def _kept_then(generation: Generation, wanted: ShowCache, layer: int, length: int) -> IntArray:
    """Positions that each head held when there were ``length``, though some have been dropped since. (G, K)."""
    record = generation.record
    if record is None or wanted.quantity not in ("key", "attention"):
        raise KvtuiError("values dropped since are gone: only keys are on record, and the attention to them")
    if generation.cache_start + length <= generation.sequence.window_start:
        raise KvtuiError("that was before the window: what the cache held then is gone")
    row = length - record.first - 1
    dropped = record.dropped(layer, row, row + 1)[:, 0]  # (H, S)
    kept = ~dropped[:: len(dropped) // generation.model.config.num_kv_heads]  # (G, S)
    places = np.nonzero(kept)[1].reshape(len(kept), -1) + record.first
    sinks = np.broadcast_to(np.arange(record.sinks), (len(kept), record.sinks))
    return np.concatenate([sinks, places], axis=1)


def _numbers(generation: Generation, wanted: ShowCache, layer: int, places: IntArray, length: int) -> Array:
    """One number for each position held. (G, K) -> (G, K)."""
    if wanted.quantity == "attention":
        return _attention(generation, layer, places, length)
    if wanted.quantity == "reason":
        return generation.cache.reason(layer)[:, : places.shape[1]].astype(np.float32)
    if length < generation.cache.length and wanted.quantity == "key" and generation.record is not None:
        keys = generation.record.keys(layer, length - generation.record.first)
        columns = generation.record.columns(places)[..., None]
        return np.linalg.norm(np.take_along_axis(keys, columns, axis=1), axis=2)
    keys, values = generation.cache.read(layer)
    held = (keys if wanted.quantity == "key" else values)[:, : places.shape[1]]
    return np.sqrt(np.vecdot(held, held))


def _attention(generation: Generation, layer: int, places: IntArray, length: int) -> Array:
    """The newest query's attention to each position held. (G, K) -> (G, K)."""
    record = generation.record
    if record is None:
        raise KvtuiError("attention is only recorded with observe=True")
    if not length:
        return np.zeros(places.shape)
    newest = length - record.first
    rows = record.weights(layer, newest - 1, newest)[:, 0]  # (H, S)
    sinks = record.sink_weights(layer, newest - 1, newest)[:, 0]  # (H, sinks before the record)
    mean = np.concatenate([sinks, rows], axis=1).reshape(len(places), -1, sinks.shape[1] + newest).mean(axis=1)
    return np.take_along_axis(mean, record.columns(places), axis=1)
