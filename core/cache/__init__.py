"""The KV cache, full or reduced by a policy. One file per policy; :mod:`kvtui.core.cache.registry` finds them."""

from kvtui.core.cache.base import Cache, KeptBecause
from kvtui.core.cache.eviction import Entries, EvictingCache, Eviction
from kvtui.core.cache.full import FullCache
from kvtui.core.cache.heavy import HeavyHitters
from kvtui.core.cache.policy import Policy, PolicyKind
from kvtui.core.cache.quantised import QuantisedCache
from kvtui.core.cache.registry import KINDS, CachePolicy, parse_policy
from kvtui.core.cache.rolling import RollingCache, Window
from kvtui.core.cache.snap import SnapKV

KVCache = FullCache  # its earlier name

__all__ = [
    "KINDS",
    "Cache",
    "CachePolicy",
    "Entries",
    "EvictingCache",
    "Eviction",
    "FullCache",
    "HeavyHitters",
    "KVCache",
    "KeptBecause",
    "Policy",
    "PolicyKind",
    "QuantisedCache",
    "RollingCache",
    "SnapKV",
    "Window",
    "parse_policy",
]
