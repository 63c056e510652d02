"""The pieces of a decoder, each a small function from arrays to arrays.

Letters in shape comments: T new positions, S positions seen so far, E embed_dim, H heads, G key/value heads,
D head_dim, M mlp_dim, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]

# Query rows scored together. A block's scores stay in the processor's cache during softmax, and keys after the
# block's last row are never scored: that skips nearly half of all the work.
QUERY_BLOCK = 64

GELU_SCALE = float(np.sqrt(2.0 / np.pi))
GELU_CUBIC = 0.044715
_ERFC = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)  # Abramowitz & Stegun 1964, 7.1.26
_ERFC_SCALE = 0.3275911


def layer_norm(x: Array, gain: Array, bias: Array | None, epsilon: float) -> Array:
    """Zero mean and unit variance over the last axis, then gain and bias (Ba et al. 2016). (T, E) -> (T, E)."""
    centred = x - x.mean(axis=-1, keepdims=True)  # (T, E)
    variance = np.vecdot(centred, centred)[..., None] / x.shape[-1]  # (T, 1)
    centred *= gain / np.sqrt(variance + epsilon)
    return centred if bias is None else centred + bias


def rms_norm(x: Array, gain: Array, epsilon: float) -> Array:
    """Unit root-mean-square over the last axis, then gain (Zhang & Sennrich 2019, eq. 4). (T, E) -> (T, E)."""
    mean_square = np.vecdot(x, x)[..., None] / x.shape[-1]  # (T, 1)
    return x * (gain / np.sqrt(mean_square + epsilon))


def gelu(x: Array) -> Array:
    """x · Φ(x), in the tanh form that GPT-2 uses (Hendrycks & Gimpel 2016, sec. 2). Same shape."""
    inner = x * x
    inner *= GELU_SCALE * GELU_CUBIC
    inner += GELU_SCALE
    inner *= x  # sqrt(2/pi) (x + 0.044715 x^3)
    np.tanh(inner, out=inner)
    inner += 1.0
    inner *= x
    inner *= 0.5
    return inner


def gelu_erf(x: Array) -> Array:
    """x · Φ(x) exactly, as max(x, 0) - |x|/2 erfc(|x|/√2) (Hendrycks & Gimpel 2016, sec. 2). Same shape.

    erfc is approximated by Abramowitz & Stegun 1964, 7.1.26, with an error of at most 1.5e-7.
    """
    size = np.abs(x)
    place = size * (_ERFC_SCALE / sqrt(2.0))
    place += 1.0
    np.reciprocal(place, out=place)
    tail = np.zeros_like(x)
    for factor in reversed(_ERFC):
        tail += factor
        tail *= place
    bell = size * size
    bell *= -0.5
    np.exp(bell, out=bell)
    tail *= bell  # erfc(|x|/√2)
    tail *= size
    tail *= 0.5
    np.maximum(x, 0.0, out=bell)
    bell -= tail
    return bell


def silu(x: Array) -> Array:
    """x · sigmoid(x), the gate of SwiGLU (Shazeer 2020, eq. 6). Same shape."""
    with np.errstate(over="ignore"):  # exp of a large -x is infinite, and x / infinity is the right 0
        return np.asarray(x / (1.0 + np.exp(-x)), dtype=x.dtype)


def softmax(scores: Array) -> Array:
    """Softmax over the last axis, in place: the scores become weights that sum to 1."""
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def attention(query: Array, key: Array, value: Array, window: int | None = None) -> Array:
    """softmax(QKᵀ/√D + mask)V (Vaswani et al. 2017, eq. 1), written as the formula.

    This is the definition, for reading; the model runs :func:`causal_attention`, which computes the same faster. The
    T queries belong to the last T of the S positions. Query head h reads key/value head h // (H/G).

    Args:
        query: (H, T, D).
        key: (G, S, D).
        value: (G, S, D).
        window: maximum number of keys a query sees, its own included; None for all.

    Returns:
        (T, H·D), heads side by side.
    """
    (num_heads, num_new, head_dim), num_seen = query.shape, key.shape[1]
    key, value = (np.repeat(array, num_heads // len(array), axis=0) for array in (key, value))  # (H, S, D)
    scores = query @ key.swapaxes(1, 2) / sqrt(head_dim)  # (H, T, S)
    query_at = np.arange(num_seen - num_new, num_seen)[:, None]  # (T, 1)
    key_at = np.arange(num_seen)  # (S,)
    hidden = (key_at > query_at) | (key_at <= query_at - (window or num_seen))  # (T, S)
    mask = np.where(hidden, query.dtype.type(-np.inf), query.dtype.type(0))  # (T, S)
    weights = softmax(scores + mask)  # (H, T, S)
    return (weights @ value).swapaxes(0, 1).reshape(num_new, num_heads * head_dim)  # (T, H·D)


def attention_scores(query: Array, key: Array) -> Array:
    """q · k / √D of every query with every key. (H, T, D), (G, S, D) -> (H, T, S)."""
    num_heads, num_new, head_dim = query.shape
    grouped = query.reshape(len(key), -1, num_new, head_dim)
    scores = np.matmul(grouped, key[:, None].swapaxes(2, 3)) * query.dtype.type(head_dim**-0.5)  # (G, H/G, T, S)
    return scores.reshape(num_heads, num_new, key.shape[1])


def causal_attention(
    query: Array,
    key: Array,
    value: Array,
    on_weights: Callable[[int, Array], None] | None = None,
    block: int = QUERY_BLOCK,
    window: int | None = None,
    sink_scores: Array | None = None,
) -> Array:
    """Computes :func:`attention` one block of query rows at a time, without copying the keys for each head.

    Args:
        query: (H, T, D).
        key: (G, S, D).
        value: (G, S, D).
        on_weights: called with (first row, weights (H, rows, keys)) of each block of query rows.
        block: query rows to score at a time.
        window: maximum number of keys a query sees, its own included; None for all.
        sink_scores: (H, T, sinks) scores of the first keys, instead of q · k / √D; these keys are seen whatever the
            window.

    Returns:
        (T, H·D), heads side by side.
    """
    num_heads, num_new, head_dim = query.shape
    num_kv_heads, num_seen, _ = key.shape
    past = num_seen - num_new
    group = num_heads // num_kv_heads
    grouped = query.reshape(num_kv_heads, group, num_new, head_dim) * query.dtype.type(head_dim**-0.5)
    out = np.empty((num_new, num_heads, head_dim), query.dtype)  # (T, H, D)
    heads_first = out.transpose(1, 0, 2).reshape(num_kv_heads, group, num_new, head_dim)  # a view
    hidden = np.triu(np.full((block, block), -np.inf, query.dtype), 1)  # hides a block's own later keys
    buffer = np.empty(num_heads * min(block, num_new) * num_seen, query.dtype)
    for first in range(0, num_new, block):
        last = min(first + block, num_new)
        rows, seen = last - first, past + last
        scores = buffer[: num_heads * rows * seen].reshape(num_kv_heads, group, rows, seen)
        np.matmul(grouped[:, :, first:last], key[:, None, :seen].swapaxes(-1, -2), out=scores)
        scores[..., seen - rows :] += hidden[:rows, :rows]
        if window is not None:
            scores[..., np.tri(rows, seen, past + first - window, dtype=bool)] = -np.inf  # row r is at past + first + r
        if sink_scores is not None:
            sinks = sink_scores.shape[2]
            scores[..., :sinks] = sink_scores[:, first:last].reshape(num_kv_heads, group, rows, sinks)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        total = scores.sum(axis=-1, keepdims=True)  # (G, H/G, rows, 1)
        mixed = np.matmul(scores, value[:, None, :seen], out=heads_first[:, :, first:last])
        mixed /= total  # softmax's division, on D numbers per row instead of one for each key
        if on_weights is not None:
            on_weights(first, (scores / total).reshape(num_heads, rows, seen))
    return out.reshape(num_new, num_heads * head_dim)
