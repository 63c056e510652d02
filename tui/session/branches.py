"""The continuations of a text made by forks, as the dashboard keeps them. Does not import Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kvtui.core.events import Branch, Token
from kvtui.tui.session.timeline import Timeline
from kvtui.tui.session.timings import TimingHistory


@dataclass
class Continuation:
    """One branch.

    Attributes:
        begun: how the branch began; None for the original text.
        tokens: the tokens kept, as they were when the user left the branch.
        first: number of the first of them.
        times: cost of all its tokens.
    """

    begun: Branch | None = None
    tokens: list[Token] = field(default_factory=list)
    first: int = 0
    times: TimingHistory = field(default_factory=TimingHistory)


class Branches:
    """The continuations of a text, by number.

    Attributes:
        current: the branch being written.

    Args:
        timeline: holds the tokens of the current branch.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.start()

    def start(self) -> None:
        """Start over with a new text."""
        self._all = [Continuation()]
        self.current = 0

    def __len__(self) -> int:
        return len(self._all)

    def begun(self, number: int) -> Branch | None:
        """How a branch began; None for the original text."""
        return self._all[number].begun

    def tokens(self, number: int) -> list[Token]:
        """The tokens kept of a branch."""
        return self._timeline.tokens if number == self.current else self._all[number].tokens

    def times(self) -> list[TimingHistory]:
        """The cost of each branch's tokens."""
        others = [branch.times for number, branch in enumerate(self._all) if number != self.current]
        return [*others, self._timeline.times]

    def turn_to(self, branch: Branch) -> None:
        """Switch to a branch, either a new one or one left earlier."""
        line, left = self._timeline, self._all[self.current]
        left.tokens, left.first, left.times = line.tokens, line.first, line.times
        if branch.number == len(self._all):
            stays = [token for token in left.tokens if token.position < branch.length]
            times = TimingHistory(shared=stays, prefill=line.prefill)
            self._all.append(Continuation(branch, stays, left.first, times))
        self.current = branch.number
        now = self._all[self.current]
        line.rewind(now.tokens, now.first, now.times)


@dataclass(frozen=True)
class Comparison:
    """Two texts with a common beginning: what they share, and how each continues.

    Attributes:
        shared: number of identical tokens after the prompt.
        before: the end of the shared text.
    """

    shared: int
    before: str
    first: str
    second: str


def compare(first: Sequence[Token], second: Sequence[Token]) -> Comparison:
    """Where two continuations of a prompt diverge."""
    offset = second[0].position - first[0].position if first and second else 0
    one, other = first[max(offset, 0) :], second[max(-offset, 0) :]  # both from the same position on
    same = 0
    while same < min(len(one), len(other)) and one[same].id == other[same].id:
        same += 1
    step = one[same - 1].step + 1 if same else min((token.step for token in (*one[:1], *other[:1])), default=0)

    def text(tokens: Sequence[Token]) -> str:
        return "".join(token.text for token in tokens)

    return Comparison(step, text(one[:same]), text(one[same:]), text(other[same:]))
