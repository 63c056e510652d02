"""The prompt, compressed to what its end attends to (SnapKV, Li et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvtui.core.cache.eviction import Entries, Eviction
from kvtui.core.cache.policy import PolicyKind
from kvtui.core.layers import Array

POOL = 7  # positions; the kernel of the paper's experiments (sec. 5)


@dataclass(frozen=True)
class SnapKV(Eviction):
    """Keeps the last ``window`` positions of a prompt and the ``chosen`` others that these attend to most, and
    everything after the prompt.

    The attention of the window's queries is summed head by head, and each position takes the largest sum of its
    neighbourhood, so that what is next to an important position is kept with it (sec. 4.2 of the paper). The positions
    of the window itself are kept anyway, and the attention they get does not count.
    """

    chosen: int
    window: int
    watches = "prompt"
    kept_for = "chosen by the prompt's end"

    def keeps(self, held: int, new: int) -> int:
        """The first pass, over the prompt, is cut down; whatever comes after it is kept."""
        return held + new if held or new == 1 else min(new, self.chosen + self.window)

    def observe(self, attention: Array, weights: Array, rows_left: int) -> None:
        """Sum what the last rows of the prompt attend to."""
        super().observe(attention, weights[:, :, max(0, rows_left - self.window) :], rows_left)

    def importance(self, entries: Entries) -> Array:
        """The largest attention among the neighbours; the observing window is safe."""
        observing = entries.positions > entries.newest - self.window
        votes = np.where(observing, 0, entries.attention)
        edges = [(0, 0)] * (votes.ndim - 1) + [(POOL // 2, POOL // 2)]
        pooled = np.lib.stride_tricks.sliding_window_view(np.pad(votes, edges), POOL, axis=-1).max(axis=-1)
        return np.where(observing, np.inf, pooled)


def _mostly_chosen(positions: int) -> tuple[int, int]:
    return positions - positions // 4, max(1, positions // 4)


KINDS = (
    PolicyKind(
        "snap:C+W",
        "snap:96+32",
        "of the prompt, the last W and the C they attend to most",
        SnapKV,
        "Li et al. 2024 (SnapKV)",
        split=_mostly_chosen,
        order=40,
    ),
)
