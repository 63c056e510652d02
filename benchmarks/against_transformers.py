"""kvtui's decoder against transformers with the same shape, alternating in one run.

    pip install . torch transformers
    python benchmarks/against_transformers.py [--rounds 15] [--shape gpt2]

With ``--shape gpt2`` both have random weights in the shape of GPT-2 with 124 million parameters.

The peer is a bare loop over ``GPT2LMHeadModel`` with random weights in the bundled model's shape: one token at a time
with its DynamicCache, or over the whole context without a cache, without gradients. Each library runs in its own
process, so that neither's idle threads spin while the other is timed, and they take turns. A round times every line
once (the median of a burst of calls, after one that is not counted); the table shows medians of the rounds, and medians
of the ratios within a round.

The floor is one matrix-vector product for every weight matrix that a step reads. Step and floor alternate call by call,
each with its own weights, so that both read them at the same distance from the processor; the second figure, "hot",
times bursts of each, where a large processor cache may keep all weights between two calls.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

CONTEXTS = (64, 256, 512)
# For transformers' GPT2Config; then calls per burst: of single steps, and of whole contexts.
SHAPES: dict[str, tuple[dict[str, Any], int, int]] = {
    "bundled": (
        {"vocab_size": 65, "n_positions": 513, "n_embd": 192, "n_layer": 6, "n_head": 6, "tie_word_embeddings": False},
        100,
        3,
    ),
    "gpt2": ({"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}, 20, 1),
}

Work = dict[str, Callable[[], float]]


def burst(run: Callable[[], object], calls: int) -> float:
    """Median seconds per call, after one that is not counted."""
    times = []
    for _ in range(calls + 1):
        started = perf_counter()
        run()
        times.append(perf_counter() - started)
    return statistics.median(times[1:])


def random_gpt2() -> Any:
    from kvtui.core import CharTokenizer, Model, ModelConfig
    from kvtui.core.config import parameter_shapes

    options: dict[str, Any] = {"norm": "layer", "position": "learned", "mlp": "gelu", "tied_output": True, "bias": True}
    config = ModelConfig(50257, 1024, 12, 12, 12, 64, 768, 3072, **options)
    rng = np.random.default_rng(0)
    shapes = parameter_shapes(config).items()
    parameters = {name: rng.standard_normal(shape, np.float32) * np.float32(0.02) for name, shape in shapes}
    return Model(config, CharTokenizer("a"), parameters, "gpt2")


def kvtui_work(shape: str) -> tuple[str, Work]:
    from kvtui.core import load
    from kvtui.core.machine import machine
    from kvtui.core.measure.benchmark import floor_run

    _, steps, whole = SHAPES[shape]
    model = load() if shape == "bundled" else random_gpt2()
    ids = np.random.default_rng(0).integers(model.config.vocab_size, size=model.config.context_length)
    cache = model.new_cache()
    model.forward(ids, cache, last=True)
    floor = floor_run(model)

    def step(context: int) -> None:
        cache.length = context - 1
        model.decode(int(ids[context - 1]), cache)

    def interleaved(context: int) -> float:
        ratios = []
        for _ in range(2 * steps):
            started = perf_counter()
            step(context)
            middle = perf_counter()
            floor()
            ratios.append((middle - started) / (perf_counter() - middle))
        return statistics.median(ratios)

    work: Work = {"floor": lambda: burst(floor, steps)}
    for context in CONTEXTS:
        work[f"cached {context}"] = lambda context=context: burst(lambda: step(context), steps)
        work[f"uncached {context}"] = lambda context=context: burst(
            lambda: model.forward(ids[:context], last=True), whole
        )
        work[f"interleaved {context}"] = lambda context=context: interleaved(context)
    return machine(), work


def transformers_work(shape: str) -> tuple[str, Work]:
    import torch
    import transformers

    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    options, steps, whole = SHAPES[shape]
    config = transformers.GPT2Config(**options, bos_token_id=0, eos_token_id=0)
    model: Any = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.randint(config.vocab_size, (1, 512))
    caches = {context: model(ids[:, : context - 1], use_cache=True).past_key_values for context in CONTEXTS}

    def step(context: int) -> None:
        model(ids[:, context - 1 : context], past_key_values=caches[context], use_cache=True)
        caches[context].crop(-1)

    work: Work = {}
    for context in CONTEXTS:
        work[f"cached {context}"] = lambda context=context: burst(lambda: step(context), steps)
        work[f"uncached {context}"] = lambda context=context: burst(
            lambda: model(ids[:, :context], use_cache=False, logits_to_keep=1), whole
        )
    return (
        f"torch {torch.__version__} ({torch.get_num_threads()} threads), transformers {transformers.__version__}",
        work,
    )


def serve(side: str, shape: str) -> None:
    """Answer each line of standard input, the name of a piece of work, with its seconds."""
    about, work = kvtui_work(shape) if side == "kvtui" else transformers_work(shape)
    print(json.dumps([about, list(work)]), flush=True)
    for line in sys.stdin:
        print(work[line.strip()](), flush=True)


class Side:
    """One library in its own process."""

    def __init__(self, name: str, shape: str) -> None:
        command = [sys.executable, __file__, "--serve", name, "--shape", shape]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.about, names = json.loads(self.process.stdout.readline())
        self.times: dict[str, list[float]] = {name: [] for name in names}

    def measure(self, name: str, count: bool) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        time.sleep(0.1)  # a matrix library's threads spin for a while after their last product
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        seconds = float(self.process.stdout.readline())
        if count:
            self.times[name].append(seconds)

    def median(self, name: str) -> float:
        return statistics.median(self.times[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--shape", choices=SHAPES, default="bundled")
    parser.add_argument("--serve", choices=["kvtui", "transformers"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.shape)
        return
    ours, theirs = Side("kvtui", options.shape), Side("transformers", options.shape)
    for done in range(-1, options.rounds):
        for name in ours.times:
            ours.measure(name, done >= 0)
            if name in theirs.times:
                theirs.measure(name, done >= 0)

    def ratio(first: list[float], second: list[float]) -> float:
        return statistics.median(a / b for a, b in zip(first, second, strict=True))

    print(f"{ours.about}, {theirs.about}")
    print(f"floor, hot: {ours.median('floor') * 1e3:.3f} ms; medians of {options.rounds} rounds, times in ms\n")
    print("| positions | cached | ÷ floor | hot | transformers | ÷ kvtui | uncached | transformers | kvtui ÷ theirs |")
    print("|---" * 9 + "|")
    for context in CONTEXTS:
        cached, uncached = f"cached {context}", f"uncached {context}"
        print(
            f"| {context} | {ours.median(cached) * 1e3:.3f} | {ours.median(f'interleaved {context}'):.2f} "
            f"| {ratio(ours.times[cached], ours.times['floor']):.2f} | {theirs.median(cached) * 1e3:.3f} "
            f"| {ratio(theirs.times[cached], ours.times[cached]):.2f} | {ours.median(uncached) * 1e3:.2f} "
            f"| {theirs.median(uncached) * 1e3:.2f} | {ratio(ours.times[uncached], theirs.times[uncached]):.2f} |"
        )


if __name__ == "__main__":
    main()
