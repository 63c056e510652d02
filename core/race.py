"""Several ways of writing the same text, side by side: the cache on against off, or one cache policy against another.

All lanes run in one process and take turns token by token, so that a slow moment of the machine affects all of them.
Before each token a lane repeats its newest step, untimed, because the other lanes have evicted its weights from the
processor's caches: all lanes alike, whatever they keep (:meth:`~kvtui.core.generation.Generation.warm_up`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from timeit import repeat

import numpy as np

from kvtui.core import commands, events
from kvtui.core.commands import CommandSource
from kvtui.core.control import GenerationLoop
from kvtui.core.errors import KvtuiError
from kvtui.core.generation import WARM_UP_SECONDS, Generation
from kvtui.core.logits import kl_divergence
from kvtui.core.measure.growth import fit_operations
from kvtui.core.measure.operations import multiply_adds
from kvtui.core.model import Model
from kvtui.core.sampling import Sampler
from kvtui.core.sequence import kept_of_prompt, next_context
from kvtui.core.settings import GenerationSettings

_PASSES = (1, 8, 32, 128, 512)  # positions in the timed forward passes
_PASS_SECONDS = 0.25  # no pass that would take longer is tried


@dataclass(frozen=True)
class Lane:
    """One way of writing the text.

    Attributes:
        label: its name.
        cache: whether the cache is on.
        policy: of the cache.
        follow: use the first lane's tokens instead of its own, so that the distributions stay comparable.
    """

    label: str
    cache: bool
    policy: str = "full"
    follow: bool = False


LANES = (Lane("cached", True), Lane("uncached", False))
RaceCommand = (
    commands.Pause | commands.Resume | commands.Step | commands.SetPace | commands.Stop
)  # those that a race obeys


class Race:
    """Lanes that continue the same prompt with the same seed, taking turns token by token.

    The first lane sets the pace and obeys the commands (pause, step, pace, stop; any other is ignored, as the lanes are
    fixed); the others follow it token by token.

    Args:
        model: the decoder, shared by all lanes.
        prompt: what to continue.
        lanes: two or more; they specify their caches.
        settings: of every lane, except its cache and policy. Past the context the window moves, in all lanes at once.
        source: of commands, polled between two rounds.

    Raises:
        KvtuiError: fewer than two lanes, a character that the model does not know, or a setting out of range.
    """

    def __init__(
        self,
        model: Model,
        prompt: str,
        lanes: Sequence[Lane] = LANES,
        settings: GenerationSettings | None = None,
        source: CommandSource | None = None,
    ) -> None:
        if len(lanes) < 2:
            raise KvtuiError("a race needs two lanes or more")
        settings = settings or GenerationSettings()
        begins = [replace(settings, cache=lane.cache, policy=lane.policy) for lane in lanes]
        self._max_new_tokens = settings.max_new_tokens
        self._leader = GenerationLoop(model, prompt, begins[0], None if source is None else _RaceCommands(source))
        first = self._leader.generation
        generations = [first, *(Generation(model, prompt, begin) for begin in begins[1:])]
        self._runners = [
            _Runner(number, lane, generation, first, Sampler(settings.sampling, settings.seed))
            for number, (lane, generation) in enumerate(zip(lanes, generations, strict=True))
        ]

    @property
    def generations(self) -> list[Generation]:
        """The text of each lane."""
        return [runner.generation for runner in self._runners]

    def run(self) -> Iterator[events.Event]:
        """A ``RacePrefill`` per lane, then a ``RaceToken`` per lane in turn, ``State`` between; one ``RaceEnd``."""
        for runner in self._runners:
            yield runner.prefill(self._max_new_tokens)
        leader = self._leader
        while (reason := leader.end_reason) is None:
            yield from leader.poll_commands()
            if leader.end_reason is None:
                for runner in self._runners:
                    yield runner.step()
        yield self._end(reason, leader.generation.sequence.written)

    def _end(self, reason: events.EndReason, tokens: int) -> events.RaceEnd:
        runners = self._runners
        return events.RaceEnd(
            reason,
            tokens,
            seconds=tuple(runner.generation.seconds for runner in runners),
            prefill_seconds=tuple(runner.prefill_seconds for runner in runners),
            agreed=tuple(runner.agreed for runner in runners),
            kl_mean=tuple(runner.kl_total / max(1, runner.compared) for runner in runners),
            max_logit_difference=tuple(runner.max_logit_difference for runner in runners),
            multiply_adds=tuple(runner.multiply_adds for runner in runners),
        )


class _Runner:
    """A running lane and its totals so far."""

    def __init__(self, number: int, lane: Lane, generation: Generation, first: Generation, sampler: Sampler) -> None:
        self.generation = generation
        self.prefill_seconds = 0.0
        self.agreed = self.compared = self.multiply_adds = 0
        self.kl_total = self.max_logit_difference = 0.0
        self._number = number
        self._lane = lane
        self._first = first
        self._sampler = sampler  # determines what a following lane would have written
        self._parted = False

    def prefill(self, tokens: int | None) -> events.RacePrefill:
        """Run the prompt."""
        prefill = self.generation.prefill()
        self.prefill_seconds = prefill.seconds
        kl, difference = self._compare()
        counted = self._count(prefill.tokens, prefill.tokens)
        return events.RacePrefill(
            self._number, self._lane.label, prefill, tokens, kl or 0.0, difference or 0.0, counted
        )

    def step(self) -> events.RaceToken:
        """Write a token; other lanes do so after the first."""
        self.generation.warm_up(until=perf_counter() + WARM_UP_SECONDS)
        follows = self._lane.follow and self.generation is not self._first
        chosen = self._sampler.sample(self.generation.logits)[0] if follows else None
        lead = None if self.generation is self._first else self._first.sequence.ids[-1]
        evicted = 0
        for event in self.generation.write(lead if follows else None):
            if isinstance(event, events.Evict):
                evicted = event.dropped if event.reason == "context" else 0  # a policy drops one at every token
            else:
                token = event
        agrees = lead is None or lead == (token.id if chosen is None else chosen)
        return self._wrote(token, agrees, evicted)

    def _wrote(self, token: events.Token, agrees: bool, evicted: int) -> events.RaceToken:
        """A token has been written: update comparisons and counts."""
        self.agreed += agrees
        self._parted = self._parted or token.id != self._first.sequence.ids[-1]
        kl, difference = self._compare()
        if kl is not None:
            self.kl_total += kl
            self.compared += 1
        counted = self._count(token.computed, token.context)
        self.multiply_adds += counted
        return events.RaceToken(self._number, token, agrees, kl, difference, counted, evicted)

    def _compare(self) -> tuple[float, float] | tuple[None, None]:
        """Divergence and largest logit difference from the first lane, if both have the same preceding text."""
        if self._parted:
            return None, None
        reference, logits = self._first.logits, self.generation.logits
        difference = float(np.abs(reference - logits).max())
        self.max_logit_difference = max(self.max_logit_difference, difference)
        return kl_divergence(reference, logits), difference

    def _count(self, computed: int, seen: int) -> int:
        return multiply_adds(self.generation.model.config, computed, seen).total


class _RaceCommands:
    """Passes on the commands that a race obeys: its lanes are fixed, and it answers no questions."""

    def __init__(self, source: CommandSource) -> None:
        self._source = source

    def poll(self, timeout: float | None) -> commands.Command | None:
        command = self._source.poll(timeout)
        return command if isinstance(command, RaceCommand) else None


# Before the race


def estimate_race(
    model: Model, prompt_tokens: int, max_new_tokens: int, lanes: Sequence[Lane] = LANES
) -> events.RaceEstimate:
    """Estimate how long every lane would take, from a few timed passes over made-up tokens and counted operations.

    Passes without the cache are timed at growing lengths as long as none takes more than a quarter of a second, and a
    cached step at its shortest. Times at other lengths follow from the multiply-adds. Takes a second or two.
    """
    config = model.config
    uncached = fit_operations(_time_passes(model), lambda context: multiply_adds(config, context, context).total)
    step = _least_time(partial(_first_step, model), 5) / multiply_adds(config, 1, 1).total
    start = kept_of_prompt(max(1, prompt_tokens), config.context_length)
    plan = list(_contexts(config.context_length, start, max_new_tokens))
    seconds = []
    for lane in lanes:
        total = uncached.seconds(start)
        for context, moved in plan:
            one = lane.cache and not moved
            total += step * multiply_adds(config, 1, context).total if one else uncached.seconds(context)
        seconds.append(total)
    labels = tuple(lane.label for lane in lanes)
    return events.RaceEstimate(max_new_tokens, labels, tuple(seconds), sum(moved for _, moved in plan))


def _contexts(context_length: int, start: int, tokens: int) -> Iterator[tuple[int, bool]]:
    """Context of each token to come, and whether the window moves before it."""
    context = start
    for _ in range(tokens):
        moved = context == context_length
        context = next_context(context, context_length)
        yield context, moved


def _time_passes(model: Model) -> list[tuple[int, float]]:
    """(positions, seconds) of passes without a cache, as far as they stay short."""
    ids = np.arange(_PASSES[-1]) % model.config.vocab_size
    times: list[tuple[int, float]] = []
    for positions in _PASSES:
        too_long = times and times[-1][1] * positions / times[-1][0] > _PASS_SECONDS
        if too_long or positions > model.config.context_length:
            break
        times.append((positions, _least_time(partial(model.forward, ids[:positions]), 2)))
    return times


def _first_step(model: Model) -> None:
    model.decode(0, model.new_cache())


def _least_time(work: Callable[[], object], times: int) -> float:
    """Seconds of the fastest of several runs."""
    work()
    return min(repeat(work, number=1, repeat=times))
