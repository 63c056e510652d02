"""The prompt, compressed to the positions that its end attends to (SnapKV, Li et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvtui.core.cache.eviction import Entries, Eviction
from kvtui.core.cache.policy import PolicyKind
from kvtui.core.layers import Array

POOL = 7  # positions; the kernel of the paper's experiments (sec. 5)


@dataclass(frozen=True)
class SnapKV(Eviction):
    """Keeps the last ``window`` positions of a prompt, the ``chosen`` others that these attend to most, and
    everything after the prompt.

    The attention of the window's queries is summed per head, and each position takes the largest sum in its
    neighbourhood, so that the neighbours of an important position are kept with it (sec. 4.2 of the paper). The
    window's own positions are kept anyway, and the attention they receive does not count.
    """

    chosen: int
    window: int
    watches = "prompt"
    kept_for = "chosen by the prompt's end"

    def keeps(self, held: int, new: int) -> int:
        """Reduce the first pass, over the prompt; keep everything after it."""
        return held + new if held or new == 1 else min(new, self.chosen + self.window)

    def observe(self, attention: Array, weights: Array, rows_left: int) -> None:
        """Sum the attention of the prompt's last rows."""
        super().observe(attention, weights[:, :, max(0, rows_left - self.window) :], rows_left)

    def importance(self, entries: Entries) -> Array:
        """The largest attention among the neighbours; the observing window is protected."""
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
