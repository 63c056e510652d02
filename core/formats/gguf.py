"""GGUF files, as written by llama.cpp; quantised tensors through the dequantisers of the extra ``gguf``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvtui.core.config import LONGEST_CONTEXT, ModelConfig
from kvtui.core.errors import KvtuiError, brief
from kvtui.core.formats.checkpoint import Checkpoint
from kvtui.core.formats.families import Family, head_width, require
from kvtui.core.formats.gguf_header import TensorPlace, read_header
from kvtui.core.formats.gguf_tokenizer import make_tokenizer
from kvtui.core.formats.numbers import map_array
from kvtui.core.formats.parameters import check_parameters, read_parameters
from kvtui.core.tokenizer import Tokenizer

Metadata = Mapping[str, Any]

_UNQUANTISED = {0: "F32", 1: "F16", 30: "BF16"}  # ggml's numbers of the kinds that need no dequantiser
_MAPPED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_ROWS_AT_ONCE = 1 << 22  # numbers dequantised at a time: the dequantisers need several times that much memory
_ROTARY_DIVISORS = "rope_freqs.weight"  # Llama 3's scaling comes as a tensor
_PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


@dataclass(frozen=True)
class _Stored:
    """A tensor of a file; a quantised one is dequantised when it is read."""

    path: Path
    kind: str
    shape: tuple[int, ...]
    offset: int
    row_bytes: int
    problem: str = ""

    def map(self) -> NDArray[Any]:
        """The numbers; bfloat16 as uint16."""
        if self.kind in _MAPPED:
            return map_array(self.path, _MAPPED[self.kind], self.shape, self.offset)
        gguf = import_gguf(self.path)
        kind, numbers = gguf.GGMLQuantizationType[self.kind], np.empty(self.shape, np.float32)
        blocks = map_array(self.path, np.uint8, (*self.shape[:-1], self.row_bytes), self.offset)
        step = max(1, _ROWS_AT_ONCE // self.shape[-1])
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by name
                for first in range(0, len(numbers), step):
                    numbers[first : first + step] = gguf.quants.dequantize(blocks[first : first + step], kind)
        except NotImplementedError:
            raise KvtuiError(f"{self.path} has a tensor of the kind {self.kind}, which cannot be read") from None
        return numbers


def import_gguf(path: Path) -> Any:
    """The ``gguf`` package, for reading a file.

    Raises:
        KvtuiError: it is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise KvtuiError(f"cannot read {path}: GGUF files need the package 'gguf': pip install 'kvtui[gguf]'") from None
    return gguf


def read_gguf(path: Path, dtype: Any, on_progress: Callable[[int, int], None]) -> Checkpoint:
    """Read a model of one of the architectures in ``ARCHITECTURES``.

    Raises:
        KvtuiError: an unknown architecture, kind of tensor or tokenizer, a feature that is not implemented, or a
            damaged file.
    """
    on_progress(0, 1)
    metadata, tensors = _read_headers(path)
    family, config = _find_config(path, metadata, tensors)
    tokenizer = _find_tokenizer(path, metadata, config)
    parameters = read_parameters(path, family, config, tensors, dtype, on_progress)
    return Checkpoint(config, tokenizer, parameters, {}, path, _kind(metadata, tensors))


def peek_gguf(path: Path) -> tuple[ModelConfig, str]:
    """Config and kind of a model, without its weights.

    Raises:
        KvtuiError: :func:`read_gguf` would refuse it, whatever its numbers are.
    """
    metadata, tensors = _read_headers(path)
    family, config = _find_config(path, metadata, tensors)
    _find_tokenizer(path, metadata, config)
    check_parameters(path, family, config, tensors)
    return config, _kind(metadata, tensors)


def gguf_parts(path: Path) -> list[Path]:
    """The files of a model, of which one is given: itself, or all that ``gguf-split`` has made of it, by their names.

    They need not exist (llama.cpp, ``llama_split_path``).
    """
    match = _PART.fullmatch(path.name)
    if match is None or not 1 <= int(match["number"]) <= int(match["count"]):
        return [path]
    count = match["count"]
    return [path.with_name(f"{match['name']}-{number:05}-of-{count}.gguf") for number in range(1, int(count) + 1)]


