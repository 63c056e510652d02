"""What the tour sees of the dashboard at one moment: its texts quote it, and its checks compare two of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from kvtui.core.commands import Question
from kvtui.core.config import ModelConfig
from kvtui.core.events import Answer, Token
from kvtui.tui.session.figures import Figures
from kvtui.tui.session.session import Session

Q = TypeVar("Q", bound=Question)

_NEWEST = 200  # tokens searched for times
_MEDIAN_OF = 30


@dataclass(frozen=True)
class Scene:
    """The dashboard at one moment.

    Attributes:
        view: title of the visible view.
        run: number of the text.
        config: the model's shape.
        parameters: numbers in the model.
        itemsize: bytes per number in the cache.
        figures: the state of the session.
        token: the newest token; None if none has been written.
        cached: median seconds of the newest tokens with a warm cache; None if there are none.
        uncached: the same without the cache.
        questions: what the visible view asks: they show which layer, head or quantity is chosen in it.
        answers: what has been answered since the previous scene.
        branches: texts made by forks, including the first text.
    """

    view: str
    run: int
    config: ModelConfig
    parameters: int
    itemsize: int
    figures: Figures
    token: Token | None
    cached: float | None
    uncached: float | None
    questions: tuple[Question, ...]
    answers: tuple[Answer, ...]
    branches: int

    def question(self, kind: type[Q]) -> Q | None:
        """The question of this kind that the visible view asks."""
        return next((question for question in self.questions if isinstance(question, kind)), None)


def scene(session: Session, view: str, questions: Iterable[Question], answers: Iterable[Answer]) -> Scene:
    """The current scene."""
    tokens = session.timeline.tokens
    newest = tokens[-_NEWEST:]
    ready = session.ready
    return Scene(
        view=view,
        run=session.run,
        config=ready.config,
        parameters=ready.parameters,
        itemsize=ready.cache_bytes_per_position // ready.config.cache_bytes_per_token(1),
        figures=session.figures,
        token=tokens[-1] if tokens else None,
        cached=_typical([token.seconds for token in newest if token.cache and token.computed == 1]),
        uncached=_typical([token.seconds for token in newest if not token.cache]),
        questions=tuple(questions),
        answers=tuple(answers),
        branches=len(session.branches),
    )


def _typical(seconds: Sequence[float]) -> float | None:
    return median(seconds[-_MEDIAN_OF:]) if seconds else None
