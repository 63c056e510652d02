"""The generation loop: the one place where text is written. Everything that shows or stores it reads its events."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator
from time import perf_counter_ns
from typing import Any

import numpy as np

from kvtui.core import commands as ask
from kvtui.core import events
from kvtui.core.cache import CachePolicy, FullCache, Policy, parse_policy
from kvtui.core.config import parameter_count
from kvtui.core.errors import KvtuiError
from kvtui.core.inspection import answer
from kvtui.core.inspection.anatomy import Inspector
from kvtui.core.layers import Array
from kvtui.core.logits import rounding
from kvtui.core.model import Head, Model
from kvtui.core.observe import AttentionRecord, Stopwatch
from kvtui.core.sampling import Sampler, SamplingSettings
from kvtui.core.sequence import Branch, common_length
from kvtui.core.tokenizer import TextStream, spell

_WARM_UPS = 8  # steps until one takes what it takes in a row, measured
_PROCESSOR_CACHE = 1 << 26  # bytes; of a larger model hardly anything stays there


class Generation:
    """One text being written.

    :meth:`run` yields the events. Between two tokens it obeys the commands that ``commands`` holds. The arguments are
    those of :func:`generate`. Whoever wants to set the steps himself, as a race does, calls :meth:`prefill` once and
    then :meth:`obey` and :meth:`write` for each token.

    Attributes:
        window: ids that the model sees: the newest tokens, at most its context.
        dropped: tokens of the text before them.
        cache_start: place in the whole text of the cache's first position.
        logits: (V,) what the model expects after them.
        computed: positions that the newest step has run.
        record: queries and keys of the window, if observing.
    """

    def __init__(
        self,
        model: Model,
        prompt: str,
        *,
        max_new_tokens: int | None = None,
        seed: int = 0,
        cache: bool = True,
        policy: str | CachePolicy | Policy = "full",
        sampling: SamplingSettings | None = None,
        commands: ask.CommandSource | None = None,
        pace: float | None = None,
        paused: bool = False,
        parts: bool = False,
        observe: bool = False,
        verify: bool = False,
    ) -> None:
        if max_new_tokens is not None and max_new_tokens < 0:
            raise KvtuiError(f"max_new_tokens is {max_new_tokens}; it has to be 0 or more")
        self.model = model  # the one that writes: the whole model, or without some heads
        self._whole = model
        self._inspector: Inspector | None = None
        self.policy = parse_policy(policy)
        self.cache = model.new_cache(self.policy)
        self.cache_on = cache
        self.pace = _check_pace(pace)
        self.paused = paused
        ids = model.tokenizer.encode(prompt) or [model.tokenizer.start_id]
        self.dropped = max(0, len(ids) - model.config.context_length)
        self.window = ids[self.dropped :]
        self.heads_off: tuple[Head, ...] = ()
        self.logits: Array = np.empty(0)
        self.written = 0
        self.computed = 0
        self.seconds = 0.0
        self._ids = ids  # of the whole text
        self._prompt_tokens = len(ids)
        self._starts = [(0, self.dropped)]  # from the first number on, predictions began at the second
        self._branches: list[Branch | None] = [None]  # those that are not being written
        self._branch = 0
        self._made = 0  # tokens of all branches
        self._max_new_tokens = max_new_tokens
        self._seed = seed
        self._sampler = Sampler(sampling or SamplingSettings(), seed)
        self._commands = commands
        self.record = AttentionRecord(model.config, model.dtype) if observe else None
        self._stopwatch = Stopwatch() if parts else None
        self._verify = verify
        self.cache_start = 0
        self._text = TextStream(model.tokenizer, self.window[-1])
        self._steps_allowed = 0
        self.cancelled = False
        self._due = 0.0
        if cache:
            model.prepare()

    @property
    def position(self) -> int:
        """Place in the whole text of the newest token."""
        return self.dropped + len(self.window) - 1

    def run(self) -> Iterator[events.Event]:
        """Prefill, then a token after the other until the length is reached, the model ends the text, or a command."""
        yield self.prefill()
        yield from self._evicted_by_policy()
        yield from self._write_on()

    def resume(self, command: ask.Fork | ask.Revisit) -> Iterator[events.Event]:
        """Write on after the end, from another place; only the refusal if that cannot be."""
        for event in self._carry_out(command):
            yield event
            if isinstance(event, events.Unanswered):
                return
        yield from self._write_on()

    def _write_on(self) -> Iterator[events.Event]:
        self._due = time.perf_counter()
        self.cancelled, self._steps_allowed = False, 0
        while (reason := self.end_reason) is None:
            yield from self.obey()
            if self.end_reason is None:  # a command may have ended the text
                if self.pace is not None or self.paused:
                    self.warm_up(math.inf if self.pace is None else time.perf_counter() + 0.5 / self.pace)
                yield from self.write()
        rate = self._made / self.seconds if self.seconds else 0.0
        yield events.End(reason, self.written, self.seconds, rate)

    @property
    def end_reason(self) -> events.EndReason | None:
        """Why no token is to be written after those that there are; None if one is."""
        if self.cancelled:
            return "cancelled"
        if self.written and self.window[-1] in self.model.tokenizer.stop_ids:
            return "stop"
        return "length" if self._max_new_tokens is not None and self.written >= self._max_new_tokens else None

    # Tokens, and the window that they are predicted from

    def prefill(self) -> events.Prefill:
        """Run the prompt."""
        started = perf_counter_ns()
        if self._stopwatch:
            self._stopwatch.start()
        logits = self._run_window()
        seconds = (perf_counter_ns() - started) / 1e9
        self.logits = logits.copy()
        return events.Prefill(
            tokens=len(self.window),
            seconds=seconds,
            cache=self.cache_on,
            cache_bytes=self.cache.bytes_used,
            prompt=self.model.tokenizer.decode(self.window),
            dropped=self.dropped,
            parts=self._stopwatch.parts() if self._stopwatch else None,
            cached_positions=self.cache.num_held,
        )

    def write(self, token: int | None = None) -> Iterator[events.Evict | events.Token]:
        """One more token: sampled, or the one that is given. An ``evict`` first where something was dropped for it."""
        if len(self.window) == self.model.config.context_length:
            if self.cache_on and self.cache.endless:
                self._move_window()
            else:
                yield self._evict()
        written = self._next_token(token)
        yield from self._evicted_by_policy()
        yield written

    def _evicted_by_policy(self) -> Iterator[events.Evict]:
        positions, queries = self.cache.take_evicted()  # (layers, G, n), (n,)
        count = len(queries)
        if count:
            if self.record is not None:
                self.record.drop(positions, queries)
            oldest = self.cache_start + self.cache.oldest
            yield events.Evict(count, self.cache.num_held, oldest, "policy", positions + self.cache_start)

    def _missing(self) -> list[int]:
        """The end of the window that the cache has not seen."""
        if not self.cache.length:
            self.cache_start = self.dropped
            if self.record is not None:
                self.record.restart(self.cache if self.cache_on else None)
        return self.window[self.cache_start + self.cache.length - self.dropped :]

    def _run_window(self) -> Array:
        """Run what the cache does not hold yet: one token, or the whole window when the cache is off or was emptied.

        Returns:
            Logits after the newest token, (V,).
        """
        missing = self._missing()
        self.computed = len(missing)
        if self.cache_on and len(missing) == 1 and self.cache.length:
            return self.model.decode(missing[0], self.cache, record=self.record, stopwatch=self._stopwatch)
        cache = self.cache if self.cache_on else None
        return self.model.forward(missing, cache, last=True, record=self.record, stopwatch=self._stopwatch)[0]

    def _next_token(self, given: int | None) -> events.Token:
        started = perf_counter_ns()
        if self._stopwatch:
            self._stopwatch.start()
        token, logprob = self._sampler.sample(self.logits, given)
        if self._stopwatch:
            self._stopwatch.mark("sampling")
        self.window.append(token)
        self._ids.append(token)
        logits = self._run_window()
        seconds = (perf_counter_ns() - started) / 1e9
        self.logits = logits.copy()  # they may lie in a buffer of the model's, which its next step overwrites
        event = events.Token(
            step=self.written,
            position=self.position,
            id=token,
            text=self._text.add(token),
            logprob=logprob,
            seconds=seconds,
            cache=self.cache_on,
            context=self.cache.num_held if self.cache_on else len(self.window),
            computed=self.computed,
            cached_positions=self.cache.num_held,
            cache_bytes=self.cache.bytes_used,
            parts=self._stopwatch.parts() if self._stopwatch else None,
            **(self._compare() if self._verify else {}),
        )
        self.written += 1
        self._made += 1
        self.seconds += seconds
        return event

    def _compare(self) -> dict[str, Any]:
        """The newest prediction against one without the cache, as fields of a token."""
        expected = self.model.forward(self.window, last=True)[0]
        tolerance = rounding(expected)
        return {
            "max_logit_error": float(np.abs(expected - self.logits).max()),
            "argmax_agrees": bool(expected[self.logits.argmax()] >= expected.max() - tolerance),
            "logit_tolerance": tolerance,
        }

    def warm_up(self, until: float = math.inf) -> None:
        """Repeat the newest cached step, not timed, as if there had been no wait since.

        A step of a small model finds its weights in the processor's caches. After a wait, or after another pass through
        the model, they are not there, and the step was measured at more than twice the time that it takes in a row.
        Nothing happens without a warm cache that keeps everything, or if the model does not fit, or after ``until``, a
        time of ``perf_counter``.
        """
        cache, length = self.cache, self.cache.length
        fits = parameter_count(self.model.config) * self.model.dtype.itemsize <= _PROCESSOR_CACHE
        if fits and self.cache_on and isinstance(cache, FullCache) and 0 < length == len(self.window) < cache.capacity:
            sampler = Sampler(self._sampler.settings, 0)
            for _ in range(_WARM_UPS):
                if time.perf_counter() > until:
                    break
                sampler.sample(self.logits)
                self.model.decode(self.window[-1], cache)
                cache.truncate(length)

    def _evict(self) -> events.Evict:
        """Drop the oldest half of the window. The next step runs the rest again, at its new positions."""
        dropped = self._move_window()
        self.cache.reset()
        return events.Evict(dropped, len(self.window), self.dropped)

    def _move_window(self) -> int:
        """Drop the oldest half of the window, but nothing of the cache; how many that are."""
        kept = max(1, self.model.config.context_length // 2)
        dropped = len(self.window) - kept
        if not dropped:
            raise KvtuiError("a context of one position leaves no room to write")
        self.window = self.window[-kept:]
        self.dropped += dropped
        if self.record is not None:
            self.record.move(kept)
        self._starts.append((self.position + 2, self.dropped))  # the next token was predicted before
        return dropped

    # Branches

    def fork(self, wanted: ask.Fork) -> Iterator[events.Branch | events.Evict | events.Token]:
        """Begin another branch: the same text up to a token, then the given tokens in its place.

        Raises:
            KvtuiError: there is no such token to replace, or no token for what was given.
        """
        first, position, tokenizer = self._prompt_tokens, wanted.position, self.model.tokenizer
        if not first <= position <= len(self._ids):
            raise KvtuiError(
                f"no fork at position {position}: there are tokens at {first} to {len(self._ids) - 1} to replace"
            )
        if position <= self.dropped:
            raise KvtuiError(f"no fork at position {position}: it has left the window, which begins at {self.dropped}")
        tokens = wanted.tokens or tuple(spell(tokenizer, wanted.text, self._ids[position - 1]))
        if not all(0 <= token < self.model.config.vocab_size for token in tokens):
            raise KvtuiError(
                f"no fork with tokens {tokens}: the vocabulary has 0 to {self.model.config.vocab_size - 1}"
            )
        if not tokens:
            raise KvtuiError("no fork without a token to go on with")
        number, left = len(self._branches), self._set_down()
        self._branches.append(None)
        yield from self._take_up(number, left.copy(position, self._sampler.reseeded(self._seed, number), first))
        for token in tokens:
            yield from self.write(token)

    def revisit(self, wanted: ask.Revisit) -> Iterator[events.Branch | events.Evict]:
        """Go on with a branch where it was left.

        Raises:
            KvtuiError: there is no such branch, or it is being written.
        """
        branch = self._branches[wanted.branch] if 0 <= wanted.branch < len(self._branches) else None
        if branch is None:
            raise KvtuiError(f"no branch {wanted.branch} to go back to")
        self._set_down()
        yield from self._take_up(wanted.branch, branch)

    def _set_down(self) -> Branch:
        """Keep the branch that is being written, for later."""
        branch = Branch(self._ids, self.dropped, self._starts, self.written, self._sampler)
        self._branches[self._branch] = branch
        return branch

    def _take_up(self, number: int, branch: Branch) -> Iterator[events.Branch | events.Evict]:
        """Write a branch from now on: what the cache holds of it stays, the rest of its window is run.

        The newest token is run in any case, for what the model expects after it.
        """
        before, parent, old = self._ids, self._branch, self.window if self.dropped == branch.dropped else []
        self._ids, self.dropped, self._starts = branch.ids, branch.dropped, branch.starts
        self.written, self._sampler, self.window = branch.written, branch.sampler, branch.window
        self._text = TextStream(self.model.tokenizer, self._ids[self._prompt_tokens - 1])
        for token in self._ids[self._prompt_tokens :]:  # a character may be half written
            self._text.add(token)
        self._branches[number], self._branch = None, number
        reused = self._keep_cached(min(common_length(old, self.window), len(self.window) - 1))
        started = perf_counter_ns()
        self.logits = self._run_window().copy()
        seconds = (perf_counter_ns() - started) / 1e9
        position = common_length(before, self._ids)
        yield events.Branch(number, parent, position, len(self._ids), reused, self.computed, seconds)
        yield from self._evicted_by_policy()

    def _keep_cached(self, count: int) -> int:
        """Keep of the cache what it holds of the window's first ``count`` tokens; how many of them that are.

        A policy that cannot go back keeps nothing, and the window is run again.
        """
        before = self.dropped - self.cache_start if self.cache.length else 0
        count = max(0, min(count, self.cache.length - before))
        try:
            self.cache.truncate(before + count if count else 0)
        except KvtuiError:
            self.cache.reset()
            return 0
        return count

    # Commands

    def obey(self) -> Iterator[events.Event]:
        """Obey commands until the next token is due, or there is none to come."""
        if self.pace is not None:
            self._due = max(self._due + 1.0 / self.pace, time.perf_counter())
        if self._commands is None:
            if self.pace is not None:
                time.sleep(max(0.0, self._due - time.perf_counter()))
            return
        while self.end_reason is None:
            waiting = self.paused and not self._steps_allowed
            timeout = None if waiting else max(0.0, self._due - time.perf_counter()) if self.pace is not None else 0.0
            command = self._commands.poll(timeout)
            if command is not None:
                yield from self._carry_out(command)
            elif not waiting:
                break
        self._steps_allowed = max(0, self._steps_allowed - 1)

    def _carry_out(self, command: ask.Command) -> Iterator[events.Event]:
        """Answer a question; obey anything else, or say why not, and tell how it stands then."""
        if isinstance(command, ask.Question):
            yield answer(self, command)
            return
        try:
            yield from self.change(command)
        except KvtuiError as error:
            yield events.Unanswered(command, str(error))
        if not isinstance(command, ask.Stop):
            yield events.State(self.cache_on, self.paused, self.pace, self.heads_off, self._verify, self.policy.spec)

    def change(self, command: ask.Command) -> Iterator[events.Event]:
        """Obey a command that is no question, now; nothing is done before the first event is asked for.

        Raises:
            KvtuiError: it cannot be obeyed.
        """
        match command:
            case ask.SetCache(on):
                if not on:
                    self.cache.reset()
                self.cache_on = on
            case ask.SetPolicy(policy):
                parsed = parse_policy(policy)
                self.cache = self.model.new_cache(parsed)
                self.policy = parsed
            case ask.Pause():
                self.paused, self._steps_allowed = True, 0
            case ask.Resume():
                self.paused, self._steps_allowed = False, 0
            case ask.Step():
                self.paused = True
                self._steps_allowed += 1
            case ask.SetPace(pace):
                self.pace = _check_pace(pace)
                self._due = time.perf_counter()
            case ask.SetHeads(off):
                self.set_heads(off)
            case ask.SetVerify(on):
                self._verify = on
            case ask.Fork():
                yield from self.fork(command)
            case ask.Revisit():
                yield from self.revisit(command)
            case ask.Stop():
                self.cancelled = True

    def set_heads(self, off: Collection[Head]) -> None:
        """Write on without some heads. The next token was predicted already; those after it are predicted without them.

        Raises:
            KvtuiError: there is no such head.
        """
        self.model = self._whole.without_heads(off) if off else self._whole
        self.heads_off = tuple(sorted(set(off)))
        self.cache.reset()  # its keys and values were computed with other heads

    # Questions

    def context_of(self, position: int) -> list[int]:
        """The ids that the model saw when it predicted the token at a position of the whole text.

        Raises:
            KvtuiError: there is no such token, or nothing stood before it.
        """
        start = next(start for first, start in reversed(self._starts) if first <= position or not first)
        if not start < position < len(self._ids):
            raise KvtuiError(f"no prediction was made of token {position}: there are those of {start + 1} and after")
        return self._ids[start:position]

    def inspect(self, wanted: ask.Inspect) -> events.Inspection:
        """How a token came about; answers after the end of the run as well.

        Raises:
            KvtuiError: no prediction was made of that token, or there is no such head.
        """
        position = self.position if wanted.position is None else wanted.position
        context = self.context_of(position)
        if self._inspector is None:
            self._inspector = Inspector(self._whole)
        return self._inspector.inspect(
            context,
            self._ids[position],
            self._sampler.settings,
            wanted.heads_off,
            wanted.continuation,
            position=position,
            written=position >= self._prompt_tokens,
        )


def _check_pace(pace: float | None) -> float | None:
    if pace is not None and not 0.01 <= pace <= 1e6:
        raise KvtuiError(f"pace is {pace}; it has to be from 0.01 to 1,000,000 tokens a second, or unlimited")
    return pace


def generate(
    model: Model,
    prompt: str,
    *,
    max_new_tokens: int | None = None,
    seed: int = 0,
    cache: bool = True,
    policy: str | CachePolicy | Policy = "full",
    sampling: SamplingSettings | None = None,
    commands: ask.CommandSource | None = None,
    pace: float | None = None,
    paused: bool = False,
    parts: bool = False,
    observe: bool = False,
    verify: bool = False,
) -> Iterator[events.Event]:
    """Write text, one event at a time.

    The same seed gives the same text with the full cache on, off, or toggled at any step, as far as the text goes: when
    the context is full the oldest half of it is dropped in either case. Other policies write another text.

    Args:
        model: the decoder.
        prompt: what to go on from; empty starts from the tokenizer's ``start_id``. If it is longer than the context,
            its end is used and the ``prefill`` event says how much was dropped.
        max_new_tokens: when to end, None for never.
        seed: of the sampler's random generator.
        cache: whether to begin with the cache on.
        policy: what the cache keeps while it is on: as ``--policy`` has it, or one of your own.
        sampling: how to choose tokens.
        commands: obeyed between two tokens.
        pace: tokens a second, None for as fast as the model goes. Waiting is never part of a measured time.
        paused: wait for a command before the first token.
        parts: measure where each token's time goes.
        observe: keep what :class:`~kvtui.core.commands.ShowAttention` needs.
        verify: run every token without the cache as well (not timed) and report the greatest logit difference.

    Raises:
        KvtuiError: a character that the model never saw, or a number out of range; at once, not when first read.
    """
    return Generation(
        model,
        prompt,
        max_new_tokens=max_new_tokens,
        seed=seed,
        cache=cache,
        policy=policy,
        sampling=sampling,
        commands=commands,
        pace=pace,
        paused=paused,
        parts=parts,
        observe=observe,
        verify=verify,
    ).run()
