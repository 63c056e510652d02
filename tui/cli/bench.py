"""``kvtui bench``: cached against uncached on this machine."""

from __future__ import annotations

import click

from kvtui.core.measure.benchmark import BenchResult, benchmark
from kvtui.tui.cli.loading import load_model
from kvtui.tui.cli.options import Whole, model_option
from kvtui.tui.cli.progress import counting_bar
from kvtui.tui.cli.streams import write_json, write_rich


@click.command("bench", short_help="Time per token on this machine, with the cache and without.")
@model_option
@click.option("--repeats", type=Whole(1, 1000), default=9, show_default=True, help="Rounds; the medians are reported.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def bench(model: str | None, repeats: int, as_json: bool) -> None:
    """Time one token with the cache and without it, at several context lengths.

    The floor is the time to read every weight once in matrix-vector products: no step can be faster. Rounds in which
    the machine was busy with something else are measured again; if that does not help, a line says so.

    \b
      kvtui bench
      kvtui bench --repeats 3 --json
    """
    decoder = load_model(model)
    with counting_bar("rounds") as on_progress:
        result = benchmark(decoder, repeats=repeats, on_progress=on_progress)
    if as_json:
        write_json(result.to_json())
    else:
        _print(result)


def _print(result: BenchResult) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title="median ms per token", box=box.SIMPLE_HEAD)
    for heading in ("context", "cached", "uncached", "ratio", "cached / floor"):
        table.add_column(heading, justify="right")
    for (context, cached), (_, uncached) in zip(result.cached_seconds, result.uncached_seconds, strict=True):
        table.add_row(
            f"{context:,}",
            f"{cached * 1e3:.3f}",
            f"{uncached * 1e3:.3f}",
            f"{uncached / cached:.1f} ×",
            f"{cached / result.floor_seconds:.2f} ×",
        )
    floor = f"floor {result.floor_seconds * 1e3:.3f} ms · {result.model} · {result.threads} threads"
    write_rich(table, Text("\n".join((floor, result.machine, *result.remarks()))))
