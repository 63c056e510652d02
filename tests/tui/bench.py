"""The dashboard with a fake generator process, driven through its keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from itertools import count
from typing import Any

from fake_link import MODEL, FakeLink
from textual.pilot import Pilot

from kvtui.core.settings import GenerationSettings
from kvtui.tui.app import KvtuiApp
from kvtui.tui.main_screen import MainScreen
from kvtui.tui.notices import Notice
from kvtui.tui.panes.notices import NoticesPane
from kvtui.tui.session.questions import LEAST_SECONDS, Questions
from kvtui.tui.settings import DashboardSettings
from kvtui.tui.views.watch.view import WatchView
from kvtui.tui.worker.protocol import ModelInfo


async def settle(pilot: Pilot[None]) -> None:
    """Let all be said, answered and drawn: no test may depend on how soon the next tick comes."""
    assert isinstance(pilot.app, KvtuiApp)
    for _ in range(3):  # what is asked at the first tick is answered by the second, and drawn
        await pilot.pause()
        pilot.app.main.tick()
    await pilot.pause()


class Bench:
    """An app under test with its fake link."""

    pilot: Pilot[None]

    def __init__(self, app: KvtuiApp, link: FakeLink) -> None:
        self.app, self.link = app, link
        self._notices: list[str] = []
        app.main.tell = self._tell  # type: ignore[method-assign]  # those on the screen go

    def _tell(self, notice: Notice) -> None:
        self._notices.append(notice.message)
        MainScreen.tell(self.app.main, notice)

    @property
    def watch(self) -> WatchView:
        return self.app.query_one(WatchView)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something to come true; the number of turns is the time limit."""
        for _ in range(500):
            if condition():
                return
            await self.settle()
            if not condition():
                await asyncio.sleep(0.02)  # for another thread or process
        raise AssertionError("what the test waits for did not come true")

    async def settle(self) -> None:
        await settle(self.pilot)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.settle()

    async def click(self, widget: Any = None, offset: Any = (0, 0)) -> None:
        await self.pilot.click(widget, offset=offset)
        await self.settle()

    async def resize(self, width: int, height: int) -> None:
        await self.pilot.resize_terminal(width, height)
        await self.settle()

    def screen_text(self) -> str:
        """All that is on the screen."""
        return "\n".join(
            "".join(segment.text for segment in strip) for strip in self.app.screen._compositor.render_strips()
        )

    def notices(self) -> str:
        """All that the app has told the reader."""
        return "\n".join(self._notices)

    def shown_notices(self) -> list[str]:
        """What it tells the reader now."""
        return [notice.message for notice in self.app.query_one(NoticesPane).notices]


@asynccontextmanager
async def bench(
    prompt: str | None = "ROMEO:", size: tuple[int, int] = (120, 36), model: ModelInfo = MODEL, **settings: Any
) -> AsyncIterator[Bench]:
    link = FakeLink()
    chosen = {field.name: settings.pop(field.name) for field in fields(GenerationSettings) if field.name in settings}
    generation = replace(DashboardSettings().generation, **chosen)
    app = KvtuiApp(link, model, DashboardSettings(prompt=prompt, generation=generation, **settings))
    app.animation_level = "none"  # a scroll that is still under way is no place to look at
    turns = count()
    app.main.questions = Questions(app.session.put_question, clock=lambda: next(turns) * LEAST_SECONDS * 1.01)
    it = Bench(app, link)
    async with app.run_test(size=size) as it.pilot:
        app.main.query_one(NoticesPane).clock = lambda: 0.0  # no notice goes because a test takes its time
        await it.settle()
        yield it
