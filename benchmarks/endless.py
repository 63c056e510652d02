"""Unlimited text: loss against position for the full cache, a window and sinks; and how stale a rolling cache gets.

    python benchmarks/endless.py tinyshakespeare.txt

Reads a text token by token with each policy, ``full`` as kvtui does it: when the context is full, the oldest half is
dropped and the rest is recomputed. Writes ``benchmarks/endless.md`` and two figures in ``docs/images``.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvtui.core import Generation, GenerationSettings, Model, load
from kvtui.core.cache import parse_policy
from kvtui.core.events import Token
from kvtui.core.figures.support import new_figure, save_figure
from kvtui.core.logits import kl_divergence
from kvtui.core.machine import machine
from kvtui.core.observe import AttentionRecord
from kvtui.core.training.run import VALIDATION_SHARE

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
FIGURES = ("endless.svg", "stale.svg")
STALE_EVERY = 8  # tokens between two comparisons with a recomputed cache
SINKS = 4
STYLES = ({"color": "0.2"}, {"color": "#c1440e", "linestyle": "--"}, {"color": "#00509e"})
REPORT = """\
# Unlimited text

Made by `python benchmarks/endless.py {text}`: the first {tokens:,} tokens of the last tenth of {text}, which the
trainer held back, read token by token with each policy. Model {model}, {machine};
SHA-256 of the text `{digest}`.

## Loss against position

Nats per token, by position in the text. `full` is a full cache whose window is recomputed, from the newest half, each
time its context of {context} is full: its slowest steps are those. The loss follows the text; the effect of a policy is
the difference between the rows.

{table}

{verdict}

![Loss against position](../docs/images/endless.svg)

## Stale keys and values

The contents of a rolling cache were computed when older positions, since dropped, were still there. Every {every}
tokens its contents are compared with those of the same positions recomputed. Over the first {stale_tokens:,} tokens,
once the cache is full:

| layer | {layers} |
|---|{rule}
| relative distance of the values | {distances} |

Layer 0 depends on the token alone and is never stale. In the others the oldest places are the most stale, as the
positions just before them are gone; sinks never lost any. KL(recomputed ‖ rolling) is {kl_mean:.4f} nats on average and
{kl_p99:.3f} at p99. The loss at these tokens is {rolling:.3f} rolling and {recomputed:.3f} recomputed.

