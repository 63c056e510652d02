"""What a policy is: a rule for what a cache keeps, and the name by which it is asked for."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kvtui.core.cache.base import Cache
from kvtui.core.config import ModelConfig
from kvtui.core.rotary import RotationAt


class Policy(ABC):
    """A rule for what a cache keeps. One that ranks positions is an :class:`kvtui.core.cache.Eviction`."""

    @property
    def endless(self) -> bool:
        """Whether a text can go on past the context without running anything again."""
        return False

    def check(self, config: ModelConfig, spec: str) -> None:  # noqa: B027 - most policies go with every model
        """Raise KvtuiError, with the reason, if a model of this shape cannot have this policy, written ``spec``."""

    @abstractmethod
    def new_cache(self, config: ModelConfig, dtype: Any, rotation_at: RotationAt) -> Cache:
        """An empty cache for a model of this shape.

        Args:
            config: the model's shape.
            dtype: of its numbers.
            rotation_at: the rotation of a position.
        """


def halves(positions: int) -> tuple[int, int]:
    """So many positions in two parts, the larger one last."""
    return positions // 2, positions - positions // 2


@dataclass(frozen=True)
class PolicyKind:
    """A policy that can be asked for by name. Its module lists it in ``KINDS``; the registry finds it there.

    Attributes:
        form: how it is written, with a letter for each size: ``heavy:H+N``. What is before the colon is its name.
        example: of that form.
        summary: what it keeps, in one line.
        make: the policy, from its sizes.
        paper: where it comes from.
        split: sizes that together keep so many positions, for a policy with two of them.
        order: place in lists; kinds of the same place are sorted by name.
    """

    form: str
    example: str
    summary: str
    make: Callable[..., Policy]
    paper: str = ""
    split: Callable[[int], tuple[int, ...]] = halves
    order: int = 50

    @property
    def name(self) -> str:
        """What it is called."""
        return self.form.partition(":")[0]

    @property
    def letters(self) -> list[str]:
        """Those that stand for its sizes."""
        return re.findall(r"[A-Z]", self.form)

    def written(self, *sizes: int) -> str:
        """With these sizes, as ``--policy`` has it."""
        return self.name + (":" + "+".join(map(str, sizes)) if sizes else "")

    def keeping(self, positions: int) -> str:
        """With so many positions altogether, as ``--policy`` has it."""
        count = len(self.letters)
        return self.written(*((positions,) if count == 1 else self.split(positions))[:count])
