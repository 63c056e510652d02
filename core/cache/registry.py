"""The policies by name: the values of ``--policy``.

Each module in this folder that defines ``KINDS`` lists its policies there. A new policy is therefore one new file, and
the command line, shell completion, the dashboard and ``kvtui policies`` find it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from kvtui.core.cache.base import Cache
from kvtui.core.cache.full import Full
from kvtui.core.cache.policy import Policy, PolicyKind
from kvtui.core.cache.quantised import GROUP, Quantised
from kvtui.core.cache.rolling import Window
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError
from kvtui.core.rotary import RotationAt


def _listed() -> tuple[PolicyKind, ...]:
    """The policies of all modules in this folder, in list order."""
    here = Path(__file__)
    names = [module.name for module in iter_modules([str(here.parent)]) if module.name != here.stem]
    modules = [import_module(f"{__package__}.{name}") for name in names]
    kinds = [kind for module in modules for kind in getattr(module, "KINDS", ())]
    return tuple(sorted(kinds, key=lambda kind: (kind.order, kind.name)))


KINDS = _listed()


@dataclass(frozen=True)
class CachePolicy:
    """A policy and its spelling.

    Attributes:
        spec: as given to ``--policy``, such as ``int4,sink:4+124``.
        policy: the policy itself.
    """

    spec: str = "full"
    policy: Policy = field(default_factory=Full)

    @property
    def endless(self) -> bool:
        """Whether a text can continue past the context without recomputing anything."""
        return self.policy.endless

    def check(self, config: ModelConfig) -> None:
        """Raise KvtuiError, with the reason, if this policy does not work with a model of this shape."""
        sight = config.sliding_window
        if sight and self.spec not in ("full", f"window:{sight}"):
            raise KvtuiError(
                f"{self.spec} does not work with a model that looks back only {sight} positions: "
                f"use full or window:{sight}"
            )
        self.policy.check(config, self.spec)

    def new_cache(self, config: ModelConfig, dtype: Any, rotation_at: RotationAt) -> Cache:
        """An empty cache.

        Raises:
            KvtuiError: the policy does not work with a model of this shape.
        """
        self.check(config)
        return self.policy.new_cache(config, dtype, rotation_at)


def parse_policy(policy: str | CachePolicy | Policy) -> CachePolicy:
    """Parse a policy: a kind, or bits and a kind joined by a comma (``int8,window:128``).

    Raises:
        KvtuiError: an unknown name, an impossible size, or kinds that cannot be combined.
    """
    if isinstance(policy, CachePolicy):
        return policy
    if isinstance(policy, Policy):
        return CachePolicy(type(policy).__name__.lower(), policy)
    parts = [_parse_part(part) for part in policy.strip().lower().split(",")]
    bits = [part for part in parts if isinstance(part.policy, Quantised)]
    others = [part for part in parts if part not in bits]
    if len(bits) > 1 or len(others) > 1:
        raise KvtuiError(
            f"{policy}: one kind says which positions are kept, and int8 or int4 in how many bits: "
            "give at most one of each"
        )
    if not bits or not others or isinstance(others[0].policy, Full):
        return (bits or others)[0]
    return _combined(policy, bits[0], others[0])


def _combined(text: str, bits: CachePolicy, other: CachePolicy) -> CachePolicy:
    """Store in fewer bits the positions that another policy keeps."""
    if not isinstance(bits.policy, Quantised) or not isinstance(other.policy, Window):
        raise KvtuiError(
            f"{text}: {bits.spec} packs {GROUP} neighbouring positions with a common scale, but "
            f"{other.spec.partition(':')[0]} drops single positions, different ones in each head: use one of the two"
        )
    return CachePolicy(f"{bits.spec},{other.spec}", Quantised(bits.policy.bits, other.policy))


def _parse_part(part: str) -> CachePolicy:
    """Parse one kind with its sizes."""
    name, colon, rest = part.strip().partition(":")
    kind = next((kind for kind in KINDS if kind.name == name), None)
    if kind is None:
        near = get_close_matches(name, [kind.name for kind in KINDS], 1, 0.5)
        raise KvtuiError(
            f"there is no cache policy '{name[:40]}'{f'; did you mean {near[0]}?' if near else ':'} "
            f"known are {', '.join(kind.form for kind in KINDS)}"
        )
    letters = kind.letters
    numbers = rest.split("+") if colon else []
    if len(numbers) != len(letters) or not all(re.fullmatch(r"\d{1,9}", number.strip()) for number in numbers):
        raise KvtuiError(f"'{part.strip()[:40]}' is not a valid size: write {kind.form}, such as {kind.example}")
    sizes = [int(number) for number in numbers]
    for letter, size in zip(letters, sizes, strict=True):
        if not size:
            raise KvtuiError(f"{part.strip()}: {letter} must be 1 or more")
    return CachePolicy(kind.written(*sizes), kind.make(*sizes))
