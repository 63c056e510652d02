"""Makes the screenshots in docs/images from the running dashboard: ``python docs/screenshots.py``.

The app is the real one, with its generator process and the bundled model; only the terminal is Textual's headless one.
The times in the pictures are measured while this runs, so run it on an otherwise idle machine.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from kvtui.core.settings import GenerationSettings
from kvtui.tui.app import KvtuiApp
from kvtui.tui.settings import DEFAULT_PACE, DashboardSettings
from kvtui.tui.worker.link import WorkerLink

IMAGES = Path(__file__).parent / "images"
PATIENCE = 120.0  # seconds

# After this many tokens, press these keys.
Plan = tuple[tuple[int, str], ...]
TOGGLED: Plan = ((140, "t"), (230, "t"), (320, "space"))


@dataclass(frozen=True)
class Shot:
    """A picture: its file name, the terminal's size, the keys to press, and what the app is called in its title."""

    name: str
    columns: int
    rows: int
    plan: Plan
    caption: str = "kvtui"


RACED: Plan = ((20, "2"), (20, "n"), (20, "n"), (20, "n"), (20, "enter"), (0, "u"), (256, "s"))
HEAVY: Plan = ((8, "P"), *((0, "down"),) * 3, (0, "enter"))  # the fourth of the list: heavy hitters and the last
POLICIES: Plan = ((20, "2"), (0, "o"), *((0, "down"),) * 3, (0, "enter"), (0, "enter"), (0, "u"))  # sinks, after off
LAYER_3, HEAD_2 = ((0, "right_square_bracket"),) * 2, ((0, "greater_than_sign"),)
UNCACHED_CHAPTER = ((30, "6"), *((0, "space"),) * 5)

SHOTS = (
    Shot("watch", 120, 36, TOGGLED),
    Shot("light", 120, 36, (*TOGGLED, (0, "d"))),
    Shot("heads", 150, 44, (*TOGGLED, (0, "h"))),
    Shot("small", 80, 24, TOGGLED),
    Shot("race", 120, 36, RACED),
    Shot("cache", 120, 36, ((20, "3"), (220, "space"))),
    Shot("policy", 120, 36, (*HEAVY, (9, "3"), *((0, "k"),) * 3, (260, "space"))),
    Shot("policies", 120, 36, (*POLICIES, (500, "s"))),
    Shot("time", 120, 36, ((20, "5"), (150, "t"), (180, "t"), (220, "m"), (300, "space"))),
    Shot("anatomy", 120, 36, ((20, "4"), (150, "space"), *LAYER_3, *HEAD_2, (0, "x"))),
    Shot("tour", 120, 36, (*UNCACHED_CHAPTER, (140, "t"), (200, "full_stop"))),
    Shot("help", 100, 40, (*TOGGLED, (0, "question_mark"))),
)


async def shoot(shot: Shot) -> str:
    """Run the app through the plan and return its picture as SVG."""
    link = WorkerLink()
    try:
        link.start()
        app = KvtuiApp(
            link,
            link.wait_ready(),
            DashboardSettings("ROMEO:", generation=GenerationSettings(seed=7, pace=DEFAULT_PACE)),
        )
        async with app.run_test(size=(shot.columns, shot.rows)) as pilot:
            for tokens, key in shot.plan:
                await _until(lambda tokens=tokens: app.session.state.written >= tokens)
                await pilot.press(key)
            await asyncio.sleep(1.0)  # for the attention of the last token, and what is drawn late
            await pilot.pause()
            return app.export_screenshot(title=shot.caption)
    finally:
        link.close()


async def _until(happened: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not happened():
        if monotonic() > deadline:
            raise TimeoutError("the dashboard did not get that far")
        await asyncio.sleep(0.02)


def main() -> None:
    """Make all pictures, or those that are named: ``python docs/screenshots.py watch small``."""
    wanted = set(sys.argv[1:])
    unknown = wanted - {shot.name for shot in SHOTS}
    if unknown:
        sys.exit(f"there is no screenshot {', '.join(sorted(unknown))}: choose {', '.join(s.name for s in SHOTS)}")
    IMAGES.mkdir(exist_ok=True)
    for shot in SHOTS:
        if not wanted or shot.name in wanted:
            path = IMAGES / f"{shot.name}.svg"
            path.write_text(asyncio.run(shoot(shot)), encoding="utf-8")
            sys.stderr.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
