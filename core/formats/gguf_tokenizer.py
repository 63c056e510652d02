"""The tokenizer in a GGUF file's metadata: SentencePiece's pieces with scores, or byte-level BPE."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np

from kvtui.core.errors import KvtuiError, brief
from kvtui.core.formats.sentencepiece import SentencePieceTokenizer
from kvtui.core.formats.tokenizer_json import LibraryTokenizer, check_fit, import_library, refusals
from kvtui.core.tokenizer import Tokenizer

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# How text is split into words before its bytes are merged, by ``tokenizer.ggml.pre`` (the models' own tokenizer.json).
# None is GPT-2's own pattern, built into the library; the second entry is whether digits are split off first.
_PATTERNS: dict[str, tuple[str | None, bool]] = {
    "gpt-2": (None, False),
    "smollm": (None, True),
    "qwen2": (_WORDS + r"\p{N}" + _REST, False),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), (_WORDS + r"\p{N}{1,3}" + _REST, False)),
}
_LLAMA3 = ("llama-bpe", "llama3", "llama-v3")


class _Kind(IntEnum):
    """``tokenizer.ggml.token_type``."""

    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5


def make_tokenizer(metadata: Mapping[str, Any], vocab_size: int) -> Tokenizer:
    """Build the tokenizer that the metadata describes.

    Raises:
        KvtuiError: a kind that is not implemented, or that does not fit the model.
    """
    model, tokens = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise KvtuiError("the metadata has no tokenizer.ggml.tokens")
    kinds = _numbers(metadata, "token_type", int) if "tokenizer.ggml.token_type" in metadata else [1] * len(tokens)
    if len(kinds) != len(tokens):
        raise KvtuiError("tokenizer.ggml.token_type does not have one entry for each token")
    ends = [metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    stop_ids = frozenset(index for index in ends if isinstance(index, int) and 0 <= index < len(tokens))
    start = metadata.get("tokenizer.ggml.bos_token_id")
    start_id = start if isinstance(start, int) else min(stop_ids, default=0)
    tokenizer: Tokenizer
    if model == "llama":
        tokenizer = _scored(metadata, tokens, kinds, start_id, stop_ids)
    elif model == "gpt2":
        tokenizer = _byte_level(metadata, tokens, kinds, start_id, stop_ids)
    else:
        raise KvtuiError(f"tokenizer.ggml.model is {brief(model)}, but only 'llama' and 'gpt2' are implemented")
    check_fit("its tokenizer", tokenizer, vocab_size)
    return tokenizer


def _numbers(metadata: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    """An array of whole numbers or of floats; empty if it is missing or something else."""
    array = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.integer if kind is int else np.floating):
        return []
    return list(array.tolist())


def _scored(
    metadata: Mapping[str, Any], tokens: list[str], kinds: list[int], start_id: int, stop_ids: frozenset[int]
) -> Tokenizer:
    scores = _numbers(metadata, "scores", float)
    if len(scores) != len(tokens):
        raise KvtuiError("tokenizer.ggml.scores does not have one number for each token")
    hidden = (_Kind.UNKNOWN, _Kind.CONTROL, _Kind.UNUSED)
    unknown = metadata.get("tokenizer.ggml.unknown_token_id")
    return SentencePieceTokenizer(
        [token.replace("▁", " ") for token in tokens],
        scores,
        start_id,
        stop_ids,
        {index for index, kind in enumerate(kinds) if kind in hidden},
        unknown_id=unknown if isinstance(unknown, int) and 0 <= unknown < len(tokens) else 0,
        add_start=bool(metadata.get("tokenizer.ggml.add_bos_token", True)),
        add_space=bool(metadata.get("tokenizer.ggml.add_space_prefix", True)),
    )


def _byte_level(
    metadata: Mapping[str, Any], tokens: list[str], kinds: list[int], start_id: int, stop_ids: frozenset[int]
) -> Tokenizer:
    merges, pre = metadata.get("tokenizer.ggml.merges"), metadata.get("tokenizer.ggml.pre", "gpt-2")
    if not isinstance(merges, list) or not all(isinstance(merge, str) and " " in merge for merge in merges):
        raise KvtuiError("the metadata has no tokenizer.ggml.merges")
    if not isinstance(pre, str) or pre not in _PATTERNS:
        raise KvtuiError(f"tokenizer.ggml.pre is {brief(pre)}, but only {', '.join(_PATTERNS)} are implemented")
    library = import_library()
    pattern, digits_alone = _PATTERNS[pre]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    with refusals("tokenizer.ggml.merges do not fit the tokens"):
        bpe = library.models.BPE(vocabulary, pairs, ignore_merges=pre in _LLAMA3)
    tokenizer = library.Tokenizer(bpe)
    steps = [library.pre_tokenizers.Digits(individual_digits=True)] if digits_alone else []
    if pattern is not None:
        steps.append(library.pre_tokenizers.Split(library.Regex(pattern), "isolated"))
    steps.append(library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None))
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence(steps)
    tokenizer.decoder = library.decoders.ByteLevel()
    for kind, special in ((_Kind.CONTROL, True), (_Kind.USER_DEFINED, False)):
        found = [token for token, its_kind in zip(tokens, kinds, strict=True) if its_kind == kind]
        added = [library.AddedToken(token, special=special, normalized=False) for token in found]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(added)
    if metadata.get("tokenizer.ggml.add_bos_token", pre in _LLAMA3) and 0 <= start_id < len(tokens):
        start = tokens[start_id]
        tokenizer.post_processor = library.processors.TemplateProcessing(
            single=[start, "$A"], special_tokens=[(start, start_id)]
        )
    return LibraryTokenizer(tokenizer, start_id, stop_ids)
