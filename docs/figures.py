"""Makes the figures in docs/images with the commands that a user would type: ``python docs/figures.py``.

The timing figure names the machine in its title; run this on an otherwise idle machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kvtui.tui.cli.main import run

IMAGES = Path(__file__).parent / "images"
TEXT = ("ROMEO:", "--seed", "7")
FIGURES: dict[str, tuple[str, ...]] = {
    "attention-head.png": ("attention", *TEXT, "-n", "44", "--layer", "2", "--head", "3"),
    "attention-grid.png": ("attention", *TEXT, "-n", "44"),
    "attention-rollout.png": ("attention", *TEXT, "-n", "44", "--rollout"),
    "growth.svg": ("growth", *TEXT, "-n", "1100"),
    "timing.svg": ("timing",),
}
FROM_BENCHMARKS = ("endless.svg", "stale.svg")  # python benchmarks/endless.py TEXTFILE


def main() -> int:
    """Make all figures."""
    IMAGES.mkdir(exist_ok=True)
    return max(run(["figure", *words, "-o", str(IMAGES / name), "--force"]) for name, words in FIGURES.items())


if __name__ == "__main__":
    sys.exit(main())
