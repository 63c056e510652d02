"""The tokenizer in a GGUF file's metadata: SentencePiece's pieces with scores, or byte-level BPE.

What the metadata leaves out is what llama.cpp takes (llama-vocab.cpp, ``llama_vocab::impl::load``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvtui.core.errors import KvtuiError, brief
from kvtui.core.formats.byte_level import add_start, byte_level_tokenizer, find_splitting
from kvtui.core.formats.library_tokenizer import LibraryTokenizer, check_fit
from kvtui.core.formats.sentencepiece import NAMED, Kind, SentencePieceTokenizer
from kvtui.core.tokenizer import Tokenizer

# Tokens that end a text by their name alone, whatever else the file says.
_ENDS = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
    "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]",
    "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>",
    "[e~[", "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>",
    "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>",
}  # fmt: skip
_END_IDS = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")


@dataclass(frozen=True)
class _Vocabulary:
    """Tokens with their kinds, and those that begin and end a text."""

    tokens: list[str]
    kinds: list[int]
    start_id: int
    stop_ids: frozenset[int]


def make_tokenizer(metadata: Mapping[str, Any], vocab_size: int) -> Tokenizer:
    """Build the tokenizer that the metadata describes.

    Raises:
        KvtuiError: a kind that is not implemented, or that does not fit the model.
    """
    model = metadata.get("tokenizer.ggml.model")
    if model not in ("llama", "gpt2"):
        raise KvtuiError(f"tokenizer.ggml.model is {brief(model)}, but only 'llama' and 'gpt2' are implemented")
    vocabulary = _vocabulary(metadata, scored=model == "llama")
    tokenizer = _scored(metadata, vocabulary) if model == "llama" else _byte_level(metadata, vocabulary, vocab_size)
    check_fit("its tokenizer", tokenizer, vocab_size)
    return tokenizer


def _vocabulary(metadata: Mapping[str, Any], scored: bool) -> _Vocabulary:
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise KvtuiError("the metadata has no tokenizer.ggml.tokens")
    kinds = _numbers(metadata, "token_type", int) if "tokenizer.ggml.token_type" in metadata else [1] * len(tokens)
    if len(kinds) != len(tokens):
        raise KvtuiError("tokenizer.ggml.token_type does not have one entry for each token")
    kinds = [int(Kind.CONTROL) if token in _ENDS else kind for token, kind in zip(tokens, kinds, strict=True)]

    def find(name: str, default: int | None = None) -> int | None:
        for index in (metadata.get(f"tokenizer.ggml.{name}_token_id"), default):
            if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(tokens):
                return index
        return None

    ends = {find(name, 2 if scored and name == "eos" else None) for name in _END_IDS}
    named = {index for index, token in enumerate(tokens) if token in _ENDS}
    stop_ids = frozenset(index for index in ends | named if index is not None)
    start_id = find("bos", 1 if scored else None)
    return _Vocabulary(tokens, kinds, min(stop_ids, default=0) if start_id is None else start_id, stop_ids)


def _numbers(metadata: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    """An array of whole numbers or of floats; empty if it is missing or something else."""
    array = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.integer if kind is int else np.floating):
        return []
    return list(array.tolist())


def _scored(metadata: Mapping[str, Any], vocabulary: _Vocabulary) -> Tokenizer:
    tokens, scores = vocabulary.tokens, _numbers(metadata, "scores", float)
    if len(scores) != len(tokens):
        raise KvtuiError("tokenizer.ggml.scores does not have one number for each token")
    unknown = metadata.get("tokenizer.ggml.unknown_token_id")
    return SentencePieceTokenizer.of_kinds(
        tokens,
        vocabulary.kinds,
        scores,
        vocabulary.start_id,
        vocabulary.stop_ids,
        unknown_id=unknown if isinstance(unknown, int) and 0 <= unknown < len(tokens) else 0,
        add_start=bool(metadata.get("tokenizer.ggml.add_bos_token", True)),
        add_space=bool(metadata.get("tokenizer.ggml.add_space_prefix", True)),
    )


def _byte_level(metadata: Mapping[str, Any], vocabulary: _Vocabulary, vocab_size: int) -> Tokenizer:
    merges, tokens = metadata.get("tokenizer.ggml.merges"), vocabulary.tokens
    if not isinstance(merges, list) or not all(isinstance(merge, str) and " " in merge[1:] for merge in merges):
        raise KvtuiError("the metadata has no tokenizer.ggml.merges")
    splitting = find_splitting(metadata.get("tokenizer.ggml.pre", "default"))
    library = byte_level_tokenizer(
        {token: index for index, token in enumerate(tokens)},
        [(merge[: (cut := merge.index(" ", 1))], merge[cut + 1 :]) for merge in merges],
        splitting,
        [
            (token, kind != Kind.USER_DEFINED)
            for token, kind in zip(tokens, vocabulary.kinds, strict=True)
            if kind in NAMED
        ],
        "tokenizer.ggml.merges",
    )
    if metadata.get("tokenizer.ggml.add_bos_token", splitting.add_start):
        add_start(library, tokens[vocabulary.start_id], vocabulary.start_id)
    return LibraryTokenizer(library, vocabulary.start_id, vocabulary.stop_ids, vocab_size)
