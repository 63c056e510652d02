"""A model whose numbers overflow: noticed where logits are used, and reported with the layer where it begins."""

from __future__ import annotations

from math import isfinite

import numpy as np

from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array, IntArray
from kvtui.core.model import Model
from kvtui.core.observe import ResidualRecord


def check_finite(model: Model, logits: Array, ids: list[int] | IntArray, start: int = 0) -> None:
    """Refuse logits that hold a NaN or an infinity: nothing computed from them would mean anything.

    Args:
        model: what computed them.
        logits: (V,) or (T, V), of the last T of the ids.
        ids: (S,) the text up to the newest position, S ≥ T.
        start: the first of the ids that the model sees.

    Raises:
        KvtuiError: they are not finite; says in which layer that begins.
    """
    if isfinite(logits.max()) and isfinite(logits.min()):  # a NaN makes both NaN
        return
    rows = np.asarray(np.isfinite(np.atleast_2d(logits)).all(axis=1))  # (T,)
    first = len(ids) - len(rows) + int(np.argmin(rows)) + 1
    raise KvtuiError(f"{model.name} computes numbers that are not finite, {_where(model, ids[start:first])}")


def _where(model: Model, ids: list[int] | IntArray) -> str:
    """Where the newest position's numbers stop being finite, in a pass without a cache."""
    residuals = ResidualRecord()
    with np.errstate(all="ignore"):
        logits = model.forward(ids[-model.config.context_length :], last=True, residuals=residuals)
    finite = np.isfinite(residuals.stacked()).all(axis=1)  # (layers + 1,)
    layers = model.config.num_layers
    if not finite.all():
        first = int(np.argmin(finite))
        place = f"from layer {first} of {layers} on" if first else "from the embedding on"
    elif not np.isfinite(logits).all():
        place = "from the output on"
    else:
        return "with this cache only: a pass without it is right. Use another policy"
    return f"{place}: its weights are damaged, or too large for {np.dtype(model.dtype).name}"
