"""Textual's pilot waits for what is left to do, not for the processor to be idle."""

from __future__ import annotations

import asyncio

from textual._context import active_app
from textual._wait import wait_for_idle

ROUNDS = 3  # a layout can change a size, and what hears of that can ask for a layout; more would be a loop
TURNS = 10_000  # of the event loop: a number, as a time would be short on a busy machine


async def until_quiet(min_sleep: float = 0, max_sleep: float = 1) -> None:
    """In place of Textual's own, which sleeps 20 ms and more until the process takes little processor time: slow on a
    machine with nothing else to do, and over too soon on a busy one.

    Messages, callbacks and awaited tasks of the app are all in the event loop's queue of what can run now. What waits
    for another thread, process or timer is not: a test waits for that by looking at what is to become true.
    """
    ready = getattr(asyncio.get_running_loop(), "_ready", None)
    app = active_app.get(None)
    if ready is None or app is None:
        await wait_for_idle(min_sleep, max_sleep)
        return
    for _ in range(ROUNDS):
        # What Textual puts off to the next frame is done now.
        if getattr(app, "_resize_timer", None) is not None:
            app._check_resize()
        if app.screen_stack:
            app.screen._on_timer_update()
        quiet = 0
        for _ in range(TURNS):
            await asyncio.sleep(0)
            quiet = 0 if ready else quiet + 1
            if quiet == 2:  # the second turn takes what another thread has handed over
                break
