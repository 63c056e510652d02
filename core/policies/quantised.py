"""Keys and values in 8 or 4 bits (KIVI, Liu et al. 2024), alone or in a rolling window."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvtui.core import layers
from kvtui.core.cache import RotationAt, Why
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array, IntArray
from kvtui.core.policies.rolling import RollingCache

GROUP = 32  # positions that are packed together, as in the paper's experiments

Bytes = NDArray[np.uint8]


def quantise(x: Array, bits: int, axis: int) -> tuple[Bytes, Array, Array]:
    """Whole numbers from 0 to 2^bits - 1 with x ≈ codes · scale + zero (KIVI, eq. 1).

    The error of a number is at most half its scale.

    Args:
        x: of any shape.
        bits: of a code, at most 8.
        axis: numbers along it share a scale and a zero.

    Returns:
        Codes like ``x``; scale and zero with ``axis`` of length 1.
    """
    zero = x.min(axis=axis, keepdims=True)
    scale = (x.max(axis=axis, keepdims=True) - zero) / (2**bits - 1)
    codes = np.rint((x - zero) / np.where(scale > 0, scale, 1))
    return codes.astype(np.uint8), scale, zero


def pack(codes: Bytes, bits: int) -> Bytes:
    """Two 4-bit codes to a byte: (…, GROUP, D) -> (…, GROUP/2, D).

    Position p is in the low half of a byte and p + GROUP/2 in the high one, so that each unpacks in one piece.
    """
    if bits == 8:
        return codes
    return np.bitwise_or(codes[..., : GROUP // 2, :], codes[..., GROUP // 2 :, :] << 4, dtype=np.uint8)


def unpack(packed: Bytes, bits: int, out: Array) -> Array:
    """Codes as floating-point numbers: (…, GROUP/2 or GROUP, D) -> (…, GROUP, D)."""
    if bits == 8:
        np.copyto(out, packed)
    else:
        np.copyto(out[..., : GROUP // 2, :], packed & 15)
        np.copyto(out[..., GROUP // 2 :, :], packed >> 4)
    return out


class Packed:
    """Groups of keys or of values in few bits.

    Args:
        shape: (layers, G, groups, D).
        bits: of a code.
        axis: along which numbers share a scale: -2 for keys (each channel its own), -1 for values (each position).
        dtype: of scales and zeros.
    """

    def __init__(self, shape: tuple[int, int, int, int], bits: int, axis: int, dtype: Any) -> None:
        *leading, head_dim = shape
        shared = (1, head_dim) if axis == -2 else (GROUP, 1)
        self.codes: Bytes = np.zeros((*leading, GROUP * bits // 8, head_dim), np.uint8)
        self.scale: Array = np.zeros((*leading, *shared), dtype)
        self.zero: Array = np.zeros((*leading, *shared), dtype)
        self._bits, self._axis = bits, axis

    @property
    def nbytes(self) -> int:
        """Codes, scales and zeros."""
        return self.codes.nbytes + self.scale.nbytes + self.zero.nbytes

    def store(self, layer: int, group: int, x: Array) -> None:
        """Quantise a group of positions. (G, GROUP, D)."""
        codes, self.scale[layer, :, group], self.zero[layer, :, group] = quantise(x, self._bits, self._axis)
        self.codes[layer, :, group] = pack(codes, self._bits)

    def unpacked(self, layer: int, count: int, out: Array) -> Array:
        """Codes of the first ``count`` groups as numbers. -> (G, count, GROUP, D)."""
        return unpack(self.codes[layer, :, :count], self._bits, out[:, :count])


class QuantisedCache(RollingCache):
    """Positions in groups of 32, each key channel and each value of a group with a scale and a zero of its own.

    The newest positions, up to 32, are kept as they are until they make a group, and so are the sinks (sec. 4 of the
    paper: keys per channel, values per token, a residual in full precision). A pass over several positions sees those
    of the pass as they are. A single step reads the packed ones without multiplying them out, since
    q · (codes · scale + zero) = (q · scale) · codes + q · zero, and likewise for the values.

    Args:
        config: the model's shape.
        bits: 8 or 4.
        sinks: positions at the beginning that are kept as they are.
        recent: last positions to keep, more than 32.
        endless: whether older ones are dropped, so that positions can go on past the context.
        dtype: of what is not packed.
        rotation_at: the turn of a position.
    """

    def __init__(
        self,
        config: ModelConfig,
        bits: int,
        sinks: int,
        recent: int,
        endless: bool,
        dtype: Any,
        rotation_at: RotationAt,
    ) -> None:
        super().__init__(config, sinks, recent, dtype, rotation_at, places=sinks + GROUP)
        self.endless = endless
        groups = -(-(self.recent - 1) // GROUP)
        shape = (config.num_layers, config.num_kv_heads, groups, config.head_dim)
        self.packed_keys = Packed(shape, bits, -2, dtype)
        self.packed_values = Packed(shape, bits, -1, dtype)
        self._starts = np.zeros(groups, np.int64)  # of each group, its first position after the sinks
        self._codes: Array = np.empty((*shape[1:3], GROUP, shape[3]), dtype)  # one layer's, while it is read
        self._hidden: Array | None = None

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all arrays, in use or not."""
        return super().bytes_allocated + self.packed_keys.nbytes + self.packed_values.nbytes

    @property
    def bytes_used(self) -> int:
        """Bytes of the groups, of the positions that are not in one, and of the sinks' keys at their first places."""
        groups, tail = self._split(self.length)
        each = (self.keys.nbytes + self.values.nbytes) // self.capacity
        packed = (self.packed_keys.nbytes + self.packed_values.nbytes) // len(self._starts)
        return (min(self.length, self.sinks) + tail) * each + groups * packed + self._sink_keys.nbytes

    def _split(self, length: int) -> tuple[int, int]:
        """Groups and single positions, the sinks not counted, when ``length`` positions have been run."""
        after = max(0, length - self.sinks)
        tail = (after - 1) % GROUP + 1 if after else 0
        return min((after - tail) // GROUP, len(self._starts)), tail

    def check_room(self, count: int) -> None:
        """Raise KvtuiError past the context, unless old positions are dropped."""
        if not self.endless and self.length + count > self.config.context_length:
            raise KvtuiError(
                f"the cache has {self.length} of {self.config.context_length} positions in use, so {count} more do not "
                "fit; truncate or reset it first"
            )

    def open(self, count: int) -> int:
        """Find places; the oldest positions of a group that are not to be seen any more are hidden."""
        self.check_room(count)
        length = self.length + count
        if self.sinks and length > self.sinks + self.recent:
            self._move_sinks(length - self.sinks - self.recent)
        groups, tail = self._split(length)
        single = min(length, self.sinks) + tail
        self._groups = groups
        self._hidden = None
        after = length - self.sinks
        if tail == 1 and groups:
            self._starts[(after // GROUP - 1) % len(self._starts)] = after - 1 - GROUP
        positions = self._starts[:groups, None] + np.arange(GROUP)  # (groups, GROUP)
        if groups and positions.min() < after - self.recent:
            self._hidden = np.where(positions < after - self.recent, -np.inf, 0).reshape(-1)
        self._place(slice(0, 0), single)
        return single + groups * GROUP

    def write(self, layer: int, key: Array, value: Array) -> None:
        """Store new positions, and quantise each group that is full when another position comes."""
        done, count = 0, key.shape[1]
        while done < count:
            position = self.length + done
            place, room = position, self.sinks - position
            if room <= 0:
                after = position - self.sinks
                place, room = self.sinks + after % GROUP, GROUP - after % GROUP
                if after and after % GROUP == 0:
                    self._pack(layer, after // GROUP - 1)
            end = min(done + room, count)
            self.keys[layer, :, place : place + end - done] = key[:, done:end]
            self.values[layer, :, place : place + end - done] = value[:, done:end]
            done = end

    def _pack(self, layer: int, number: int) -> None:
        slot = number % len(self._starts)
        self._starts[slot] = number * GROUP
        for packed, single in ((self.packed_keys, self.keys), (self.packed_values, self.values)):
            packed.store(layer, slot, single[layer, :, self.sinks : self.sinks + GROUP])

    def score(self, layer: int, query: Array, out: Array) -> None:
        """Products of one position's queries with all keys. (G, H/G, D) -> (G, H/G, S)."""
        groups, single = self._groups, out.shape[2] - self._groups * GROUP
        super().score(layer, query, out[..., :single])
        if not groups:
            return
        keys = self.packed_keys
        spread = query[:, None]  # (G, 1, H/G, D)
        codes = keys.unpacked(layer, groups, self._codes)  # (G, groups, GROUP, D)
        scores = np.matmul(spread * keys.scale[layer, :, :groups], codes.swapaxes(2, 3))  # (G, groups, H/G, GROUP)
        scores += np.matmul(spread, keys.zero[layer, :, :groups].swapaxes(2, 3))
        out[..., single:] = scores.swapaxes(1, 2).reshape(*out.shape[:2], -1)
        if self._hidden is not None:
            out[..., single:] += self._hidden

    def mix(self, layer: int, weights: Array, out: Array) -> None:
        """Sums of all values by weight. (G, H/G, S) -> (G, H/G, D)."""
        groups, single = self._groups, weights.shape[2] - self._groups * GROUP
        super().mix(layer, weights[..., :single], out)
        if not groups:
            return
        values = self.packed_values
        flat = (len(out), groups * GROUP)
        codes = values.unpacked(layer, groups, self._codes).reshape(*flat, -1)
        scale = values.scale[layer, :, :groups].reshape(*flat)[:, None]  # (G, 1, groups · GROUP)
        zero = values.zero[layer, :, :groups].reshape(*flat, 1)
        packed = weights[..., single:]
        out += np.matmul(packed * scale, codes)
        out += np.matmul(packed, zero)

    def attend(self, layer: int, query: Array, key: Array, value: Array) -> Array:
        """Several new positions see each other as they are, a single one sees what a step would. -> (T, H·D)."""
        if key.shape[1] == 1:
            self.write(layer, key, value)
            keys, values = self._read(layer, self.length + 1)
        else:
            held = self._read(layer, self.length)
            self.write(layer, key, value)
            keys, values = (np.concatenate(pair, axis=1) for pair in zip(held, (key, value), strict=True))
        return layers.causal_attention(query, keys, values)

    def why(self, layer: int) -> IntArray:
        """Between the sinks and the newest positions, which are kept as they are, all are packed. (G, K)."""
        codes = np.array(super().why(layer))
        codes[:, self.sinks : max(self.sinks, self.held - self._split(self.length)[1])] = Why.PACKED
        return codes

    def read(self, layer: int) -> tuple[Array, Array]:
        """Keys and values as they are read, in the order of :meth:`kept`. (G, K, D) each."""
        return self._read(layer, self.length)

    def _read(self, layer: int, length: int) -> tuple[Array, Array]:
        groups, tail = self._split(length)
        sinks = min(length, self.sinks)
        dropped = groups * GROUP + tail - self.recent
        order = np.argsort(self._starts[:groups])
        parts = []
        for packed, single in ((self.packed_keys, self.keys), (self.packed_values, self.values)):
            codes = packed.unpacked(layer, groups, self._codes)
            numbers = codes * packed.scale[layer, :, :groups] + packed.zero[layer, :, :groups]
            old = numbers[:, order].reshape(len(codes), groups * GROUP, codes.shape[3])[:, max(0, dropped) :]
            parts.append(
                np.concatenate(
                    [single[layer, :, :sinks], old, single[layer, :, self.sinks : self.sinks + tail]], axis=1
                )
            )
        return parts[0], parts[1]

    def truncate(self, length: int) -> None:
        """Forget every position from ``length`` on, as far as they are not packed."""
        packed = self.length - self._split(self.length)[1]
        packed = packed if packed > self.sinks else 0
        if 0 < length <= packed:
            raise KvtuiError(
                f"cannot truncate to {length} positions: the first {packed} are packed in groups of {GROUP}; "
                "run the text again from its beginning"
            )
        super().truncate(length)
