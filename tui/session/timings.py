"""The cost of tokens: a bounded history of their model time, and statistics of it. Does not import Textual."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from kvtui.core.events import Prefill, Token
from kvtui.tui.session.comparison import Comparison, bin_lengths, bins_of, length_of, nearest

LIMIT = 16_384  # tokens kept; older ones are discarded
_LATELY, _TYPICAL = 200, 30  # tokens searched for those of a kind, and tokens in the median
_SAMPLES = 128  # newest tokens kept in a bin, for each mode
_MISSING = -1  # the kind of a token that was discarded or is still to come

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Cause = Literal["prompt", "cache on", "context full", "policy or heads changed"]


class Kind(IntEnum):
    """How a token was computed."""

    UNCACHED = 0  # the whole context was run
    CACHED = 1  # one position was run
    PREFILL = 2  # many positions were run at once: the prompt, or the context to fill an empty cache again


def kind_of(token: Token) -> Kind:
    """How a token was computed, given the number of positions run for it."""
    if not token.cache:
        return Kind.UNCACHED
    return Kind.PREFILL if token.computed > 1 else Kind.CACHED


def mode_of(token: Token) -> Kind:
    """Whether the cache was on for a token: :attr:`Kind.CACHED` or :attr:`Kind.UNCACHED`."""
    return Kind.CACHED if token.cache else Kind.UNCACHED


@dataclass(frozen=True)
class PrefillTime:
    """The cost of a prefill: running many positions at once.

    Attributes:
        tokens: number of positions run.
        milliseconds: model time; includes sampling, except for the prompt.
        cause: the prompt, or why the cache had to be filled again.
    """

    tokens: int
    milliseconds: float
    cause: Cause = "prompt"

    @property
    def tokens_per_second(self) -> float:
        """Tokens divided by time; NaN if the time is zero."""
        return 1e3 * self.tokens / self.milliseconds if self.milliseconds else math.nan


@dataclass(frozen=True)
class TimingSummary:
    """Statistics of the same tokens, in milliseconds.

    Attributes:
        tokens: number of tokens.
        median: of their times.
        p95: 95th percentile of their times.
        max: time of the slowest.
    """

    tokens: int
    median: float
    p95: float
    max: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second at the median time; NaN if that is zero."""
        return 1e3 / self.median if self.median else math.nan


@dataclass(frozen=True)
class Columns:
    """Part of the history as columns of a graph, oldest first.

    Attributes:
        medians: (columns,) milliseconds: median of the column's tokens of its kind.
        kinds: (columns,) :class:`Kind` of the column's newest token other than prefills; prefill if there is none.
        slowest: (columns,) milliseconds of the slowest token, whatever its kind.
        slowest_kinds: (columns,) :class:`Kind` of that token.
        first: number of the first column; column n starts at token n times the tokens per column, and column -1 is the
            prefill of the prompt.
        tokens: number of the first token, and of the one after the last.
        prefills: index of the column and cost of each prefill.
    """

    medians: Floats
    kinds: Integers
    slowest: Floats
    slowest_kinds: Integers
    first: int = 0
    tokens: tuple[int, int] = (0, 0)
    prefills: tuple[tuple[int, PrefillTime], ...] = ()


@dataclass(frozen=True)
class OwnTimes:
    """Times of tokens, to be combined with those of other branches.

    Attributes:
        total: number of tokens.
        seconds: total model time.
        milliseconds: (tokens,) times of the newest tokens, as many as are kept.
        kinds: (tokens,) :class:`Kind` of each.
        by_length: milliseconds by bin of lengths (:data:`~kvtui.tui.session.comparison.BIN`) and kind.
    """

    total: int
    seconds: float
    milliseconds: Floats
    kinds: Integers
    by_length: Mapping[tuple[int, Kind], Sequence[float]]


NO_COLUMNS = Columns(np.zeros(0), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))


