"""The decoder: from token ids to logits.

Letters in shape comments are those of :mod:`kvtui.core.layers`: T new positions, S positions seen so far, E embed_dim,
H heads, G key/value heads, D head_dim, M mlp_dim, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

import numpy as np

from kvtui.core import layers
from kvtui.core.cache import Cache, CachePolicy, Policy, parse_policy
from kvtui.core.config import ModelConfig, parameter_count, parameter_shapes
from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array, IntArray
from kvtui.core.observe import AttentionRecord, ResidualRecord, Stopwatch
from kvtui.core.rotary import RotaryTable, rotate
from kvtui.core.step import DecodeStep
from kvtui.core.tokenizer import Tokenizer

Head = tuple[int, int]  # layer and head, both counted from 0

LARGEST_STEP = 1 << 25  # parameters; 134 MB as float32


@dataclass(frozen=True)
class _Pass:
    """State of one pass over new positions: its start, its cache, and the instruments, each None if unused.

    Attributes:
        start: the first of the new positions.
    """

    start: int
    cache: Cache | None
    record: AttentionRecord | None
    residuals: ResidualRecord | None
    stopwatch: Stopwatch | None

    def mark(self, part: str) -> None:
        """Attribute the time since the last mark to ``part``."""
        if self.stopwatch is not None:
            self.stopwatch.mark(part)

    def note(self, residual: Array) -> None:
        """Record the residual as it leaves the embedding or a block. (T, E)."""
        if self.residuals is not None:
            self.residuals.write(residual)


class Model:
    """A decoder-only transformer (Vaswani et al. 2017, with the pre-norm blocks of GPT-2).

    Args:
        config: its shape.
        tokenizer: text to ids and back.
        parameters: an array for every name of :func:`kvtui.core.config.parameter_shapes`.
        name: shown on screen.
        training: how it was trained, empty if unknown.
        path: the file or folder it came from.
        source: what kind of file that is.

    Threads may share a model: :meth:`decode` works in buffers that each thread has for itself.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        parameters: dict[str, Array],
        name: str = "model",
        training: dict[str, Any] | None = None,
        path: Path | None = None,
        source: str = "memory",
    ) -> None:
        shapes = {parameter: value.shape for parameter, value in parameters.items()}
        if shapes != parameter_shapes(config):
            raise KvtuiError("the parameters do not have the names and shapes required by the config")
        self.config = config
        self.tokenizer = tokenizer
        self.parameters = parameters
        self.name = name
        self.training = training or {}
        self.path = path
        self.source = source
        self.dtype = parameters["token_embedding"].dtype
        self.rotary = RotaryTable(config, self.dtype)
        self.has_step = parameter_count(config) <= LARGEST_STEP  # whether decode has its own fast path
        self._steps: dict[int, DecodeStep] = {}  # by thread: they share the weights, but not the buffers
        self._preparing = Lock()

    def new_cache(self, policy: str | CachePolicy | Policy = "full") -> Cache:
        """An empty cache.

        Args:
            policy: what the cache keeps: a value for :func:`kvtui.core.cache.parse_policy`, or a policy of your own.

        Raises:
            KvtuiError: there is no such policy, or it does not work with this model.
        """
        return parse_policy(policy).new_cache(self.config, self.dtype, self.rotary.at)

    def forward(
        self,
        ids: Sequence[int] | IntArray,
        cache: Cache | None = None,
        *,
        last: bool = False,
        record: AttentionRecord | None = None,
        residuals: ResidualRecord | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> Array:
        """Logits of T new positions.

        Without a cache the ids are the whole text. With one they follow the positions it has seen, and their keys and
        values are stored in it. If it keeps everything, the logits are the same as without it; docs/policies.md says
        what other policies do with several positions at once.

        Args:
            ids: (T,) at least one.
            cache: where to read earlier keys and values, and to store the new ones.
            last: whether to return only the logits of the last position: for a large vocabulary and a long text, the
                others take much time and memory, and generating text does not need them.
            record: where to record queries and keys for :meth:`AttentionRecord.weights`.
            residuals: where to record the residual of the newest position, for the logit lens.
            stopwatch: where to record the time of each part.

        Returns:
            (T, V), or (1, V) if ``last``.

        Raises:
            KvtuiError: no ids, an id outside the vocabulary, or more positions than the context or the cache holds.
        """
        ids = self._check_ids(ids)
        start = cache.length if cache is not None else 0
        if start + len(ids) > self.config.context_length and not (cache is not None and cache.endless):
            raise KvtuiError(
                f"{start + len(ids)} positions; the model's context is {self.config.context_length}: "
                "drop the oldest, or reset the cache"
            )
        if cache is None:
            return self._pass(ids, last, _Pass(0, None, record, residuals, stopwatch))
        cache.check_room(len(ids))
        logits, done = [], 0
        while done < len(ids):
            end = done + cache.max_pass(len(ids) - done)
            newest = residuals if end == len(ids) else None
            logits.append(self._pass(ids[done:end], last, _Pass(cache.length, cache, record, newest, stopwatch)))
            done = end
        return logits[-1] if last or len(logits) == 1 else np.concatenate(logits)

    # One pass, top to bottom

    def _pass(self, ids: IntArray, last: bool, this: _Pass) -> Array:
        """Embedding, all blocks, output. (T,) -> (T, V), or (1, V) if ``last``."""
        if this.cache is not None:
            columns = this.cache.begin(len(ids))
            this.cache.step_columns = columns if len(ids) == 1 else 0
        x = self._embed(ids, this)  # (T, E), the residual
        for layer in range(self.config.num_layers):
            x = self._block(layer, x, this)
        if this.cache is not None:
            this.cache.advance(len(ids))
        logits = self.unembed(x[-1:] if last else x)  # (T, V) or (1, V)
        this.mark("output")
        return logits

    def _embed(self, ids: IntArray, this: _Pass) -> Array:  # (T,) -> (T, E)
        x = self.parameters["token_embedding"][ids]
        if self.config.position == "learned":
            x = x + self.parameters["position_embedding"][this.start : this.start + len(ids)]
        this.note(x)
        this.mark("embedding")
        return x

    def _block(self, layer: int, x: Array, this: _Pass) -> Array:  # (T, E) -> (T, E)
        x = x + self._attention(layer, self._norm(f"blocks.{layer}.attention_norm", x), this)
        this.mark("attention")
        x = x + self._mlp(layer, self._norm(f"blocks.{layer}.mlp_norm", x))
        this.note(x)
        this.mark("mlp")
        return x

    def _attention(self, layer: int, x: Array, this: _Pass) -> Array:  # (T, E) -> (T, E)
        block = f"blocks.{layer}.attention"
        query = self._split(self._linear(f"{block}.query", x))  # (T, H, D)
        key = self._split(self._linear(f"{block}.key", x))  # (T, G, D)
        value = self._split(self._linear(f"{block}.value", x))  # (T, G, D)
        if self.config.query_key_norm:
            query, key = self._head_norm(f"{block}.query_norm", query), self._head_norm(f"{block}.key_norm", key)
        if self.config.position == "rotary":
            rotation = self.rotary.rows(this.start, len(x))  # (T, D/2)
            query, key = rotate(query, rotation), rotate(key, rotation)
        query, key, value = (heads.transpose(1, 0, 2) for heads in (query, key, value))  # (heads, T, D)
        this.mark("qkv")
        if this.record is not None:
            this.record.write(layer, this.start, query, key)
        if this.cache is None:
            mixed = layers.causal_attention(query, key, value, window=self.config.sliding_window)  # (T, H·D)
        else:
            mixed = this.cache.attend(layer, query, key, value)  # (T, H·D)
        return self._linear(f"{block}.output", mixed)

    def _mlp(self, layer: int, x: Array) -> Array:  # (T, E) -> (T, E)
        block = f"blocks.{layer}.mlp"
        hidden = self._linear(f"{block}.up", x)  # (T, M)
        if self.config.mlp == "swiglu":
            hidden = layers.silu(self._linear(f"{block}.gate", x)) * hidden
        else:
            hidden = layers.gelu(hidden) if self.config.mlp == "gelu" else layers.gelu_erf(hidden)
        return self._linear(f"{block}.down", hidden)

    def unembed(self, residual: Array) -> Array:
        """Final norm and output projection: a residual as logits. (T, E) -> (T, V)."""
        x = self._norm("final_norm", residual)
        if self.config.tied_output:
            return x @ self.parameters["token_embedding"].T
        return self._linear("output", x)

    # Building blocks of a pass

    def _linear(self, name: str, x: Array) -> Array:  # (T, n) -> (T, m)
        y = x @ self.parameters[f"{name}.weight"]
        bias = self.parameters.get(f"{name}.bias")
        return y if bias is None else y + bias

    def _norm(self, name: str, x: Array) -> Array:  # (T, E) -> (T, E)
        gain = self.parameters[f"{name}.gain"]
        if self.config.norm == "rms":
            return layers.rms_norm(x, gain, self.config.norm_epsilon)
        return layers.layer_norm(x, gain, self.parameters.get(f"{name}.bias"), self.config.norm_epsilon)

    def _split(self, x: Array) -> Array:  # (T, heads·D) -> (T, heads, D)
        return x.reshape(len(x), -1, self.config.head_dim)

    def _head_norm(self, name: str, heads: Array) -> Array:  # (T, heads, D) -> (T, heads, D)
        return layers.rms_norm(heads, self.parameters[f"{name}.gain"], self.config.norm_epsilon)

    # One token, on the fast path

    def decode(
        self,
        token: int,
        cache: Cache,
        *,
        record: AttentionRecord | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> Array:
        """Logits after one more token: equal to ``forward([token], cache)[0]``, on the fast path.

        The first call prepares the weights (see :mod:`kvtui.core.step`), a second copy of all of them. For a large
        model that would take too much memory and gain almost nothing, because reading the weights takes nearly all of
        its time: such a model uses ``forward``.

        Returns:
            (V,), valid until the next call.
        """
        if not self.has_step:
            return self.forward([token], cache, record=record, stopwatch=stopwatch)[0]
        self._check_ids([token])
        cache.check_room(1)
        return self.decode_step(token, cache, record, stopwatch)

    def prepare(self) -> None:
        """Prepare :meth:`decode`, so that the first token's time does not include it."""
        if self.has_step:
            _ = self.decode_step

    @property
    def decode_step(self) -> DecodeStep:
        """This thread's optimised single-token step, prepared on first use."""
        step = self._steps.get(get_ident())
        return step if step is not None else self._prepare_step()

    def _prepare_step(self) -> DecodeStep:
        with self._preparing:
            other = next(iter(self._steps.values()), None)
            new = (
                DecodeStep(self.config, self.parameters, self.rotary.at) if other is None else other.with_own_buffers()
            )
            self._steps[get_ident()] = new
            return new

    # The model with some heads switched off

    def without_heads(self, heads: Collection[Head]) -> Model:
        """This model with some heads switched off: their contribution to the residual is zero, at every position.

        In the attention's output projection, the rows of these heads are zero; every other parameter is shared.

        Args:
            heads: (layer, head) pairs, both counted from 0.

        Raises:
            KvtuiError: there is no such layer or head.
        """
        for layer, head in heads:
            if not (0 <= layer < self.config.num_layers and 0 <= head < self.config.num_heads):
                raise KvtuiError(
                    f"there is no head {head} in layer {layer}: the model has layers 0 to {self.config.num_layers - 1} "
                    f"with heads 0 to {self.config.num_heads - 1}"
                )
        changed = {layer for layer, _ in heads}
        model = copy(self)
        model.parameters = dict(self.parameters)
        for layer in changed:
            name = f"blocks.{layer}.attention.output.weight"
            model.parameters[name] = weight = self.parameters[name].copy()  # (H·D, E)
            weight.reshape(self.config.num_heads, -1, weight.shape[1])[[h for at, h in heads if at == layer]] = 0.0
        step = self._steps.get(get_ident())
        model._steps = {} if step is None else {get_ident(): step.with_blocks(model.parameters, changed)}
        model._preparing = Lock()
        return model

    def _check_ids(self, ids: Sequence[int] | IntArray) -> IntArray:
        array = np.asarray(ids)
        if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
            raise KvtuiError("the model needs a flat list of at least one id, each a whole number")
        if array.min() < 0 or array.max() >= self.config.vocab_size:
            raise KvtuiError(f"an id is outside the vocabulary of {self.config.vocab_size}")
        return array
