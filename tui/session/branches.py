"""The continuations of a text that forks have made, as the dashboard keeps them. Nothing of Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvtui.core.events import Branch, Token


@dataclass
class Continuation:
    """One branch.

    Attributes:
        begun: how it came about; None for the text that was there first.
        tokens: those that are kept, as they were when it was left.
        first: number of the first of them.
    """

    begun: Branch | None
    tokens: list[Token]
    first: int

    @property
    def text(self) -> str:
        """What was written, as far as it is kept."""
        return "".join(token.text for token in self.tokens)


@dataclass(frozen=True)
class Comparison:
    """Two texts that begin alike: what they share, and how each goes on.

    Attributes:
        shared: tokens after the prompt that are the same in both.
        before: the end of the text that they share.
    """

    shared: int
    before: str
    first: str
    second: str


def compare(first: Sequence[Token], second: Sequence[Token]) -> Comparison:
    """Where two continuations of a prompt part."""
    offset = second[0].position - first[0].position if first and second else 0
    one, other = first[max(offset, 0) :], second[max(-offset, 0) :]  # both from the same position on
    same = 0
    while same < min(len(one), len(other)) and one[same].id == other[same].id:
        same += 1
    step = one[same - 1].step + 1 if same else min((token.step for token in (*one[:1], *other[:1])), default=0)

    def text(tokens: Sequence[Token]) -> str:
        return "".join(token.text for token in tokens)

    return Comparison(step, text(one[:same]), text(one[same:]), text(other[same:]))
