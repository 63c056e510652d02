"""The shape of a decoder, validated once so that the rest of the code can rely on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import prod
from typing import Any, Literal, get_args

from kvtui.core.errors import KvtuiError, brief

Norm = Literal["layer", "rms"]
Position = Literal["learned", "rotary"]
Mlp = Literal["gelu", "gelu_erf", "swiglu"]

# A bound on every size, so that a hostile file cannot claim all memory. Some have lower ones: the list of names grows
# with the layers, tables and cache with context and head, whatever the file itself holds.
_LARGEST = 1 << 24
LONGEST_CONTEXT = 1 << 17
WIDEST_HEAD = 1 << 12
_LARGEST_OF = {"num_layers": 1 << 12, "context_length": LONGEST_CONTEXT, "head_dim": WIDEST_HEAD}


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and choices of one decoder-only transformer.

    The choices are independent of each other: ``norm`` (LayerNorm, or RMSNorm of Zhang & Sennrich 2019),
    ``position`` (learned as in GPT-2, or rotary as in Su et al. 2021), ``mlp`` (GELU, in its tanh form as in GPT-2 or
    exact, ``gelu_erf``; or SwiGLU of Shazeer 2020),
    ``num_kv_heads`` (equal to ``num_heads``, or fewer: grouped-query attention, Ainslie et al. 2023), and

    * ``bias``: every projection inside the blocks has one, and every LayerNorm; ``qkv_bias``: only those of queries,
      keys and values have one (Qwen2);
    * ``query_key_norm``: RMSNorm over each head's query and key before they are rotated (Qwen3);
    * ``sliding_window``: a position attends to itself and to those before it, this many in total; None for all
      (Mistral, Jiang et al. 2023, sec. 2);
    * ``rotary_divisors``: what each pair's frequency is divided by, empty for nothing, to stretch a model over a longer
      context (Llama 3; see :func:`kvtui.core.rotary.llama3_divisors`).

    Raises:
        KvtuiError: an impossible size or combination, with the reason.
    """

    vocab_size: int
    context_length: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    embed_dim: int
    mlp_dim: int
    norm: Norm = "layer"
    position: Position = "rotary"
    mlp: Mlp = "gelu"
    tied_output: bool = False
    bias: bool = False
    qkv_bias: bool = False
    query_key_norm: bool = False
    norm_epsilon: float = 1e-5
    rotary_base: float = 10_000.0
    rotary_divisors: tuple[float, ...] = ()
    sliding_window: int | None = None

    def __post_init__(self) -> None:
        for name in (*_SIZES, *(["sliding_window"] if self.sliding_window is not None else [])):
            value, largest = getattr(self, name), _LARGEST_OF.get(name, _LARGEST)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
                raise KvtuiError(f"{name} is {brief(value)}; it must be a whole number from 1 to {largest:,}")
        for name, choices in (("norm", Norm), ("position", Position), ("mlp", Mlp)):
            if getattr(self, name) not in get_args(choices):
                raise KvtuiError(
                    f"{name} is {brief(getattr(self, name))}; it must be one of {', '.join(get_args(choices))}"
                )
        for name in ("tied_output", "bias", "qkv_bias", "query_key_norm"):
            if not isinstance(getattr(self, name), bool):
                raise KvtuiError(f"{name} is {brief(getattr(self, name))}; it must be true or false")
        for name in ("norm_epsilon", "rotary_base"):
            value = getattr(self, name)
            if not is_positive(value):
                raise KvtuiError(f"{name} is {brief(value)}; it must be a number from 1e-30 to 1e12")
        divisors = self.rotary_divisors
        if not isinstance(divisors, tuple) or not all(is_positive(value) for value in divisors):
            raise KvtuiError("rotary_divisors must be a list of numbers from 1e-30 to 1e12")
        if divisors and len(divisors) != self.head_dim // 2:
            raise KvtuiError(
                f"rotary_divisors has {len(divisors)} numbers; a head of {self.head_dim} has {self.head_dim // 2} pairs"
            )
        if self.num_heads % self.num_kv_heads:
            raise KvtuiError(
                f"{self.num_heads} heads cannot share {self.num_kv_heads} key/value heads evenly; "
                "num_kv_heads must divide num_heads"
            )
        if self.position == "rotary" and self.head_dim % 2:
            raise KvtuiError(f"head_dim is {self.head_dim}; rotary positions turn pairs, so it must be even")

    @property
    def query_dim(self) -> int:
        """Width of all query heads side by side."""
        return self.num_heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Width of all key (or value) heads side by side."""
        return self.num_kv_heads * self.head_dim

    def cache_bytes_per_token(self, itemsize: int = 4) -> int:
        """Bytes that one position takes in the cache: a key and a value per layer and key/value head."""
        return 2 * self.num_layers * self.kv_dim * itemsize

    def to_dict(self) -> dict[str, Any]:
        """The config as plain JSON values."""
        return asdict(self) | {"rotary_divisors": list(self.rotary_divisors)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Inverse of :meth:`to_dict`.

        Raises:
            KvtuiError: a field is missing or unknown, or a value is refused.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        missing = sorted(set(_SIZES) - set(values))
        if unknown or missing:
            raise KvtuiError(f"unknown fields {unknown} and missing fields {missing} in the config")
        divisors = values.get("rotary_divisors")
        tuples: dict[str, Any] = {"rotary_divisors": tuple(divisors)} if isinstance(divisors, list) else {}
        return cls(**values | tuples)


def is_positive(value: Any) -> bool:
    """Whether a value is a number from 1e-30 to 1e12, which float32 arithmetic can handle."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 1e-30 <= value <= 1e12


