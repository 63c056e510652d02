"""What the model attends to: attention weights of rows of the window, computed on request."""

from __future__ import annotations

import numpy as np

from kvtui.core.commands import ShowAttention
from kvtui.core.errors import KvtuiError
from kvtui.core.events import Attention
from kvtui.core.generation import Generation


def attention(generation: Generation, wanted: ShowAttention) -> Attention:
    """Attention weights of rows of the window; works after the end of the text as well.

    Raises:
        KvtuiError: not observing, or no such layer, head or rows.
    """
    config, record, window = generation.model.config, generation.record, generation.window
    start = generation.sequence.window_start
    if record is None:
        raise KvtuiError("attention is only recorded with observe=True")
    if not 0 <= wanted.layer < config.num_layers:
        raise KvtuiError(f"there is no layer {wanted.layer}: the model has 0 to {config.num_layers - 1}")
    heads = tuple(range(config.num_heads)) if wanted.heads is None else wanted.heads
    if not heads or not all(0 <= head < config.num_heads for head in heads):
        raise KvtuiError(f"there are no heads {heads}: the model has 0 to {config.num_heads - 1}")
    newest = len(window) if wanted.position is None else wanted.position - start + 1
    if not 0 < newest <= len(window):
        raise KvtuiError(f"token {wanted.position} has left the window, which begins at token {start}")
    first, last, _ = slice(wanted.first_row, wanted.last_row).indices(newest)
    if first >= last:
        raise KvtuiError(f"rows {wanted.first_row} to {wanted.last_row} are not in the window of {len(window)}")
    before = start - generation.cache_start - record.first  # positions on record, but not in the window
    rows = first + before, last + before
    weights = record.weights(wanted.layer, *rows)[list(heads), :, before:]
    keys = tuple(map(generation.model.tokenizer.piece, window[:last]))
    gone = record.dropped(wanted.layer, *rows)[list(heads), :, before:]
    if wanted.mean:
        weights, gone = weights.mean(axis=0, keepdims=True), np.logical_and.reduce(gone, keepdims=True)
    dropped = gone if gone.any() else None
    return Attention(wanted.layer, heads, first, weights, keys, start, dropped, wanted.mean)
