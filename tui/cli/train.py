"""``kvtui train``: train a character model on a text, with the NumPy trainer."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from kvtui.core.config import parameter_count
from kvtui.core.errors import KvtuiError, counted
from kvtui.core.training.loop import Progress, train
from kvtui.core.training.run import Run, new_run, resume_run, state_path
from kvtui.core.training.settings import RANGES, TrainingSettings
from kvtui.tui.cli.options import Command, Kind, Real, Whole
from kvtui.tui.cli.signals import stop_on_signal
from kvtui.tui.cli.streams import check_place, note, read_text

_DEFAULT: dict[str, Any] = {field.name: field.default for field in fields(TrainingSettings)}
SETTINGS: tuple[tuple[str, str, str], ...] = (  # option, field of TrainingSettings, help
    ("--seed", "seed", "Seed of the random numbers."),
    ("--context", "context_length", "Context length in characters."),
    ("--layers", "num_layers", "Blocks."),
    ("--heads", "num_heads", "Attention heads per block."),
    ("--embed", "embed_dim", "Embedding width, a multiple of twice the heads."),
    ("--batch", "batch_windows", "Windows per step."),
    ("--dropout", "dropout", "Share of activations dropped."),
    ("--muon-rate", "muon_rate", "Learning rate of the matrices."),
    ("--adam-rate", "adam_rate", "Learning rate of all other parameters."),
    ("--weight-decay", "weight_decay", "Pull of the weights towards zero."),
    ("--warmup", "warmup_steps", "Steps until the full learning rate."),
    ("--decay-from", "decay_from", "Share of the run after which the rates decay to zero."),
    ("--clip", "clip_norm", "Largest norm of all gradients together."),
    ("--validate-every", "validate_every", "Steps between validations."),
)


def _kind(name: str) -> Kind:
    """The type of a setting's option, from the range that the setting has."""
    allowed = RANGES[name]
    if allowed.whole:
        return Whole(int(allowed.low), int(allowed.high))
    return Real(allowed.low, allowed.high, above=allowed.above, below=allowed.below)


def settings_options(command: Command) -> Command:
    """Add an option for every training setting."""
    for flag, name, text in reversed(SETTINGS):
        option = click.option(flag, name, type=_kind(name), default=_DEFAULT[name], show_default=True, help=text)
        command = option(command)
    return command


@click.command("train", short_help="Train a character model on a text.")
@click.argument("textfile", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The model file to write.")
@click.option("--steps", type=_kind("steps"), help=f"Length of the run.  [default: {_DEFAULT['steps']}, or --minutes]")
@click.option("--minutes", type=_kind("minutes"), help="Length of the run in minutes.")
@click.option("--resume", is_flag=True, help="Continue the run that stopped at --out, with its settings.")
@click.option("--force", is_flag=True, help="Overwrite --out.")
@settings_options
@click.pass_context
def train_model(
    ctx: click.Context,
    /,
    textfile: Path,
    out: Path,
    steps: int | None,
    minutes: float | None,
    resume: bool,
    force: bool,
    **values: Any,
) -> None:
    """Train a character model on TEXTFILE. The last tenth of the text is held back for validation.

    --out always holds the best model so far. Ctrl-C saves, and --resume continues exactly.

    \b
      kvtui train shakespeare.txt --out my.safetensors --minutes 60
      kvtui train shakespeare.txt --out my.safetensors --resume
      kvtui train notes.txt --out tiny.safetensors --steps 200 --context 64 --layers 2 --heads 2 --embed 64
      kvtui "Dear " --model my.safetensors
    """
    if steps is not None and minutes is not None:
        raise click.UsageError("--steps and --minutes cannot be used together")
    if resume:
        _refuse_settings(ctx)
    _check_out(textfile, out, resume, force)
    text = read_text(textfile)
    if resume:
        run = resume_run(text, state_path(out))
    else:
        length = _DEFAULT["steps"] if steps is None and minutes is None else steps
        settings = TrainingSettings(steps=length, minutes=minutes, **values)
        run = new_run(text, settings)
    with stop_on_signal() as asked, _reporting(run, len(text)) as report:
        train(run, text, out, report, lambda: asked.ended is not None)
    if asked.ended is not None and run.done() < 1:
        again = f"kvtui train {shlex.quote(str(textfile))} --out {shlex.quote(str(out))} --resume"
        note(f"stopped after step {run.step:,} and saved; continue with: {again}")
        raise asked.ended
    took = f"{counted(run.step, 'step')}, {run.seconds / 60:.1f} minutes"
    note(f"wrote {out}: {took}, best validation loss {run.best:.4f} nats")


def _refuse_settings(ctx: click.Context) -> None:
    """A resumed run keeps its settings; refuse an option that would silently do nothing."""
    for param in ctx.command.params:
        free = param.name in ("textfile", "out", "resume")
        if not free and param.name and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--resume keeps the settings of the run: leave out {param.opts[0]}")


def _check_out(textfile: Path, out: Path, resume: bool, force: bool) -> None:
    """Refuse now, not after an hour of training, a place that cannot be written to."""
    check_place(out, "model.safetensors")
    if out.exists() and textfile.exists() and out.samefile(textfile):
        raise KvtuiError(f"--out {out} is the text itself: give another file")
    if resume or force:
        return
    if out.exists():
        raise KvtuiError(f"{out} exists: add --force to overwrite it, or --resume if its run was stopped")
    if state_path(out).exists():
        raise KvtuiError(f"{state_path(out)} holds a stopped run: add --resume to continue, or --force to start over")


@contextmanager
def _reporting(run: Run, characters: int) -> Iterator[Callable[[Progress], None]]:
    """A progress bar in a terminal, a line per validation elsewhere (a log file)."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    note(describe_run(run, characters))
    console = Console(stderr=True, highlight=False)
    bar = Bar(
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        console=console,
        disable=not console.is_terminal,
    )
    validation = run.curve[-1]["validation_loss"] if run.curve else None

    def report(progress: Progress) -> None:
        nonlocal validation
        new = progress.validation_loss
        validation = validation if new is None else new
        bar.update(task, completed=progress.done, description=describe(progress, validation))
        if new is not None and not console.is_terminal:
            note(f"{progress.done:.0%} · {describe(progress, validation)}")

    with bar:
        task = bar.add_task("first step …", total=1.0)
        bar.update(task, completed=run.done())
        yield report


def describe_run(run: Run, characters: int) -> str:
    """One line on what is about to be trained."""
    settings = run.settings
    length = counted(settings.steps, "step") if settings.steps is not None else f"{settings.minutes:g} minutes"
    return (
        f"training {parameter_count(run.config):,} parameters on {characters:,} characters for {length}"
        f"{f', from step {run.step:,} on' if run.step else ''}; "
        f"validation every {counted(settings.validate_every, 'step')}"
    )


def describe(progress: Progress, validation: float | None) -> str:
    """One line on a step, most important first, as a narrow terminal cuts its end. Losses in nats per character."""
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    left = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    known = "—" if validation is None else f"{validation:.4f}"
    return (
        f"step {progress.step:,} · {left} left · loss {progress.loss:.4f} · validation {known} · "
        f"{progress.tokens_per_second:,.0f} tokens/s"
    )
