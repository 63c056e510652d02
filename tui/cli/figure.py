"""``kvtui figure``: pictures for a talk or a page, as PNG, SVG or PDF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kvtui.core import Model, figures, generate
from kvtui.core.errors import KvtuiError
from kvtui.core.events import Token
from kvtui.core.figures.attention_maps import attention_maps, check_index
from kvtui.core.figures.support import require_matplotlib
from kvtui.core.machine import machine
from kvtui.core.measure.benchmark import benchmark
from kvtui.core.tokenizer import describe_start
from kvtui.tui.cli.loading import load_model
from kvtui.tui.cli.options import Whole, model_option, seed_option
from kvtui.tui.cli.progress import counting_bar
from kvtui.tui.cli.streams import check_place, note, read_prompt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Command = TypeVar("Command", bound=Callable[..., Any])
MOST_TOKENS = 100_000
_WARM_UP_TOKENS = 8


class Kinds(click.Group):
    """A group that lists its commands when asked for one that does not exist."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or list the existing ones."""
        if args and args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"there is no figure '{args[0][:40]}': choose {', '.join(self.commands)}", ctx)
        return super().resolve_command(ctx, args)


@click.group("figure", cls=Kinds, no_args_is_help=False, short_help="Attention, growth and timing as figures.")
def figure() -> None:
    """Draw a figure to a file: .png, .svg or .pdf. Needs Matplotlib (pip install 'kvtui[plot]').

    \b
      kvtui figure attention "ROMEO:" -n 100 --layer 2 --head 0 -o attention.png
      kvtui figure growth "ROMEO:" -n 400 -o growth.svg
      kvtui figure timing -o timing.pdf
    """


def _output_options(command: Command) -> Command:
    """Add ``-o`` and ``--force``."""
    for option in (
        click.option("--force", is_flag=True, help="Overwrite the file."),
        click.option(
            "-o",
            "--output",
            "out",
            required=True,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Output file: a name that ends in .png, .svg or .pdf.",
        ),
    ):
        command = option(command)
    return command


def _text_options(command: Command) -> Command:
    """Add ``PROMPT -n --seed --model``: which text the figure is about."""
    for option in (
        model_option,
        seed_option(0),
        click.option(
            "-n", "count", type=Whole(0, MOST_TOKENS), default=100, show_default=True, help="Tokens to generate."
        ),
        click.argument("prompt", required=False),
    ):
        command = option(command)
    return command


@figure.command("attention", short_help="Heat maps of attention weights.")
@_text_options
@click.option("--layer", type=int, help="Only this layer, counted from 0: L1 of the dashboard is 0.")
@click.option("--head", type=int, help="Only this head, counted from 0: H1 of the dashboard is 0.")
@click.option("--rollout", is_flag=True, help="One map over all layers (Abnar & Zuidema 2020).")
@_output_options
def attention(
    prompt: str | None,
    count: int,
    seed: int,
    model: str | None,
    layer: int | None,
    head: int | None,
    rollout: bool,
    out: Path,
    force: bool,
) -> None:
    """What every head attends to in PROMPT and the tokens generated after it. '-' reads the prompt from a pipe.

    All layers and heads side by side; with --layer or --head only those; with both a large map with the text along
    its axes. The map holds the tokens that are in the context at the end.

    \b
      kvtui figure attention "ROMEO:" -n 60 --layer 2 --head 0 -o head.png
      kvtui figure attention "ROMEO:" -n 100 -o all.pdf
      kvtui figure attention "ROMEO:" -n 60 --rollout -o rollout.svg
    """
    if rollout and (layer is not None or head is not None):
        raise click.UsageError("--rollout is over all layers and heads: leave out --layer and --head")
    _prepare(out, force)
    decoder = load_model(model)
    for kind, index, size in (("layer", layer, decoder.config.num_layers), ("head", head, decoder.config.num_heads)):
        if index is not None:
            check_index(kind, index, size)
    maps = attention_maps(decoder, _prompt(decoder, prompt), count, seed)
    if rollout:
        picture = figures.attention_rollout(maps)
    elif layer is not None and head is not None:
        picture = figures.attention_head(maps, layer, head)
    else:
        layers, heads = (None if index is None else [index] for index in (layer, head))
        picture = figures.attention_grid(maps, layers, heads)
    _save(picture, out)


