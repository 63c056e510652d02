"""Architectures of Hugging Face models: how each writes its config and names its tensors.

A config is accepted only if everything that it requires is implemented; anything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kvtui.core.config import LONGEST_CONTEXT, WIDEST_HEAD, Mlp, ModelConfig, is_positive
from kvtui.core.errors import KvtuiError, brief
from kvtui.core.rotary import llama3_divisors, rotary_frequencies

Values = Mapping[str, Any]

_GELUS: dict[str, Mlp] = {
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_fast"), "gelu"),
    "gelu": "gelu_erf",
}
# The defaults of transformers for what a config leaves out, where they differ from Llama's.
_MISTRAL_DEFAULTS = {"num_key_value_heads": 8, "sliding_window": 4096}
_QWEN_DEFAULTS = {"num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28}


@dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        read_config: converts their config to ours.
        top: our name -> theirs, for the parameters outside the blocks.
        block: the same inside a block, without ``.weight`` and ``.bias`` for projections.
        prefix: of a block's tensors, with ``{}`` for its number.
        transposed: whether projections are stored as (outputs, inputs). The output projection always is.
        halves: whether the two numbers that rotary positions rotate together are half a head apart, not neighbours.
        ignored: endings of tensors that are not parameters.
    """

    read_config: Callable[[Values], ModelConfig]
    top: Mapping[str, str]
    block: Mapping[str, str]
    prefix: str
    transposed: bool
    halves: bool = True
    ignored: tuple[str, ...] = ()

    @property
    def fused(self) -> bool:
        """Whether queries, keys and values share one tensor, side by side."""
        return self.block["attention.query"] == self.block["attention.key"]

    def theirs(self, ours: str) -> str:
        """Their name of one of our parameters."""
        if ours in self.top:
            return self.top[ours]
        _, layer, name = ours.split(".", 2)
        theirs = self.block.get(name)
        if theirs is None:
            projection, kind = name.rsplit(".", 1)
            theirs = f"{self.block[projection]}.{kind}"
        return f"{self.prefix.format(layer)}.{theirs}"


def require(values: Values, feature: str, *known: Any) -> None:
    """Refuse a feature unless it is missing, null, or has one of the implemented values."""
    value = values.get(feature)
    if value is not None and value not in known:
        implemented = f"only {' or '.join(map(repr, known))} is" if known else "it is not"
        raise KvtuiError(f"{feature} is {brief(value)}, but {implemented} implemented")


def _context(values: Values, name: str) -> Any:
    """Positions of the model, limited to the maximum here: rotary positions allow that."""
    context = values.get(name)
    return min(context, LONGEST_CONTEXT) if isinstance(context, int) else context


def _gpt2_config(values: Values) -> ModelConfig:
    require(values, "activation_function", *_GELUS)
    require(values, "scale_attn_weights", True)
    require(values, "scale_attn_by_inverse_layer_idx", False)
    require(values, "add_cross_attention", False)
    require(values, "quantization_config")
    width, heads = values.get("n_embd"), values.get("n_head")
    return ModelConfig(
        vocab_size=values.get("vocab_size", 0),
        context_length=values.get("n_positions", 0),
        num_layers=values.get("n_layer", 0),
        num_heads=heads,  # type: ignore[arg-type]  # checked by the config
        num_kv_heads=heads,  # type: ignore[arg-type]
        head_dim=head_width(width, heads),
        embed_dim=width,  # type: ignore[arg-type]
        mlp_dim=values.get("n_inner") or (4 * width if isinstance(width, int) else 0),
        norm="layer",
        position="learned",
        mlp=_GELUS[values.get("activation_function") or "gelu_new"],
        tied_output=values.get("tie_word_embeddings", True),
        bias=True,
        norm_epsilon=values.get("layer_norm_epsilon", 1e-5),
    )


