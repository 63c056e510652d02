"""The tokens of the text that is being written, as far as they are kept. Nothing of Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kvtui.core.events import Prefill, Token
from kvtui.tui.session.timings import LIMIT, TimingHistory

_SLACK = 2_048  # let go at a time


@dataclass(frozen=True)
class Mark:
    """How far someone has read: ``count`` tokens of text number ``text``, and whether its prefill."""

    text: int = -1
    count: int = 0
    prefill: bool = False


@dataclass
class News:
    """What is new after a mark. ``reset``: forget what was before it; these are all the tokens that are kept."""

    reset: bool = False
    prefill: Prefill | None = None
    tokens: Sequence[Token] = field(default_factory=list)


class Timeline:
    """The newest tokens of a text, its prefill, and what its tokens cost.

    Attributes:
        text: changes when what was kept is no longer the beginning of the text: with every new text and every fork.
        tokens: those that are kept, ``tokens[0]`` being number ``first`` of the text.
        times: of all tokens of the text; the only place where they are kept.
        times_before: of the text before, None if there was none with a token.
    """

    def __init__(self) -> None:
        self.text = 0
        self.prefill: Prefill | None = None
        self.tokens: list[Token] = []
        self.first = 0
        self.times = TimingHistory()
        self.times_before: TimingHistory | None = None

    def start(self) -> None:
        """Another text begins."""
        self.text += 1
        if self.times.total:
            self.times, self.times_before = TimingHistory(), self.times
        self.prefill = None
        self.tokens = []
        self.first = 0

    def rewind(self, tokens: list[Token], first: int, times: TimingHistory) -> None:
        """Another continuation of the same prompt: these are its tokens so far."""
        self.text += 1
        self.tokens, self.first, self.times = tokens, first, times

    def add(self, token: Token) -> None:
        """A token was written."""
        self.tokens.append(token)
        self.times.add([token])
        if len(self.tokens) >= LIMIT + _SLACK:
            del self.tokens[:_SLACK]
            self.first += _SLACK

    @property
    def mark(self) -> Mark:
        """The end."""
        return Mark(self.text, self.first + len(self.tokens), self.prefill is not None)

    def at(self, position: int) -> Token | None:
        """The token at a place of the whole text, if it is kept; the prompt's are not."""
        number = position - self.tokens[0].position if self.tokens else -1
        return self.tokens[number] if 0 <= number < len(self.tokens) else None

    def nearest(self, position: int) -> int:
        """The place of the token that is kept nearest to this place; there has to be one."""
        return min(max(position, self.tokens[0].position), self.tokens[-1].position)

    def since(self, mark: Mark) -> News:
        """What has come after a mark."""
        if mark.text != self.text or mark.count < self.first:
            return News(True, self.prefill if not self.first else None, list(self.tokens))
        prefill = None if mark.prefill else self.prefill
        return News(False, prefill, self.tokens[mark.count - self.first :])
