"""The policies by name: what ``--policy`` understands. A policy of your own gets a line in :data:`KINDS`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from kvtui.core.cache.eviction import EvictingCache, Eviction
from kvtui.core.cache.full import KVCache, RotationAt
from kvtui.core.cache.heavy import Heavy
from kvtui.core.cache.quantised import GROUP, QuantisedCache
from kvtui.core.cache.rolling import RollingCache
from kvtui.core.cache.snap import Snap
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError


@dataclass(frozen=True)
class Rolling:
    """Keep the first ``sinks`` and the last ``recent`` positions."""

    sinks: int
    recent: int


@dataclass(frozen=True)
class Kind:
    """A policy that a reader can name.

    Attributes:
        name: what it is called.
        form: how it is written, with a letter for each number.
        example: of that form.
        summary: what it keeps, in a line.
        paper: where it comes from.
        make: from the numbers: which positions to keep (None for all), or how many bits.
    """

    name: str
    form: str
    example: str
    summary: str
    paper: str
    make: Callable[..., Rolling | Eviction | int | None]


KINDS = (
    Kind("full", "full", "full", "every position, up to the model's context", "", lambda: None),
    Kind(
        "window",
        "window:N",
        "window:128",
        "the last N positions, without end",
        "Beltagy et al. 2020 (Longformer), sec. 3.1",
        lambda recent: Rolling(0, recent),
    ),
    Kind(
        "sink",
        "sink:S+N",
        "sink:4+124",
        "the first S and the last N positions, without end",
        "Xiao et al. 2023 (StreamingLLM)",
        Rolling,
    ),
    Kind(
        "heavy",
        "heavy:H+N",
        "heavy:64+64",
        "in each head the H most attended to so far, and the last N",
        "Zhang et al. 2023 (H2O)",
        Heavy,
    ),
    Kind(
        "snap",
        "snap:C+W",
        "snap:96+32",
        "of the prompt the C that its last W attend to most, and these",
        "Li et al. 2024 (SnapKV)",
        Snap,
    ),
    Kind(
        "int8",
        "int8",
        "int8",
        "8 bits a number, alone or as in int8,window:128",
        "Liu et al. 2024 (KIVI)",
        lambda: 8,
    ),
    Kind(
        "int4",
        "int4",
        "int4",
        "4 bits a number, alone or as in int4,sink:4+124",
        "Liu et al. 2024 (KIVI)",
        lambda: 4,
    ),
)


@dataclass(frozen=True)
class CachePolicy:
    """Which positions a cache keeps, and in how many bits.

    Attributes:
        spec: as it is written, such as ``int4,sink:4+124``.
        keep: which positions; None for all.
        bits: of a number, 8 or 4; None for the model's own.
    """

    spec: str = "full"
    keep: Rolling | Eviction | None = None
    bits: int | None = None

    @property
    def endless(self) -> bool:
        """Whether a text can go on past the context without running anything again."""
        return isinstance(self.keep, Rolling)

    def check(self, config: ModelConfig) -> None:
        """Raise KvtuiError, with the reason, if a model of this shape cannot have this policy."""
        context, sight = config.context_length, config.sliding_window
        if sight and self.spec not in ("full", f"window:{sight}"):
            raise KvtuiError(
                f"{self.spec} does not go with a model that looks back {sight} positions only: "
                f"use full or window:{sight}"
            )
        if isinstance(self.keep, Rolling):
            if config.position != "rotary":
                raise KvtuiError(
                    f"{self.spec} needs rotary positions, which can be counted within the cache; this model has "
                    "learned ones, which are part of everything it has cached: use full, heavy, snap, int8 or int4"
                )
            if self.keep.sinks >= context:
                raise KvtuiError(
                    f"{self.spec}: {self.keep.sinks} sinks fill the model's context of {context}, so that nothing "
                    f"recent fits: give fewer than {context}"
                )
        recent = context if not isinstance(self.keep, Rolling) else min(self.keep.recent, context - self.keep.sinks)
        if self.bits and recent <= GROUP:
            raise KvtuiError(
                f"{self.spec}: the last {GROUP} positions are never packed, so nothing would be with {recent}: "
                f"keep more than {GROUP}, or leave out int{self.bits}"
            )

    def new_cache(self, config: ModelConfig, dtype: Any, rotation_at: RotationAt) -> KVCache:
        """An empty cache.

        Raises:
            KvtuiError: a model of this shape cannot have this policy.
        """
        self.check(config)
        keep = self.keep
        if isinstance(keep, Eviction):
            return EvictingCache(config, keep, dtype)
        if self.bits is not None:
            sinks, recent = (keep.sinks, keep.recent) if keep else (0, config.context_length)
            return QuantisedCache(config, self.bits, sinks, recent, keep is not None, dtype, rotation_at)
        if keep is not None:
            return RollingCache(config, keep.sinks, keep.recent, dtype, rotation_at)
        return KVCache(config, dtype=dtype)


def parse_policy(policy: str | CachePolicy | Eviction) -> CachePolicy:
    """A policy from how it is written: a kind, or bits and a kind joined by a comma (``int8,window:128``).

    Raises:
        KvtuiError: an unknown name, a size that cannot be, or kinds that do not go together.
    """
    if isinstance(policy, CachePolicy):
        return policy
    if isinstance(policy, Eviction):
        return CachePolicy(type(policy).__name__.lower(), policy)
    made = [_parse_part(part) for part in policy.strip().lower().split(",")]
    bits = [value for _, value in made if isinstance(value, int)]
    keeps = [(name, value) for name, value in made if not isinstance(value, int)]
    if len(bits) > 1 or len(keeps) > 1:
        raise KvtuiError(
            f"{policy}: one kind says which positions are kept, and int8 or int4 in how many bits: "
            "give one of each at most"
        )
    name, keep = keeps[0] if keeps else ("full", None)
    if bits and isinstance(keep, Eviction):
        raise KvtuiError(
            f"{policy}: int{bits[0]} packs {GROUP} neighbouring positions with a common scale, and "
            f"{name.partition(':')[0]} drops single ones, in each head others: use one of the two"
        )
    spec = f"int{bits[0]}" + ("" if name == "full" else f",{name}") if bits else name
    return CachePolicy(spec, keep, bits[0] if bits else None)


def _parse_part(part: str) -> tuple[str, Rolling | Eviction | int | None]:
    """(canonical spelling, what it makes) of one kind."""
    name, colon, rest = part.strip().partition(":")
    kind = next((kind for kind in KINDS if kind.name == name), None)
    if kind is None:
        near = get_close_matches(name, [kind.name for kind in KINDS], 1, 0.5)
        raise KvtuiError(
            f"there is no cache policy '{name[:40]}'{f'; did you mean {near[0]}?' if near else ':'} "
            f"known are {', '.join(kind.form for kind in KINDS)}"
        )
    letters = re.findall(r"[A-Z]", kind.form)
    numbers = rest.split("+") if colon else []
    if len(numbers) != len(letters) or not all(re.fullmatch(r"\d{1,9}", number.strip()) for number in numbers):
        raise KvtuiError(f"'{part.strip()[:40]}' is not a size of the cache: write {kind.form}, such as {kind.example}")
    sizes = [int(number) for number in numbers]
    for letter, size in zip(letters, sizes, strict=True):
        if not size:
            raise KvtuiError(f"{part.strip()}: {letter} has to be 1 or more")
    return name + (":" + "+".join(map(str, sizes)) if sizes else ""), kind.make(*sizes)