def _read_headers(path: Path) -> tuple[Metadata, dict[str, _Stored]]:
    """The metadata, and every tensor of the model by its name, also those in further files.

    Raises:
        KvtuiError: a file is missing or damaged, has a tensor that does not lie in it whole, or is not the first.
    """
    metadata, tensors = _read_header(path)
    count, number = metadata.get("split.count", 1), metadata.get("split.no", 0)
    if not isinstance(count, int) or count <= 1:
        return metadata, tensors
    parts = gguf_parts(path)
    if len(parts) != count:
        raise KvtuiError(
            f"{path} is one of {count} files of a model, but its name does not end as -00001-of-{count:05}.gguf"
        )
    if number != 0 or parts[0] != path:
        raise KvtuiError(f"{path} is not the first file of its model: give {parts[0].name}")
    for place, part in enumerate(parts[1:], 1):
        if not part.is_file():
            raise KvtuiError(f"{path} needs {part.name} in the same folder, which is missing")
        more, found = _read_header(part)
        if more.get("split.no") != place or more.get("split.count") != count or tensors.keys() & found.keys():
            raise KvtuiError(f"{part} does not belong to {path.name}")
        tensors |= found
    return metadata, tensors


def _read_header(path: Path) -> tuple[Metadata, dict[str, _Stored]]:
    """The metadata of one file, and every tensor in it as what is to be read of it.

    Raises:
        KvtuiError: the file is damaged, or has a tensor that does not lie in it whole.
    """
    header, size = read_header(path), path.stat().st_size
    return header.metadata, {place.name: _stored(path, place, size) for place in header.tensors}


