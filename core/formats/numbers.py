"""Weights from files as arrays for the model: memory-mapped where possible, otherwise converted once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvtui.core.errors import KvtuiError
from kvtui.core.layers import Array


def map_array(path: Path, dtype: Any, shape: tuple[int, ...], offset: int) -> NDArray[Any]:
    """Numbers of a file as a read-only array, read by the operating system when they are used.

    Each array has its own mapping: when it is released, after a conversion for instance, its memory is free.
    """
    return np.asarray(np.memmap(path, dtype, "r", offset, shape))


def as_numbers(where: str, stored: NDArray[Any], dtype: Any) -> Array:
    """An array in the model's dtype: itself if it already has it and is aligned, otherwise a converted copy.

    Args:
        where: file and name of the array, for messages.
        stored: float16, float32 or float64; uint16 for bfloat16, the upper half of a float32.
        dtype: of the result.

    Raises:
        KvtuiError: a number is not finite.
    """
    if stored.dtype == np.uint16:
        wide = stored.astype(np.uint32)
        wide <<= 16
        stored = wide.view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
        numbers: Array = np.require(stored.astype(dtype, copy=False), requirements="A")
        finite = np.isfinite(numbers.min()) and np.isfinite(numbers.max())  # a NaN makes both NaN; needs no array
    if not finite:
        raise KvtuiError(f"{where} holds a NaN or an infinity; the file is damaged")
    return numbers
