"""One token through the decoder, as fast as NumPy goes: the one place where speed comes before simplicity.

It computes the same as ``Model.forward`` for a single position (a test checks this). A step of a small model consists
of two things: reading every weight once, which is unavoidable, and about a microsecond per NumPy call. Hence:

* vectors instead of one-row matrices, and buffers allocated once, as in llama2.c's ``RunState``;
* query, key and value weights side by side, with one product for all three;
* whatever is constant is folded into the weights once: a norm's gain and bias into the projection that reads it, the
  mean that LayerNorm subtracts into the projections that write to the residual, 1/√D into the query, GELU's factors
  into the projections around it;
* the folded weights of all blocks in one piece of memory, each matrix starting on its own cache line.

Letters in shape comments are those of :mod:`kvtui.core.layers`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np

from kvtui.core import layers
from kvtui.core.cache.base import MAX_HIDDEN_COLUMNS, Cache
from kvtui.core.config import ModelConfig
from kvtui.core.layers import Array
from kvtui.core.observe import AttentionRecord, Stopwatch
from kvtui.core.rotary import RotationAt

_CACHE_LINE = 64  # bytes
# GELU's argument √(2/π) (x + 0.044715 x³) is s³ + LINEAR s for s = CUBE_ROOT x: one multiplication less.
_CUBE_ROOT = (layers.GELU_SCALE * layers.GELU_CUBIC) ** (1 / 3)
_LINEAR = layers.GELU_SCALE / _CUBE_ROOT


@dataclass(frozen=True)
class _Block:
    """One block's folded weights; a bias is None where the model has none."""

    qkv: Array  # (E, (H + 2G)·D)
    qkv_bias: Array | None
    head_gain: Array | None  # (H + G, D), of the norm on queries and keys
    output: Array  # (H·D, E)
    output_bias: Array | None
    up: Array  # (E, M), or (E, 2M) with the gate beside it
    up_bias: Array | None
    down: Array  # (M, E)
    down_bias: Array | None


