"""How the dashboard is opened: what the command line says to it, and the numbers on which both agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kvtui.core.settings import GenerationSettings

DEFAULT_PACE = 25.0  # tokens a second: slow enough to watch

LEAST_WIDTH, LEAST_HEIGHT = 64, 20  # cells of a terminal
INTERRUPTED = 130  # the exit status after Ctrl-C: 128 and the number of the signal


@dataclass(frozen=True)
class DashboardSettings:
    """How to open the dashboard.

    Attributes:
        prompt: written on at once; empty or None opens with the prompt focused.
        model: a file, a folder or the name of a bundled model; None for the bundled one.
        generation: how texts are written, until the user changes it.
        models_dir: where to look for other models, None for the Hugging Face cache.
        tour: whether to begin with the guided tour.
    """

    prompt: str | None = None
    model: str | None = None
    generation: GenerationSettings = GenerationSettings(pace=DEFAULT_PACE)  # noqa: RUF009 - frozen
    models_dir: Path | None = None
    tour: bool = False
