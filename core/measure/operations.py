"""Counted operations: how many multiply-adds a pass through the decoder takes and how many bytes it has to read.

Counted are the products of matrices and vectors, which are nearly all of the work: projections, attention scores,
weighted values, MLP and logits. Norms, softmax, rotations and activations are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.core.config import ModelConfig
from kvtui.core.layers import QUERY_BLOCK


@dataclass(frozen=True)
class MultiplyAdds:
    """Multiply-adds of one pass.

    Attributes:
        projections: query, key, value and output projections of all layers.
        attention: scores and weighted values of all layers: the only part that grows with the context.
        mlp: of all layers.
        logits: the output projection of the last position, the only one needed to continue.
    """

    projections: int
    attention: int
    mlp: int
    logits: int

    @property
    def total(self) -> int:
        """All multiply-adds together."""
        return self.projections + self.attention + self.mlp + self.logits


@dataclass(frozen=True)
class Cost:
    """The least work and reading of one part of a pass.

    Attributes:
        operations: floating-point operations, two for each multiply-add.
        bytes_read: of weights, and of keys and values, each counted once however often a pass returns to it.
    """

    operations: int
    bytes_read: int

    @property
    def intensity(self) -> float:
        """Floating-point operations per byte: few of them wait for memory, many of them for the processor."""
        return self.operations / self.bytes_read if self.bytes_read else 0.0


def part_costs(
    config: ModelConfig, new: int, seen: int, itemsize: int = 4, cache_bytes: int | None = None
) -> dict[str, Cost]:
    """The cost of each part of running the last ``new`` of ``seen`` positions, by the names of :class:`Parts`.

    In the order of the pass. Intermediate results are not counted: they are few and stay in the processor's caches.

    Args:
        config: the model's shape.
        new: positions to run, T.
        seen: positions in total then, S.
        itemsize: bytes per number.
        cache_bytes: of the keys and values that are read, if they are stored smaller than the weights; None for numbers
            of the same size.
    """
    layers, width = config.num_layers, config.embed_dim
    whole = multiply_adds(config, new, seen)
    qkv = width * (config.query_dim + 2 * config.kv_dim)  # weights of a layer
    output = config.query_dim * width
    mlp = (3 if config.mlp == "swiglu" else 2) * width * config.mlp_dim
    logits = width * config.vocab_size
    positions = 2 if config.position == "learned" else 1
    if cache_bytes is None:
        cache_bytes = _read(config, new, seen) * config.cache_bytes_per_token(itemsize)

    def cost(multiply_adds: int, numbers: int, more_bytes: int = 0) -> Cost:
        return Cost(2 * multiply_adds, numbers * itemsize + more_bytes)

    return {
        "embedding": cost(0, positions * new * width),
        "qkv": cost(layers * new * qkv, layers * qkv),
        "attention": cost(whole.attention + layers * new * output, layers * output, cache_bytes),
        "mlp": cost(whole.mlp, layers * mlp),
        "output": cost(whole.logits, logits),
        "sampling": cost(0, config.vocab_size),
    }


def multiply_adds(config: ModelConfig, new: int, seen: int, block: int = QUERY_BLOCK) -> MultiplyAdds:
    """Multiply-adds of running the last ``new`` of ``seen`` positions.

    A cached step is ``multiply_adds(config, 1, seen)``, an uncached one ``multiply_adds(config, seen, seen)``.

    Args:
        config: the model's shape.
        new: positions to run, T.
        seen: positions in total then, S.
        block: query rows that are scored together, each against all keys up to the block's last row, as
            :func:`kvtui.core.layers.causal_attention` does; 1 counts only what the causal mask lets through.
    """
    projections = 2 * config.embed_dim * (config.query_dim + config.kv_dim)  # query and output, key and value
    mlp = (3 if config.mlp == "swiglu" else 2) * config.embed_dim * config.mlp_dim
    seen = _read(config, new, seen)
    past, blocks, rest = seen - new, new // block, new % block
    pairs = block * (blocks * past + block * blocks * (blocks + 1) // 2) + rest * seen  # of a query and a key
    return MultiplyAdds(
        projections=config.num_layers * new * projections,
        attention=config.num_layers * 2 * config.query_dim * pairs,
        mlp=config.num_layers * new * mlp,
        logits=config.embed_dim * config.vocab_size,
    )


def _read(config: ModelConfig, new: int, seen: int) -> int:
    """Positions whose keys are read: with a sliding window, only those inside it for a single query."""
    return min(seen, config.sliding_window) if new == 1 and config.sliding_window else seen
