"""Commands that are given while a text is written, after so many tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from kvtui.core import Model, generate
from kvtui.core.commands import Command
from kvtui.core.events import Event, Token


class Script:
    """Commands to give after given numbers of written tokens; ends the test if the loop would wait for ever."""

    def __init__(self, generation_steps: Mapping[int, Sequence[Command]]) -> None:
        self.plan = dict(generation_steps)
        self.pending: deque[Command] = deque()
        self.polls: list[float | None] = []
        self.written = 0
        self._give()

    def _give(self) -> None:
        self.pending.extend(self.plan.pop(self.written, []))

    def saw(self, event: Event) -> None:
        if isinstance(event, Token):
            self.written += 1
            self._give()

    def poll(self, timeout: float | None) -> Command | None:
        self.polls.append(timeout)
        if self.pending:
            return self.pending.popleft()
        assert timeout is not None, "the loop waits for a command that never comes"
        return None


def run(model: Model, plan: Mapping[int, Sequence[Command]], count: int | None = 40, **options) -> list[Event]:
    script = Script(plan)
    events = []
    for event in generate(model, "hello", max_new_tokens=count, seed=3, commands=script, **options):
        script.saw(event)
        events.append(event)
    return events


def text(events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))