def _llama_config(values: Values, window: int | None = None, **options: bool) -> ModelConfig:
    """The options that Llama, Mistral and Qwen share."""
    require(values, "hidden_act", "silu", "swish")
    require(values, "partial_rotary_factor", 1)
    require(values, "rope_interleaved", False)
    require(values, "quantization_config")
    width, heads = values.get("hidden_size"), values.get("num_attention_heads")
    head_dim, kv_heads = values.get("head_dim"), values.get("num_key_value_heads")
    head_dim = head_width(width, heads) if head_dim is None else head_dim
    base, divisors = _rotary(values, head_dim)
    return ModelConfig(
        vocab_size=values.get("vocab_size", 0),
        context_length=_context(values, "max_position_embeddings"),
        num_layers=values.get("num_hidden_layers", 0),
        num_heads=heads,  # type: ignore[arg-type]  # checked by the config
        num_kv_heads=heads if kv_heads is None else kv_heads,  # type: ignore[arg-type]
        head_dim=head_dim,
        embed_dim=width,  # type: ignore[arg-type]
        mlp_dim=values.get("intermediate_size", 0),
        norm="rms",
        position="rotary",
        mlp="swiglu",
        tied_output=values.get("tie_word_embeddings", False),
        norm_epsilon=values.get("rms_norm_eps", 1e-6),
        rotary_base=base,
        rotary_divisors=divisors,
        sliding_window=window,
        **options,
    )


def _plain_llama_config(values: Values) -> ModelConfig:
    biases = values.get("attention_bias") or False, values.get("mlp_bias") or False
    if biases[0] != biases[1]:
        raise KvtuiError(
            f"attention_bias is {brief(biases[0])} and mlp_bias is {brief(biases[1])}, but only both or neither is "
            "implemented"
        )
    require(values, "sliding_window")
    return _llama_config(values, bias=biases[0])


def _mistral_config(values: Values) -> ModelConfig:
    values = {**_MISTRAL_DEFAULTS, **values}
    return _llama_config(values, _window(values, values["sliding_window"] is not None))


def _qwen2_config(values: Values) -> ModelConfig:
    values = {**_QWEN_DEFAULTS, **values}
    return _llama_config(values, _window(values, bool(values.get("use_sliding_window"))), qkv_bias=True)


def _qwen3_config(values: Values) -> ModelConfig:
    require(values, "attention_bias", False)
    values = {**_QWEN_DEFAULTS, "head_dim": 128, **values}
    return _llama_config(values, _window(values, bool(values.get("use_sliding_window"))), query_key_norm=True)


def head_width(width: Any, heads: Any) -> int:
    """Width of a head if the config does not state it; 0, which is refused later, if the two are not sizes."""
    if not (isinstance(width, int) and isinstance(heads, int) and heads > 0):
        return 0
    if width % heads:
        raise KvtuiError(f"a width of {width} cannot be shared by {heads} heads")
    return width // heads


def _window(values: Values, used: bool) -> int | None:
    """The sliding window, which either all layers have or none.

    Raises:
        KvtuiError: only some layers have it.
    """
    layers, kinds = values.get("num_hidden_layers"), values.get("layer_types")
    if kinds is None and used and isinstance(layers, int):
        first = values.get("max_window_layers") or 0
        kinds = ["full_attention"] * (first > 0) + ["sliding_attention"] * (layers > first)  # the kinds that occur
    found = set(kinds or ["full_attention"])
    if found == {"full_attention"}:
        return None
    if found == {"sliding_attention"}:
        return values.get("sliding_window")
    raise KvtuiError(
        f"layer_types are {', '.join(sorted(map(str, found)))}: layers of different attention are not implemented"
    )


