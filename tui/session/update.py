"""What has happened since a view was last updated. Does not import Textual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from kvtui.core.events import Answer, Prefill, Token
from kvtui.tui.notices import Notice, Severity, always
from kvtui.tui.worker.protocol import ModelInfo

A = TypeVar("A", bound=Answer)


@dataclass
class Update:
    """What has happened since the last update.

    Attributes:
        reset: discard what was shown of the text: ``prefill`` and ``tokens`` are all that is kept of the one to show.
        prefill: the prompt has been run.
        tokens: new tokens, in order; many at once if the pace is high or the view was hidden.
        answers: to questions.
        model: another model has been loaded, or the same one by another process.
        notices: for the user; the app shows them.
    """

    reset: bool = False
    prefill: Prefill | None = None
    tokens: Sequence[Token] = ()
    answers: list[Answer] = field(default_factory=list)
    model: ModelInfo | None = None
    notices: list[Notice] = field(default_factory=list)

    @property
    def news(self) -> bool:
        """Whether the text is longer than before, or another one."""
        return bool(self.reset or self.prefill or self.tokens)

    def answer(self, kind: type[A]) -> A | None:
        """The newest answer of a kind."""
        return next((answer for answer in reversed(self.answers) if isinstance(answer, kind)), None)

    def note(
        self, message: str, severity: Severity = "information", about: str = "", holds: Callable[[], bool] = always
    ) -> None:
        """Add a notice for the user."""
        self.notices.append(Notice(message, severity, about, holds))
