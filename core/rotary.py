"""Rotary positions (RoPE, Su et al. 2021): a query or key is rotated by an angle that grows with its position.

Letters in shape comments are those of :mod:`kvtui.core.layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvtui.core.config import ModelConfig
from kvtui.core.layers import Array

RotationAt = Callable[[int], NDArray[Any]]  # position -> (D/2,) complex, the rotation of each pair

_CHUNK = 64  # positions past the context that are computed together
_CHUNKS = 8  # kept: two for each text being written, for the newest position and for the sinks


def rotary_frequencies(head_dim: int, base: float) -> NDArray[np.float64]:
    """base^(-2j/D) for each pair j = 0 .. D/2-1 of a head, in radians per position (Su et al. 2021, eq. 15). (D/2,)."""
    return base ** (-np.arange(0, head_dim, 2) / head_dim)


def llama3_divisors(
    frequencies: NDArray[np.float64], factor: float, low: float, high: float, original_context: float
) -> NDArray[np.float64]:
    """The divisor of each rotary frequency with which Llama 3.1 reaches a longer context. (D/2,) -> (D/2,).

    Pairs that complete fewer than ``low`` rotations over the original context are slowed down by ``factor``, those that
    complete more than ``high`` are unchanged, and in between the divisor changes smoothly (``apply_scaling`` in
    llama-models).
    """
    rotations = frequencies * original_context / (2 * np.pi)  # (D/2,)
    unscaled = np.clip((rotations - low) / (high - low), 0.0, 1.0)
    return 1.0 / ((1.0 - unscaled) / factor + unscaled)


def rotary_table(
    positions: int | Sequence[int],
    head_dim: int,
    base: float,
    dtype: Any = np.float32,
    divisors: Sequence[float] = (),
) -> NDArray[Any]:
    """exp(i · position · frequency) for every position and pair of a head. (positions, D/2), complex.

    Args:
        positions: indices, or their number counted from 0.
        head_dim: D; the pairs of a head are (2j, 2j+1), as in Su et al. 2021.
        base: of the frequencies.
        dtype: of the numbers to rotate.
        divisors: (D/2,) divisors of the frequencies; empty for none.
    """
    frequencies = rotary_frequencies(head_dim, base)  # (D/2,)
    if len(divisors):
        frequencies = frequencies / np.asarray(divisors)
    places = np.arange(positions) if isinstance(positions, int) else np.asarray(positions)
    angles = np.outer(places, frequencies)  # (positions, D/2)
    return np.exp(1j * angles).astype(np.result_type(dtype, np.complex64))


def rotate(heads: Array, rotation: NDArray[Any]) -> Array:
    """Rotate each pair of numbers of each head by its position's angle (Su et al. 2021, sec. 3.4.2).

    A pair (a, b) is the complex number a + ib, so that one complex product rotates it.

    Args:
        heads: (T, H, D), contiguous.
        rotation: (T, D/2), rows of :func:`rotary_table`.

    Returns:
        (T, H, D).
    """
    pairs = heads.view(rotation.dtype)  # (T, H, D/2)
    return (pairs * rotation[:, None, :]).view(heads.dtype)  # (T, H, D)


class RotaryTable:
    """The rotation of every position: a table for a model's context, and chunks past it, computed on demand.

    Positions past the context occur when a cache drops old ones and the text continues. Recently used chunks are kept.
    """

    def __init__(self, config: ModelConfig, dtype: Any = np.float32) -> None:
        self._config = config
        self._dtype = dtype
        self._within = self._compute(config.context_length)  # (context, D/2)
        self._past: dict[int, NDArray[Any]] = {}  # number of a chunk -> (_CHUNK, D/2)

    def at(self, position: int) -> NDArray[Any]:
        """The rotation of one position, which may lie past the context. (D/2,)."""
        if position < len(self._within):
            return self._within[position]
        number, place = divmod(position, _CHUNK)
        chunk = self._past.get(number)
        if chunk is None:
            self._past[number] = chunk = self.rows(number * _CHUNK, _CHUNK)
            if len(self._past) > _CHUNKS:
                self._past.pop(next(iter(self._past)), None)  # the oldest; another thread may have been faster
        return chunk[place]

    def rows(self, start: int, count: int) -> NDArray[Any]:
        """The rotations of ``count`` positions from ``start`` on. (count, D/2)."""
        if start + count <= len(self._within):
            return self._within[start : start + count]
        return self._compute(range(start, start + count))

    def _compute(self, positions: int | Sequence[int]) -> NDArray[Any]:
        config = self._config
        return rotary_table(positions, config.head_dim, config.rotary_base, self._dtype, config.rotary_divisors)
