"""How to write a text: one value passed from the command line down to the model."""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.core.cache import CachePolicy, Policy
from kvtui.core.errors import KvtuiError
from kvtui.core.sampling import SamplingSettings


@dataclass(frozen=True)
class GenerationSettings:
    """How to write a text.

    Attributes:
        max_new_tokens: number of tokens to write, None for no limit.
        seed: of the sampler's random generator.
        sampling: how to choose tokens.
        cache: whether the cache is on at the start.
        policy: what the cache keeps while it is on: a value of ``--policy``, or a policy of your own.
        pace: tokens per second, None for as fast as possible. Waiting is never part of a measured time.
        paused: wait for a command before the first token.
        verify: run every token without the cache as well (untimed) and report the largest logit difference.
        parts: measure where each token's time goes.
        observe: keep what :class:`~kvtui.core.commands.ShowAttention` needs.
    """

    max_new_tokens: int | None = None
    seed: int = 0
    sampling: SamplingSettings = SamplingSettings()  # noqa: RUF009 - frozen
    cache: bool = True
    policy: str | CachePolicy | Policy = "full"
    pace: float | None = None
    paused: bool = False
    verify: bool = False
    parts: bool = False
    observe: bool = False

    def check(self) -> None:
        """Raise KvtuiError for a number out of range."""
        if self.max_new_tokens is not None and self.max_new_tokens < 0:
            raise KvtuiError(f"max_new_tokens is {self.max_new_tokens}; it must be 0 or more")
        check_pace(self.pace)


def check_pace(pace: float | None) -> None:
    """Raise KvtuiError unless ``pace`` is a valid number of tokens per second, or None for unlimited."""
    if pace is not None and not 0.01 <= pace <= 1e6:
        raise KvtuiError(f"pace is {pace}; it must be from 0.01 to 1,000,000 tokens per second, or unlimited")
