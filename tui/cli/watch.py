"""``kvtui watch``: the dashboard on the events of another program."""

from __future__ import annotations

import click

from kvtui.tui.cli.options import Pace, pace_value


@click.command("watch", short_help="Show the events of another program, from a pipe or a file.")
@click.argument("source", metavar="FILE|-", type=click.Path())
@click.option(
    "--pace", type=Pace(), help="Tokens a second, or 'unlimited'.  [default: unlimited from a pipe, 25 from a file]"
)
def watch(source: str, pace: float | str | None) -> None:
    """Show in the dashboard what another program writes: one JSON object a line, as 'kvtui generate --json' gives it.

    '-' is standard input and shown as it comes; a FILE is a recording and shown at a reader's pace. Space, . and the
    pace keys hold and move the screen; the other program does not notice. docs/events.md says how to write an adapter.

    \b
      kvtui generate "ROMEO:" -n 300 --json | kvtui watch -
      kvtui generate "ROMEO:" -n 300 --json > romeo.jsonl
      kvtui watch romeo.jsonl --pace 10
    """
    from kvtui.tui.cli.launch import watch_stream

    default = "unlimited" if source == "-" else 25.0
    raise click.exceptions.Exit(watch_stream(source, pace_value(default if pace is None else pace)))