@figure.command("growth", short_help="Bytes in the cache against the formula.")
@_text_options
@_output_options
def growth(prompt: str | None, count: int, seed: int, model: str | None, out: Path, force: bool) -> None:
    """Bytes that the KV cache holds after every token, measured, against the formula. '-' reads the prompt from a pipe.

    \b
      kvtui figure growth "ROMEO:" -n 400 -o growth.png
      kvtui figure growth "ROMEO:" -n 1500 -o past-the-context.svg
    """
    _prepare(out, force)
    decoder = load_model(model)
    run = generate(decoder, _prompt(decoder, prompt), max_new_tokens=count, seed=seed)
    _save(figures.cache_growth(decoder.config, run, decoder.dtype.itemsize), out)


@figure.command("timing", short_help="Time per token, cached and uncached.")
@_text_options
@click.option("--repeats", type=Whole(1, 1000), help="Rounds without a PROMPT; the medians are drawn.  [default: 9]")
@_output_options
@click.pass_context
def timing(
    ctx: click.Context,
    /,
    prompt: str | None,
    count: int,
    seed: int,
    model: str | None,
    repeats: int | None,
    out: Path,
    force: bool,
) -> None:
    """Time per token against context, cached and uncached, with fitted curves.

    Without a PROMPT, the medians of 'kvtui bench'; with one, every token of a text that is written twice, with the
    cache and without. '-' reads the prompt from a pipe.

    \b
      kvtui figure timing -o timing.png
      kvtui figure timing "ROMEO:" -n 300 -o tokens.svg
    """
    _refuse_idle_options(ctx, prompt, repeats)
    _prepare(out, force)
    decoder = load_model(model)
    if prompt is None:
        with counting_bar("rounds") as on_progress:
            result = benchmark(decoder, repeats=repeats or 9, on_progress=on_progress)
        picture = figures.time_per_token(
            result.cached_seconds,
            result.uncached_seconds,
            result.floor_seconds,
            f"{result.model}, {result.threads} threads; {result.machine}"
            + ("\ndoubtful: the machine was busy" if result.doubts else ""),
        )
    else:
        text = _prompt(decoder, prompt)
        if count < 2:
            raise KvtuiError("timing a text takes at least two tokens: give -n 2 or more")
        for cache in (True, False):  # warm up, so that neither is measured cold
            _token_times(decoder, text, _WARM_UP_TOKENS, seed, cache)
        cached, uncached = (_token_times(decoder, text, count, seed, cache) for cache in (True, False))
        picture = figures.time_per_token(cached, uncached, caption=f"{decoder.name}; {machine()}")
    _save(picture, out)


def _refuse_idle_options(ctx: click.Context, prompt: str | None, repeats: int | None) -> None:
    """Refuse an option that would silently do nothing."""
    if prompt is not None and repeats is not None:
        raise click.UsageError("--repeats is for the benchmark, which takes no PROMPT: leave one out")
    for name, flag in (("count", "-n"), ("seed", "--seed")):
        if prompt is None and ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{flag} is for timing a text: give a PROMPT as well")


def _token_times(model: Model, prompt: str, count: int, seed: int, cache: bool) -> list[tuple[int, float]]:
    """(context, seconds) of every token, without those that refilled the cache after the window moved."""
    return [
        (event.context, event.seconds)
        for event in generate(model, prompt, max_new_tokens=count, seed=seed, cache=cache)
        if isinstance(event, Token) and (not cache or event.computed == 1)
    ]


def _prompt(model: Model, prompt: str | None) -> str:
    """The prompt to start from; without one, the model's own first token, with a note that says so.

    Raises:
        KvtuiError: the prompt is given but empty.
    """
    if prompt is None:
        note(f"no PROMPT was given: starting from {describe_start(model.tokenizer)}")
        return ""
    text = read_prompt(prompt)
    if not text:
        raise KvtuiError("the prompt is empty: give some text to start from, such as 'ROMEO:'")
    return text


def _prepare(out: Path, force: bool) -> None:
    """Refuse now, not after the work, what cannot be drawn or written.

    Raises:
        KvtuiError: Matplotlib is missing, the suffix names no format, or the file cannot or must not be written.
    """
    figures.figure_format(out)
    check_place(out, "figure.png")
    if out.exists() and not force:
        raise KvtuiError(f"{out} already exists: add --force to overwrite it")
    require_matplotlib()


def _save(picture: Figure, out: Path) -> None:
    figures.save_figure(picture, out)
    note(f"wrote {out}")
