"""Hugging Face folders: ``config.json``, safetensors and a tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError, brief
from kvtui.core.formats.checkpoint import Checkpoint
from kvtui.core.formats.families import FAMILIES
from kvtui.core.formats.parameters import check_parameters, read_parameters, untie_output
from kvtui.core.formats.shards import Stored, find_tensors, read_json
from kvtui.core.formats.tokenizer_json import read_tokenizer


def read_huggingface(folder: Path, dtype: Any, on_progress: Callable[[int, int], None]) -> Checkpoint:
    """Read a model of one of the architectures in :data:`kvtui.core.formats.families.FAMILIES`.

    Raises:
        KvtuiError: an unknown architecture, a feature that is not implemented, weights that are missing or damaged or
            do not fit the config, or a tokenizer that does not fit the model.
    """
    on_progress(0, 1)
    notes: list[str] = []
    values = read_json(folder / "config.json")
    architecture, config = _read_config(folder, values)
    family = FAMILIES[architecture]
    tensors = _without_prefix(find_tensors(folder, notes.append))
    tokenizer = read_tokenizer(folder, values, config.vocab_size, notes.append)
    config = untie_output(family, config, tensors, notes.append)
    parameters = read_parameters(folder, family, config, tensors, dtype, on_progress)
    return Checkpoint(config, tokenizer, parameters, {}, folder, _kind(architecture, tensors), tuple(notes))


def peek_huggingface(folder: Path) -> tuple[ModelConfig, str]:
    """Config and kind of a folder's model, without its weights; only the file headers and the tokenizer are read, and
    the output if it should be tied and is there all the same.

    Raises:
        KvtuiError: :func:`read_huggingface` would refuse it, whatever its numbers are.
    """
    values = read_json(folder / "config.json")
    architecture, config = _read_config(folder, values)
    tensors = _without_prefix(find_tensors(folder))
    read_tokenizer(folder, values, config.vocab_size)
    config = untie_output(FAMILIES[architecture], config, tensors, lambda words: None)
    check_parameters(folder, FAMILIES[architecture], config, tensors)
    return config, _kind(architecture, tensors)


def _read_config(folder: Path, values: dict[str, Any]) -> tuple[str, ModelConfig]:
    architecture = _architecture(folder, values)
    try:
        return architecture, FAMILIES[architecture].read_config(values)
    except (KvtuiError, TypeError, ValueError, OverflowError) as error:
        raise KvtuiError(f"{folder / 'config.json'}: {error}") from None


def _kind(architecture: str, tensors: dict[str, Stored]) -> str:
    kinds = sorted({stored.dtype for stored in tensors.values() if not stored.problem})
    return f"Hugging Face {architecture}, {' and '.join(kinds)}"


def _architecture(folder: Path, values: dict[str, Any]) -> str:
    """The name in ``architectures``, or without one that which ``model_type`` stands for, as ``gpt_neox`` does for
    GPTNeoXForCausalLM."""
    names, model_type = values.get("architectures"), values.get("model_type")
    name = names[0] if isinstance(names, list) and names else None
    if name is None and isinstance(model_type, str):
        plain = model_type.replace("_", "").lower()
        causal = (f"{plain}forcausallm", f"{plain}lmheadmodel")
        name = next((known for known in FAMILIES if known.lower() in causal), None)
    if not isinstance(name, str) or name not in FAMILIES:
        raise KvtuiError(
            f"{folder / 'config.json'}: the architecture is {brief(name or model_type)}; "
            f"those implemented are {', '.join(FAMILIES)}"
        )
    return name


def _without_prefix(tensors: dict[str, Stored]) -> dict[str, Stored]:
    """GPT-2's tensor names come with or without the prefix ``transformer.``."""
    return {name.removeprefix("transformer."): stored for name, stored in tensors.items()}
