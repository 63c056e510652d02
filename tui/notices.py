"""What the dashboard tells the user in passing. Independent of Textual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["information", "warning", "error"]


def always() -> bool:
    """A notice of something that has happened: it disappears when its time is up."""
    return True


@dataclass(frozen=True)
class Notice:
    """A sentence or two.

    Attributes:
        message: plain text.
        severity: how important it is.
        about: its kind: the next notice of the same kind replaces it. An equal message does so in any case.
        holds: whether what it says is still true; it disappears when not.
    """

    message: str
    severity: Severity = "information"
    about: str = ""
    holds: Callable[[], bool] = always

    def replaces(self, other: Notice) -> bool:
        """Whether it takes the place of another one."""
        return self.message == other.message or bool(self.about and self.about == other.about)
