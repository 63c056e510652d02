"""Keys and values in 8 or 4 bits (KIVI, Liu et al. 2024), for all positions or for a window."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvtui.core import layers
from kvtui.core.cache.base import KeptBecause
from kvtui.core.cache.policy import Policy, PolicyKind
from kvtui.core.cache.rolling import Window, WindowedCache
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array, IntArray
from kvtui.core.rotary import RotationAt

GROUP = 32  # positions packed together, as in the paper's experiments

Codes = NDArray[np.integer[Any]]


def quantise(x: Array, bits: int, axis: int) -> tuple[Codes, Array, Array | None]:
    """Integer codes with x ≈ codes · scale + zero; the error of a number is at most half its scale.

    4-bit codes range from 0 to 15, with a zero point so that none is wasted, as in the paper. 8-bit codes do not need
    one: they range from -127 to 127, symmetric about 0, as in llama.cpp's format Q8_0.

    Args:
        x: of any shape.
        bits: per code, 8 or 4.
        axis: numbers along it share a scale and a zero.

    Returns:
        Codes with the shape of ``x``; scale and zero, whose ``axis`` has length 1. Without a zero for 8 bits.
    """
    if bits == 8:
        scale = np.abs(x).max(axis=axis, keepdims=True) / 127
        return np.rint(x / np.where(scale > 0, scale, 1)).astype(np.int8), scale, None
    least = x.min(axis=axis, keepdims=True)
    scale = (x.max(axis=axis, keepdims=True) - least) / 15
    return np.rint((x - least) / np.where(scale > 0, scale, 1)).astype(np.uint8), scale, least


def pack(codes: Codes, bits: int) -> Codes:
    """Pack two 4-bit codes into a byte: (…, GROUP, D) -> (…, GROUP/2, D).

    Position p is in the low half of a byte and p + GROUP/2 in the high one, so that each half unpacks in one piece.
    """
    if bits == 8:
        return codes
    return np.bitwise_or(codes[..., : GROUP // 2, :], codes[..., GROUP // 2 :, :] << 4, dtype=np.uint8)


def unpack(packed: Codes, bits: int, out: Array) -> Array:
    """Codes as floating-point numbers: (…, GROUP/2 or GROUP, D) -> (…, GROUP, D)."""
    if bits == 8:
        np.copyto(out, packed)
    else:
        np.copyto(out[..., : GROUP // 2, :], packed & 15)
        np.copyto(out[..., GROUP // 2 :, :], packed >> 4)
    return out


class Packed:
    """Groups of keys or values in few bits.

    Args:
        shape: (layers, G, groups, D).
        bits: per code.
        axis: numbers along it share a scale: -2 for keys (one per channel), -1 for values (one per position).
        dtype: of scales and zeros.
    """

    def __init__(self, shape: tuple[int, int, int, int], bits: int, axis: int, dtype: Any) -> None:
        *leading, head_dim = shape
        shared = (1, head_dim) if axis == -2 else (GROUP, 1)
        self.codes: Codes = np.zeros((*leading, GROUP * bits // 8, head_dim), np.int8 if bits == 8 else np.uint8)
        self.scale: Array = np.zeros((*leading, *shared), dtype)
        self.zero: Array | None = np.zeros((*leading, *shared), dtype) if bits == 4 else None
        self._bits, self._axis = bits, axis

    @property
    def nbytes(self) -> int:
        """Codes, scales and zeros."""
        return self.codes.nbytes + self.scale.nbytes + (0 if self.zero is None else self.zero.nbytes)

    def store(self, layer: int | slice, group: int, x: Array) -> None:
        """Quantise a group of positions, of one layer or of several. (G, GROUP, D) or (layers, G, GROUP, D)."""
        codes, self.scale[layer, :, group], zero = quantise(x, self._bits, self._axis)
        self.codes[layer, :, group] = pack(codes, self._bits)
        if self.zero is not None:
            self.zero[layer, :, group] = zero

    def numbers(self, layer: int, count: int) -> Array:
        """The first ``count`` groups, dequantised. -> (G, count, GROUP, D)."""
        codes = self.codes[layer, :, :count]
        out = np.empty((*codes.shape[:2], GROUP, codes.shape[3]), self.scale.dtype)
        numbers = unpack(codes, self._bits, out) * self.scale[layer, :, :count]
        return numbers if self.zero is None else numbers + self.zero[layer, :, :count]


@dataclass(frozen=True)
class Quantised(Policy):
    """Store numbers in 8 or 4 bits, for all positions or those of a window.

    Attributes:
        bits: per number, 8 or 4.
        window: the policy that selects positions; None for all.
    """

    bits: int
    window: Window | None = None

    @property
    def keeps_all(self) -> bool:
        """Unless it is in a window."""
        return self.window is None

    @property
    def endless(self) -> bool:
        """Whether the window is endless."""
        return self.window is not None

    def check(self, config: ModelConfig, spec: str) -> None:
        """Raise KvtuiError if the model cannot use the window, or the window is too small for a group."""
        recent = config.context_length
        if self.window is not None:
            self.window.check(config, spec)
            recent = min(self.window.recent, recent - self.window.sinks)
        if recent <= GROUP:
            raise KvtuiError(
                f"{spec}: the last {GROUP} positions are never packed, so keeping {recent} would pack nothing: "
                f"keep more than {GROUP}, or leave out int{self.bits}"
            )

    def new_cache(self, config: ModelConfig, dtype: Any, rotation_at: RotationAt) -> QuantisedCache:
        """An empty cache, with room for the groups and for the positions not packed."""
        window = self.window or Window(0, config.context_length)
        return QuantisedCache(config, self.bits, window.sinks, window.recent, self.endless, dtype, rotation_at)


@dataclass(frozen=True)
class _Views:
    """What a step reads of the groups in one layer."""

    key_codes: Codes  # (G, groups, GROUP·bits/8, D)
    key_scale: Array  # (G, groups, D, 1)
    key_zero: Array | None  # (G, groups, D)
    value_codes: Codes  # as key_codes
    value_scale: Array  # (G, 1, groups·GROUP)
    value_zero: Array | None  # (G, groups·GROUP, 1)

    @classmethod
    def of(cls, cache: QuantisedCache, layer: int, groups: int) -> _Views:
        keys, values = cache.packed_keys, cache.packed_values
        flat = (values.scale.shape[1], -1)
        return cls(
            keys.codes[layer, :, :groups],
            keys.scale[layer, :, :groups].swapaxes(2, 3),
            None if keys.zero is None else keys.zero[layer, :, :groups, 0],
            values.codes[layer, :, :groups],
            values.scale[layer].reshape(flat)[:, None, : groups * GROUP],
            None if values.zero is None else values.zero[layer].reshape(flat)[:, : groups * GROUP, None],
        )


class QuantisedCache(WindowedCache):
    """Positions in groups of 32; each key channel and each value of a group has its own scale.

    The newest positions, up to 32, stay unpacked until they fill a group, and so do the sinks (algorithm 1 of the
    paper: keys per channel, values per token, a residual in full precision). A pass over several positions sees its
    own positions unpacked. A single step reads the packed ones without expanding them, since
    q · (codes · scale + zero) = (q · scale) · codes + q · zero, and similarly for the values.

    Args:
        config: the model's shape.
        bits: 8 or 4.
        sinks: number of first positions kept in full precision.
        recent: number of last positions to keep, more than 32.
        endless: whether older positions are dropped, so that the text can continue past the context.
        dtype: of the numbers not packed.
        rotation_at: the rotation of a position.
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
        super().__init__(config, sinks, recent, dtype, rotation_at, capacity=sinks + GROUP)
        self.endless = endless
        groups = -(-(self.recent - 1) // GROUP)
        shape = (config.num_layers, config.num_kv_heads, groups, config.head_dim)
        self.packed_keys = Packed(shape, bits, -2, dtype)
        self.packed_values = Packed(shape, bits, -1, dtype)
        self._places = groups  # slots for groups, used in turn
        self.bits = bits
        self._groups = 0
        self._hidden: list[slice] = []
        self._views: list[_Views] = []

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all arrays, in use or not."""
        return super().bytes_allocated + self.packed_keys.nbytes + self.packed_values.nbytes

    @property
    def bytes_used(self) -> int:
        """Bytes of the groups, the ungrouped positions, and the copy of the sinks' keys."""
        groups, tail = self._split(self.length)
        each = (self.keys.nbytes + self.values.nbytes) // self.capacity
        packed = (self.packed_keys.nbytes + self.packed_values.nbytes) // self._places
        return (min(self.length, self.sinks) + tail) * each + groups * packed + self._sink_copy_bytes

    def _split(self, length: int) -> tuple[int, int]:
        """Numbers of groups and of single positions, sinks excluded, after ``length`` positions."""
        after = max(0, length - self.sinks)
        tail = (after - 1) % GROUP + 1 if after else 0
        return min((after - tail) // GROUP, self._places), tail

    def _order(self, length: int) -> list[int]:
        """Slots of the groups present after ``length`` positions, oldest group first."""
        groups, tail = self._split(length)
        made = max(0, length - self.sinks - tail) // GROUP
        return [number % self._places for number in range(made - groups, made)]

    def max_pass(self, count: int) -> int:
        """As many as fit without dropping any; then up to the next packed group, as later positions read it packed."""
        if not self.drops(1):
            return min(count, self.sinks + self.recent - self.length)
        return min(count, GROUP - self._split(self.length)[1] % GROUP)

    def check_room(self, count: int) -> None:
        """Raise KvtuiError past the context, unless old positions are dropped."""
        if not self.endless and self.length + count > self.config.context_length:
            raise KvtuiError(
                f"the cache has {self.length} of {self.config.context_length} positions in use, so {count} more do not "
                "fit; truncate or reset it first"
            )

    def begin(self, count: int) -> int:
        """Find slots; the oldest positions of a group that are outside the window are hidden."""
        self.check_room(count)
        length = self.length + count
        if self.drops(count):
            self._move_sinks(length - self.sinks - self.recent)
        groups, tail = self._split(length)
        single = min(length, self.sinks) + tail
        self._groups = groups
        behind = groups * GROUP + tail - self.recent  # positions to hide, fewer than two groups
        oldest = self._order(length)[:2] if behind > 0 else []
        self._hidden = [
            slice(place * GROUP, place * GROUP + min(GROUP, behind - passed))
            for place, passed in zip(oldest, (0, GROUP), strict=False)
            if behind > passed
        ]
        self._pack(slice(None), self.length)
        place, _ = self._single_place(self.length)
        self._use(slice(place, place + 1), single)
        return single + groups * GROUP

    def _single_place(self, position: int) -> tuple[int, int]:
        """Where a position is stored before it is packed, and how many fit there in a row."""
        after = position - self.sinks
        return (position, -after) if after < 0 else (self.sinks + after % GROUP, GROUP - after % GROUP)

    def _pack(self, layer: int | slice, position: int) -> None:
        """Quantise the group before ``position`` if it is full."""
        number, more = divmod(position - self.sinks, GROUP)
        if number > 0 and not more:
            for packed, single in ((self.packed_keys, self.keys), (self.packed_values, self.values)):
                packed.store(layer, (number - 1) % self._places, single[layer, :, self.sinks :])

    def _write_several(self, layer: int, key: Array, value: Array) -> None:
        """Store new positions; quantise each full group when another position arrives. (G, T, D) each."""
        done, count = 0, key.shape[1]
        while done < count:
            if done:  # begin() did it for the first position
                self._pack(layer, self.length + done)
            place, room = self._single_place(self.length + done)
            end = min(done + room, count)
            self.keys[layer, :, place : place + end - done] = key[:, done:end]
            self.values[layer, :, place : place + end - done] = value[:, done:end]
            done = end

    def score(self, layer: int, query: Array, out: Array) -> None:
        """Products of one position's queries with all keys. (G, H/G, D) -> (G, H/G, S)."""
        if layer == 0:
            self._bind(out)
        views = self._views[layer]
        super().score(layer, query, self._single)
        if not self._groups:
            return
        column = query.swapaxes(1, 2)  # (G, D, H/G)
        codes = unpack(views.key_codes, self.bits, self._codes)  # (G, groups, GROUP, D)
        products = np.matmul(codes, column[:, None] * views.key_scale)  # (G, groups, GROUP, H/G)
        if views.key_zero is None:
            np.copyto(self._columns, products)
        else:
            np.add(products, np.matmul(views.key_zero, column)[:, :, None], out=self._columns)
        for columns in self._hidden:
            self._packed[..., columns] = -np.inf

    def weighted_values(self, layer: int, weights: Array, out: Array) -> None:
        """Sums of all values by weight. (G, H/G, S) -> (G, H/G, D)."""
        views = self._views[layer]
        super().weighted_values(layer, self._single, out)
        if not self._groups:
            return
        unpack(views.value_codes, self.bits, self._codes)
        out += np.matmul(self._packed * views.value_scale, self._flat_codes)
        if views.value_zero is not None:
            out += np.matmul(self._packed, views.value_zero)

    def _bind(self, scores: Array) -> None:
        """Views of a step's scores, shared by all layers; and of their sources, when groups have been added.

        Made once, because creating a view takes a good part of the time of a small product.
        """
        single = scores.shape[2] - self._groups * GROUP
        self._single, self._packed = scores[..., :single], scores[..., single:]
        by_group = self._packed.reshape(*scores.shape[:2], self._groups, GROUP)
        self._columns = by_group.transpose(0, 2, 3, 1)  # (G, groups, GROUP, H/G)
        if not self._views or self._views[0].key_scale.shape[1] != self._groups:
            layers, kv_heads, _, head_dim = self.keys.shape
            self._codes = np.empty((kv_heads, self._groups, GROUP, head_dim), self.keys.dtype)
            self._flat_codes = self._codes.reshape(kv_heads, -1, head_dim)
            self._views = [_Views.of(self, layer, self._groups) for layer in range(layers)]

    def attend(self, layer: int, query: Array, key: Array, value: Array) -> Array:
        """Several positions that fit see each other unpacked; otherwise each sees what a step would. -> (T, H·D)."""
        count = key.shape[1]
        if count > 1 and not self.drops(count):
            held = self._read(layer, self.length)
            self._write_several(layer, key, value)
            keys, values = (np.concatenate(pair, axis=1) for pair in zip(held, (key, value), strict=True))
            return layers.causal_attention(query, keys, values)
        self._write_several(layer, key, value)
        keys, values = self._read(layer, self.length + count, count)
        if self.drops(count):
            return self._look_back(layer, query, keys, values)
        return layers.causal_attention(query, keys, values)

    def reason(self, layer: int) -> IntArray:
        """All positions are packed except the sinks and the newest ones. (G, K)."""
        codes = np.array(super().reason(layer))
        codes[:, self.sinks : max(self.sinks, self.num_held - self._split(self.length)[1])] = KeptBecause.PACKED
        return codes

    def read(self, layer: int) -> tuple[Array, Array]:
        """Keys and values, dequantised, in the order of :meth:`positions`. (G, K, D) each."""
        return self._read(layer, self.length)

    def _read(self, layer: int, length: int, queries: int = 1) -> tuple[Array, Array]:
        """What the last ``queries`` of ``length`` positions see, if no group has been packed among them."""
        groups, tail = self._split(length)
        sinks = min(length, self.sinks)
        dropped = groups * GROUP + tail - self.recent - (queries - 1)
        order = self._order(length)
        parts = []
        for packed, single in ((self.packed_keys, self.keys), (self.packed_values, self.values)):
            numbers = packed.numbers(layer, groups)[:, order]
            old = numbers.reshape(len(numbers), groups * GROUP, numbers.shape[3])[:, max(0, dropped) :]
            parts.append(
                np.concatenate(
                    [single[layer, :, :sinks], old, single[layer, :, self.sinks : self.sinks + tail]], axis=1
                )
            )
        return parts[0], parts[1]

    def truncate(self, length: int) -> None:
        """Discard every position from ``length`` on; packed positions cannot be discarded."""
        packed = self.length - self._split(self.length)[1]
        packed = packed if packed > self.sinks else 0
        if 0 < length <= packed:
            raise KvtuiError(
                f"cannot truncate to {length} positions: the first {packed} are packed in groups of {GROUP}; "
                "run the text again from its beginning"
            )
        super().truncate(length)


KINDS = tuple(
    PolicyKind(
        f"int{bits}",
        f"int{bits}",
        f"{bits} bits per number; can be combined: int{bits},{window}",
        partial(Quantised, bits),
        "Liu et al. 2024 (KIVI)",
        order=order,
    )
    for bits, window, order in ((8, "window:128", 80), (4, "sink:4+124", 81))
)
