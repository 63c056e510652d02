"""Writes the tokens of a text, one at a time: prefill, one more token, another branch.

Nothing here waits, obeys commands or answers questions: :mod:`kvtui.core.control` does.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np

from kvtui.core import events
from kvtui.core.cache import CachePolicy, Policy, parse_policy
from kvtui.core.cache.rehearsal import Rehearsal
from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array
from kvtui.core.logits import rounding
from kvtui.core.model import Head, Model
from kvtui.core.observe import AttentionRecord, Stopwatch
from kvtui.core.overflow import check_finite
from kvtui.core.sampling import Sampler
from kvtui.core.sequence import Sequence, common_length
from kvtui.core.settings import GenerationSettings
from kvtui.core.tokenizer import last_with_text, spell

_WARM_UPS = 8  # steps until the time of a step has settled, measured
WARM_UP_SECONDS = 0.01  # of repeats; the longer a step, the less a cold start adds to it: after that, one is enough
_LONGEST_REPEAT = 0.25  # seconds; no key is answered during a repeat
_MARGIN = 1.5  # the first repeat is cold, and a wait may end late


class Generation:
    """A text being written, with its branches and the cache that they share.

    Call :meth:`prefill` once, then :meth:`write` for each token.

    Attributes:
        model: the model in use: the whole model, or the model without some heads.
        whole_model: the model with all of its heads.
        settings: the initial settings; what can be changed later is in the attributes below.
        sequence: the branch being written.
        cache: keys and values of its newest positions.
        cache_on: whether the cache is used.
        cache_start: index in the whole text of the cache's first position.
        policy: what the cache keeps.
        heads_off: (layer, head) pairs switched off.
        verify: whether every token is compared with a run without the cache.
        logits: (V,) the prediction after the newest token.
        computed: positions run in the newest step.
        record: queries and keys of the window, if observing.
        total_written: tokens written in all branches.
        seconds: total model time of those tokens.
        memory: what questions about the text keep between calls, by type; writing does not use it.

    Args:
        model: the decoder.
        prompt: what to continue; empty starts from the tokenizer's ``start_id``. If it leaves no
            room to write in the context, only its end is used (:func:`~kvtui.core.sequence.kept_of_prompt`).
        settings: how to write.

    Raises:
        KvtuiError: a character that the model does not know, or a setting out of range.
    """

    def __init__(self, model: Model, prompt: str, settings: GenerationSettings | None = None) -> None:
        settings = settings or GenerationSettings()
        settings.check()
        self.model = self.whole_model = model
        self.settings = settings
        self.policy = parse_policy(settings.policy)
        self.cache = model.new_cache(self.policy)
        self.cache_on = settings.cache
        self.cache_start = 0
        self.heads_off: tuple[Head, ...] = ()
        self.verify = settings.verify
        ids = model.tokenizer.encode(prompt) or [model.tokenizer.start_id]
        sampler = Sampler(settings.sampling, settings.seed)
        self.sequence = Sequence(ids, model.config.context_length, sampler, model.tokenizer)
        self._branches = [self.sequence]
        self.logits: Array = np.empty(0)
        self.computed = 0
        self.record = AttentionRecord(model.config, model.dtype) if settings.observe else None
        self.total_written = 0
        self.seconds = 0.0
        self._newest_seconds = 0.0  # of the newest step
        self.memory: dict[type, Any] = {}
        self._stopwatch = Stopwatch() if settings.parts else None
        if self.cache_on:
            model.prepare()

    @property
    def window(self) -> list[int]:
        """The token ids in the model's window: the newest tokens, at most its context."""
        return self.sequence.window

    # Tokens

    def prefill(self) -> events.Prefill:
        """Run the prompt."""
        sequence = self.sequence
        seconds = self._run_timed()
        return events.Prefill(
            tokens=sequence.window_length,
            seconds=seconds,
            cache=self.cache_on,
            cache_bytes=self.cache.bytes_used,
            prompt=self.model.tokenizer.decode(sequence.window),
            dropped=sequence.window_start,
            parts=self._stopwatch.parts() if self._stopwatch else None,
            cached_positions=self.cache.num_held,
            window_start=sequence.window_start,
            room=sequence.room,
        )

    def write(self, token: int | None = None) -> Iterator[events.Evict | events.Token]:
        """Write one token, sampled or given. An ``evict`` event precedes it if something was dropped for it."""
        if self.sequence.full:
            dropped = self._move_window()
            if not (self.cache_on and self.cache.endless):  # the next step recomputes the rest, at its new positions
                self.cache.reset()
                yield events.Evict(dropped, self.sequence.window_length, self.sequence.window_start)
        written = self._next_token(token)
        yield from self.evicted_by_policy()
        yield written

    def evicted_by_policy(self) -> Iterator[events.Evict]:
        """An event if the cache policy has dropped positions since the last call."""
        positions, queries = self.cache.take_evicted()  # (layers, G, n), (n,)
        count = len(queries)
        if count:
            if self.record is not None:
                self.record.drop(positions, queries)
            oldest = self.cache_start + self.cache.oldest
            yield events.Evict(count, self.cache.num_held, oldest, "policy", positions + self.cache_start)

    def _next_token(self, given: int | None) -> events.Token:
        sequence, stopwatch = self.sequence, self._stopwatch
        started = perf_counter_ns()
        if stopwatch:
            stopwatch.start()
        token, logprob = sequence.sampler.sample(self.logits, given)
        if stopwatch:
            stopwatch.mark("sampling")
        sequence.ids.append(token)
        seconds = self._run(started)
        self.total_written += 1
        self.seconds += seconds
        return events.Token(
            step=sequence.written - 1,
            position=sequence.position,
            id=token,
            text=sequence.text.add(token),
            logprob=logprob,
            seconds=seconds,
            cache=self.cache_on,
            context=self.cache.num_held if self.cache_on else sequence.window_length,
            computed=self.computed,
            cached_positions=self.cache.num_held,
            cache_bytes=self.cache.bytes_used,
            parts=stopwatch.parts() if stopwatch else None,
            window_start=sequence.window_start,
            **(self._compare() if self.verify else {}),
        )

    def _run_timed(self) -> float:
        """Run whatever the cache does not hold yet; returns the seconds it took."""
        started = perf_counter_ns()
        if self._stopwatch:
            self._stopwatch.start()
        return self._run(started)

    def _run(self, started: int) -> float:
        """Run whatever the cache does not hold yet, and keep its prediction; returns the seconds since ``started``."""
        logits = self._run_window()
        self._newest_seconds = (perf_counter_ns() - started) / 1e9
        check_finite(self.model, logits, self.sequence.ids, self.sequence.window_start)
        self.logits = logits.copy()  # they may lie in a buffer of the model that its next step overwrites
        return self._newest_seconds

    def _run_window(self) -> Array:
        """Run whatever the cache does not hold yet: one token, or the whole window if the cache is off or was emptied.

        Returns:
            Logits after the newest token, (V,).
        """
        if not self.cache.length:
            self.cache_start = self.sequence.window_start
            if self.record is not None:
                self.record.restart(self.cache if self.cache_on else None)
        missing = self.sequence.ids[self.cache_start + self.cache.length :]
        self.computed = len(missing)
        if self.cache_on and len(missing) == 1 and self.cache.length:
            return self.model.decode(missing[0], self.cache, record=self.record, stopwatch=self._stopwatch)
        cache = self.cache if self.cache_on else None
        return self.model.forward(missing, cache, last=True, record=self.record, stopwatch=self._stopwatch)[0]

    def _move_window(self) -> int:
        """Drop the oldest half of the window, but nothing from the cache; returns the number of tokens dropped."""
        dropped = self.sequence.move_window()
        if self.record is not None:
            self.record.move(self.sequence.window_length)
        return dropped

    def _compare(self) -> dict[str, Any]:
        """Compare the newest prediction with one made without the cache; returns fields of a token."""
        window = self.sequence.window
        expected = self.model.forward(window, last=True)[0]
        check_finite(self.model, expected, window)
        tolerance = rounding(expected)
        return {
            "max_logit_error": float(np.abs(expected - self.logits).max()),
            "argmax_agrees": bool(expected[self.logits.argmax()] >= expected.max() - tolerance),
            "logit_tolerance": tolerance,
        }

    # So that a wait is not part of what is measured

    def warm_up(self, until: float = math.inf) -> None:
        """Repeat the newest step, untimed and without changing anything, to undo the effect of a wait.

        A step of a small model finds its weights in the processor's caches. After a wait, or after another forward pass
        of the model, they are gone, and the step was measured at more than twice its usual time. The repeats are of the
        kind that comes next: a cached step, whatever the cache keeps, or else a pass over the window.

        Args:
            until: a time of ``perf_counter``; no repeat is started that would end after it.
        """
        started = now = perf_counter()
        seconds = self._repeat_seconds
        for number in range(_WARM_UPS):
            if seconds > _LONGEST_REPEAT or now + seconds > until or (number and now - started > WARM_UP_SECONDS):
                break
            self._repeat()
            before, now = now, perf_counter()
            seconds = now - before

    def warm_up_seconds(self, left: float = math.inf) -> float:
        """How much of the seconds left before a token to leave to :meth:`warm_up`: 0 if no repeat fits."""
        one = self._repeat_seconds
        if one > min(left, _LONGEST_REPEAT):
            return 0.0
        return min(left, _MARGIN * _WARM_UPS * one, max(_MARGIN * one, WARM_UP_SECONDS))

    @property
    def _warm(self) -> bool:
        """Whether the next step runs one position."""
        return self.cache_on and self.cache.length > 0

    @property
    def _repeat_seconds(self) -> float:
        """What a repeat takes at most, judged by the newest step, which may have been of the other kind."""
        positions = 1 if self._warm else self.sequence.window_length
        return self._newest_seconds * max(1.0, positions / max(1, self.computed))

    def _repeat(self) -> None:
        Sampler(self.sequence.sampler.settings, 0).sample(self.logits)
        if self._warm:
            self.model.decode(self.sequence.ids[-1], Rehearsal(self.cache))
        else:
            self.model.forward(self.sequence.window, last=True)

    # Branches

    def fork(self, position: int, tokens: tuple[int, ...] = (), text: str = "") -> Iterator[events.Event]:
        """Begin another branch: the same text up to ``position``, then the given tokens, or those that spell ``text``.

        Raises:
            KvtuiError: there is no such token to replace, or no token for the replacement.
        """
        number, left = len(self._branches), self.sequence
        branch = left.fork(position, left.sampler.reseeded(self.settings.seed, number))
        tokens = tokens or tuple(spell(self.model.tokenizer, text, last_with_text(self.model.tokenizer, branch.ids)))
        if not all(0 <= token < self.model.config.vocab_size for token in tokens):
            raise KvtuiError(
                f"no fork with tokens {tokens}: the vocabulary has 0 to {self.model.config.vocab_size - 1}"
            )
        if not tokens:
            raise KvtuiError("no fork without a token to continue with")
        self._branches.append(branch)
        yield from self._switch_to(branch)
        for token in tokens:
            yield from self.write(token)

    def revisit(self, number: int) -> Iterator[events.Event]:
        """Continue a branch left earlier.

        Raises:
            KvtuiError: there is no such branch, or it is the current one.
        """
        branch = self._branches[number] if 0 <= number < len(self._branches) else None
        if branch is None or branch is self.sequence:
            raise KvtuiError(f"no branch {number} to return to")
        yield from self._switch_to(branch)

    def _switch_to(self, branch: Sequence) -> Iterator[events.Event]:
        """Switch to a branch: what the cache holds of it stays, the rest of its window is recomputed.

        The newest token is always run, because the prediction after it is needed.
        """
        left, self.sequence = self.sequence, branch
        shared = common_length(left.ids, branch.ids)
        in_window = shared - branch.window_start if left.window_start == branch.window_start else 0
        reused = self._truncate_cache(min(in_window, branch.window_length - 1))
        seconds = self._run_timed()
        yield events.Branch(
            number=self._branches.index(branch),
            parent=self._branches.index(left),
            position=shared,
            length=len(branch.ids),
            reused=reused,
            computed=self.computed,
            seconds=seconds,
        )
        yield from self.evicted_by_policy()

    def _truncate_cache(self, count: int) -> int:
        """Keep what the cache holds of the window's first ``count`` tokens; returns how many that are.

        A policy that cannot go back keeps nothing, and the window is recomputed.
        """
        before = self.sequence.window_start - self.cache_start if self.cache.length else 0
        count = max(0, min(count, self.cache.length - before))
        try:
            self.cache.truncate(before + count if count else 0)
        except KvtuiError:
            self.cache.reset()
            return 0
        return count

    # Settings that can change between two tokens

    def set_cache(self, on: bool) -> None:
        """Switch the cache on or off. Switching it off empties it."""
        if not on:
            self.cache.reset()
        self.cache_on = on

    def set_policy(self, policy: str | CachePolicy | Policy) -> None:
        """Change the cache policy; the next token recomputes the window under the new policy.

        Raises:
            KvtuiError: there is no such policy, or it does not work with this model.
        """
        parsed = parse_policy(policy)
        self.cache = self.model.new_cache(parsed)
        self.policy = parsed

    def set_heads(self, off: Collection[Head]) -> None:
        """Switch heads off. The next token has already been predicted; later ones are predicted without these heads.

        Raises:
            KvtuiError: there is no such head.
        """
        self.model = self.whole_model.without_heads(off) if off else self.whole_model
        self.heads_off = tuple(sorted(set(off)))
        self.cache.reset()  # its keys and values were computed with other heads
