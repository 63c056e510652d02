"""What a reader may ask of the generation loop between two tokens.

What cannot be carried out changes nothing, and :class:`~kvtui.core.events.Unanswered` says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from kvtui.core import events
from kvtui.core.events import Shade


@dataclass(frozen=True)
class SetCache:
    """Turn the cache on or off. The text stays the same; only its price changes."""

    on: bool


@dataclass(frozen=True)
class SetPolicy:
    """Change what the cache keeps (:func:`kvtui.core.cache.parse_policy`).

    The next token runs the window once more under it.
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
    """Tokens a second, or None for as fast as the model goes. The wait is never part of the measured time."""

    tokens_per_second: float | None


@dataclass(frozen=True)
class SetVerify:
    """Run every token without the cache as well, from now on or no longer. It is no part of the measured time."""

    on: bool


@dataclass(frozen=True)
class Fork:
    """Go on from another token: the text before token number ``position`` of the whole text stays, with what the cache
    holds of it, and ``tokens`` take its place, or those that spell ``text``. The length of the text is a position too.

    The branch that was being written is kept, and can be returned to. The new one gets a random generator of its own,
    seeded with the seed of the text and the branch's number: the same forks in the same order give the same texts.
    """

    position: int
    tokens: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Revisit:
    """Go on with a branch where it was left, as if it had never been. Branch 0 is the text that was there first."""

    branch: int


@dataclass(frozen=True)
class Stop:
    """End the generation (reason ``cancelled``)."""


@dataclass(frozen=True)
class ShowAttention:
    """Ask for attention weights of query rows ``first_row`` up to, not including, ``last_row`` of the window.

    Negative rows count from the end, as in a slice; ``last_row`` None means the newest. ``heads`` None means all.
    With ``position`` the window ends for this purpose with that token of the whole text. ``mean`` asks for the mean of
    the heads in place of each.
    """

    answer: ClassVar[type] = events.Attention

    layer: int
    heads: tuple[int, ...] | None = None
    first_row: int = -1
    last_row: int | None = None
    position: int | None = None
    mean: bool = False


@dataclass(frozen=True)
class ShowCache:
    """Ask for what is in the cache: one number a key/value head and position of the layers from ``first_layer`` up to,
    not including, ``last_layer`` (None: all after it).

    ``shade`` says which: the norm of the value, of the key, how much the newest query reads of it, or why it is kept.
    ``length`` asks for the cache as it was with so many positions, None as it is.
    """

    shade: Shade = "value"
    first_layer: int = 0
    last_layer: int | None = None
    length: int | None = None

    answer: ClassVar[type] = events.CacheContents


@dataclass(frozen=True)
class SetHeads:
    """Write on without some heads, (layer, head) pairs counted from 0; an empty tuple brings all back.

    What is cached was computed with other heads, so that the cache is emptied: the next token runs the context once.
    """

    off: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Inspect:
    """Ask how a token came about.

    ``position`` is its place in the whole text, None for the newest. ``heads_off`` are heads to do without, in
    comparison to the whole model; ``continuation`` so many tokens are written greedily from before the token, with
    those heads and without them.
    """

    position: int | None = None
    heads_off: tuple[tuple[int, int], ...] = ()
    continuation: int = 0

    answer: ClassVar[type] = events.Inspection


@dataclass(frozen=True)
class MeasureParts:
    """Ask where the time of one more token goes, with the cache and without; takes half a second or more."""

    answer: ClassVar[type] = events.Breakdown


@dataclass(frozen=True)
class MeasureLimits:
    """Ask what the machine can do at most, which takes about a second."""

    answer: ClassVar[type] = events.Limits


# Changes nothing: answered between two tokens, and after the end, by the function named in core/inspection/__init__.py.
Question = ShowAttention | ShowCache | Inspect | MeasureParts | MeasureLimits

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
