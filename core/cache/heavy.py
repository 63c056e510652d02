"""Heavy hitters: the positions that have received the most attention (H2O, Zhang et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvtui.core.cache.eviction import Entries, Eviction
from kvtui.core.cache.policy import PolicyKind
from kvtui.core.layers import Array


@dataclass(frozen=True)
class HeavyHitters(Eviction):
    """Keeps the ``heavy`` positions with the largest accumulated attention, and the ``recent`` last ones.

    Attention is summed over all queries so far, head by head (algorithm 1 of the paper, its "local" statistics).
    """

    heavy: int
    recent: int
    watches = "always"
    kept_for = "heavy hitter"

    def keeps(self, held: int, new: int) -> int:
        """Never more than both numbers together."""
        return min(held + new, self.heavy + self.recent)

    def importance(self, entries: Entries) -> Array:
        """Attention so far; the last positions are protected."""
        return np.where(entries.positions > entries.newest - self.recent, np.inf, entries.attention)


KINDS = (
    PolicyKind(
        "heavy:H+N",
        "heavy:64+64",
        "per head, the H most attended positions and the last N",
        HeavyHitters,
        "Zhang et al. 2023 (H2O)",
        order=30,
    ),
)
