"""``kvtui doctor``: what this machine and its terminal can do, and a self-test, in lines for a bug report."""

from __future__ import annotations

import locale
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version

import click
from threadpoolctl import threadpool_info

from kvtui.core import generate
from kvtui.core.errors import KvtuiError
from kvtui.core.events import Token
from kvtui.core.machine import machine
from kvtui.tui.cli.loading import load_model
from kvtui.tui.cli.options import model_option
from kvtui.tui.cli.streams import write

_PACKAGES = ("kvtui", "numpy", "textual", "textual-plotext", "rich", "click", "safetensors", "tokenizers", "gguf")
_TOKENS = 64
WRONG = 1  # the exit status if the cache is wrong


@click.command("doctor", short_help="Versions, machine, terminal and a self-test, for a bug report.")
@model_option
def doctor(model: str | None) -> None:
    """Say what this machine and its terminal can do, and check the cache on it: lines to paste into a bug report.

    The self-test writes tokens with the cache and compares the logits of each with those of a run without it. The exit
    status is 1 if they differ by more than rounding.

    \b
      kvtui doctor
      kvtui doctor --model ./SmolLM2-135M
    """
    for name, value in (*_software(), *_terminal()):
        write(f"{name:10} {value}\n")
    right, words = self_test(model)
    write(f"{'self-test':10} {words}\n")
    if not right:
        raise click.exceptions.Exit(WRONG)


def self_test(name: str | None) -> tuple[bool, str]:
    """Write with the cache and compare every token's logits with a run without it: whether they agree, and in words."""
    try:
        model = load_model(name)
        run = generate(model, "", max_new_tokens=_TOKENS, seed=1, verify=True)
        tokens = [event for event in run if isinstance(event, Token)]
    except KvtuiError as error:
        return False, f"failed: {error}"
    largest = max((token.max_logit_error or 0.0 for token in tokens), default=0.0)
    wrong = [token for token in tokens if token.beyond_rounding]
    figures = (
        f"{len(tokens)} tokens of {model.name}, largest logit difference {largest:.1e} from a run without the cache"
    )
    if not wrong:
        return True, f"passed: {figures}"
    return False, f"failed: {figures}, more than rounding explains from token {wrong[0].step + 1} on"


def _software() -> Iterator[tuple[str, str]]:
    yield "versions", ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name)))
    yield "machine", machine()
    pools = [
        f"{pool['internal_api']} {pool.get('version') or ''} ({pool.get('architecture', '?')}), "
        f"{pool['num_threads']} threads"
        for pool in threadpool_info()
    ]
    yield "BLAS", "; ".join(pools) or "unknown"
    names = (
        "OPENBLAS_NUM_THREADS",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_CORETYPE",
        "NPY_DISABLE_CPU_FEATURES",
    )
    yield "settings", _environment(names) or "none"


def _terminal() -> Iterator[tuple[str, str]]:
    from rich.console import Console

    columns, lines = shutil.get_terminal_size()
    shown = sys.stdout.isatty()
    colours = Console().color_system or "none"
    names = ("TERM", "COLORTERM", "TERM_PROGRAM", "NO_COLOR", "TMUX", "COLUMNS", "LINES")
    size = f"{columns} × {lines}" if shown else "not a terminal"
    yield "terminal", f"{size}, colours: {colours}, {_environment(names) or 'no TERM'}"
    yield "encoding", f"output {getattr(sys.stdout, 'encoding', None)}, locale {locale.getpreferredencoding(False)}"


def _environment(names: Iterable[str]) -> str:
    """Those of the variables that are set."""
    return ", ".join(f"{name}={os.environ[name]}" for name in names if os.environ.get(name))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
