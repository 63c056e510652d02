"""One text: its tokens, and the window of them that the model sees. A branch of a text is another sequence."""

from __future__ import annotations

from collections.abc import Sequence as AnySequence
from itertools import takewhile

from kvtui.core.errors import KvtuiError
from kvtui.core.sampling import Sampler
from kvtui.core.tokenizer import TextStream, Tokenizer


def kept_when_full(context_length: int) -> int:
    """Positions that a full window keeps when it moves: the newest half."""
    return max(1, context_length // 2)


def next_context(context: int, context_length: int) -> int:
    """Positions that the next token sees: one more than now, or one more than a full window keeps."""
    return (kept_when_full(context_length) if context == context_length else context) + 1


def kept_of_prompt(tokens: int, context_length: int) -> int:
    """Tokens of a prompt that the window begins with: all of them, or if they leave no room to write, the newest that
    a full window keeps."""
    return tokens if tokens < context_length else kept_when_full(context_length)


def describe_cut(removed: int, kept: int, room: int | None = None) -> str:
    """What has happened to a prompt that left no room to write; ``room`` is what there is now, if known."""
    more = "" if room is None else f", and there is room for {room:,} more"
    return f"the prompt fills the context: its first {removed:,} tokens are removed, its last {kept:,} are used{more}"


class Sequence:
    """A text that grows by one token at a time, and everything needed to continue it later.

    The model sees a window: the newest tokens, at most its context. When that is full, the window moves (see
    :meth:`move_window`). The cache is separate, because all branches of a text share one.

    Attributes:
        ids: tokens of the whole text.
        prompt_tokens: number of tokens in the prompt.
        window_start: index in the whole text of the window's first token.
        sampler: with the state of its random generator.
        text: turns each written token into text, never half a character.

    Args:
        ids: the prompt, at least one token; if it leaves no room to write, the window starts with its last tokens
            (:func:`kept_of_prompt`).
        context_length: positions that the model can use.
        sampler: chooses the tokens that follow.
        tokenizer: gives the text of each token.
    """

    def __init__(self, ids: AnySequence[int], context_length: int, sampler: Sampler, tokenizer: Tokenizer) -> None:
        self.ids = list(ids)
        self.prompt_tokens = len(ids)
        self.window_start = len(ids) - kept_of_prompt(len(ids), context_length)
        self.sampler = sampler
        self._context_length = context_length
        self._tokenizer = tokenizer
        self.text = TextStream(tokenizer, ids)
        # (position, start): tokens from that position on were predicted from a window with that start.
        self._starts = [(0, self.window_start)]

    @property
    def window(self) -> list[int]:
        """The ids in the window."""
        return self.ids[self.window_start :]

    @property
    def window_length(self) -> int:
        """Number of tokens in the window."""
        return len(self.ids) - self.window_start

    @property
    def position(self) -> int:
        """Index in the whole text of the newest token."""
        return len(self.ids) - 1

    @property
    def written(self) -> int:
        """Number of tokens after the prompt."""
        return len(self.ids) - self.prompt_tokens

    @property
    def room(self) -> int:
        """Tokens that can be written before the window moves."""
        return self._context_length - self.window_length

    @property
    def full(self) -> bool:
        """Whether the window has to move before another token fits."""
        return not self.room

    def move_window(self) -> int:
        """Drop the oldest half of a full window; returns the number of tokens dropped.

        Raises:
            KvtuiError: nothing can be dropped, because the context has a single position.
        """
        dropped = self.window_length - kept_when_full(self._context_length)
        if not dropped:
            raise KvtuiError("a context of one position leaves no room to write")
        self.window_start += dropped
        self._starts.append((self.position + 2, self.window_start))  # the next token was predicted before the move
        return dropped

    def context_of(self, position: int) -> list[int]:
        """The ids that the model saw when it predicted the token at an index of the whole text.

        Raises:
            KvtuiError: there is no such token, or it is the first.
        """
        start = next(start for first, start in reversed(self._starts) if first <= position or not first)
        if not start < position < len(self.ids):
            raise KvtuiError(f"token {position} was not predicted: predictions start at token {start + 1}")
        return self.ids[start:position]

    def fork(self, position: int, sampler: Sampler) -> Sequence:
        """The same text up to a token, exclusive, to be continued with another sampler.

        Raises:
            KvtuiError: the token belongs to the prompt, lies beyond the end, or has left the window.
        """
        first = self.prompt_tokens
        if not first <= position <= len(self.ids):
            raise KvtuiError(
                f"no fork at position {position}: there are tokens at {first} to {self.position} to replace"
            )
        if position <= self.window_start:
            raise KvtuiError(
                f"no fork at position {position}: it has left the window, which begins at {self.window_start}"
            )
        branch = Sequence(self.ids[:first], self._context_length, sampler, self._tokenizer)
        for token in self.ids[first:position]:
            branch.ids.append(token)
            branch.text.add(token)
        branch.window_start = self.window_start
        branch._starts = [entry for entry in self._starts if entry[0] < position] + [(position, self.window_start)]
        return branch


def common_length(first: AnySequence[int], second: AnySequence[int]) -> int:
    """Length of the common beginning of two texts."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