class TimingHistory:
    """The newest ``capacity`` tokens of a text, and medians by length of the text.

    Attributes:
        total: tokens so far, discarded ones included.
        seconds: total model time of the tokens.
        length: positions of the model's window at the newest token.
        first_position: index of the first token in the whole text.
        prefill: of the prompt; None until it has been run.
        shared: number of tokens shared with, and counted by, another branch of the text.

    Args:
        capacity: maximum number of tokens kept.
        shared: the tokens shared with another branch, to start with.
        prefill: of the prompt.
    """

    def __init__(self, capacity: int = LIMIT, shared: Sequence[Token] = (), prefill: Prefill | None = None) -> None:
        self.capacity = capacity
        self.prefill = prefill
        # Twice the room, so that making space costs one copy in `capacity` tokens and the newest stay contiguous.
        self._milliseconds = np.zeros(2 * self.capacity)
        self._kinds = np.zeros(2 * self.capacity, dtype=np.int64)
        self._end = 0
        self._newest: Token | None = None
        self._prefills: dict[int, PrefillTime] = {}  # those after the prompt's, by number of the token
        self.total = 0
        self.seconds = 0.0
        self.length = 0
        self.first_position = 0
        self._from_prompt = True  # whether the first token kept at the start directly follows the prompt
        self._bins: dict[tuple[int, Kind], deque[float]] = {}
        self.add(shared)
        self.shared, self._shared_seconds = self.total, self.seconds

    def add(self, tokens: Sequence[Token]) -> None:
        """Append tokens; the oldest beyond the capacity are discarded."""
        if tokens and not self.total:
            self.first_position = tokens[0].position
            self._from_prompt = tokens[0].step == 0
        self.total += len(tokens)
        self.seconds += sum(token.seconds for token in tokens)
        self._note_prefills(tokens)
        tokens = tokens[-self.capacity :]
        if not tokens:
            return
        if self._end + len(tokens) > 2 * self.capacity:
            self._make_room()
        kinds = list(map(kind_of, tokens))
        milliseconds = [token.seconds * 1e3 for token in tokens]
        new = slice(self._end, self._end + len(tokens))
        self._milliseconds[new] = milliseconds
        self._kinds[new] = kinds
        self._end = new.stop
        self.length = length_of(tokens[-1])
        for token, kind, value in zip(tokens, kinds, milliseconds, strict=True):
            if kind is not Kind.PREFILL:
                for number in bins_of(length_of(token)):
                    self._bins.setdefault((number, kind), deque(maxlen=_SAMPLES)).append(value)

    def _note_prefills(self, tokens: Sequence[Token]) -> None:
        """Record the cost and cause of each prefill among these new tokens."""
        for number, token in enumerate(tokens, self.total - len(tokens)):
            before = self._newest or self.prefill
            if kind_of(token) is Kind.PREFILL:
                cause: Cause = "policy or heads changed"
                if before is not None and not before.cache:
                    cause = "cache on"
                elif before is not None and before.window_start < token.window_start:
                    cause = "context full"
                self._prefills[number] = PrefillTime(token.computed, token.seconds * 1e3, cause)
            self._newest = token

    def _make_room(self) -> None:
        kept = len(self)
        for values in (self._milliseconds, self._kinds):
            values[:kept] = values[self._end - kept : self._end].copy()
        self._end = kept
        oldest = self.total - self.capacity
        self._prefills = {number: cost for number, cost in self._prefills.items() if number >= oldest}

    def __len__(self) -> int:
        return min(self._end, self.capacity)

    @property
    def milliseconds(self) -> Floats:
        """(tokens,) times kept, oldest first."""
        return self._milliseconds[self._end - len(self) : self._end]

    @property
    def kinds(self) -> Integers:
        """(tokens,) the kind of each."""
        return self._kinds[self._end - len(self) : self._end]

    @property
    def newest(self) -> Token | None:
        """The newest token, or None."""
        return self._newest

    @property
    def prompt_time(self) -> PrefillTime | None:
        """The cost of running the prompt; None until it has been run."""
        return None if self.prefill is None else PrefillTime(self.prefill.tokens, self.prefill.seconds * 1e3)

    def summary(self, kind: Kind | None = None, start: int = 0, end: int | None = None) -> TimingSummary | None:
        """Statistics of the tokens kept with numbers ``start`` to ``end - 1``; None if there are none.

        Args:
            kind: only tokens of this kind; by default, all except prefills.
            start: number of the first token.
            end: number after that of the last; by default, the newest is the last.
        """
        oldest = self.total - len(self)
        window = slice(max(start - oldest, 0), max((self.total if end is None else end) - oldest, 0))
        kinds, milliseconds = self.kinds[window], self.milliseconds[window]
        chosen = milliseconds[kinds != Kind.PREFILL if kind is None else kinds == kind]
        if not len(chosen):
            return None
        median, p95, most = np.percentile(chosen, [50, 95, 100])
        return TimingSummary(len(chosen), float(median), float(p95), float(most))

    def measured(self, cached: bool) -> bool:
        """Whether there are tokens with (or without) the cache to compare."""
        kind = Kind.CACHED if cached else Kind.UNCACHED
        return any(key[1] is kind for key in self._bins)

    def own(self) -> OwnTimes:
        """Times of the tokens not counted by another branch of the text."""
        total = self.total - self.shared
        new = slice(max(len(self) - total, 0), None)
        return OwnTimes(
            total, self.seconds - self._shared_seconds, self.milliseconds[new], self.kinds[new], dict(self._bins)
        )

    def typical(self, kind: Kind) -> float | None:
        """Median seconds of the newest tokens of a kind, None if none was among the newest :data:`_LATELY`."""
        milliseconds = self.milliseconds[-_LATELY:][self.kinds[-_LATELY:] == kind]
        return float(np.median(milliseconds[-_TYPICAL:])) / 1e3 if len(milliseconds) else None

    def median(self, number: int, kind: Kind) -> float:
        """Milliseconds of the newest tokens of a kind in a bin of lengths; NaN if there are none."""
        values = self._bins.get((number, kind))
        return float(np.median(values)) if values else math.nan

    def shared_bin(self) -> int | None:
        """The bin of lengths nearest to the newest token's in which both ways were measured."""
        both = (number for number, kind in self._bins if kind is Kind.CACHED and (number, Kind.UNCACHED) in self._bins)
        return nearest(both, self.length)

    def comparison(self) -> Comparison | None:
        """Cached against uncached in the shared bin; None if there is none."""
        number = self.shared_bin()
        if number is None:
            return None
        cached, uncached = (self.median(number, kind) for kind in (Kind.CACHED, Kind.UNCACHED))
        return Comparison(cached, uncached, *bin_lengths(number)) if cached > 0 else None

    def columns(self, width: int, tokens_per_column: int, end: int | None = None) -> Columns:
        """The tokens before number ``end``, by default the newest, in at most ``width`` columns.

        Columns begin at multiples of ``tokens_per_column``, so that a token keeps its neighbours as new ones arrive.
        The prefill of the prompt gets a column of its own before them if there is room.
        """
        per = tokens_per_column
        oldest = self.total - len(self)
        end = self.total if end is None else min(end, self.total)
        if end <= oldest:
            return self._after_prompt(NO_COLUMNS, width)
        first = max((end - 1) // per - width + 1, oldest // per)
        start = max(first * per, oldest)
        before = start - first * per  # tokens of the first column that have been discarded
        count = (end - 1) // per - first + 1
        used = slice(start - oldest, end - oldest)
        milliseconds = np.full(count * per, np.nan)
        kinds = np.full(count * per, _MISSING, dtype=np.int64)
        filled = slice(before, before + end - start)
        milliseconds[filled] = self.milliseconds[used]
        kinds[filled] = self.kinds[used]
        columns = _merge(milliseconds.reshape(count, per), kinds.reshape(count, per))
        prefills = [(number // per - first, cost) for number, cost in self._prefills.items() if start <= number < end]
        columns = replace(columns, first=first, tokens=(start, end), prefills=tuple(prefills))
        return self._after_prompt(columns, width)

    def _after_prompt(self, columns: Columns, width: int) -> Columns:
        """Add the prefill of the prompt if it comes right before these columns and there is room."""
        prompt = self.prompt_time
        whole = self._from_prompt and self.total == len(self)
        if prompt is None or not whole or columns.first or len(columns.kinds) >= width:
            return columns
        time, kind = np.array([prompt.milliseconds]), np.array([int(Kind.PREFILL)])
        return replace(
            columns,
            medians=np.concatenate((time, columns.medians)),
            kinds=np.concatenate((kind, columns.kinds)),
            slowest=np.concatenate((time, columns.slowest)),
            slowest_kinds=np.concatenate((kind, columns.slowest_kinds)),
            first=-1,
            prefills=((0, prompt), *((place + 1, cost) for place, cost in columns.prefills)),
        )

    def beside(self, columns: Columns, tokens_per_column: int) -> Floats:
        """(columns,) medians in milliseconds of the tokens with the same numbers; NaN where there are none."""
        count = len(columns.kinds)
        own = self.columns(count, tokens_per_column, (columns.first + count) * tokens_per_column)
        result = np.full(count, np.nan)
        for place, value in zip(range(own.first - columns.first, count), own.medians, strict=False):
            if place >= 0:
                result[place] = value
        return result


def _merge(milliseconds: Floats, kinds: Integers) -> Columns:
    """Columns of (columns, tokens per column) arrays."""
    count, per = kinds.shape
    rows = np.arange(count)
    decoded = (kinds != _MISSING) & (kinds != Kind.PREFILL)
    newest = per - 1 - np.argmax(decoded[:, ::-1], axis=1)
    kind = np.where(decoded.any(axis=1), kinds[rows, newest], int(Kind.PREFILL))
    of_kind = kinds == kind[:, None]
    ordered = np.sort(np.where(of_kind, milliseconds, np.inf), axis=1)
    number = of_kind.sum(axis=1)
    medians = (ordered[rows, (number - 1) // 2] + ordered[rows, number // 2]) / 2
    slowest = np.argmax(np.where(kinds == _MISSING, -np.inf, milliseconds), axis=1)
    return Columns(medians, kind, milliseconds[rows, slowest], kinds[rows, slowest])
