"""The kept tokens of the text in progress. Does not import Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kvtui.core.events import Prefill, Token
from kvtui.tui.session.timings import LIMIT, TimingHistory

_SLACK = 2_048  # discarded at a time


@dataclass(frozen=True)
class Mark:
    """A read position: ``count`` tokens of text number ``text``, and whether its prefill was read."""

    text: int = -1
    count: int = 0
    prefill: bool = False


@dataclass
class News:
    """What is new after a mark. ``reset``: forget everything before it; these are all the tokens kept."""

    reset: bool = False
    prefill: Prefill | None = None
    tokens: Sequence[Token] = field(default_factory=list)


class Timeline:
    """The newest tokens of a text, its prefill, and the cost of its tokens.

    Attributes:
        text: changes whenever the tokens kept no longer begin the text: with every new text and every fork.
        tokens: the tokens kept; ``tokens[0]`` is number ``first`` of the text.
        times: of the prefill and all tokens of the text; stored only here.
        times_before: of the previous text, None if it had no tokens or there was none.
    """

    def __init__(self) -> None:
        self.text = 0
        self.tokens: list[Token] = []
        self.first = 0
        self.times = TimingHistory()
        self.times_before: TimingHistory | None = None

    @property
    def prefill(self) -> Prefill | None:
        """Of the prompt; None before it was run."""
        return self.times.prefill

    @prefill.setter
    def prefill(self, prefill: Prefill) -> None:
        self.times.prefill = prefill

    def start(self) -> None:
        """Start a new text."""
        self.text += 1
        if self.times.total:
            self.times_before = self.times
        self.times = TimingHistory()
        self.tokens = []
        self.first = 0

    def rewind(self, tokens: list[Token], first: int, times: TimingHistory) -> None:
        """Switch to another continuation of the same prompt, with these tokens so far."""
        self.text += 1
        self.tokens, self.first, self.times = tokens, first, times

    def add(self, token: Token) -> None:
        """Add a token that was written."""
        self.tokens.append(token)
        self.times.add([token])
        if len(self.tokens) >= LIMIT + _SLACK:
            del self.tokens[:_SLACK]
            self.first += _SLACK

    @property
    def mark(self) -> Mark:
        """The end."""
        return Mark(self.text, self.first + len(self.tokens), self.prefill is not None)

    @property
    def newest(self) -> Token | None:
        """The newest token, or None."""
        return self.tokens[-1] if self.tokens else None

    def at(self, position: int) -> Token | None:
        """The token at an index of the whole text, if it is kept; tokens of the prompt are not."""
        number = position - self.tokens[0].position if self.tokens else -1
        return self.tokens[number] if 0 <= number < len(self.tokens) else None

    def number(self, position: int) -> int:
        """Which token of those written has a place of the whole text, from 1; 0 or less in the prompt."""
        newest = self.newest
        return position - newest.position + newest.step + 1 if newest else 0

    def nearest(self, position: int) -> int:
        """Index of the kept token nearest to this one; at least one must be kept."""
        return min(max(position, self.tokens[0].position), self.tokens[-1].position)

    def since(self, mark: Mark) -> News:
        """What is new after a mark."""
        if mark.text != self.text or mark.count < self.first:
            return News(True, self.prefill if not self.first else None, list(self.tokens))
        prefill = None if mark.prefill else self.prefill
        return News(False, prefill, self.tokens[mark.count - self.first :])
