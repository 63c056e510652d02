"""kvtui's decoder against transformers on the same shape, in one process and one run, in turns.

    pip install . torch transformers
    python benchmarks/against_transformers.py [--rounds 15]

The peer is a bare loop over ``GPT2LMHeadModel`` with random weights in kvtui's bundled shape: with its DynamicCache one
token at a time, and without a cache over the whole context, both under ``torch.inference_mode()``. Each round times
every line once (steps: the median of a burst of 20), the table shows the medians of the rounds and the median of the
ratios within a round. The floor is one matrix-vector product for every weight matrix that a step reads.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

from kvtui.core import load
from kvtui.core.benchmark import floor_run, machine, median_time
from kvtui.core.model import Model

CONTEXTS = (64, 256, 512)


def peer(model: Model) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=model.config.vocab_size,
        n_positions=model.config.context_length + 1,
        n_embd=model.config.embed_dim,
        n_layer=model.config.num_layers,
        n_head=model.config.num_heads,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


def kvtui_step(model: Model, ids: np.ndarray, context: int) -> Callable[[], object]:
    cache = model.new_cache()
    model.forward(ids[:context], cache)

    def run() -> None:
        cache.length = context - 1
        model.decode(int(ids[context - 1]), cache)

    return run


def peer_step(other: GPT2LMHeadModel, ids: torch.Tensor, context: int) -> Callable[[], object]:
    cache = other(ids[:, : context - 1], use_cache=True).past_key_values

    def run() -> None:
        other(ids[:, context - 1 : context], past_key_values=cache, use_cache=True)
        cache.crop(-1)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    model = load()
    other = peer(model)
    ids = np.random.default_rng(0).integers(model.config.vocab_size, size=model.config.context_length)
    tensor = torch.tensor(ids)[None]
    work: dict[str, tuple[Callable[[], object], int]] = {"floor": (floor_run(model), 20)}
    with torch.inference_mode():
        for context in CONTEXTS:
            work[f"kvtui cached {context}"] = kvtui_step(model, ids, context), 20
            work[f"transformers cached {context}"] = peer_step(other, tensor, context), 20
            work[f"kvtui uncached {context}"] = lambda context=context: model.forward(ids[:context]), 3
            work[f"transformers uncached {context}"] = lambda context=context: other(tensor[:, :context], use_cache=False), 3
        times: dict[str, list[float]] = {name: [] for name in work}
        for done in range(-1, rounds):
            for name, (run, burst) in work.items():
                seconds = median_time(run, burst)
                if done >= 0:
                    times[name].append(seconds)

    def ratio(first: str, second: str) -> float:
        return statistics.median(a / b for a, b in zip(times[first], times[second], strict=True))

    print(f"{machine()}, torch {torch.__version__} ({torch.get_num_threads()} threads), transformers {transformers.__version__}")
    print(f"floor {statistics.median(times['floor']) * 1e3:.3f} ms; medians of {rounds} rounds, in ms\n")
    print("| positions | kvtui cached | ÷ floor | transformers cached | ÷ kvtui | kvtui uncached | transformers uncached | kvtui ÷ transformers |")
    print("|---|---|---|---|---|---|---|---|")
    for context in CONTEXTS:
        ours, theirs = f"kvtui cached {context}", f"transformers cached {context}"
        ours_whole, theirs_whole = f"kvtui uncached {context}", f"transformers uncached {context}"
        values = [statistics.median(times[name]) * 1e3 for name in (ours, theirs, ours_whole, theirs_whole)]
        print(
            f"| {context} | {values[0]:.3f} | {ratio(ours, 'floor'):.2f} | {values[1]:.3f} | {ratio(theirs, ours):.2f} "
            f"| {values[2]:.2f} | {values[3]:.2f} | {ratio(ours_whole, theirs_whole):.2f} |"
        )


if __name__ == "__main__":
    main()
