"""Several ways of writing the same text, side by side: the cache on against off, or one cache policy against another.

All lanes run in one process and take turns token by token, so that a slow moment of the machine falls on all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from kvtui.core import commands as ask
from kvtui.core import events
from kvtui.core.errors import KvtuiError
from kvtui.core.generation import Generation
from kvtui.core.logits import kl_divergence
from kvtui.core.measure.operations import multiply_adds
from kvtui.core.model import Model
from kvtui.core.sampling import Sampler, SamplingSettings


@dataclass(frozen=True)
class Lane:
    """One way of writing the text.

    Attributes:
        label: what to call it.
        cache: whether the cache is on.
        policy: of the cache.
        follow: take the first lane's tokens instead of its own, so that the distributions stay comparable.
    """

    label: str
    cache: bool
    policy: str = "full"
    follow: bool = False


LANES = (Lane("cached", True), Lane("uncached", False))
RaceCommand = ask.Pause | ask.Resume | ask.Step | ask.SetPace | ask.Stop  # what a race obeys


class Race:
    """Lanes that write from the same prompt with the same seed, a token each in turn.

    The first lane's generation obeys the commands (pause, step, pace, stop; whatever else is passed over, as lanes are
    what they are) and sets the pace; the others follow it token by token.

    Args:
        model: the decoder, shared by all lanes.
        prompt: what to go on from.
        lanes: two or more.
        max_new_tokens: when to end, None for never. Past the context the window moves, in all lanes at once.
        seed: of every lane's sampler.
        sampling: how to choose tokens.
        commands: obeyed between two rounds.
        pace: rounds a second, None for as fast as they go.
        paused: wait for a command before the first token.

    Raises:
        KvtuiError: fewer than two lanes, a character that the model never saw, or a number out of range.
    """

    def __init__(
        self,
        model: Model,
        prompt: str,
        lanes: Sequence[Lane] = LANES,
        *,
        max_new_tokens: int | None = None,
        seed: int = 0,
        sampling: SamplingSettings | None = None,
        commands: ask.CommandSource | None = None,
        pace: float | None = None,
        paused: bool = False,
    ) -> None:
        if len(lanes) < 2:
            raise KvtuiError("a race needs two lanes or more")
        sampling = sampling or SamplingSettings()
        start = partial(Generation, model, prompt, seed=seed, sampling=sampling)
        first = start(
            cache=lanes[0].cache,
            policy=lanes[0].policy,
            max_new_tokens=max_new_tokens,
            commands=None if commands is None else _RaceCommands(commands),
            pace=pace,
            paused=paused,
        )
        self._max_new_tokens = max_new_tokens
        generations = [first, *(start(cache=lane.cache, policy=lane.policy) for lane in lanes[1:])]
        self._runners = [
            _Runner(number, lane, generation, first, Sampler(sampling, seed))
            for number, (lane, generation) in enumerate(zip(lanes, generations, strict=True))
        ]
        for runner in self._runners:
            runner.disturbed = not all(lane.cache for lane in lanes)

    @property
    def generations(self) -> list[Generation]:
        """The text of each lane."""
        return [runner.generation for runner in self._runners]

    def run(self) -> Iterator[events.Event]:
        """A ``RacePrefill`` of each lane, then a ``RaceToken`` of each in turn, ``State`` between; one ``RaceEnd``."""
        for runner in self._runners:
            yield runner.prefill(self._max_new_tokens)
        leader = self.generations[0]
        while (reason := leader.end_reason) is None:
            yield from leader.obey()
            if leader.end_reason is None:
                for runner in self._runners:
                    yield runner.step()
        yield self._end(reason, leader.written)

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
    """A lane under way, and what it comes to so far."""

    def __init__(self, number: int, lane: Lane, generation: Generation, first: Generation, sampler: Sampler) -> None:
        self.generation = generation
        self.prefill_seconds = 0.0
        self.agreed = self.compared = self.multiply_adds = 0
        self.kl_total = self.max_logit_difference = 0.0
        self.disturbed = False  # whether another lane's pass drives this one's weights out of the processor
        self._number = number
        self._lane = lane
        self._first = first
        self._sampler = sampler  # tells a following lane what it would have written
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
        """Write a token; if this is not the first lane, once that one has."""
        if self.disturbed:
            self.generation.warm_up()
        follows = self._lane.follow and self.generation is not self._first
        chosen = self._sampler.sample(self.generation.logits)[0] if follows else None
        lead = None if self.generation is self._first else self._first.window[-1]
        evicted = 0
        for event in self.generation.write(lead if follows else None):
            if isinstance(event, events.Evict):
                evicted = event.dropped if event.reason == "context" else 0  # a policy drops one at every token
            else:
                token = event
        agrees = lead is None or lead == (token.id if chosen is None else chosen)
        return self._wrote(token, agrees, evicted)

    def _wrote(self, token: events.Token, agrees: bool, evicted: int) -> events.RaceToken:
        """A token has been written: compare and count."""
        self.agreed += agrees
        self._parted = self._parted or token.id != self._first.window[-1]
        kl, difference = self._compare()
        if kl is not None:
            self.kl_total += kl
            self.compared += 1
        counted = self._count(token.computed, token.context)
        self.multiply_adds += counted
        return events.RaceToken(self._number, token, agrees, kl, difference, counted, evicted)

    def _compare(self) -> tuple[float, float] | tuple[None, None]:
        """Divergence and greatest logit difference from the first lane, if both have the same text before them."""
        if self._parted:
            return None, None
        reference, logits = self._first.logits, self.generation.logits
        difference = float(np.abs(reference - logits).max())
        self.max_logit_difference = max(self.max_logit_difference, difference)
        return kl_divergence(reference, logits), difference

    def _count(self, computed: int, seen: int) -> int:
        return multiply_adds(self.generation.model.config, computed, seen).total


class _RaceCommands:
    """Passes on what a race can obey; lanes are what they are, and nothing in them is observed."""

    def __init__(self, source: ask.CommandSource) -> None:
        self._source = source

    def poll(self, timeout: float | None) -> ask.Command | None:
        command = self._source.poll(timeout)
        return command if isinstance(command, RaceCommand) else None
