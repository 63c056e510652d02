"""What a reader may ask of the generation loop between two tokens.

What cannot be carried out changes nothing, and :class:`~kvtui.core.events.Unanswered` says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from kvtui.core import events
from kvtui.core.events import Answer, Shade


@dataclass(frozen=True)
class SetCache:
    """Turn the cache on or off. The text stays the same; only its price changes.

    Attributes:
        on: whether the cache is to be on.
    """

    on: bool


@dataclass(frozen=True)
class SetPolicy:
    """Change what the cache keeps (:func:`kvtui.core.cache.parse_policy`).

    The next token runs the window once more under it.

    Attributes:
        policy: such as ``sink:4+124``.
    """

    policy: str


@dataclass(frozen=True)
class Pause:
    """Wait before the next token until told otherwise. Requests for attention are still answered."""


@dataclass(frozen=True)
class Resume:
    """Go on."""


@dataclass(frozen=True)
class Step:
    """Write one token and pause; several in a row write as many."""


@dataclass(frozen=True)
class SetPace:
    """Change the pace. The wait is never part of the measured time.

    Attributes:
        tokens_per_second: from 0.01 to 1,000,000, or None for as fast as the model goes.
    """

    tokens_per_second: float | None


@dataclass(frozen=True)
class SetVerify:
    """Run every token without the cache as well, from now on or no longer. It is no part of the measured time.

    Attributes:
        on: whether to compare.
    """

    on: bool


@dataclass(frozen=True)
class Fork:
    """Go on from another token: the text before token number ``position`` of the whole text stays, with what the cache
    holds of it, and ``tokens`` take its place, or those that spell ``text``. The length of the text is a position too.

    The branch that was being written is kept, and can be returned to. The new one gets a random generator of its own,
    seeded with the seed of the text and the branch's number: the same forks in the same order give the same texts.

    Attributes:
        position: the first token to replace, by its place in the whole text; the text's length to add to it.
        tokens: ids that take its place.
        text: instead of ``tokens``: text that is spelled with the longest tokens that fit.
    """

    position: int
    tokens: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Revisit:
    """Go on with a branch where it was left, as if it had never been. Branch 0 is the text that was there first.

    Attributes:
        branch: its number.
    """

    branch: int


@dataclass(frozen=True)
class Stop:
    """End the generation (reason ``cancelled``)."""


class Question:
    """What a command is that changes nothing: answered between two tokens, and after the end of the text.

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
        position: the token of the whole text with which the window ends for this purpose; None for the newest.
        mean: whether the mean of the heads is wanted in place of each.
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
    """Ask for what is in the cache: a number for each key/value head and position of some layers.

    Attributes:
        shade: which number: the norm of the ``value`` or of the ``key``, how much the newest query ``read`` of it, or
            ``why`` it is kept.
        first_layer: counted from 0.
        last_layer: the layer after the last, None for all.
        length: the cache as it was with so many positions, None as it is.
    """

    shade: Shade = "value"
    first_layer: int = 0
    last_layer: int | None = None
    length: int | None = None

    answer: ClassVar[type[Answer]] = events.CacheContents


@dataclass(frozen=True)
class SetHeads:
    """Write on without some heads, (layer, head) pairs counted from 0; an empty tuple brings all back.

    What is cached was computed with other heads, so that the cache is emptied: the next token runs the context once.

    Attributes:
        off: (layer, head) pairs, counted from 0; an empty tuple brings all heads back.
    """

    off: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Inspect(Question):
    """Ask how a token came about.

    Attributes:
        position: place of the token in the whole text, None for the newest.
        heads_off: (layer, head) pairs to do without, in comparison to the whole model.
        continuation: tokens to write greedily from before the token, with those heads and without them; only if heads
            are named.
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
    """Ask what the machine can do at most, which takes about a second."""

    answer: ClassVar[type[Answer]] = events.Limits


Command = (
    SetCache | SetPolicy | SetHeads | SetVerify | Pause | Resume | Step | SetPace | Fork | Revisit | Stop | Question
)


class CommandSource(Protocol):
    """Where commands come from: a pipe, a queue, or a list in a test."""

    def poll(self, timeout: float | None) -> Command | None:
        """The next command, waiting for it up to ``timeout`` seconds (None: for ever); None if there is none.

        ``poll(0)`` must be cheap: it is called after every token.
        """
        ...
