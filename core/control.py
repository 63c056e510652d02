"""The generation loop: it sets the pace, obeys commands and answers questions while a text is being written.

There is only one such loop. Everything that shows or stores a text reads the events it yields.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from time import perf_counter

from kvtui.core import commands, events
from kvtui.core.cache import CachePolicy, Policy
from kvtui.core.commands import CommandSource
from kvtui.core.errors import KvtuiError
from kvtui.core.generation import Generation
from kvtui.core.inspection import answer
from kvtui.core.model import Model
from kvtui.core.sampling import SamplingSettings
from kvtui.core.settings import GenerationSettings, check_pace


class GenerationLoop:
    """Runs a :class:`~kvtui.core.generation.Generation`, and obeys commands between two tokens.

    :meth:`run` yields the events. A caller that writes the tokens itself, as a race does, calls :meth:`poll_commands`
    before each.

    Attributes:
        generation: the text.
        pace: tokens per second, None for as fast as possible.
        paused: whether it waits before the next token.
        cancelled: whether a command has ended the text.

    Args:
        model: the decoder.
        prompt: what to continue.
        settings: how to write.
        source: of commands, polled between two tokens.

    Raises:
        KvtuiError: a character that the model does not know, or a setting out of range.
    """

    def __init__(
        self,
        model: Model,
        prompt: str,
        settings: GenerationSettings | None = None,
        source: CommandSource | None = None,
    ) -> None:
        self.generation = Generation(model, prompt, settings)
        self.pace = self.generation.settings.pace
        self.paused = self.generation.settings.paused
        self.cancelled = False
        self._source = source
        self._steps_allowed = 0
        self._due = 0.0  # when the next token is due, a time of perf_counter; in the past at unlimited pace

    def run(self) -> Iterator[events.Event]:
        """Prefill, then write tokens until the length is reached, the model ends the text, or a command does."""
        yield self.generation.prefill()
        yield from self.generation.evicted_by_policy()
        yield from self._write()

    def resume(self, command: commands.Fork | commands.Revisit) -> Iterator[events.Event]:
        """Continue after the end, from another position; yields only the refusal if that is impossible."""
        for event in self.handle(command):
            yield event
            if isinstance(event, events.Unanswered):
                return
        yield from self._write()

    def _write(self) -> Iterator[events.Event]:
        generation = self.generation
        self._due = perf_counter()
        self.cancelled, self._steps_allowed = False, 0
        while (reason := self.end_reason) is None:
            yield from self.poll_commands()
            if self.end_reason is None:  # a command may have ended the text
                generation.warm_up(until=self._due)
                yield from generation.write()
        rate = generation.total_written / generation.seconds if generation.seconds else 0.0
        yield events.End(reason, generation.sequence.written, generation.seconds, rate)

    @property
    def end_reason(self) -> events.EndReason | None:
        """Why no further token will be written; None if one will."""
        if self.cancelled:
            return "cancelled"
        sequence, most = self.generation.sequence, self.generation.settings.max_new_tokens
        if sequence.written and sequence.ids[-1] in self.generation.model.tokenizer.stop_ids:
            return "stop"
        return "length" if most is not None and sequence.written >= most else None

    # Commands

    def poll_commands(self) -> Iterator[events.Event]:
        """Handle commands until it is time to prepare for the next token, or no further one will be written."""
        if self.pace is not None:
            self._due = max(self._due + 1.0 / self.pace, perf_counter())
        if self._source is None:
            if self.pace is not None:
                time.sleep(self._seconds_left())
            return
        while self.end_reason is None:
            waiting = self.paused and not self._steps_allowed
            command = self._source.poll(None if waiting else self._seconds_left())
            if command is not None:
                yield from self.handle(command)
            elif not waiting:
                break
        self._steps_allowed = max(0, self._steps_allowed - 1)

    def _seconds_left(self) -> float:
        """Seconds until the next token's warm-up has to begin; 0 at unlimited pace."""
        if self.pace is None:
            return 0.0
        left = max(0.0, self._due - perf_counter())
        return left - self.generation.warm_up_seconds(left)

    def _hold(self) -> None:
        """A token that had to wait for a command is due when the model is warm again."""
        self._due = max(self._due, perf_counter() + self.generation.warm_up_seconds())

    def handle(self, command: commands.Command) -> Iterator[events.Event]:
        """Answer a question; apply any other command, or say why not, and report the state after it."""
        if isinstance(command, commands.Question):
            yield answer(self.generation, command)
            return
        try:
            yield from self.apply(command)
        except KvtuiError as error:
            yield events.Unanswered(command, str(error))
        if not isinstance(command, commands.Stop):
            yield self.state()

    def state(self) -> events.State:
        """The current settings."""
        generation = self.generation
        return events.State(
            cache=generation.cache_on,
            paused=self.paused,
            pace=self.pace,
            heads_off=generation.heads_off,
            verify=generation.verify,
            policy=generation.policy.spec,
        )

    def apply(self, command: commands.Command) -> Iterator[events.Event]:
        """Apply a command that is not a question; nothing happens before the first event is requested.

        Raises:
            KvtuiError: the command cannot be carried out.
        """
        generation = self.generation
        match command:
            case commands.SetCache(on):
                generation.set_cache(on)
            case commands.SetPolicy(policy):
                generation.set_policy(policy)
            case commands.SetHeads(off):
                generation.set_heads(off)
            case commands.SetVerify(on):
                generation.verify = on
            case commands.Pause():
                self.paused, self._steps_allowed = True, 0
            case commands.Resume():
                self.paused, self._steps_allowed = False, 0
                self._hold()
            case commands.Step():
                self.paused = True
                self._steps_allowed += 1
                self._hold()
            case commands.SetPace(pace):
                check_pace(pace)
                self.pace, self._due = pace, perf_counter()
            case commands.Fork(position, tokens, text):
                yield from generation.fork(position, tokens, text)
            case commands.Revisit(branch):
                yield from generation.revisit(branch)
            case commands.Stop():
                self.cancelled = True


