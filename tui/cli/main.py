"""The ``kvtui`` command: the dashboard by default, and the commands that need no terminal.

Nothing here imports Textual until the dashboard starts, so that ``kvtui generate`` is quick in a pipe.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import click
import numpy as np
from click.shell_completion import CompletionItem, shell_complete

from kvtui.core.cache import CachePolicy
from kvtui.core.errors import KvtuiError
from kvtui.tui.cli.options import (
    Pace,
    fps_option,
    generation_settings,
    model_option,
    models_dir_option,
    pace_value,
    policy_option,
    sampling_options,
)
from kvtui.tui.cli.signals import Ended, raised
from kvtui.tui.cli.streams import discard_output, note
from kvtui.tui.cli.terminal import require_terminal
from kvtui.tui.settings import DEFAULT_PACE, DashboardSettings

DASHBOARD = "(dashboard)"  # hidden: what runs when no command is named; unlikely as a prompt
COMPLETE = "_KVTUI_COMPLETE"  # set by the shell when it wants completions


# Name -> file of this folder, and the command in it. A new command is a file and a line here; it is imported when it is
# called, or when the help of all commands is shown.
COMMANDS = {
    "bench": "bench:bench",
    "doctor": "doctor:doctor",
    "eval": "evaluate:evaluate_text",
    "figure": "figure:figure",
    "generate": "generate:generate_text",
    "info": "info:info",
    "models": "models:models",
    "policies": "policies:policies",
    "train": "train:train_model",
    "watch": "watch:watch",
}


class Commands(click.Group):
    """A group with a default command: ``kvtui "ROMEO:"`` is ``kvtui "(dashboard)" "ROMEO:"``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name; nothing is imported for it."""
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(f"kvtui.tui.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the default command before arguments that do not name one."""
        named = bool(args) and args[0] in (*COMMANDS, DASHBOARD, "--help", "--version")
        if not named and not (ctx.resilient_parsing and not args):  # completing the first word offers the commands
            if not ctx.resilient_parsing:
                self._refuse_late_command(ctx, args)
            args = [DASHBOARD, *args]
        return super().parse_args(ctx, args)

    def _refuse_late_command(self, ctx: click.Context, args: list[str]) -> None:
        """``kvtui --seed 3 train`` is more likely a misplaced option than a prompt."""
        if "--" in args or "--help" in args:
            return
        values, _, _ = self.commands[DASHBOARD].make_parser(ctx).parse_args(list(args))
        words = values.get("prompt")
        first = words[0] if isinstance(words, list | tuple) and words else ""  # click's mark for "not given" is neither
        if first in COMMANDS:
            raise click.UsageError(
                f"write options after the command: 'kvtui {first} …'; for a prompt of that word: 'kvtui … -- {first}'"
            )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """List the commands, and the options of the default one."""
        found = super().shell_complete(ctx, incomplete) + self.commands[DASHBOARD].shell_complete(ctx, incomplete)
        return list({item.value: item for item in found}.values())

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show both ways to call it."""
        formatter.write_usage("kvtui", "[OPTIONS] [PROMPT]")
        formatter.write_usage("kvtui", "COMMAND [OPTIONS] [ARGUMENTS]", prefix="       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the dashboard's options, then the commands."""
        dashboard = self.commands[DASHBOARD]
        records = [
            param.get_help_record(ctx)
            for param in dashboard.params + self.get_params(ctx)
            if isinstance(param, click.Option)
        ]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record])
        self.format_commands(ctx, formatter)


class Dashboard(click.Command):
    """The default command, whose help is that of the whole program."""

    def get_help(self, ctx: click.Context) -> str:
        """Return the help of ``kvtui`` itself."""
        return ctx.parent.get_help() if ctx.parent else super().get_help(ctx)


@click.group(cls=Commands, context_settings={"max_content_width": 100})
@click.version_option(package_name="kvtui", message="kvtui %(version)s")
def cli() -> None:
    """Watch a transformer write: the time of every token, the KV cache and every head's attention, live.

    With or without a PROMPT the dashboard opens; press ? in it for its keys. A prompt that is also the name of a
    command goes after two dashes.

    \b
      kvtui "ROMEO:"
      kvtui "First Citizen:" --no-cache --seed 3 --pace 10
      kvtui -- train
      kvtui generate "ROMEO:" -n 100 --seed 7

    To complete commands and options with Tab in bash (zsh and fish likewise):

    \b
      eval "$(_KVTUI_COMPLETE=bash_source kvtui)"
    """


@cli.command(DASHBOARD, cls=Dashboard, hidden=True, add_help_option=True)
@click.argument("prompt", nargs=-1)
@model_option
@sampling_options
@policy_option
@click.option(
    "--pace", type=Pace(), default=DEFAULT_PACE, help=f"Tokens per second, or 'unlimited'.  [default: {DEFAULT_PACE:g}]"
)
@models_dir_option("Where the M key looks for other models.")
@fps_option
@click.option("--tour", is_flag=True, help="Start with the guided tour, from tokens to cache policies.")
def dashboard(
    prompt: tuple[str, ...],
    model: str | None,
    no_cache: bool,
    seed: int,
    greedy: bool,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    policy: CachePolicy,
    pace: float | str,
    models_dir: Path | None,
    fps: float | None,
    tour: bool,
) -> None:
    """Open the dashboard."""
    if len(prompt) > 1:
        raise click.UsageError(
            f"'{prompt[0]}' is not a command, and a prompt is one argument: put it in quotes, as in 'kvtui \"ROMEO:\"'"
        )
    settings = generation_settings(seed, greedy, temperature, top_k, top_p, no_cache, policy)
    if models_dir is not None and not models_dir.is_dir():
        raise KvtuiError(f"there is no folder {models_dir}")
    require_terminal()  # before the app is imported, which takes a while
    from kvtui.tui.cli.launch import run_dashboard

    status = run_dashboard(
        DashboardSettings(
            prompt=prompt[0] if prompt else None,
            model=model,
            generation=replace(settings, pace=pace_value(pace)),
            models_dir=models_dir,
            fps=fps,
            tour=tour,
        )
    )
    raise click.exceptions.Exit(status)


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 2 for bad input, 130 after Ctrl-C.

    NumPy warns of nothing: weights may overflow, which is checked wherever logits are used (core/overflow.py).
    click's own ``main`` is not used: it prints a usage block with every error and gives a closed pipe status 1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a character is no reason to stop
    if sys.stdout is None:  # text would be lost without a word
        return _refuse("standard output is closed: redirect it to a file, or to /dev/null")
    instruction = os.environ.get(COMPLETE)
    if instruction:
        return shell_complete(cli, {}, "kvtui", COMPLETE, instruction)
    try:
        with (
            raised(),
            np.errstate(all="ignore"),
            cli.make_context("kvtui", list(sys.argv[1:] if args is None else args)) as context,
        ):
            cli.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except Ended as end:
        return end.status
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:  # the receiving program has what it wanted, as in "kvtui generate … | head"
        discard_output()
        return 0
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        path = where.command_path.removesuffix(f" {DASHBOARD}") if where else "kvtui"
        return _refuse(f"{error.format_message().rstrip('.')} (see '{path} --help')")
    except KvtuiError as error:
        return _refuse(str(error))
    except MemoryError:
        return _refuse("this needs more memory than is available: use a smaller model, context or text")
    except OSError as error:
        status = _refuse(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        discard_output()
        return status


def _refuse(message: str) -> int:
    with contextlib.suppress(OSError):  # nobody may be listening
        note(message)
    return 2


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of ``kvtui``."""
    sys.exit(run(args))


if __name__ == "__main__":
    main()
