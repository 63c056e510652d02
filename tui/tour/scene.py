"""A snapshot of the dashboard for the tour: its texts quote it, and its checks compare two of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from kvtui.core.commands import Question
from kvtui.core.config import ModelConfig
from kvtui.core.events import Answer, Token
from kvtui.tui.session.comparison import Comparison
from kvtui.tui.session.session import Session
from kvtui.tui.session.state import RunState
from kvtui.tui.session.timings import Kind

Q = TypeVar("Q", bound=Question)


@dataclass(frozen=True)
class Scene:
    """The dashboard at one moment.

    Attributes:
        run: number of the text.
        config: the model's shape.
        parameters: number of parameters of the model.
        itemsize: bytes per number in the cache.
        state: the state of the session.
        token: the newest token; None if none has been written.
        cached: median seconds of the newest tokens with a warm cache; None if there are none.
        uncached: the same without the cache.
        comparison: both at the same length, as the timing pane shows them; None if they are not measured.
        questions: what the visible view asks: they show which layer, head or quantity is chosen in it.
        answers: what has been answered since the previous scene.
        branches: texts made by forks, including the first text.
        typing: whether the prompt has the focus, so that keys are typed.
    """

    run: int
    config: ModelConfig
    parameters: int
    itemsize: int
    state: RunState
    token: Token | None
    cached: float | None
    uncached: float | None
    comparison: Comparison | None
    questions: tuple[Question, ...]
    answers: tuple[Answer, ...]
    branches: int
    typing: bool = False

    def question(self, kind: type[Q]) -> Q | None:
        """The question of this kind that the visible view asks."""
        return next((question for question in self.questions if isinstance(question, kind)), None)


def scene(session: Session, questions: Iterable[Question], answers: Iterable[Answer], typing: bool = False) -> Scene:
    """The current scene."""
    times = session.timeline.times
    model = session.model
    return Scene(
        run=session.run,
        config=model.config,
        parameters=model.parameters,
        itemsize=model.itemsize,
        state=session.state,
        token=session.timeline.newest,
        cached=times.typical(Kind.CACHED),
        uncached=times.typical(Kind.UNCACHED),
        comparison=times.comparison(),
        questions=tuple(questions),
        answers=tuple(answers),
        branches=len(session.branches),
        typing=typing,
    )
