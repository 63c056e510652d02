"""The state of a text in progress: its phase, pace, cache and verification. Does not import Textual."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from kvtui.core.events import Prefill, State, Token
from kvtui.tui.settings import DEFAULT_PACE

Phase = Literal["idle", "writing", "paused", "ended", "dead", "loading"]

LARGEST_ERROR = 1e-2  # of a logit, for streams that do not state how much rounding may explain
PACES: tuple[float | None, ...] = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, None)


def slower(pace: float | None) -> float | None:
    """The next slower pace in tokens per second; None is unlimited."""
    below = [step for step in PACES if step is not None and (pace is None or step < pace)]
    return below[-1] if below else pace


def faster(pace: float | None) -> float | None:
    """The next faster pace."""
    if pace is None:
        return None
    return next((step for step in PACES if step is None or step > pace), None)


def pace_words(pace: float | None) -> str:
    """A pace as the screen shows it."""
    return "unlimited" if pace is None else f"{pace:g} tok/s"


@dataclass(frozen=True)
class Verification:
    """How the logits compare with a run without the cache.

    Attributes:
        on: whether every token is compared.
        checked: number of tokens compared.
        worst: largest absolute difference of a logit.
        disagreements: tokens for which the two runs disagree on the most likely token.
        unexplained: tokens that differ by more than rounding.
    """

    on: bool = False
    checked: int = 0
    worst: float = 0.0
    disagreements: int = 0
    unexplained: int = 0

    def after(self, token: Token) -> Verification:
        """Add one token."""
        error = token.max_logit_error
        if error is None:
            return self
        most = LARGEST_ERROR if token.logit_tolerance is None else token.logit_tolerance
        return Verification(
            self.on,
            self.checked + 1,
            max(self.worst, error),
            self.disagreements + (token.argmax_agrees is False),
            self.unexplained + (error > most),
        )

    @property
    def failed(self) -> bool:
        """Whether the results rule out a correct cache, provided that it keeps everything."""
        return self.unexplained > 0 or self.disagreements > 0


@dataclass(frozen=True)
class RunState:
    """What the status line and the cache bar show. Sizes in bytes, lengths in positions.

    During a ``race``, ``written`` counts the tokens of each lane; the rest still describes the previous text.
    """

    phase: Phase = "idle"
    cache: bool = True
    seed: int = 0
    pace: float | None = DEFAULT_PACE
    written: int = 0
    context: int = 0
    cached_positions: int = 0
    cache_bytes: int = 0
    evictions: int = 0
    loaded: float = 0.0  # fraction loaded of the next model
    policy: str = "full"
    verification: Verification = Verification()
    heads_off: tuple[tuple[int, int], ...] = ()  # (layer, head) pairs switched off
    race: bool = False
    last_pace: float = DEFAULT_PACE  # the latest that was not unlimited
    silent: bool = False  # the process has not answered for some seconds

    @property
    def cache_wrong(self) -> bool:
        """Whether verification has failed; a policy that drops or rounds differs by design."""
        return self.policy == "full" and self.verification.failed

    def next_text(self, seed: int) -> RunState:
        """The state for a new text, with the user's choices kept."""
        return RunState(
            "writing",
            self.cache,
            seed,
            self.pace,
            policy=self.policy,
            verification=Verification(self.verification.on),
            last_pace=self.last_pace,
        )

    def with_pace(self, pace: float | None) -> RunState:
        """Change the pace."""
        return replace(self, pace=pace, last_pace=pace or self.pace or self.last_pace)

    def verifying(self, on: bool) -> RunState:
        """Compare every token from now on, or none; earlier results are discarded."""
        return replace(self, verification=Verification(on))

    def at(self, token: Token) -> RunState:
        """The state when an earlier token was written."""
        return replace(
            self,
            cache=token.cache,
            written=token.step + 1,
            context=token.context,
            cached_positions=token.cached_positions,
            cache_bytes=token.cache_bytes,
        )

    def prefilled(self, event: Prefill) -> RunState:
        """The prompt has been run."""
        return replace(
            self,
            phase="paused" if self.phase == "paused" else "writing",
            written=0,
            evictions=0,
            context=event.tokens,
            cached_positions=event.cached_positions or (event.tokens if event.cache else 0),
            cache_bytes=event.cache_bytes,
        )

    def verified(self, token: Token) -> RunState:
        """A token was written, and perhaps compared with a run without the cache."""
        if token.max_logit_error is None:
            return self
        return replace(self, verification=self.verification.after(token))

    def with_newest(self, token: Token, window_start: int) -> RunState:
        """A token was written. ``window_start``: index of the oldest token in the model's window."""
        # Under a policy, a token saw fewer positions than will be run from now on if the cache was then turned off.
        turned_off = token.cache and not self.cache
        context = token.position + 1 - window_start if turned_off else token.context
        return replace(self.at(token), cache=self.cache, context=context, race=False)

    def obeyed(self, event: State, racing: bool) -> RunState:
        """Every command has been carried out. In a race the lanes do not change; cache, heads and policy are the user's
        choices for the next text."""
        now = replace(self, phase="paused" if event.paused else "writing", pace=event.pace)
        if racing:
            return now
        return replace(now, cache=event.cache, heads_off=event.heads_off, policy=event.policy)

    def gone(self, phase: Phase) -> RunState:
        """There is no process, so its cache is gone too."""
        return replace(self, phase=phase, context=0, cached_positions=0, cache_bytes=0, loaded=0.0, silent=False)