class DecodeStep:
    """The folded weights, the buffers, and :meth:`__call__`, the step itself."""

    def __init__(self, config: ModelConfig, parameters: dict[str, Array], rotation_at: RotationAt) -> None:
        self._config = config
        self._parameters = parameters
        self._rotation_at = rotation_at
        self._centred = config.norm == "layer"
        self._embedding = self._centre_output(parameters["token_embedding"])
        self._positions = self._centre_output(parameters.get("position_embedding"))
        self._blocks = [self._fold_block(f"blocks.{layer}") for layer in range(config.num_layers)]
        logits = parameters["token_embedding"].T if config.tied_output else parameters["output.weight"]
        self._logits, self._logits_bias = self._fold_norm("final_norm", logits, parameters.get("output.bias"))
        self._pack()
        self._allocate()

    def with_blocks(self, parameters: dict[str, Array], changed: Collection[int]) -> DecodeStep:
        """The same step with other parameters in the layers of ``changed``: only those are folded again."""
        step = copy(self)
        step._parameters = parameters
        step._blocks = [
            step._fold_block(f"blocks.{layer}") if layer in changed else block
            for layer, block in enumerate(self._blocks)
        ]
        step._allocate()
        return step

    def with_own_buffers(self) -> DecodeStep:
        """The same step for another thread; they share the weights."""
        return self.with_blocks(self._parameters, ())

    def _allocate(self) -> None:
        """The buffers, which two steps must not share."""
        config = self._config
        dtype = self._embedding.dtype
        heads, kv_heads, head_dim = config.num_heads, config.num_kv_heads, config.head_dim
        self._x = np.empty(config.embed_dim, dtype)  # the residual
        self._normed = np.empty(config.embed_dim, dtype)
        self._added = np.empty(config.embed_dim, dtype)
        self._qkv = np.empty((heads + 2 * kv_heads) * head_dim, dtype)
        by_head = self._qkv.reshape(-1, head_dim)  # views of the same memory: (H + 2G, D)
        self._query_key = by_head[: heads + kv_heads]  # queries and keys: (H + G, D)
        self._pairs = self._query_key.view(self._rotation_at(0).dtype) if config.position == "rotary" else None
        self._query = by_head[:heads].reshape(kv_heads, -1, head_dim)  # (G, H/G, D)
        self._key = by_head[heads : heads + kv_heads, None]  # (G, 1, D)
        self._value = by_head[heads + kv_heads :, None]  # (G, 1, D)
        columns = config.context_length + MAX_HIDDEN_COLUMNS
        self._scores = np.empty(heads * columns, dtype)
        self._largest = np.empty((*self._query.shape[:2], 1), dtype)
        self._total = np.empty_like(self._largest)
        self._totals = self._total[..., 0]  # the same numbers, (G, H/G)
        self._ones = np.ones(columns, dtype)
        self._mixed = np.empty_like(self._query)
        self._mixed_flat = self._mixed.reshape(-1)
        self._hidden = np.empty(self._blocks[0].up.shape[1], dtype)
        self._inner = np.empty(config.mlp_dim, dtype)
        self._linear_term = np.full(config.mlp_dim, _LINEAR, dtype)  # faster to read than a number is to convert
        self._out = np.empty(config.vocab_size, dtype)

    def __call__(
        self, token: int, cache: Cache, record: AttentionRecord | None = None, stopwatch: Stopwatch | None = None
    ) -> Array:
        """Run one token at position ``cache.length`` and append it to the cache. Returns the logits, (V,)."""
        x, normed, added = self._x, self._normed, self._added
        position = cache.length
        cache.step_columns = seen = cache.begin(1)
        scores = self._scores[: self._config.num_heads * seen].reshape(*self._query.shape[:2], seen)  # (G, H/G, S)
        ones = self._ones[:seen]
        rotation = self._rotation_at(position)
        x[:] = self._embedding[token]
        if self._positions is not None:
            x += self._positions[position]
        if stopwatch:
            stopwatch.mark("embedding")

        for layer, block in enumerate(self._blocks):
            self._normalise(x, normed)
            np.dot(normed, block.qkv, out=self._qkv)
            if block.qkv_bias is not None:
                self._qkv += block.qkv_bias
            if block.head_gain is not None:
                mean_square = np.vecdot(self._query_key, self._query_key)[:, None] / self._config.head_dim
                self._query_key *= block.head_gain / np.sqrt(mean_square + self._config.norm_epsilon)
            if self._pairs is not None:
                self._pairs *= rotation  # rotates queries and keys, a pair being one complex number
            cache.write(layer, self._key, self._value)
            if stopwatch:
                stopwatch.mark("qkv")
            if record is not None:
                self._note(record, layer, position)
            self._attend(cache, layer, scores, ones)
            np.dot(self._mixed_flat, block.output, out=added)
            if block.output_bias is not None:
                added += block.output_bias
            x += added
            if stopwatch:
                stopwatch.mark("attention")

            self._normalise(x, normed)
            np.dot(normed, block.up, out=self._hidden)
            if block.up_bias is not None:
                self._hidden += block.up_bias
            np.dot(self._activate(self._hidden), block.down, out=added)
            if block.down_bias is not None:
                added += block.down_bias
            x += added
            if stopwatch:
                stopwatch.mark("mlp")

        cache.advance(1)
        self._normalise(x, normed)
        logits = np.dot(normed, self._logits, out=self._out)
        if self._logits_bias is not None:
            logits += self._logits_bias
        if stopwatch:
            stopwatch.mark("output")
        return logits

    def _normalise(self, x: Array, out: Array) -> None:
        """x / rms(x). The residual has zero mean where the model has LayerNorm, so this is LayerNorm's division too."""
        np.multiply(x, 1.0 / sqrt(x.dot(x) / len(x) + self._config.norm_epsilon), out=out)

    def _attend(self, cache: Cache, layer: int, scores: Array, ones: Array) -> None:
        """softmax(qKᵀ)V for one query per head, into ``_mixed``; ``scores`` is a buffer, (G, H/G, S); ``ones`` (S,)."""
        cache.score(layer, self._query, scores)
        np.maximum.reduce(scores, axis=2, out=self._largest, keepdims=True)
        np.subtract(scores, self._largest, out=scores)
        np.exp(scores, out=scores)
        np.dot(scores, ones, out=self._totals)  # sums, in half the time of add.reduce
        cache.weighted_values(layer, scores, self._mixed)
        np.divide(self._mixed, self._total, out=self._mixed)  # fewer divisions than on the scores
        if cache.watches:
            cache.observe(layer, scores / self._total)

    def _activate(self, hidden: Array) -> Array:
        """GELU's tanh form but for its outer factors, which are in ``up`` and ``down``; its exact form; or SwiGLU.
        (M,) or (2M,) -> (M,)."""
        inner = self._inner
        if self._config.mlp == "swiglu":
            up, gate = hidden[: len(inner)], hidden[len(inner) :]
            return np.multiply(layers.silu(gate), up, out=inner)
        if self._config.mlp == "gelu_erf":
            return layers.gelu_erf(hidden)
        np.multiply(hidden, hidden, out=inner)
        np.add(inner, self._linear_term, out=inner)
        np.multiply(inner, hidden, out=inner)
        np.tanh(inner, out=inner)
        np.multiply(inner, hidden, out=inner)
        return np.add(inner, hidden, out=inner)  # s (tanh u + 1)

    def _note(self, record: AttentionRecord, layer: int, position: int) -> None:
        query = self._query.reshape(self._config.num_heads, 1, -1) * self._config.head_dim**0.5
        record.write(layer, position, query, self._key)

    def _fold_block(self, block: str) -> _Block:
        config, take = self._config, self._parameters.get
        scale = config.head_dim**-0.5
        head_gain = None
        if config.query_key_norm:  # the norm would undo a factor in the projection: it goes into the gain
            query_gain, key_gain = take(f"{block}.attention.query_norm.gain"), take(f"{block}.attention.key_norm.gain")
            assert query_gain is not None
            head_gain = np.array([query_gain * scale] * config.num_heads + [key_gain] * config.num_kv_heads)
            scale = 1.0

        def side_by_side(kind: str, names: tuple[str, ...]) -> Array | None:
            arrays = [take(f"{block}.{name}.{kind}") for name in names]
            scaled = [
                a * scale if name.endswith("query") else a
                for a, name in zip(arrays, names, strict=True)
                if a is not None
            ]
            return np.concatenate(scaled, axis=-1) if scaled else None

        inputs = ("attention.query", "attention.key", "attention.value")
        qkv, qkv_bias = self._fold_norm(
            f"{block}.attention_norm", side_by_side("weight", inputs), side_by_side("bias", inputs)
        )
        ups = ("mlp.up", "mlp.gate") if config.mlp == "swiglu" else ("mlp.up",)
        up, up_bias = self._fold_norm(f"{block}.mlp_norm", side_by_side("weight", ups), side_by_side("bias", ups))
        down = self._parameters[f"{block}.mlp.down.weight"]
        if config.mlp == "gelu":
            up, down = up * _CUBE_ROOT, down * (0.5 / _CUBE_ROOT)
            up_bias = None if up_bias is None else up_bias * _CUBE_ROOT
        return _Block(
            qkv,
            qkv_bias,
            head_gain,
            self._centre_output(self._parameters[f"{block}.attention.output.weight"]),
            self._centre_output(take(f"{block}.attention.output.bias")),
            up,
            up_bias,
            self._centre_output(down),
            self._centre_output(take(f"{block}.mlp.down.bias")),
        )

    def _pack(self) -> None:
        """Move the matrices into one piece of memory in the order of reading: fewer pages, and aligned loads."""
        matrices = [matrix for block in self._blocks for matrix in (block.qkv, block.output, block.up, block.down)]
        *packed, self._logits = _packed([*matrices, self._logits])
        self._blocks = [
            replace(block, qkv=packed[at], output=packed[at + 1], up=packed[at + 2], down=packed[at + 3])
            for at, block in zip(range(0, len(packed), 4), self._blocks, strict=True)
        ]

    def _fold_norm(self, norm: str, weight: Array | None, bias: Array | None) -> tuple[Array, Array | None]:
        """A projection that reads a norm's output, with the norm's gain and bias folded into it."""
        assert weight is not None
        norm_bias = self._parameters.get(f"{norm}.bias")
        if norm_bias is not None:
            bias = norm_bias @ weight if bias is None else norm_bias @ weight + bias
        return np.ascontiguousarray(self._parameters[f"{norm}.gain"][:, None] * weight), bias

    def _centre_output(self, weight: Any) -> Any:
        """What is added to the residual: with LayerNorm its mean over E is subtracted, as each norm would do."""
        if weight is None or not self._centred:
            return weight
        return weight - weight.mean(axis=-1, keepdims=True)


def _packed(arrays: Sequence[Array]) -> list[Array]:
    """Copies of the arrays, one after the other in one allocation, each starting on a cache line."""
    sizes = [-(-array.nbytes // _CACHE_LINE) * _CACHE_LINE for array in arrays]
    memory = np.empty(sum(sizes) + _CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    copies: list[Array] = []
    for array, size in zip(arrays, sizes, strict=True):
        moved = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        moved[...] = array
        copies.append(moved)
        start += size
    return copies
