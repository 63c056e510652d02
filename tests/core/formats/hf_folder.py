"""Writes small random models as Hugging Face folders, for the tests of readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from kvtui.core.config import ModelConfig, parameter_shapes

TOKENS = ["<unk>", "<s>", "</s>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 40,
    "max_position_embeddings": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "hidden_size": 18,
    "intermediate_size": 28,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_NAMES = {
    "attention_norm.gain": "input_layernorm.weight",
    "mlp_norm.gain": "post_attention_layernorm.weight",
    "attention.query_norm.gain": "self_attn.q_norm.weight",
    "attention.key_norm.gain": "self_attn.k_norm.weight",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}
_TOP = {"token_embedding": "model.embed_tokens", "final_norm": "model.norm", "output": "lm_head"}


def llama_config(**changes: Any) -> ModelConfig:
    """The config that a reader has to make of LLAMA."""
    sizes: dict[str, Any] = {"vocab_size": 40, "context_length": 24, "num_layers": 2, "num_heads": 6, "num_kv_heads": 2}
    return ModelConfig(
        **sizes | {"head_dim": 8, "embed_dim": 18, "mlp_dim": 28, "norm": "rms", "mlp": "swiglu"} | changes
    )


def random_parameters(config: ModelConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Numbers that float16 and bfloat16 hold exactly, so that every kind of file gives the same model."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.integers(-64, 65, shape) / 128 + name.endswith("gain")).astype(np.float32)
        for name, shape in parameter_shapes(config).items()
    }


def as_halves(array: np.ndarray, head_dim: int) -> np.ndarray:
    """Each head's numbers 0 2 4 … 1 3 5 …, on the last axis: pairs as Hugging Face has them."""
    out = array.copy()
    for start in range(0, array.shape[-1], head_dim):
        for pair in range(head_dim // 2):
            out[..., start + pair] = array[..., start + 2 * pair]
            out[..., start + pair + head_dim // 2] = array[..., start + 2 * pair + 1]
    return out


def llama_tensors(config: ModelConfig, parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parameters under Hugging Face's names and in its layout."""
    tensors = {}
    for ours, value in parameters.items():
        if any(part in ours for part in ("query", "key")):
            value = as_halves(value, config.head_dim)
        if ours.endswith(".weight"):
            value = value.T
        if ours.startswith("blocks."):
            _, layer, name = ours.split(".", 2)
            theirs = _NAMES.get(name) or f"{_NAMES[name.rsplit('.', 1)[0]]}.{name.rsplit('.', 1)[1]}"
            tensors[f"model.layers.{layer}.{theirs}"] = np.ascontiguousarray(value)
        else:
            tensors[f"{_TOP[ours.split('.')[0]]}.weight"] = np.ascontiguousarray(value)
    return tensors


def tokenizer_spec(tokens: list[str] = TOKENS) -> dict[str, Any]:
    """One token a character, and three special ones."""
    flags = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "added_tokens": [{"id": index, "content": tokens[index]} | flags for index in range(3)],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "decoder": {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [],
            "unk_token": "<unk>",
        },
    }


def write_folder(folder: Path, values: dict[str, Any], tensors: dict[str, np.ndarray], shards: int = 1) -> Path:
    """A whole folder. bfloat16 tensors are given as uint16."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_spec()))
    if shards == 1:
        write_tensors(folder / "model.safetensors", tensors)
        return folder
    weight_map = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {key: tensors[key] for key in sorted(tensors)[number::shards]}
        write_tensors(folder / name, part)
        weight_map |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def write_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """A safetensors file; uint16 is written as bfloat16."""
    save_file(tensors, path, {"format": "pt"})
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = data[8:start].replace(b'"U16"', b'"BF16"')
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[start:])


def as_bfloat16(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The upper halves of float32 numbers."""
    return {name: (value.view(np.uint32) >> 16).astype(np.uint16) for name, value in tensors.items()}
