"""Settings with which the command line opens the dashboard, and constants that both use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kvtui.core.settings import GenerationSettings

DEFAULT_PACE = 25.0  # tokens per second: slow enough to watch

LEAST_WIDTH, LEAST_HEIGHT = 64, 20  # cells of a terminal
INTERRUPTED = 130  # exit status after Ctrl-C: 128 plus the number of the signal


@dataclass(frozen=True)
class DashboardSettings:
    """How the dashboard starts.

    Attributes:
        prompt: continued at once; if empty or None, the dashboard opens with the prompt focused.
        model: a file, a folder or the name of a bundled model; None for the bundled one.
        generation: settings of texts, until the user changes them.
        models_dir: folder to search for other models, None for the Hugging Face cache.
        tour: whether to start with the guided tour.
        fps: most frames per second that are drawn while no key is pressed; None for as many as the terminal takes.
    """

    prompt: str | None = None
    model: str | None = None
    generation: GenerationSettings = GenerationSettings(pace=DEFAULT_PACE)  # noqa: RUF009 - frozen
    models_dir: Path | None = None
    tour: bool = False
    fps: float | None = None

    @property
    def least_frame_seconds(self) -> float:
        """Least time from one frame to the next."""
        return 1 / self.fps if self.fps else 0.0
