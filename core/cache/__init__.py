"""Cache policies: what each one keeps. One file a policy; :mod:`kvtui.core.cache.registry` gives the names."""

from kvtui.core.cache.eviction import Entries, EvictingCache, Eviction
from kvtui.core.cache.heavy import Heavy
from kvtui.core.cache.quantised import QuantisedCache
from kvtui.core.cache.registry import KINDS, CachePolicy, Kind, Rolling, parse_policy
from kvtui.core.cache.rolling import RollingCache
from kvtui.core.cache.snap import Snap

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
