"""``kvtui generate``: text on standard output as it is written, its cost on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from statistics import median
from typing import Any

import click

from kvtui.core import GenerationLoop, Model, events
from kvtui.core.cache import CachePolicy
from kvtui.core.config import parameter_count
from kvtui.core.errors import counted
from kvtui.core.event_json import ModelWords, to_json
from kvtui.core.sequence import describe_cut
from kvtui.core.tokenizer import describe_start
from kvtui.tui.cli.loading import load_model
from kvtui.tui.cli.options import (
    MOST_TOKENS,
    Whole,
    generation_settings,
    model_option,
    policy_option,
    sampling_options,
)
from kvtui.tui.cli.signals import stop_on_signal
from kvtui.tui.cli.streams import note, read_prompt, write, write_error, write_generated, write_json


@click.command("generate", short_help="Continue a prompt on standard output.")
@click.argument("prompt")
@click.option("-n", "count", type=Whole(0, MOST_TOKENS), default=200, show_default=True, help="Tokens to write.")
@model_option
@sampling_options
@policy_option
@click.option("--verify", is_flag=True, help="Also run every token without the cache and compare the logits.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line instead of text.")
def generate_text(
    prompt: str,
    count: int,
    model: str | None,
    seed: int,
    greedy: bool,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    no_cache: bool,
    policy: CachePolicy,
    verify: bool,
    as_json: bool,
) -> None:
    """Continue PROMPT: text on standard output, a summary on standard error. '-' reads the prompt from a pipe.

    \b
      kvtui generate "ROMEO:" -n 100 --seed 7
      kvtui generate "ROMEO:" -n 100 --seed 7 --no-cache
      echo "JULIET:" | kvtui generate - --greedy
      kvtui generate "ROMEO:" --verify --json
      kvtui generate "ROMEO:" -n 20000 --policy sink:4+252
    """
    settings = generation_settings(seed, greedy, temperature, top_k, top_p, no_cache, policy)
    text = read_prompt(prompt)
    decoder = load_model(model)
    if not text:
        note(f"the prompt is empty: starting from {describe_start(decoder.tokenizer)}")
    with stop_on_signal() as asked:
        loop = GenerationLoop(decoder, text, replace(settings, max_new_tokens=count, verify=verify), asked)
        _stream(loop.run(), decoder, policy, None if as_json else text)
    if asked.ended is not None:
        raise asked.ended


def _stream(stream: Iterator[events.Event], model: Model, policy: CachePolicy, prompt: str | None) -> None:
    """Write the events, as text after the prompt, or as JSON if ``prompt`` is None."""
    prefill: events.Prefill | None = None
    last = prompt or ""
    tokens: list[events.Token] = []
    if prompt:
        write_generated(prompt)
    for event in stream:
        if isinstance(event, events.Prefill):
            prefill = event
            if event.dropped:
                note(describe_cut(event.dropped, event.tokens, event.room))
        if prompt is None:
            about = {"model": words(model)} if isinstance(event, events.Prefill) else {}
            write_json(to_json(event) | about)
        elif isinstance(event, events.Token):
            tokens.append(event)
            last = event.text or last
            write_generated(event.text)
        if isinstance(event, events.End):
            break
    assert isinstance(event, events.End)
    if prompt is not None:
        write("" if last.endswith("\n") else "\n")
        assert prefill is not None
        write_error(_summary(prefill, tokens, event, policy))


def words(model: Model) -> dict[str, Any]:
    """The first line of ``--json``: what it says about the model."""
    config = model.config
    return asdict(
        ModelWords(
            name=model.name,
            parameters=parameter_count(config),
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            context_length=config.context_length,
        )
    )


def _summary(prefill: events.Prefill, tokens: list[events.Token], end: events.End, policy: CachePolicy) -> str:
    lines = [f"prefill: {counted(prefill.tokens, 'token')} in {prefill.seconds * 1e3:.2f} ms"]
    if tokens:
        lines.append(
            f"{counted(end.tokens, 'token')} in {end.seconds:.3f} s of model time: "
            f"{end.tokens_per_second:,.0f} tokens/s, "
            f"median {median(token.seconds for token in tokens) * 1e3:.2f} ms per token"
        )
    last = tokens[-1] if tokens else prefill
    kept = "" if policy.spec == "full" else f", policy {policy.spec}"
    held = f"cache: {counted(last.cached_positions, 'position')}, {last.cache_bytes:,} bytes{kept}"
    lines.append(held if prefill.cache else "cache: off")
    if end.reason == "stop":
        lines.append("the model ended the text")
    errors = [token.max_logit_error for token in tokens if token.max_logit_error is not None]
    if errors:
        lines.append(f"largest logit difference from a run without the cache: {max(errors):.2e}")
        if policy.spec == "full" and any(token.beyond_rounding or not token.argmax_agrees for token in tokens):
            lines.append("the cache is wrong: that is more than rounding explains")
        agreed = sum(token.argmax_agrees is True for token in tokens)
        lines.append(f"the same token is likeliest in {agreed:,} of {len(errors):,}")
    return "".join(f"{line}\n" for line in lines)
