"""``kvtui watch``: the dashboard on the events of another program."""

from __future__ import annotations

import click

from kvtui.tui.cli.options import Pace, fps_option, pace_value
from kvtui.tui.settings import DEFAULT_PACE


@click.command("watch", short_help="Show the events of another program, from a pipe or a file.")
@click.argument("source", metavar="FILE|-", type=click.Path())
@click.option(
    "--pace",
    type=Pace(),
    help=f"Tokens per second, or 'unlimited'.  [default: unlimited from a pipe, {DEFAULT_PACE:g} from a file]",
)
@click.option("--follow", is_flag=True, help="Wait for more at the end of FILE, as a program still writes it.")
@fps_option
def watch(source: str, pace: float | str | None, follow: bool, fps: float | None) -> None:
    """Show another program's events in the dashboard: one JSON object per line, as 'kvtui generate --json' writes them.

    '-' is standard input, shown as it arrives; a FILE is a recording, plain or packed by gzip, shown at a readable
    pace. Space, . and the pace keys affect only the screen, not the other program. docs/events.md says how to write
    an adapter.

    \b
      kvtui generate "ROMEO:" -n 300 --json | kvtui watch -
      kvtui generate "ROMEO:" -n 300 --json > romeo.jsonl
      kvtui watch romeo.jsonl --pace 10
    """
    if follow and (source == "-" or source.endswith(".gz")):
        raise click.UsageError("--follow takes a file that grows; a pipe is followed as it is, a packed file is whole")
    from kvtui.tui.cli.launch import watch_stream

    default = "unlimited" if source == "-" else DEFAULT_PACE
    raise click.exceptions.Exit(watch_stream(source, pace_value(default if pace is None else pace), follow, fps))
