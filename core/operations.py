"""Counted operations: how many multiply-adds a pass through the decoder takes, and so what the cache saves.

Counted are the products of matrices and vectors, which are nearly all of the work: projections, attention scores,
weighted values, MLP and logits. Not counted are norms, softmax, rotations and activations.
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
        logits: the output projection.
    """

    projections: int
    attention: int
    mlp: int
    logits: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.projections + self.attention + self.mlp + self.logits


def multiply_adds(config: ModelConfig, new: int, seen: int, block: int = QUERY_BLOCK) -> MultiplyAdds:
    """Multiply-adds of running the last ``new`` of ``seen`` positions.

    A cached step is ``multiply_adds(config, 1, seen)``, an uncached one ``multiply_adds(config, seen, seen)``.

    Args:
        config: the model's shape.
        new: positions to run, T.
        seen: positions there are then, S.
        block: query rows that are scored together, each against all keys up to the block's last row, as
            :func:`kvtui.core.layers.causal_attention` does; 1 counts only what the causal mask lets through.
    """
    projections = 2 * config.embed_dim * (config.query_dim + config.kv_dim)  # query and output, key and value
    mlp = (3 if config.mlp == "swiglu" else 2) * config.embed_dim * config.mlp_dim
    past, pairs = seen - new, 0  # pairs of a query and a key
    for first in range(0, new, block):
        last = min(first + block, new)
        pairs += (last - first) * (past + last)
    return MultiplyAdds(
        projections=config.num_layers * new * projections,
        attention=config.num_layers * 2 * config.query_dim * pairs,
        mlp=config.num_layers * new * mlp,
        logits=new * config.embed_dim * config.vocab_size,
    )
