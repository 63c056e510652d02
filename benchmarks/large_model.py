"""Does the dashboard stay quick with a model of GPT-2's size, with long attention rows and a vocabulary of words?

    pip install 'kvtui[hf]'
    python benchmarks/large_model.py [--rounds 3] [--seconds 10] [--layers 12] [--heads 12] [--context 1024]

Creates a random model of that shape in a temporary folder (500 MB at the default size), and measures as dashboard.py
does: with the attention of one head, of all heads and of their mean over a context that is nearly full, and with the
cache map. It also prints the size in bytes of the answers about attention on their way to the dashboard.
"""

from __future__ import annotations

import argparse
import json
import pickle
import tempfile
from pathlib import Path

import numpy as np
from dashboard import Setup, compare
from safetensors.numpy import save_file

from kvtui.core import GenerationLoop, GenerationSettings, load
from kvtui.core.commands import ShowAttention
from kvtui.core.config import parameter_count
from kvtui.core.inspection.attention import attention
from kvtui.core.machine import machine

VOCABULARY = 50_257
ROWS = 10  # query rows of a pane of 120 × 36
SYLLABLES = ("ka", "lo", "mi", "ne", "su", "ra", "to", "vi", "er", "an", "漢", "é")


def words() -> list[str]:
    """Special tokens, letters, and words that begin with a space, as a tokenizer would have them."""
    rng = np.random.default_rng(0)
    pieces = dict.fromkeys(["<unk>", "<s>", "</s>", "▁", *"abcdefghijklmnopqrstuvwxyz"])
    while len(pieces) < VOCABULARY:
        parts = rng.integers(len(SYLLABLES), size=rng.integers(2, 6))
        pieces["▁" * int(rng.random() < 0.7) + "".join(SYLLABLES[part] for part in parts)] = None
    return list(pieces)


def write_model(folder: Path, layers: int, heads: int, context: int) -> None:
    """A random model in GPT-2's layout, each head 64 wide."""
    width = 64 * heads
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": VOCABULARY,
        "n_positions": context,
        "n_layer": layers,
        "n_head": heads,
        "n_embd": width,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    spec = {
        "version": "1.0",
        "added_tokens": [
            {"id": number, "content": name, "special": True, "normalized": False}
            | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
            for number, name in enumerate(("<unk>", "<s>", "</s>"))
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "decoder": {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        "model": {
            "type": "BPE",
            "vocab": {piece: number for number, piece in enumerate(words())},
            "merges": [],
            "unk_token": "<unk>",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (VOCABULARY, width), "wpe.weight": (context, width)}
    for layer in range(layers):
        for name, inputs, outputs in (
            ("attn.c_attn", width, 3 * width),
            ("attn.c_proj", width, width),
            ("mlp.c_fc", width, 4 * width),
            ("mlp.c_proj", 4 * width, width),
        ):
            shapes[f"h.{layer}.{name}.weight"] = (inputs, outputs)
            shapes[f"h.{layer}.{name}.bias"] = (outputs,)
        for name in ("ln_1", "ln_2"):
            shapes |= {f"h.{layer}.{name}.{part}": (width,) for part in ("weight", "bias")}
    shapes |= {f"ln_f.{part}": (width,) for part in ("weight", "bias")}
    rng = np.random.default_rng(1)
    tensors = {
        name: np.ones(shape, np.float32)
        if "ln_" in name and name.endswith("weight")
        else rng.standard_normal(shape, np.float32) * np.float32(0.05)
        for name, shape in shapes.items()
    }
    save_file(tensors, folder / "model.safetensors")


def answer_bytes(folder: Path, prompt: str) -> None:
    """Print the bytes that go through the pipe for each kind of picture."""
    model = load(folder)
    print(f"{parameter_count(model.config):,} parameters, {len(model.tokenizer.encode(prompt)):,} positions")
    loop = GenerationLoop(model, prompt, GenerationSettings(max_new_tokens=0, observe=True))
    generation = loop.generation
    list(loop.run())
    for name, heads, mean in (("one head", (0,), False), ("all heads", None, False), ("their mean", None, True)):
        answer = attention(generation, ShowAttention(0, heads, -ROWS, mean=mean))
        print(f"{name}: {len(pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)):,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--context", type=int, default=1024)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder, options.layers, options.heads, options.context)
        prompt = "abcdefghi " * (options.context * 8 // 100)
        print(machine())
        answer_bytes(folder, prompt)
        for picture, view, press in (
            ("one head", "watch", ()),
            ("all heads", "watch", ("h",)),
            ("mean of all heads", "watch", ("h", "h")),
            ("cache map", "cache", ()),
        ):
            print(f"\n{picture}")
            compare(Setup(options.seconds, view, press, str(folder), prompt), options.rounds)


if __name__ == "__main__":
    main()
