"""Settings of a training run: its length, the shape of the model, the rates. Every range is checked here."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

from kvtui.core.config import ModelConfig, parameter_count
from kvtui.core.errors import KvtuiError, brief

MOST_PARAMETERS = 200_000_000  # the trainer holds each of them about ten times in memory


@dataclass(frozen=True)
class Range:
    """The values that a setting may have, both ends included unless excluded by ``above`` (low) or ``below`` (high)."""

    low: float
    high: float
    whole: bool = False
    above: bool = False
    below: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value, of any type, is a number in the range."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)) or not isfinite(value):
            return False
        inside = self.low <= value <= self.high
        return inside and not (self.above and value == self.low) and not (self.below and value == self.high)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if not (self.above or self.below):
            return f"{kind} from {self.low:,} to {self.high:,}"
        return (
            f"{kind} {'above' if self.above else 'of at least'} {self.low:,} "
            f"and {'below' if self.below else 'at most'} {self.high:,}"
        )


RANGES: dict[str, Range] = {
    "seed": Range(0, 2**63 - 1, whole=True),
    "context_length": Range(1, 1 << 16, whole=True),
    "num_layers": Range(1, 256, whole=True),
    "num_heads": Range(1, 256, whole=True),
    "embed_dim": Range(2, 1 << 14, whole=True),
    "batch_windows": Range(1, 4096, whole=True),
    "dropout": Range(0, 1, below=True),
    "muon_rate": Range(0, 10),
    "adam_rate": Range(0, 10),
    "weight_decay": Range(0, 10),
    "warmup_steps": Range(0, 1_000_000, whole=True),
    "decay_from": Range(0, 1),
    "clip_norm": Range(0, 1_000_000, above=True),
    "validate_every": Range(1, 1_000_000, whole=True),
    "steps": Range(1, 100_000_000, whole=True),
    "minutes": Range(0, 100_000, above=True),
}


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. Exactly one of ``steps`` and ``minutes`` ends the run and sets the pace of the decay.

    Raises:
        KvtuiError: a value that is not in its range (:data:`RANGES`), or a width that does not split over the heads.
    """

    steps: int | None = 2600
    minutes: float | None = None
    seed: int = 1
    context_length: int = 512
    num_layers: int = 6
    num_heads: int = 6
    embed_dim: int = 192
    batch_windows: int = 16
    dropout: float = 0.25
    muon_rate: float = 0.02
    adam_rate: float = 0.003
    weight_decay: float = 0.2
    warmup_steps: int = 40
    decay_from: float = 0.4  # share of the run after which both rates fall linearly to zero
    clip_norm: float = 1.0
    validate_every: int = 100

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise KvtuiError("training ends after --steps or after --minutes: give one of them")
        for name, allowed in RANGES.items():
            value = getattr(self, name)
            if not allowed.holds(value) and not (value is None and name in ("steps", "minutes")):
                raise KvtuiError(f"{name} is {brief(value)}; it must be {allowed}")
        if self.embed_dim % (2 * self.num_heads):
            raise KvtuiError(
                f"embed_dim {self.embed_dim} does not split over {self.num_heads} heads into even widths; "
                "make it a multiple of twice the heads"
            )

    def model_config(self, vocab_size: int) -> ModelConfig:
        """The decoder for these settings: LayerNorm, rotary positions, GELU, one key/value head per head.

        Raises:
            KvtuiError: it has more parameters than the trainer takes.
        """
        config = ModelConfig(
            vocab_size=vocab_size,
            context_length=self.context_length,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_kv_heads=self.num_heads,
            head_dim=self.embed_dim // self.num_heads,
            embed_dim=self.embed_dim,
            mlp_dim=4 * self.embed_dim,
        )
        if (count := parameter_count(config)) > MOST_PARAMETERS:
            raise KvtuiError(
                f"these settings make a model of {count:,} parameters; the trainer takes at most {MOST_PARAMETERS:,}: "
                "lower --embed or --layers"
            )
        return config
