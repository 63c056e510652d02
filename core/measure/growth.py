"""How a time grows with the context: terms with non-negative coefficients, fitted to measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvtui.core.errors import KvtuiError

_MOST_POINTS = 48  # more are summarised by medians of neighbours, so that outliers have no influence
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"), (1e-12, "ps"))
_POWERS = ("", "·n", "·n²", "·n³")


@dataclass(frozen=True)
class Growth:
    """seconds(n) = coefficients[0] + coefficients[1] · n + coefficients[2] · n² …, every coefficient at least 0."""

    coefficients: tuple[float, ...]

    def seconds(self, contexts: Any) -> NDArray[np.float64]:
        """The fitted time at each context."""
        values = np.polynomial.polynomial.polyval(np.asarray(contexts, float), self.coefficients)
        return np.asarray(values, np.float64)

    def __str__(self) -> str:
        terms = [_quantity(value) + power for value, power in zip(self.coefficients, _POWERS, strict=False) if value]
        return " + ".join(terms) or "0 s"


def fit_growth(times: Sequence[tuple[int, float]], degree: int) -> Growth:
    """Fit a polynomial in the context, its terms at least 0, to (context, seconds).

    Errors are relative to the time (a millisecond off matters at two milliseconds, not at a hundred). Terms that would
    come out negative are left out: the best admissible choice of terms is taken, of which there are only a handful.

    Args:
        times: (context, seconds) each.
        degree: highest power, at most 3.

    Raises:
        KvtuiError: no times, or times that are not above 0.
    """
    if not times or min(seconds for _, seconds in times) <= 0:
        raise KvtuiError("a growth can be fitted only to times above 0")
    contexts, seconds = _thin(np.array(times, dtype=np.float64))
    powers = np.vander(contexts, degree + 1, increasing=True)  # (points, degree + 1)
    return Growth(tuple(_fit(powers, seconds)))


@dataclass(frozen=True)
class Prediction:
    """seconds(n) = fixed + per_operation · operations(n): its shape is that of counted operations.

    Attributes:
        fixed: seconds that do not depend on the context: Python, and what is not counted.
        per_operation: seconds per multiply-add.
        operations: multiply-adds at a context.
    """

    fixed: float
    per_operation: float
    operations: Callable[[int], int]

    def seconds(self, context: int) -> float:
        """The predicted time at a context."""
        return self.fixed + self.per_operation * self.operations(context)


def fit_operations(times: Sequence[tuple[int, float]], operations: Callable[[int], int]) -> Prediction:
    """Fit a fixed time and a rate, both at least 0, to (context, seconds), as :func:`fit_growth` does.

    Raises:
        KvtuiError: no times, or times that are not above 0.
    """
    if not times or min(seconds for _, seconds in times) <= 0:
        raise KvtuiError("a growth can be fitted only to times above 0")
    contexts, seconds = _thin(np.array(times, dtype=np.float64))
    counts = np.array([operations(int(context)) for context in contexts], dtype=np.float64)
    scale = counts.max()  # both columns of similar size, as least squares prefers
    fixed, rate = _fit(np.stack([np.ones_like(counts), counts / scale], axis=1), seconds)
    return Prediction(fixed, rate / scale, operations)


def _fit(columns: NDArray[np.float64], seconds: NDArray[np.float64]) -> list[float]:
    """Coefficients of (points, terms) columns, each at least 0, with the least sum of squared relative errors."""
    relative = columns / seconds[:, None]
    most = min(relative.shape[1], len(np.unique(columns, axis=0)))  # no more terms than different points
    best, least = np.zeros(relative.shape[1]), np.inf
    for count in range(1, most + 1):
        for terms in combinations(range(relative.shape[1]), count):
            chosen = relative[:, terms]
            found = np.linalg.lstsq(chosen, np.ones(len(seconds)), rcond=None)[0]
            error = float(np.square(chosen @ found - 1.0).sum())
            if (found >= 0).all() and error < least * (1 - 1e-9):
                best, least = np.zeros(relative.shape[1]), error
                best[list(terms)] = found
    return [float(value) for value in best]


def _thin(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contexts and seconds in order of context; many points become medians of neighbours. (points, 2) -> two arrays."""
    ordered = points[np.argsort(points[:, 0], kind="stable")]
    groups = np.array_split(ordered, _MOST_POINTS) if len(ordered) > _MOST_POINTS else np.split(ordered, len(ordered))
    medians = np.array([np.median(group, axis=0) for group in groups])
    return medians[:, 0], medians[:, 1]


def _quantity(seconds: float) -> str:
    """Two significant digits in a suitable unit: ``0.00042`` -> ``420 µs``."""
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), _UNITS[-1])
    value = float(f"{seconds / size:.2g}")
    return f"{value:g} {unit}"
