"""How far two next-token distributions are apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kvtui.core.layers import Array


def log_softmax(logits: Array) -> NDArray[np.float64]:
    """Log-probabilities over the last axis, in float64. Same shape."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide


def kl_divergence(logits: Array, other: Array) -> float:
    """KL(p ‖ q) in nats of the distributions that two rows of logits stand for (Kullback & Leibler 1951). (V,), (V,).

    What it costs, in nats a token, to predict with ``other`` what follows the distribution of ``logits``.
    """
    log_p, log_q = log_softmax(logits), log_softmax(other)
    return float(max(0.0, np.sum(np.exp(log_p) * (log_p - log_q))))