def _rotary(values: Values, head_dim: Any) -> tuple[float, tuple[float, ...]]:
    """Base of the rotary frequencies, and their divisors.

    ``rope_scaling`` wins over ``rope_parameters``, as in transformers 5 (modeling_rope_utils.py,
    ``convert_rope_params_to_dict``).
    """
    scaling = values.get("rope_scaling") or values.get("rope_parameters") or {}
    if not isinstance(scaling, Mapping) or any(isinstance(value, Mapping) for value in scaling.values()):
        raise KvtuiError("rope_parameters differ from layer to layer, which is not implemented")
    base = scaling.get("rope_theta", values.get("rope_theta", 10_000.0))
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in ("default", "linear", "llama3"):
        raise KvtuiError(f"rope_type is {brief(kind)}, but only 'default', 'linear' and 'llama3' are implemented")
    require(scaling, "partial_rotary_factor", 1)
    if kind == "default" or not isinstance(head_dim, int) or not 2 <= head_dim <= WIDEST_HEAD:
        return base, ()  # a head of another width is refused with the config
    names = ["factor"]
    if kind == "llama3":
        names += ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
    numbers = [scaling.get(name) for name in names]
    if not all(map(is_positive, [base, *numbers])):
        raise KvtuiError(f"rope_type {kind!r} needs rope_theta, {', '.join(names)}: numbers from 1e-30 to 1e12")
    if kind == "linear":
        return base, (float(numbers[0]),) * (head_dim // 2)  # type: ignore[arg-type]
    if not numbers[1] < numbers[2]:  # type: ignore[operator]
        raise KvtuiError(f"low_freq_factor is {numbers[1]}; it must be below high_freq_factor, {numbers[2]}")
    frequencies = rotary_frequencies(head_dim, base)
    return base, tuple(llama3_divisors(frequencies, *numbers).tolist())  # type: ignore[arg-type]


_GPT2 = Family(
    read_config=_gpt2_config,
    top={
        "token_embedding": "wte.weight",
        "position_embedding": "wpe.weight",
        "final_norm.gain": "ln_f.weight",
        "final_norm.bias": "ln_f.bias",
        "output.weight": "lm_head.weight",
    },
    block={
        "attention_norm.gain": "ln_1.weight",
        "attention_norm.bias": "ln_1.bias",
        "attention.query": "attn.c_attn",
        "attention.key": "attn.c_attn",
        "attention.value": "attn.c_attn",
        "attention.output": "attn.c_proj",
        "mlp_norm.gain": "ln_2.weight",
        "mlp_norm.bias": "ln_2.bias",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
    },
    prefix="h.{}",
    transposed=False,  # Conv1D
    ignored=(".attn.bias", ".attn.masked_bias", "position_ids"),  # the causal mask, and the numbers 0 1 2 …
)


def _llama(read_config: Callable[[Values], ModelConfig]) -> Family:
    return Family(
        read_config=read_config,
        top={
            "token_embedding": "model.embed_tokens.weight",
            "final_norm.gain": "model.norm.weight",
            "output.weight": "lm_head.weight",
        },
        block={
            "attention_norm.gain": "input_layernorm.weight",
            "attention.query": "self_attn.q_proj",
            "attention.key": "self_attn.k_proj",
            "attention.value": "self_attn.v_proj",
            "attention.output": "self_attn.o_proj",
            "attention.query_norm.gain": "self_attn.q_norm.weight",
            "attention.key_norm.gain": "self_attn.k_norm.weight",
            "mlp_norm.gain": "post_attention_layernorm.weight",
            "mlp.gate": "mlp.gate_proj",
            "mlp.up": "mlp.up_proj",
            "mlp.down": "mlp.down_proj",
        },
        prefix="model.layers.{}",
        transposed=True,
        ignored=(".rotary_emb.inv_freq", "position_ids"),
    )


FAMILIES: dict[str, Family] = {
    "GPT2LMHeadModel": _GPT2,
    "LlamaForCausalLM": _llama(_plain_llama_config),
    "MistralForCausalLM": _llama(_mistral_config),
    "Qwen2ForCausalLM": _llama(_qwen2_config),
    "Qwen3ForCausalLM": _llama(_qwen3_config),
}
