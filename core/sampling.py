"""From logits to the next token."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array, IntArray


@dataclass(frozen=True)
class SamplingSettings:
    """How to sample: the temperature scales first, then top-k cuts, then top-p (Holtzman et al. 2020).

    Attributes:
        temperature: 0 is greedy: always the likeliest token.
        top_k: only the k likeliest tokens; None for all.
        top_p: only the likeliest tokens that together reach this probability; None for all.

    Raises:
        KvtuiError: a number out of range.
    """

    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not (isfinite(self.temperature) and 0 <= self.temperature <= 100):
            raise KvtuiError(f"temperature is {self.temperature}; it must be from 0 (greedy) to 100")
        if self.top_k is not None and self.top_k < 1:
            raise KvtuiError(f"top-k is {self.top_k}; it must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise KvtuiError(f"top-p is {self.top_p}; it must be above 0 and at most 1")


class Sampler:
    """Samples tokens with its own random generator.

    Every draw consumes exactly one random number, whatever the settings, so that the same seed stays in step when the
    settings change.
    """

    def __init__(self, settings: SamplingSettings, seed: int) -> None:
        if seed < 0:
            raise KvtuiError(f"seed is {seed}; it must be 0 or more")
        self.settings = settings
        self._rng = np.random.default_rng(seed)

    def reseeded(self, seed: int, branch: int) -> Sampler:
        """A sampler with the same settings for another branch of a text, with its own random numbers."""
        sampler = Sampler(self.settings, seed)
        sampler._rng = np.random.default_rng((seed, branch))
        return sampler

    def sample(self, logits: Array, given: int | None = None) -> tuple[int, float]:
        """Sample one token. (V,) -> its id, and its log-probability in nats under the model at temperature 1.

        If ``given``, that token is returned regardless of the draw; the random number is consumed anyway.
        """
        draw = self._rng.random()
        wide = logits.astype(np.float64)
        largest = float(wide.max())
        if not isfinite(largest):
            raise KvtuiError("the model's logits are not finite: its weights are damaged, or far too large")
        wide -= largest
        if given is not None:
            token = given
        elif self.settings.temperature == 0:
            token = int(wide.argmax())
        else:
            cumulative = np.cumsum(self._probabilities(wide))
            token = int(np.searchsorted(cumulative, draw * cumulative[-1], side="right"))
        return token, float(wide[token] - np.log(np.exp(wide).sum()))

    def _probabilities(self, logits: Array) -> Array:
        """Apply the settings to the distribution; the result is not normalised. (V,) -> (V,)."""
        with np.errstate(over="ignore"):  # near zero the temperature turns a logit into -infinity, whose exp is 0
            weights = np.exp(logits / self.settings.temperature)
        if self.settings.top_k is None and self.settings.top_p is None:
            return weights
        order = survivors(weights, self.settings)
        kept = np.zeros_like(weights)
        kept[order] = weights[order]
        return kept


def survivors(weights: Array, settings: SamplingSettings) -> IntArray:
    """The tokens that top-k, then top-p, leave for sampling, likeliest first.

    Args:
        weights: (V,) probabilities after the temperature, normalised or not.

    Returns:
        (n,) ids.
    """
    order = np.argsort(-weights, kind="stable")[: settings.top_k]
    if settings.top_p is not None:
        cumulative = np.cumsum(weights[order])
        order = order[: int(np.searchsorted(cumulative, settings.top_p * cumulative[-1])) + 1]
    return order