def _stored(path: Path, place: TensorPlace, size: int) -> _Stored:
    kind = _UNQUANTISED.get(place.kind)
    if kind is not None:
        block, block_bytes = 1, np.dtype(_MAPPED[kind]).itemsize
    else:
        gguf = import_gguf(path)
        try:
            number = gguf.GGMLQuantizationType(place.kind)
        except ValueError:
            problem = f"is of the kind {place.kind}, which cannot be read"
            return _Stored(path, str(place.kind), place.shape, place.offset, 0, problem)
        kind, (block, block_bytes) = number.name, gguf.GGML_QUANT_SIZES[number]
    row = place.shape[-1] if place.shape else 1
    if row % block:
        raise KvtuiError(f"{path} is not a whole GGUF file: {brief(place.name)} has rows of {row} in blocks of {block}")
    if place.offset + prod(place.shape) // block * block_bytes > size:
        raise KvtuiError(f"{path} is not a whole GGUF file: it ends before the end of {brief(place.name)}")
    return _Stored(path, kind, place.shape, place.offset, row // block * block_bytes)


def _find_tokenizer(path: Path, metadata: Metadata, config: ModelConfig) -> Tokenizer:
    try:
        return make_tokenizer(metadata, config.vocab_size)
    except KvtuiError as error:
        raise KvtuiError(f"{path}: {error}") from None


def _find_config(path: Path, metadata: Metadata, tensors: Mapping[str, _Stored]) -> tuple[Family, ModelConfig]:
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise KvtuiError(f"{path}: the architecture is {brief(architecture)}; those implemented are {known}")
    family, prefix = ARCHITECTURES[architecture], f"{architecture}."
    own = {name.removeprefix(prefix): _number(value) for name, value in metadata.items() if name.startswith(prefix)}
    try:
        return family, _read_config(own, tensors, family)
    except (KvtuiError, TypeError, ValueError) as error:
        raise KvtuiError(f"{path}: {error}") from None


def _kind(metadata: Metadata, tensors: Mapping[str, _Stored]) -> str:
    kinds = sorted({stored.kind for stored in tensors.values()})
    return f"GGUF {metadata['general.architecture']}, {' and '.join(kinds)}"


def _number(value: Any) -> Any:
    """Numbers are stored as float32: 1e-5 is meant, not 9.999999747378752e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _read_config(values: Metadata, tensors: Mapping[str, _Stored], family: Family) -> ModelConfig:
    """The config from the metadata, and from the tensors in the file."""
    if "token_embd.weight" not in tensors:
        raise KvtuiError("it has no tensor token_embd.weight")
    require(values, "expert_count", 0)
    scaling = values.get("rope.scaling.type") or "linear"
    require({"rope.scaling.type": scaling}, "rope.scaling.type", "none", "linear")
    config = family.read_config({**values, **_found_in(tensors)})
    head_dim = config.head_dim
    require(values, "attention.value_length", head_dim)
    require(values, "rope.dimension_count", head_dim)
    if config.position != "rotary":
        return config
    divisors = np.ones(head_dim // 2)
    if scaling == "linear":
        # the second is what old files say; 0 means none, as in llama.cpp (llama-model.cpp, load_hparams)
        factor = values.get("rope.scaling.factor", values.get("rope.scale_linear")) or 1.0
        divisors = divisors * float(factor)
    if _ROTARY_DIVISORS in tensors:
        stored = tensors[_ROTARY_DIVISORS]
        if stored.problem or stored.shape != divisors.shape:
            raise KvtuiError(f"{_ROTARY_DIVISORS} does not have {len(divisors)} numbers that can be read")
        divisors = divisors * stored.map().astype(np.float64)
    return replace(config, rotary_divisors=tuple(divisors.tolist()) if (divisors != 1).any() else ())


def _found_in(tensors: Mapping[str, _Stored]) -> dict[str, Any]:
    """Defaults for what the metadata leaves out."""
    return {
        "vocab_size": tensors["token_embd.weight"].shape[0],
        "tied_output": "output.weight" not in tensors,
        "qkv_bias": "blk.0.attn_q.bias" in tensors,
    }


def _gpt2_config(values: Metadata) -> ModelConfig:
    width, heads = values.get("embedding_length"), values.get("attention.head_count")
    return ModelConfig(
        vocab_size=values["vocab_size"],
        context_length=values.get("context_length", 0),
        num_layers=values.get("block_count", 0),
        num_heads=heads,  # type: ignore[arg-type]  # checked by the config
        num_kv_heads=heads,  # type: ignore[arg-type]
        head_dim=head_width(width, heads),
        embed_dim=width,  # type: ignore[arg-type]
        mlp_dim=values.get("feed_forward_length", 0),
        norm="layer",
        position="learned",
        mlp="gelu",
        tied_output=values["tied_output"],
        bias=True,
        norm_epsilon=values.get("attention.layer_norm_epsilon", 1e-5),
    )


def _llama_config(values: Metadata, query_key_norm: bool = False) -> ModelConfig:
    width, heads = values.get("embedding_length"), values.get("attention.head_count")
    context, head_dim = values.get("context_length", 0), values.get("attention.key_length")
    return ModelConfig(
        vocab_size=values["vocab_size"],
        context_length=min(context, LONGEST_CONTEXT) if isinstance(context, int) else context,
        num_layers=values.get("block_count", 0),
        num_heads=heads,  # type: ignore[arg-type]  # checked by the config
        num_kv_heads=values.get("attention.head_count_kv", heads),
        head_dim=head_width(width, heads) if head_dim is None else head_dim,
        embed_dim=width,  # type: ignore[arg-type]
        mlp_dim=values.get("feed_forward_length", 0),
        norm="rms",
        position="rotary",
        mlp="swiglu",
        tied_output=values["tied_output"],
        qkv_bias=values["qkv_bias"],
        query_key_norm=query_key_norm,
        norm_epsilon=values.get("attention.layer_norm_rms_epsilon", 1e-5),
        rotary_base=values.get("rope.freq_base", 10_000.0),
        sliding_window=values.get("attention.sliding_window") or None,
    )


def _qwen3_config(values: Metadata) -> ModelConfig:
    return _llama_config(values, query_key_norm=True)


def _family(read_config: Callable[[Metadata], ModelConfig], *, halves: bool = True, fused: bool = False) -> Family:
    query, key, value = ("attn_qkv",) * 3 if fused else ("attn_q", "attn_k", "attn_v")
    norms = {"attention_norm": "attn_norm", "mlp_norm": "ffn_norm"}
    head_norms = {"attention.query_norm": "attn_q_norm", "attention.key_norm": "attn_k_norm"}
    return Family(
        read_config=read_config,
        top={
            "token_embedding": "token_embd.weight",
            "position_embedding": "position_embd.weight",
            "final_norm.gain": "output_norm.weight",
            "final_norm.bias": "output_norm.bias",
            "output.weight": "output.weight",
        },
        block={
            **{f"{ours}.gain": f"{theirs}.weight" for ours, theirs in (norms | head_norms).items()},
            **{f"{ours}.bias": f"{theirs}.bias" for ours, theirs in norms.items()},
            "attention.query": query,
            "attention.key": key,
            "attention.value": value,
            "attention.output": "attn_output",
            "mlp.gate": "ffn_gate",
            "mlp.up": "ffn_up",
            "mlp.down": "ffn_down",
        },
        prefix="blk.{}",
        transposed=True,
        halves=halves,
        ignored=(_ROTARY_DIVISORS,),
    )


ARCHITECTURES: dict[str, Family] = {
    "llama": _family(_llama_config, halves=False),  # llama.cpp's converter has already made rotary pairs neighbours
    "qwen2": _family(_llama_config),
    "qwen3": _family(_qwen3_config),
    "gpt2": _family(_gpt2_config, fused=True),
}
