"""What a user may request of the generation loop between two tokens.

A command that cannot be carried out changes nothing, and :class:`~kvtui.core.events.Unanswered` says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from kvtui.core import events
from kvtui.core.events import Answer, Quantity


@dataclass(frozen=True)
class SetCache:
    """Turn the cache on or off. The text stays the same; only the time of a token changes.

    Attributes:
        on: whether the cache should be on.
    """

    on: bool


@dataclass(frozen=True)
class SetPolicy:
    """Change what the cache keeps (:func:`kvtui.core.cache.parse_policy`).

    The next token recomputes the window under the new policy.

    Attributes:
        policy: such as ``sink:4+124``.
    """

    policy: str


@dataclass(frozen=True)
class Pause:
    """Wait before the next token until resumed. Questions are still answered."""


@dataclass(frozen=True)
class Resume:
    """Continue after a pause."""


@dataclass(frozen=True)
class Step:
    """Write one token and pause; several in a row write as many tokens."""


@dataclass(frozen=True)
class SetPace:
    """Change the pace. The wait is never part of the measured time.

    Attributes:
        tokens_per_second: from 0.01 to 1,000,000, or None for as fast as possible.
    """

    tokens_per_second: float | None


@dataclass(frozen=True)
class SetVerify:
    """Start or stop running every token without the cache as well. It is not part of the measured time.

    Attributes:
        on: whether to compare.
    """

    on: bool


@dataclass(frozen=True)
class Fork:
    """Continue from another token. The text before it stays, with what the cache holds of it.

    The branch being left is kept, and can be returned to. The new one gets its own random generator, seeded with the
    seed of the text and the branch's number: the same forks in the same order give the same texts.

    Attributes:
        position: index in the whole text of the first token to replace; the text's length to append.
        tokens: ids that replace it.
        text: alternative to ``tokens``: text to encode with the longest tokens that fit.
    """

    position: int
    tokens: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Revisit:
    """Continue a branch where it was left, as if it had never been left. Branch 0 is the original text.

    Attributes:
        branch: its number.
    """

    branch: int


@dataclass(frozen=True)
class Stop:
    """End the generation (reason ``cancelled``)."""


class Question:
    """A command that changes nothing: it is answered between two tokens, and after the end of the text.

    The function that answers it is named in :data:`kvtui.core.inspection.ANSWERS`.

    Attributes:
        answer: the kind of event that answers it.
    """

    answer: ClassVar[type[Answer]]


@dataclass(frozen=True)
class ShowAttention(Question):
    """Ask for attention weights of some query rows of the window. Negative rows count from the end, as in a slice.

    Attributes:
        layer: counted from 0.
        heads: which heads, None for all.
        first_row: first query row, by default the newest.
        last_row: the row after the last, None for the end.
        position: index in the whole text of the token where the window is taken to end; None for the newest.
        mean: whether the mean of the heads is wanted instead of each head.
    """

    answer: ClassVar[type[Answer]] = events.Attention

    layer: int
    heads: tuple[int, ...] | None = None
    first_row: int = -1
    last_row: int | None = None
    position: int | None = None
    mean: bool = False


@dataclass(frozen=True)
class ShowCache(Question):
    """Ask for the cache's contents: a number for each key/value head and position of some layers.

    Attributes:
        quantity: which number: the norm of the ``value`` or of the ``key``, the newest query's ``attention`` to it, or
            the ``reason`` why it is kept.
        first_layer: counted from 0.
        last_layer: the layer after the last, None for all.
        length: show the cache as it was at that many positions; None as it is now.
    """

    quantity: Quantity = "value"
    first_layer: int = 0
    last_layer: int | None = None
    length: int | None = None

    answer: ClassVar[type[Answer]] = events.CacheContents


@dataclass(frozen=True)
class SetHeads:
    """Continue with some heads switched off.

    The cached keys and values were computed with other heads, so the cache is emptied: the next token recomputes them.

    Attributes:
        off: (layer, head) pairs, counted from 0; an empty tuple switches all heads on.
    """

    off: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Inspect(Question):
    """Ask how a token came about.

    Attributes:
        position: index of the token in the whole text, None for the newest.
        heads_off: (layer, head) pairs to switch off, for comparison with the whole model.
        continuation: number of tokens to write greedily from before the token, with those heads and without them; only
            if heads are named.
    """

    position: int | None = None
    heads_off: tuple[tuple[int, int], ...] = ()
    continuation: int = 0

    answer: ClassVar[type[Answer]] = events.Inspection


@dataclass(frozen=True)
class MeasureParts(Question):
    """Ask where the time of one more token goes, with the cache and without; takes half a second or more."""

    answer: ClassVar[type[Answer]] = events.Breakdown


@dataclass(frozen=True)
class MeasureLimits(Question):
    """Ask for the machine's limits, which takes about a second."""

    answer: ClassVar[type[Answer]] = events.Limits


Command = (
    SetCache | SetPolicy | SetHeads | SetVerify | Pause | Resume | Step | SetPace | Fork | Revisit | Stop | Question
)


class CommandSource(Protocol):
    """Where commands come from: a pipe, a queue, or a list in a test."""

    def poll(self, timeout: float | None) -> Command | None:
        """The next command, waiting for it up to ``timeout`` seconds (None: indefinitely); None if there is none.

        ``poll(0)`` must be cheap: it is called after every token.
        """
        ...
