"""What the command line says to the dashboard, and the numbers on which both agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kvtui.core.sampling import SamplingSettings

LEAST_WIDTH, LEAST_HEIGHT = 64, 20  # cells of a terminal
INTERRUPTED = 130  # the exit status after Ctrl-C: 128 and the number of the signal


@dataclass(frozen=True)
class DashboardSettings:
    """How to open the dashboard.

    Attributes:
        prompt: written on at once; empty or None opens with the prompt focused.
        model: a file, a folder or the name of a bundled model; None for the bundled one.
        cache: whether the cache is on.
        seed: of the sampler.
        sampling: how to choose tokens.
        pace: tokens a second, None for unlimited.
        policy: of the cache, as ``--policy`` has it.
        models_dir: where to look for other models, None for the Hugging Face cache.
        tour: whether to begin with the guided tour.
    """

    prompt: str | None = None
    model: str | None = None
    cache: bool = True
    seed: int = 0
    sampling: SamplingSettings = SamplingSettings()  # noqa: RUF009 - frozen
    pace: float | None = 25.0
    policy: str = "full"
    models_dir: Path | None = None
    tour: bool = False
