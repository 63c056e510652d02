"""Shared by several commands: number types that state their range, and the model and sampling options."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from kvtui.core.cache import KINDS, CachePolicy, parse_policy
from kvtui.core.errors import KvtuiError
from kvtui.core.sampling import SamplingSettings
from kvtui.core.settings import GenerationSettings

Command = TypeVar("Command", bound=Callable[..., Any])

if TYPE_CHECKING:
    Kind = click.ParamType[Any]
else:
    Kind = click.ParamType  # generic only from click 8.4 on

MOST_TOKENS = 10_000_000
LARGEST_SEED = 2**63 - 1


class Whole(Kind):
    """A whole number from ``low`` to ``high``, both included."""

    name = "integer"

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{_short(value)} is not a whole number from {self.low:,} to {self.high:,}", param, ctx)
        if not self.low <= number <= self.high:
            self.fail(
                f"{_short(value)} is out of range: it must be a whole number from {self.low:,} to {self.high:,}",
                param,
                ctx,
            )
        return number


class Real(Kind):
    """A finite number from ``low`` to ``high``; ``above`` excludes ``low`` itself, ``below`` excludes ``high``."""

    name = "number"

    def __init__(self, low: float, high: float, *, above: bool = False, below: bool = False) -> None:
        self.low, self.high, self.above, self.below = low, high, above, below

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{_short(value)} is not a number {self.range}", param, ctx)
        inside = isfinite(number) and self.low <= number <= self.high
        if not inside or (self.above and number == self.low) or (self.below and number == self.high):
            self.fail(f"{_short(value)} is out of range: it must be {self.range}", param, ctx)
        return number

    @property
    def range(self) -> str:
        """The range as text."""
        low, high = _figure(self.low), _figure(self.high)
        if not (self.above or self.below):
            return f"from {low} to {high}"
        return f"{'above' if self.above else 'at least'} {low} and {'below' if self.below else 'at most'} {high}"


class Pace(Real):
    """Tokens per second, or the word ``unlimited`` (None)."""

    name = "number|unlimited"

    def __init__(self) -> None:
        super().__init__(0.01, 1e6)

    def convert(  # type: ignore[override]
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        # click never converts None, so the word stays a word here; see :func:`pace_value`.
        return "unlimited" if value == "unlimited" else super().convert(value, param, ctx)

    @property
    def range(self) -> str:
        """The range as text."""
        return f"{super().range} tokens per second, or 'unlimited'"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete the word ``unlimited``."""
        return [CompletionItem("unlimited")] if "unlimited".startswith(incomplete) else []


def pace_value(pace: float | str) -> float | None:
    """The pace as the core takes it: None for unlimited."""
    return None if isinstance(pace, str) else pace


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,}"


def _short(value: Any) -> str:
    text = str(value) or "''"
    return text if len(text) <= 40 else f"{text[:37]}…"


def model_option(command: Command) -> Command:
    """Add ``--model``."""
    return click.option(
        "--model",
        metavar="M",
        help="A bundled name, a file (kvtui, GGUF, llama2.c), a Hugging Face folder, or the name of a repository in "
        "the Hugging Face cache, such as openai-community/gpt2. Default: the bundled one.",
        shell_complete=_complete_model,
    )(command)


def _complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the bundled names, those in the Hugging Face cache, and the files that the shell finds."""
    from kvtui.core.loading import bundled_names
    from kvtui.core.loading.hub import repositories

    names = [name for name in (*bundled_names(), *repositories()) if name.startswith(incomplete)]
    return [*map(CompletionItem, names), CompletionItem(incomplete, type="file")]


def fps_option(command: Command) -> Command:
    """Add ``--fps``."""
    return click.option(
        "--fps",
        type=Real(0.1, 60),
        help="Frames per second at most. Default: as many as the terminal takes, up to 12.",
    )(command)


def models_dir_option(words: str) -> Callable[[Command], Command]:
    """Add ``--models-dir``."""
    return click.option(
        "--models-dir",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help=f"{words}  [default: the Hugging Face cache]",
    )


def seed_option(default: int) -> Callable[[Command], Command]:
    """Add ``--seed``."""
    return click.option(
        "--seed", type=Whole(0, LARGEST_SEED), default=default, show_default=True, help="Seed of the random numbers."
    )


class Policy(Kind):
    """A cache policy, as :func:`kvtui.core.cache.parse_policy` reads it."""

    name = "policy"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> CachePolicy:
        try:
            return parse_policy(value)
        except KvtuiError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete the example of each kind."""
        return [
            CompletionItem(kind.example, help=kind.summary) for kind in KINDS if kind.example.startswith(incomplete)
        ]


def policy_option(command: Command) -> Command:
    """Add ``--policy``."""
    return click.option(
        "--policy",
        type=Policy(),
        default="full",
        metavar="P",
        help=f"What the cache keeps: {', '.join(kind.form for kind in KINDS)}, or int8 or int4 with full, window or "
        "sink, as in int8,window:128.  [default: full]",
    )(command)


def check_policy(policy: CachePolicy, no_cache: bool) -> None:
    """Raise click.UsageError if the cache is off but a policy says what it keeps."""
    if no_cache and policy.spec != "full":
        raise click.UsageError(
            f"--no-cache and --policy {policy.spec} cannot be used together: without a cache there is nothing to keep"
        )


def sampling_options(command: Command) -> Command:
    """Add ``--seed --greedy --temperature --top-k --top-p --no-cache``, all that decides how a text is written."""
    defaults = SamplingSettings()
    for option in (
        click.option("--no-cache", is_flag=True, help="Run the whole context for every token: slow, same text."),
        click.option(
            "--top-p", type=Real(0, 1, above=True), help="Only the likeliest tokens that add up to this probability."
        ),
        click.option("--top-k", type=Whole(1, 1 << 24), help="Only the K likeliest tokens."),
        click.option(
            "--temperature",
            type=Real(0, 100),
            help=f"Below 1 is sharper, above 1 flatter, 0 greedy.  [default: {defaults.temperature}]",
        ),
        click.option("--greedy", is_flag=True, help="Always the likeliest token."),
        seed_option(0),
    ):
        command = option(command)
    return command


def sampling_settings(
    greedy: bool, temperature: float | None, top_k: int | None, top_p: float | None
) -> SamplingSettings:
    """The settings that the options ask for.

    Raises:
        click.UsageError: ``--greedy`` together with an option that it would override.
    """
    if greedy:
        given = [
            name
            for name, value in (("--temperature", temperature), ("--top-k", top_k), ("--top-p", top_p))
            if value is not None
        ]
        if given:
            raise click.UsageError(f"--greedy and {given[0]} cannot be used together")
        return SamplingSettings(temperature=0.0)
    if temperature is None:
        temperature = SamplingSettings().temperature
    return SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p)


def generation_settings(
    seed: int,
    greedy: bool,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    no_cache: bool,
    policy: CachePolicy,
) -> GenerationSettings:
    """The settings that :func:`sampling_options` and :func:`policy_option` ask for.

    Raises:
        click.UsageError: options that cannot be used together.
    """
    sampling = sampling_settings(greedy, temperature, top_k, top_p)
    check_policy(policy, no_cache)
    return GenerationSettings(seed=seed, sampling=sampling, cache=not no_cache, policy=policy)
