"""Continuations of one text: what has to be kept of each to go on with it later. The cache is shared by all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from kvtui.core.sampling import Sampler


@dataclass
class Branch:
    """A text as far as it was written when another one was turned to.

    Attributes:
        ids: of the whole text.
        dropped: tokens of it that are not in the window any more.
        starts: from the first number on, predictions began at the second.
        written: tokens after the prompt.
        sampler: with the state of its random generator, so that it goes on as if it had never been left.
    """

    ids: list[int]
    dropped: int
    starts: list[tuple[int, int]]
    written: int
    sampler: Sampler

    def copy(self, position: int, sampler: Sampler, prompt_tokens: int) -> Branch:
        """The same text up to a token, that one not included, to be continued by another sampler."""
        starts = [(first, start) for first, start in self.starts if first <= position]
        return Branch(self.ids[:position], self.dropped, starts, position - prompt_tokens, sampler)

    @property
    def window(self) -> list[int]:
        """Ids that the model sees."""
        return self.ids[self.dropped :]


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids at the beginning of two texts are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
