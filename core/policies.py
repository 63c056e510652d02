"""The earlier place of :mod:`kvtui.core.cache`, with the earlier names; here for one release."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from kvtui.core.cache import (
    KINDS,
    CachePolicy,
    Entries,
    EvictingCache,
    Eviction,
    HeavyHitters,
    Policy,
    PolicyKind,
    QuantisedCache,
    RollingCache,
    SnapKV,
    Window,
    parse_policy,
)

Heavy, Snap, Rolling = HeavyHitters, SnapKV, Window


def Kind(  # noqa: N802 - it was a class
    name: str, form: str, example: str, summary: str, paper: str, make: Callable[..., Policy]
) -> PolicyKind:
    """A :class:`kvtui.core.cache.PolicyKind`, whose name is now part of its form."""
    return PolicyKind(form, example, summary, make, paper)


__all__ = [
    "KINDS",
    "CachePolicy",
    "Entries",
    "EvictingCache",
    "Eviction",
    "Heavy",
    "Kind",
    "QuantisedCache",
    "Rolling",
    "RollingCache",
    "Snap",
    "parse_policy",
]

warnings.warn("kvtui.core.policies is now kvtui.core.cache", DeprecationWarning, stacklevel=2)
