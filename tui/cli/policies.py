"""``kvtui policies``: what each cache policy costs in quality and saves in memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import fields
from inspect import cleandoc
from pathlib import Path

import click
import numpy as np

from kvtui.core.cache import KINDS, CachePolicy
from kvtui.core.control import generate
from kvtui.core.events import Token
from kvtui.core.layers import IntArray
from kvtui.core.machine import machine
from kvtui.core.measure.policy_report import FEWEST_TOKENS, PolicyReport, compare_policies, default_policies
from kvtui.core.model import Model
from kvtui.tui.cli.loading import load_model
from kvtui.tui.cli.options import Policy, Whole, model_option, seed_option
from kvtui.tui.cli.progress import counting_bar
from kvtui.tui.cli.streams import read_text, write, write_json, write_rich

MOST_TOKENS = 10_000_000


@click.command("policies", short_help="What each cache policy costs in quality and saves in memory.")
@click.argument("textfile", type=click.Path(path_type=Path), required=False)
@model_option
@click.option(
    "--policy",
    "chosen",
    type=Policy(),
    multiple=True,
    metavar="P",
    help="Policy to compare with full; may be repeated.",
)
@click.option(
    "--tokens",
    type=Whole(FEWEST_TOKENS, MOST_TOKENS),
    default=2048,
    show_default=True,
    help="Tokens: from the end of TEXTFILE, which the trainer holds back, or for the model to write.",
)
@seed_option(0)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per policy instead of a table.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values with a header line.")
@click.pass_context
def policies(
    ctx: click.Context,
    /,
    textfile: Path | None,
    model: str | None,
    chosen: tuple[CachePolicy, ...],
    tokens: int,
    seed: int,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Compare cache policies on the same text: how far their predictions are from those of the full cache (KL
    divergence in nats), how often both agree on the most likely token, the loss of the text, and the cache's size.

    Without a TEXTFILE, the text is what the model itself writes with the full cache.

    \b
      kvtui policies
      kvtui policies --policy window:64 --policy sink:4+60
      kvtui policies notes.txt --policy int4 --json
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv cannot be used together")
    if textfile is not None and ctx.get_parameter_source("seed") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--seed applies to text written by the model: leave out --seed or TEXTFILE")
    text = None if textfile is None else read_text(textfile)
    decoder = load_model(model)
    wanted = list(dict.fromkeys(chosen)) or default_policies(decoder.config)
    for policy in wanted:
        policy.check(decoder.config)
    if text is None:
        with counting_bar("tokens written") as on_progress:
            ids = own_text(decoder, tokens, seed, on_progress)
    else:
        ids = np.array(decoder.tokenizer.encode(text))[-tokens:]
    with counting_bar("tokens compared") as on_progress:
        reports = compare_policies(decoder, ids, wanted, on_progress)
    if as_json:
        for report in reports:
            write_json(report.to_json())
    elif as_csv:
        write(_as_csv(reports))
    else:
        source = f"text written by the model, seed {seed}" if textfile is None else str(textfile)
        _print(reports, f"{reports[0].tokens:,} tokens scored · {decoder.name} · {source}")


assert policies.help is not None
policies.help = (
    cleandoc(policies.help) + "\n\n\b\nPolicies:\n" + "".join(f"  {kind.form:<10} {kind.summary}\n" for kind in KINDS)
)


def own_text(
    model: Model, tokens: int, seed: int, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> IntArray:
    """What the model writes by itself with the full cache. (tokens,), fewer if it ends the text."""
    ids: list[int] = []
    for event in generate(model, "", max_new_tokens=tokens, seed=seed):
        if isinstance(event, Token):
            ids.append(event.id)
            on_progress(len(ids), tokens)
    return np.array(ids)


def _as_csv(reports: list[PolicyReport]) -> str:
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    names = [entry.name for entry in fields(PolicyReport)]
    rows.writerow(names)
    rows.writerows([getattr(report, name) for name in names] for report in reports)
    return out.getvalue()


def _nats(divergence: float, digits: int) -> str:
    """A number with this many decimals; one that would round to zero as ``2e-06``."""
    return f"{divergence:.{digits}f}" if not 0 < divergence < 0.5 * 10**-digits else f"{divergence:.0e}"


def _print(reports: list[PolicyReport], about: str) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("policy", no_wrap=True)
    for heading in ("KL mean", "median", "p99", "max", "top 1", "loss", "bytes", "smaller", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for report in reports:
        table.add_row(
            report.policy + ("*" if report.dropped == 0 else ""),
            _nats(report.kl_mean, 5),
            _nats(report.kl_median, 5),
            _nats(report.kl_p99, 3),
            _nats(report.kl_max, 3),
            f"{report.top1_agreement:.1%}",
            f"{report.loss:.4f}",
            f"{report.cache_bytes:,}",
            f"{report.compression:.1f} ×",
            f"{report.seconds_per_token * 1e3:.2f}",
        )
    idle = any(report.dropped == 0 for report in reports)
    notes = (
        "KL: divergence of the next-token distribution from full's, in nats",
        "top 1: how often both agree on the most likely token · loss: nats per token",
        "bytes: of the cache at the end of a window · ms: a decode step, median",
        *(("* never had to drop a position: compare on longer windows of text (--tokens)",) if idle else ()),
        about,
        machine(),
    )
    write_rich(table, Text("\n".join(notes)))
