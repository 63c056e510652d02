"""Bytes that a KV cache takes, by formula: for the running model, and for well-known models."""

from __future__ import annotations

from dataclasses import dataclass


def cache_bytes(layers: int, kv_heads: int, head_dim: int, positions: int, itemsize: int) -> int:
    """2 · layers · key/value heads · head_dim · positions · bytes: a key and a value of every head of every layer.

    Args:
        layers: number in the model.
        kv_heads: key/value heads per layer, G; fewer than query heads where they are shared.
        head_dim: numbers in a key, and in a value.
        positions: tokens that are kept.
        itemsize: bytes per number: 4 for float32, 2 for float16 and bfloat16.
    """
    return 2 * layers * kv_heads * head_dim * positions * itemsize


@dataclass(frozen=True)
class KnownModel:
    """What determines the cache size of a published model, as in its ``config.json`` on huggingface.co.

    Attributes:
        name: as its makers write it.
        layers: ``num_hidden_layers``.
        heads: query heads, ``num_attention_heads``.
        kv_heads: ``num_key_value_heads``.
        head_dim: width over heads.
        context: ``max_position_embeddings``, positions.
        source: the repository of the ``config.json``.
    """

    name: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    source: str

    def cache_bytes(self, positions: int) -> int:
        """Bytes for one text of this many positions, at 2 bytes per number, as these models are usually served."""
        return cache_bytes(self.layers, self.kv_heads, self.head_dim, positions, SERVED_ITEMSIZE)


SERVED_ITEMSIZE = 2  # float16 or bfloat16

KNOWN_MODELS: tuple[KnownModel, ...] = (
    KnownModel("GPT-2 124M", 12, 12, 12, 64, 1024, "openai-community/gpt2"),
    KnownModel("GPT-2 XL 1.5B", 48, 25, 25, 64, 1024, "openai-community/gpt2-xl"),
    KnownModel("Llama-2 7B", 32, 32, 32, 128, 4096, "meta-llama/Llama-2-7b-hf"),
    KnownModel("Llama-2 70B", 80, 64, 8, 128, 4096, "meta-llama/Llama-2-70b-hf"),
    KnownModel("Mistral 7B v0.3", 32, 32, 8, 128, 32_768, "mistralai/Mistral-7B-v0.3"),
    KnownModel("Qwen2.5 7B", 28, 28, 4, 128, 131_072, "Qwen/Qwen2.5-7B"),
    KnownModel("Llama-3.1 8B", 32, 32, 8, 128, 131_072, "meta-llama/Llama-3.1-8B"),
    KnownModel("Llama-3.1 70B", 80, 64, 8, 128, 131_072, "meta-llama/Llama-3.1-70B"),
)
