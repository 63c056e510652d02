"""Cache policies: what each one keeps. One file a policy; :mod:`kvtui.core.policies.registry` gives the names."""

from kvtui.core.policies.eviction import Entries, EvictingCache, Eviction
from kvtui.core.policies.heavy import Heavy
from kvtui.core.policies.quantised import QuantisedCache
from kvtui.core.policies.registry import KINDS, CachePolicy, Kind, Rolling, parse_policy
from kvtui.core.policies.rolling import RollingCache
from kvtui.core.policies.snap import Snap

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
