"""Memory and time for loading a large checkpoint: a generated one, since only its size matters.

    pip install '.[hf]'
    python benchmarks/checkpoint_memory.py [--layers 12] [--folder DIR]

Writes random Hugging Face checkpoints in the Llama layout, by default of 134 million parameters (537 MB as float32), in
float32, float16 and bfloat16; loads each in its own process, and writes 16 tokens after a prompt with it. Sizes are
peak resident memory of the process, including the mapped pages of the file, which the operating system may drop and
read again. "before" is the interpreter with its libraries; "÷ weights" divides by the size of the weights as float32.
Linux only."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from math import prod
from pathlib import Path
from time import perf_counter

import numpy as np

from kvtui.core import ModelConfig, generate, load
from kvtui.core.config import parameter_count, parameter_shapes
from kvtui.core.events import Token
from kvtui.core.formats.families import FAMILIES

KINDS = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
PROMPT_TOKENS, TOKENS = 64, 16


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a Llama checkpoint."""
    family = FAMILIES["LlamaForCausalLM"]
    return {
        family.theirs(ours): shape[::-1] if ours.endswith(".weight") else shape
        for ours, shape in parameter_shapes(config).items()
    }


def write_checkpoint(folder: Path, config: ModelConfig, kind: str) -> None:
    """Yield tensor by tensor, so that writing needs no more memory than one of them."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    header, offset = {}, 0
    for name, shape in shapes(config).items():
        size = prod(shape) * np.dtype(KINDS[kind]).itemsize
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for shape in shapes(config).values():
            numbers = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
            if kind == "BF16":
                numbers = (numbers.view(np.uint32) >> 16).astype(np.uint16)
            file.write(numbers.astype(KINDS[kind], copy=False).tobytes())
    values = {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.mlp_dim,
        "bos_token_id": 1,
    }
    (folder / "config.json").write_text(json.dumps(values))
    tokens = ["<unk>", "<s>", "</s>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    spec = {
        "version": "1.0",
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "decoder": {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        "model": {"type": "BPE", "vocab": {token: index for index, token in enumerate(tokens)}, "merges": []},
    }
    (folder / "tokenizer.json").write_text(json.dumps(spec))


def peak() -> int:
    """Peak resident memory so far, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def measure(folder: str) -> None:
    """Print, in its own process, what loading and writing took."""
    import tokenizers  # noqa: F401 - its memory is not part of the model's

    before, started = peak(), perf_counter()
    model = load(folder)
    loaded, seconds = peak(), perf_counter() - started
    tokens = [
        event.seconds
        for event in generate(model, "a" * PROMPT_TOKENS, max_new_tokens=TOKENS)
        if isinstance(event, Token)
    ]
    result = {
        "before": before,
        "loaded": loaded,
        "written": peak(),
        "seconds": seconds,
        "token": float(np.median(tokens)),
    }
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--folder", type=Path, help="where to write the checkpoints; default: a temporary folder")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    config = ModelConfig(32_000, 1024, options.layers, 12, 12, 64, 768, 2048, norm="rms", mlp="swiglu")
    weights = 4 * parameter_count(config)
    print(f"{parameter_count(config):,} parameters, {weights / 1e6:,.0f} MB as float32\n")
    print("| file | MB | before, MB | loaded, MB | ÷ weights | written, MB | ÷ weights | load, s | token, ms |")
    print("|---" * 9 + "|")
    for kind in KINDS:
        with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
            folder = Path(temporary) / kind
            write_checkpoint(folder, config, kind)
            command = [sys.executable, __file__, "--measure", str(folder)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            size = (folder / "model.safetensors").stat().st_size
        print(
            f"| {kind} | {size / 1e6:,.0f} | {found['before'] / 1e6:,.0f} "
            f"| {found['loaded'] / 1e6:,.0f} | {found['loaded'] / weights:.2f} "
            f"| {found['written'] / 1e6:,.0f} | {found['written'] / weights:.2f} "
            f"| {found['seconds']:.2f} | {found['token'] * 1e3:.1f} |"
        )


if __name__ == "__main__":
    main()