![The contents of a rolling cache against a recomputed one](../docs/images/stale.svg)
"""


@dataclass(frozen=True)
class Run:
    """A text read with a policy: arrays with a number for each token."""

    policy: str
    losses: NDArray[np.float64]
    seconds: NDArray[np.float64]
    cache_bytes: NDArray[np.int64]


def progress(message: str) -> None:
    print(f"\r{message:<60}", end="", file=sys.stderr, flush=True)


def read_text(model: Model, ids: list[int], policy: str) -> Run:
    """Loss, time and bytes of each token but the first."""
    generation = Generation(model, model.tokenizer.decode(ids[:1]), GenerationSettings(policy=policy))
    generation.prefill()
    tokens: list[Token] = []
    for place, token in enumerate(ids[1:]):
        tokens += [event for event in generation.write(token) if isinstance(event, Token)]
        if place % 500 == 0:
            progress(f"{policy}: {place:,} of {len(ids):,} tokens")
    return Run(
        policy,
        np.array([-token.logprob for token in tokens]),
        np.array([token.seconds for token in tokens]),
        np.array([token.cache_bytes for token in tokens]),
    )


@dataclass(frozen=True)
class Staleness:
    """A rolling cache against the same positions recomputed, once it is full."""

    positions: NDArray[np.int64]  # tokens run at each comparison
    kl: NDArray[np.float64]
    stale: NDArray[np.float64]  # (layers, places in the cache): relative distance of the values held, on average
    loss: tuple[float, float]  # nats per token after each comparison: rolling, recomputed


def measure_staleness(model: Model, ids: list[int], policy: str) -> Staleness:
    """Run a text with a rolling policy and compare it every few tokens with a cache filled in one pass."""
    rolling = model.new_cache(policy)
    positions, divergences, distances, losses = [], [], [], []
    for place, token in enumerate(ids[:-1]):
        logits = model.decode(token, rolling).copy()
        if place % STALE_EVERY or rolling.length == rolling.num_held:
            continue
        kept = rolling.positions(0)[0]
        fresh = model.new_cache()
        recomputed = model.forward([ids[position] for position in kept], fresh)[-1]
        positions.append(place + 1)
        divergences.append(kl_divergence(recomputed, logits))
        layers = range(model.config.num_layers)
        distances.append([_distance(rolling.read(layer)[1], fresh.read(layer)[1]) for layer in layers])
        losses.append([_loss(logits, ids[place + 1]), _loss(recomputed, ids[place + 1])])
        if place % 200 == 0:
            progress(f"stale or not: {place:,} of {len(ids):,} tokens")
    mine, other = np.mean(losses, axis=0)
    stale = np.mean(distances, axis=0)
    return Staleness(np.array(positions), np.array(divergences), stale, (float(mine), float(other)))


def _distance(values: Any, fresh: Any) -> Any:
    """Mean relative distance for each place in a layer. (G, K, D), same -> (K,)."""
    return np.linalg.norm(values - fresh, axis=(0, 2)) / np.linalg.norm(fresh, axis=(0, 2))


def _loss(logits: Any, token: int) -> float:
    return float(np.logaddexp.reduce(logits.astype(np.float64)) - logits[token])


def sink_share(model: Model, ids: list[int]) -> NDArray[np.float64]:
    """Share of a full context's attention, from its last 64 queries, on its first four positions. (layers, H)."""
    context = model.config.context_length
    record = AttentionRecord(model.config, model.dtype)
    model.forward(ids[:context], record=record)
    layers = range(model.config.num_layers)
    rows = [record.weights(layer, max(0, context - 64), context) for layer in layers]
    return np.array([weights[..., :SINKS].sum(axis=-1).mean(axis=-1) for weights in rows])


def draw_losses(runs: list[Run], bin_size: int, about: str) -> None:
    figure = new_figure(8, 5.2)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    bins = len(runs[0].losses) // bin_size
    middles = (np.arange(bins) + 0.5) * bin_size
    means = [run.losses[: bins * bin_size].reshape(bins, bin_size).mean(axis=1) for run in runs]
    for run, mean, style in zip(runs, means, STYLES, strict=True):
        top.plot(middles, mean, label=run.policy, linewidth=1.2, **style)
        bottom.plot(middles, mean - means[0], linewidth=1.2, **style)
    top.set_ylabel(f"loss (nats per token,\nmean of {bin_size:,})")
    top.set_title("Loss against position: full with its window recomputed, a window, sinks", fontsize=11)
    top.set_ylim(bottom=0)
    top.legend(loc="lower right", ncols=len(runs))
    bottom.set_ylabel("difference from full\n(nats per token)")
    bottom.set_xlabel("position in the text (tokens)")
    figure.supxlabel(about, fontsize=7, color="0.35")
    save_figure(figure, IMAGES / FIGURES[0])


def draw_staleness(stale: Staleness, policy: str, about: str) -> None:
    figure = new_figure(8, 4.2)
    left, right = figure.subplots(1, 2)
    for layer, distances in enumerate(stale.stale):
        shade = str(0.75 - 0.7 * layer / max(1, len(stale.stale) - 1))
        left.plot(distances, color=shade, linewidth=1.1, label=f"layer {layer}")
    left.set_xlabel("place in the cache (0: the oldest)")
    left.set_ylabel("relative distance of the values held")
    left.legend(fontsize=7)
    right.plot(stale.positions, stale.kl, color="#00509e", linewidth=0.8)
    right.set_xlabel("tokens run")
    right.set_ylabel("KL(recomputed ‖ rolling), nats")
    for ax in (left, right):
        ax.set_ylim(bottom=0)
    figure.suptitle(f"{policy}: its contents against the same positions recomputed", fontsize=11)
    figure.supxlabel(about, fontsize=7, color="0.35")
    save_figure(figure, IMAGES / FIGURES[1])