def generate(
    model: Model,
    prompt: str,
    *,
    max_new_tokens: int | None = None,
    seed: int = 0,
    cache: bool = True,
    policy: str | CachePolicy | Policy = "full",
    sampling: SamplingSettings | None = None,
    commands: CommandSource | None = None,
    pace: float | None = None,
    paused: bool = False,
    parts: bool = False,
    observe: bool = False,
    verify: bool = False,
) -> Iterator[events.Event]:
    """Write text, one event at a time.

    The same seed gives the same text with the full cache on, off, or toggled at any step, past the context too: when
    the context is full, the oldest half of it is dropped in either case. Other policies write different text.

    Args:
        model: the decoder.
        prompt: what to continue; empty starts from the tokenizer's ``start_id``. If it leaves no room to write in the
            context, only its end is used, and the ``prefill`` event says how much was dropped.
        max_new_tokens: number of tokens to write, None for no limit.
        seed: of the sampler's random generator.
        cache: whether the cache is on at the start.
        policy: what the cache keeps while it is on: a value of ``--policy``, or a policy of your own.
        sampling: how to choose tokens.
        commands: source of commands, polled between two tokens.
        pace: tokens per second, None for as fast as possible. Waiting is never part of a measured time.
        paused: wait for a command before the first token.
        parts: measure where each token's time goes.
        observe: keep what :class:`~kvtui.core.commands.ShowAttention` needs.
        verify: run every token without the cache as well (untimed) and report the largest logit difference.

    Raises:
        KvtuiError: a character that the model does not know, or a number out of range; raised at once, not when read.
    """
    settings = GenerationSettings(
        max_new_tokens=max_new_tokens,
        seed=seed,
        sampling=sampling or SamplingSettings(),
        cache=cache,
        policy=policy,
        pace=pace,
        paused=paused,
        verify=verify,
        parts=parts,
        observe=observe,
    )
    return GenerationLoop(model, prompt, settings, commands).run()
