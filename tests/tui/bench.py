"""The dashboard with a fake generator process, driven through its keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fake_link import READY, FakeLink
from textual.pilot import Pilot

from kvtui.tui.app import KvtuiApp
from kvtui.tui.settings import DashboardSettings
from kvtui.tui.views.watch import WatchView


class Bench:
    """An app under test with its fake link."""

    def __init__(self, app: KvtuiApp, link: FakeLink, pilot: Pilot[None]) -> None:
        self.app, self.link, self.pilot = app, link, pilot

    @property
    def watch(self) -> WatchView:
        return self.app.query_one(WatchView)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something to come true; the test's time limit is the number of turns."""
        for _ in range(200):
            if condition():
                return
            await self.pilot.pause(0.02)
        raise AssertionError("what the test waits for did not come true")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    def screen_text(self) -> str:
        """All that is on the screen."""
        return "\n".join(
            "".join(segment.text for segment in strip) for strip in self.app.screen._compositor.render_strips()
        )

    def notices(self) -> str:
        return "\n".join(notice.message for notice in self.app._notifications)


@asynccontextmanager
async def bench(
    prompt: str | None = "ROMEO:", size: tuple[int, int] = (120, 36), **settings: Any
) -> AsyncIterator[Bench]:
    link = FakeLink()
    app = KvtuiApp(link, READY, DashboardSettings(prompt=prompt, **settings))
    app.animation_level = "none"  # a scroll that is still under way is no place to look at
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield Bench(app, link, pilot)
