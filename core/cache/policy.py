"""A policy: a rule for what a cache keeps, and its name."""

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
    def keeps_all(self) -> bool:
        """Whether no position is ever dropped, however long the text, up to the model's context."""
        return False

    @property
    def endless(self) -> bool:
        """Whether a text can continue past the context without recomputing anything."""
        return False

    def check(self, config: ModelConfig, spec: str) -> None:  # noqa: B027 - most policies work with every model
        """Raise KvtuiError, with the reason, if this policy, written ``spec``, does not work with such a model."""

    @abstractmethod
    def new_cache(self, config: ModelConfig, dtype: Any, rotation_at: RotationAt) -> Cache:
        """An empty cache for a model of this shape, controlled by this policy.

        Args:
            config: the model's shape.
            dtype: of its numbers.
            rotation_at: the rotation of a position.
        """


def halves(positions: int) -> tuple[int, int]:
    """Split a number of positions into two parts, the larger one last."""
    return positions // 2, positions - positions // 2


@dataclass(frozen=True)
class PolicyKind:
    """A policy that can be selected by name. Its module lists it in ``KINDS``, where the registry finds it.

    Attributes:
        form: its syntax, with a letter for each size: ``heavy:H+N``. The part before the colon is its name.
        example: an example of that form.
        summary: what it keeps, in one line.
        make: creates the policy from its sizes.
        paper: the publication that it comes from.
        split: sizes that keep a given number of positions together, for a policy with two sizes.
        order: rank in lists; kinds of the same rank are sorted by name.
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
        """The name of the policy."""
        return self.form.partition(":")[0]

    @property
    def letters(self) -> list[str]:
        """The letters that represent its sizes."""
        return re.findall(r"[A-Z]", self.form)

    def written(self, *sizes: int) -> str:
        """The ``--policy`` value with these sizes."""
        return self.name + (":" + "+".join(map(str, sizes)) if sizes else "")

    def keeping(self, positions: int) -> str:
        """The ``--policy`` value that keeps this many positions in total."""
        count = len(self.letters)
        return self.written(*((positions,) if count == 1 else self.split(positions))[:count])