_SIZES = (
    "vocab_size",
    "context_length",
    "num_layers",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "embed_dim",
    "mlp_dim",
)


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter: the one list that initialisation, checkpoints and training use.

    A projection from n to m numbers is stored as (n, m), so that it is applied as ``x @ weight``.
    """
    width = config.embed_dim
    shapes: dict[str, tuple[int, ...]] = {"token_embedding": (config.vocab_size, width)}
    if config.position == "learned":
        shapes["position_embedding"] = (config.context_length, width)

    def norm(name: str) -> None:
        shapes[f"{name}.gain"] = (width,)
        if config.bias and config.norm == "layer":
            shapes[f"{name}.bias"] = (width,)

    def linear(name: str, inputs: int, outputs: int, bias: bool = config.bias) -> None:
        shapes[f"{name}.weight"] = (inputs, outputs)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    for layer in range(config.num_layers):
        block = f"blocks.{layer}"
        norm(f"{block}.attention_norm")
        qkv_bias = config.bias or config.qkv_bias
        linear(f"{block}.attention.query", width, config.query_dim, qkv_bias)
        linear(f"{block}.attention.key", width, config.kv_dim, qkv_bias)
        linear(f"{block}.attention.value", width, config.kv_dim, qkv_bias)
        if config.query_key_norm:
            shapes[f"{block}.attention.query_norm.gain"] = (config.head_dim,)
            shapes[f"{block}.attention.key_norm.gain"] = (config.head_dim,)
        linear(f"{block}.attention.output", config.query_dim, width)
        norm(f"{block}.mlp_norm")
        if config.mlp == "swiglu":
            linear(f"{block}.mlp.gate", width, config.mlp_dim)
        linear(f"{block}.mlp.up", width, config.mlp_dim)
        linear(f"{block}.mlp.down", config.mlp_dim, width)
    norm("final_norm")
    if not config.tied_output:
        shapes["output.weight"] = (width, config.vocab_size)
    return shapes


def parameter_count(config: ModelConfig) -> int:
    """Number of parameters of the model."""
    return sum(prod(shape) for shape in parameter_shapes(config).values())