def table(runs: list[Run]) -> list[str]:
    """The table: losses in ranges of positions, bytes and times."""
    total = len(runs[0].losses) + 1
    edges = [0, *(edge for edge in (512, 2_000, 5_000, 10_000, 15_000) if edge < total), total]
    ranges = list(pairwise(edges))
    names = [f"{start:,} to {end:,}" for start, end in ranges]
    lines = [
        f"| policy | {' | '.join(names)} | all | bytes at most | ms per token | slowest 1 % |",
        "|---|" + "---:|" * (len(ranges) + 4),
    ]
    for run in runs:
        losses = [run.losses[max(0, start - 1) : end - 1].mean() for start, end in ranges]
        lines.append(
            f"| `{run.policy}` | {' | '.join(f'{loss:.3f}' for loss in losses)} | {run.losses.mean():.3f} "
            f"| {run.cache_bytes.max():,} | {np.median(run.seconds) * 1e3:.2f} "
            f"| {np.quantile(run.seconds, 0.99) * 1e3:.2f} |"
        )
    return lines


def verdict(runs: list[Run], share: NDArray[np.float64]) -> str:
    """What the figures say about sinks, in words that depend on them."""
    _, window, sink = runs
    gain = float(window.losses.mean() - sink.losses.mean())
    even = SINKS / load().config.context_length
    effect = (
        f"sinks lower the loss by {gain:.3f} nats: the model shows a sink effect"
        if gain > 0.02
        else f"sinks change the loss by {-gain:+.4f} nats:\n**the bundled model shows no sink effect.** "
        "It is small, and a window without sinks does as well"
    )
    return (
        f"Against the window, {effect}.\nIn a full context its first {SINKS} positions get {share.mean():.1%} of the "
        f"attention ({share.max():.1%} in the head that gives\nthem most); evenly spread it would be {even:.1%}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("textfile", type=Path)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--kept", type=int, default=256, help="positions that the window and the sinks hold")
    parser.add_argument("--stale-tokens", type=int, default=3_000)
    options = parser.parse_args()
    model = load()
    text = options.textfile.read_text(encoding="utf-8")
    held_back = text[len(text) - int(len(text) * VALIDATION_SHARE) :]
    ids = model.tokenizer.encode(held_back[: options.tokens])
    policies = ("full", f"window:{options.kept}", f"sink:{SINKS}+{options.kept - SINKS}")
    runs = [read_text(model, ids, parse_policy(policy).spec) for policy in policies]
    stale = measure_staleness(model, ids[: options.stale_tokens], policies[2])
    share = sink_share(model, ids)
    print(file=sys.stderr)

    about = f"{options.textfile.name}, its held-back end; model {model.name}; {machine()}"
    draw_losses(runs, max(1, options.tokens // 40), about)
    draw_staleness(stale, policies[2], about)
    distances = stale.stale.mean(axis=1)
    report = REPORT.format(
        text=options.textfile.name,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        tokens=len(ids),
        model=model.name,
        machine=machine(),
        context=model.config.context_length,
        table="\n".join(table(runs)),
        verdict=verdict(runs, share),
        every=STALE_EVERY,
        stale_tokens=options.stale_tokens,
        layers=" | ".join(str(layer) for layer in range(len(distances))),
        rule="---:|" * len(distances),
        distances=" | ".join(f"{value:.3f}" for value in distances),
        kl_mean=stale.kl.mean(),
        kl_p99=np.quantile(stale.kl, 0.99),
        rolling=stale.loss[0],
        recomputed=stale.loss[1],
    )
    (ROOT / "benchmarks" / "endless.md").write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
