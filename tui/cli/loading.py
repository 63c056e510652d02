"""Loading a model, with a progress bar on standard error if it takes noticeable time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from kvtui.core import Model, load
from kvtui.tui.cli.streams import note

PATIENCE = 1.0  # seconds without a bar


@contextmanager
def loading_bar() -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total); it shows a bar, in a terminal only, a second after the first call."""
    console = Console(stderr=True)
    columns = TextColumn("loading the model"), BarColumn(), TaskProgressColumn()
    bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
    task = bar.add_task("", total=None)
    patience: list[Timer] = []

    def on_progress(done: int, total: int) -> None:
        if not patience:
            patience.append(Timer(PATIENCE, bar.start))
            patience[0].start()
        bar.update(task, completed=done, total=total)

    try:
        yield on_progress
    finally:
        for timer in patience:
            timer.cancel()
            timer.join()
        bar.stop()


def load_model(name: str | None) -> Model:
    """Load a model as :func:`kvtui.core.load` does, with the bar; then tell what in its files was ignored."""
    notes: list[str] = []
    with loading_bar() as on_progress:
        model = load(name, on_progress=on_progress, on_note=notes.append)
    for words in notes:
        note(f"{model.name}: {words}")
    return model
