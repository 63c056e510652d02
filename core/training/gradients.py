"""Hand-written forward and backward pass for one window of text.

Each part of the model is a function that returns its output together with a function that takes the loss's gradient
with respect to that output and returns the gradient with respect to the input, adding the gradients of its own
parameters to ``gradients`` on the way. Reading a part downwards is the forward pass, and its inner ``backward`` is
the chain rule for the same few lines. A window is a matrix (T, E), without a batch dimension: a batch is several
windows, whose gradients are added.

Letters in shape comments are those of :mod:`kvtui.core.layers`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvtui.core import layers
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array, IntArray
from kvtui.core.rotary import rotate

Parameters = dict[str, Array]
Backward = Callable[[Array], Array]

_BLOCK = 128  # query rows per block: more than in inference, for fewer and larger matrix products


@dataclass
class Pass:
    """What all parts of one forward and backward pass share."""

    config: ModelConfig
    parameters: Parameters
    gradients: Parameters
    rotation: NDArray[Any]
    dropout: float
    rng: np.random.Generator | None

    def __post_init__(self) -> None:
        config = self.config
        if config.query_key_norm or config.sliding_window is not None or config.mlp == "gelu_erf":
            raise KvtuiError(
                "models with a query/key norm, a sliding window or the exact GELU cannot be trained here, only run"
            )


def linear(x: Array, name: str, run: Pass) -> tuple[Array, Backward]:
    """x W + b. (T, n) -> (T, m)."""
    weight = run.parameters[f"{name}.weight"]
    bias = run.parameters.get(f"{name}.bias")
    y = x @ weight
    if bias is not None:
        y += bias

    def backward(dy: Array) -> Array:
        run.gradients[f"{name}.weight"] += x.T @ dy
        if bias is not None:
            run.gradients[f"{name}.bias"] += dy.sum(axis=0)
        return dy @ weight.T

    return y, backward


def norm(x: Array, name: str, run: Pass) -> tuple[Array, Backward]:
    """LayerNorm or RMSNorm. (T, E) -> (T, E)."""
    gain = run.parameters[f"{name}.gain"]
    bias = run.parameters.get(f"{name}.bias")
    centre = run.config.norm == "layer"
    unit = x - x.mean(axis=-1, keepdims=True) if centre else x.copy()  # (T, E)
    mean_square = np.vecdot(unit, unit)[:, None] / x.shape[-1]  # (T, 1)
    inverse = (1.0 / np.sqrt(mean_square + run.config.norm_epsilon)).astype(x.dtype)
    unit *= inverse
    y = unit * gain
    if bias is not None:
        y += bias

    def backward(dy: Array) -> Array:
        run.gradients[f"{name}.gain"] += np.einsum("te,te->e", dy, unit)
        if bias is not None:
            run.gradients[f"{name}.bias"] += dy.sum(axis=0)
        dunit = dy * gain
        # d(x / rms) = (dunit - unit <dunit, unit>) / rms; centring the input centres the gradient too
        dunit -= unit * (np.vecdot(dunit, unit)[:, None] / x.shape[-1])
        if centre:
            dunit -= dunit.mean(axis=-1, keepdims=True)
        dunit *= inverse
        return dunit

    return y, backward


def drop(x: Array, run: Pass) -> tuple[Array, Backward]:
    """Inverted dropout (Srivastava et al. 2014, sec. 10). Same shape."""
    if run.rng is None or run.dropout == 0.0:
        return x, lambda dy: dy
    kept = run.rng.random(x.shape, dtype=np.float32) >= run.dropout
    scale = (kept / (1.0 - run.dropout)).astype(x.dtype)
    return x * scale, lambda dy: dy * scale


def gelu(x: Array) -> tuple[Array, Backward]:
    """GELU in the tanh form. Same shape."""
    scale, cubic = layers.GELU_SCALE, layers.GELU_CUBIC
    square = x * x
    tanh = square * (scale * cubic)
    tanh += scale
    tanh *= x
    np.tanh(tanh, out=tanh)
    half = tanh + 1.0
    half *= 0.5  # (1 + tanh u) / 2
    y = x * half

    def backward(dy: Array) -> Array:
        # y' = (1 + tanh u)/2 + x/2 · (1 - tanh² u) · u',   u' = scale (1 + 3 cubic x²)
        slope = square * (3.0 * scale * cubic)
        slope += scale
        slope *= x
        slope *= 0.5
        np.multiply(tanh, tanh, out=tanh)
        np.subtract(1.0, tanh, out=tanh)
        slope *= tanh
        slope += half
        slope *= dy
        return slope

    return y, backward


def mlp(x: Array, block: str, run: Pass) -> tuple[Array, Backward]:
    """Feed-forward: down(gelu(up x)), or down(silu(gate x) · up x). (T, E) -> (T, E)."""
    up, up_backward = linear(x, f"{block}.mlp.up", run)  # (T, M)
    if run.config.mlp == "gelu":
        hidden, gelu_backward = gelu(up)
        y, down_backward = linear(hidden, f"{block}.mlp.down", run)
        return y, lambda dy: up_backward(gelu_backward(down_backward(dy)))

    gate, gate_backward = linear(x, f"{block}.mlp.gate", run)  # (T, M)
    sigmoid = (1.0 / (1.0 + np.exp(-gate))).astype(x.dtype)
    silu = gate * sigmoid
    y, down_backward = linear(silu * up, f"{block}.mlp.down", run)

    def backward(dy: Array) -> Array:
        dhidden = down_backward(dy)
        dgate = dhidden * up * (sigmoid + silu * (1.0 - sigmoid))
        return up_backward(dhidden * silu) + gate_backward(dgate)

    return y, backward


def attention(x: Array, block: str, run: Pass) -> tuple[Array, Backward]:
    """Multi-head causal self-attention. (T, E) -> (T, E)."""
    config = run.config
    num_heads, num_kv_heads, head_dim = config.num_heads, config.num_kv_heads, config.head_dim
    length = x.shape[0]
    rotary = config.position == "rotary"
    rotation = run.rotation[:length]
    query, query_backward = linear(x, f"{block}.attention.query", run)  # (T, H·D)
    key, key_backward = linear(x, f"{block}.attention.key", run)  # (T, G·D)
    value, value_backward = linear(x, f"{block}.attention.value", run)  # (T, G·D)

    def split(flat: Array, heads: int, rotated: bool) -> Array:
        by_head = flat.reshape(length, heads, head_dim)
        return (rotate(by_head, rotation) if rotated else by_head).transpose(1, 0, 2)  # (heads, T, D)

    def merge(by_head: Array, rotated: bool) -> Array:
        flat = np.ascontiguousarray(by_head.transpose(1, 0, 2))  # (T, heads, D)
        back = rotate(flat, rotation.conj()) if rotated else flat  # a rotation's transpose is its inverse
        return back.reshape(length, -1)

    q, k, v = split(query, num_heads, rotary), split(key, num_kv_heads, rotary), split(value, num_kv_heads, False)
    blocks: list[tuple[int, Array]] = []
    mixed = layers.causal_attention(q, k, v, lambda first, weights: blocks.append((first, weights)), _BLOCK)
    y, output_backward = linear(mixed, f"{block}.attention.output", run)

    def backward(dy: Array) -> Array:
        group = num_heads // num_kv_heads
        dmixed = output_backward(dy).reshape(length, num_heads, head_dim).transpose(1, 0, 2)  # (H, T, D)
        # Through softmax: dS = P (dP - <P, dP>), and <P, dP> of a row is <output, doutput> (Dao et al. 2022, B.2)
        inner = np.vecdot(dmixed, mixed.reshape(length, num_heads, head_dim).transpose(1, 0, 2))[..., None]
        grouped = (num_kv_heads, group, length, head_dim)
        dout, queries, inner = dmixed.reshape(grouped), q.reshape(grouped), inner.reshape(*grouped[:3], 1)
        dq = np.empty(grouped, x.dtype)
        dk, dv = np.zeros(k.shape, x.dtype), np.zeros(v.shape, x.dtype)  # (G, T, D)
        scale = x.dtype.type(head_dim**-0.5)
        for first, weights in blocks:
            rows, seen = weights.shape[1:]
            last = first + rows
            weights = weights.reshape(num_kv_heads, group, rows, seen)
            dscores = dout[:, :, first:last] @ v[:, None, :seen].swapaxes(-1, -2)  # (G, H/G, rows, seen)
            dscores -= inner[:, :, first:last]
            dscores *= weights
            np.matmul(dscores, k[:, None, :seen], out=dq[:, :, first:last])
            dk[:, :seen] += (dscores.swapaxes(-1, -2) @ queries[:, :, first:last]).sum(axis=1)
            dv[:, :seen] += (weights.swapaxes(-1, -2) @ dout[:, :, first:last]).sum(axis=1)
        dq *= scale
        dk *= scale
        dx = query_backward(merge(dq.reshape(num_heads, length, head_dim), rotary))
        dx += key_backward(merge(dk, rotary))
        dx += value_backward(merge(dv, False))
        return dx

    return y, backward


def embedding(ids: IntArray, run: Pass) -> tuple[Array, Callable[[Array], None]]:
    """Token embedding, with the learned position added where the model has one. (T,) -> (T, E)."""
    x = run.parameters["token_embedding"][ids]
    learned = run.parameters.get("position_embedding")
    if learned is not None:
        x = x + learned[: len(ids)]

    def backward(dx: Array) -> None:
        np.add.at(run.gradients["token_embedding"], ids, dx)
        if learned is not None:
            run.gradients["position_embedding"][: len(ids)] += dx

    return x, backward


def output(x: Array, run: Pass) -> tuple[Array, Backward]:
    """Logits, from the token embedding itself if the output is tied to it. (T, E) -> (T, V)."""
    if not run.config.tied_output:
        return linear(x, "output", run)
    weight = run.parameters["token_embedding"]

    def backward(dlogits: Array) -> Array:
        run.gradients["token_embedding"] += dlogits.T @ x
        return dlogits @ weight

    return x @ weight.T, backward


def cross_entropy(logits: Array, targets: IntArray) -> tuple[float, Array]:
    """Summed -log p(target) in nats, and its gradient. (T, V), (T,) -> (), (T, V)."""
    probabilities = layers.softmax(logits.copy())
    rows = np.arange(len(targets))
    loss = -float(np.log(np.maximum(probabilities[rows, targets], 1e-30)).sum(dtype=np.float64))
    probabilities[rows, targets] -= 1.0
    return loss, probabilities


def window_loss(ids: IntArray, targets: IntArray, run: Pass, scale: float | None = 1.0) -> float:
    """Loss of one window; adds ``scale`` × its gradients to ``run.gradients``, or none if ``scale`` is None.

    Args:
        ids: (T,) inputs.
        targets: (T,) the id that follows each input.
        run: the model, where to add gradients, and the dropout.
        scale: weight of this window's gradients, 1 / number of characters in the batch for a mean.

    Returns:
        The summed loss in nats.
    """
    embedded, embedding_backward = embedding(ids, run)  # (T, E)
    x, embedding_drop_backward = drop(embedded, run)
    backwards: list[Backward] = []
    for layer in range(run.config.num_layers):
        block = f"blocks.{layer}"
        for part, piece in (("attention", attention), ("mlp", mlp)):
            normed, norm_backward = norm(x, f"{block}.{part}_norm", run)
            mixed, piece_backward = piece(normed, block, run)
            dropped, drop_backward = drop(mixed, run)
            x = x + dropped  # the residual: the input passes through, and the part adds to it
            backwards.append(_chain(drop_backward, piece_backward, norm_backward))
    normed, final_norm_backward = norm(x, "final_norm", run)
    logits, output_backward = output(normed, run)  # (T, V)
    loss, dlogits = cross_entropy(logits, targets)

    if scale is None:
        return loss
    dlogits *= scale
    dx = final_norm_backward(output_backward(dlogits))
    for backward in reversed(backwards):
        dx += backward(dx)  # the gradient flows both around and through the part
    embedding_backward(embedding_drop_backward(dx))
    return loss


def _chain(*steps: Backward) -> Backward:
    def backward(dy: Array) -> Array:
        for step in steps:
            dy = step(dy)
        return dy

    return backward
