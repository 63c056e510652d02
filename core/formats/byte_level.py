"""Byte-level BPE: how a text is split into words before its bytes are merged, and a tokenizer of the library for it.

The names of the ways are those of ``tokenizer.ggml.pre`` in GGUF files, and which ways they mean is what llama.cpp
says (llama-vocab.cpp, ``llm_tokenizer_bpe`` and ``llama_vocab::impl::load``). The patterns are those of the models' own
tokenizer.json, which llama.cpp quotes; each one in turn splits what those before it have left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kvtui.core.errors import KvtuiError, brief
from kvtui.core.formats.library_tokenizer import import_library, refusals

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Letters with upper and lower case, but for those that DeepSeek's tokenizer.json, which lists them, does not list.
_UNLISTED = (
    r"[\x{0560}-\x{0588}\x{10C7}-\x{10FF}\x{1C80}-\x{1C8A}\x{2D00}-\x{2D2D}\x{A790}-\x{AB68}"
    r"\x{10570}-\x{105BC}\x{10D50}-\x{10D85}\x{16E40}-\x{16E7F}\x{1D400}-\x{1DF2A}]"
)
_CASED = rf"\s?(?:(?!{_UNLISTED})[\p{{Lu}}\p{{Ll}}\p{{Lt}}])+"
_ASIAN = r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+"
_PUNCTUATION = r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+"


@dataclass(frozen=True)
class Splitting:
    """How texts are split into words.

    Attributes:
        patterns: regular expressions; each splits what those before it have left.
        whole_words: whether a word that is a token is that token, whatever the merges say.
        add_start: whether texts begin with the token that begins a text, unless the file says otherwise.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    add_start: bool = False


_LLAMA3 = _WORDS + r"\p{N}{1,3}" + _REST
SPLITTINGS: dict[str, Splitting] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo"), Splitting((_GPT2,))),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r"), Splitting((r"\p{N}", _GPT2))),
    **dict.fromkeys(
        ("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"),
        Splitting((_WORDS + r"\p{N}" + _REST,)),
    ),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3"), Splitting((_LLAMA3,), True, True)),
    **dict.fromkeys(("dbrx", "smaug-bpe"), Splitting((_LLAMA3,))),
    "tekken": Splitting((_TEKKEN,), True, True),
    "deepseek-llm": Splitting((r"[\r\n]", _CASED, _PUNCTUATION, r"\s+$", _ASIAN, r"\p{N}+")),
    "deepseek-coder": Splitting((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _ASIAN, r"\p{N}")),
    "default": Splitting((r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
}


def find_splitting(name: Any) -> Splitting:
    """The way of a name.

    Raises:
        KvtuiError: it is not implemented.
    """
    if not isinstance(name, str) or name not in SPLITTINGS:
        raise KvtuiError(f"tokenizer.ggml.pre is {brief(name)}, but only {', '.join(SPLITTINGS)} are implemented")
    return SPLITTINGS[name]


def byte_level_tokenizer(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    splitting: Splitting,
    added: Sequence[tuple[str, bool]],
    where: str,
) -> Any:
    """A tokenizer of the library.

    Args:
        vocabulary: the id of each token, its bytes spelled as in GPT-2's encoder.py.
        merges: pairs of tokens in the order in which they are merged.
        splitting: how texts are split into words.
        added: tokens that are cut out of a text before it is split, and whether they have no text.
        where: what the vocabulary and the merges came from, for messages.

    Raises:
        KvtuiError: merges that do not fit the vocabulary, or the library is not installed.
    """
    library = import_library()
    with refusals(f"{where} do not fit the tokens"):
        bpe = library.models.BPE(dict(vocabulary), list(merges), ignore_merges=splitting.whole_words)
        apart = [library.AddedToken(name, special=special, normalized=False) for name, special in added]
    tokenizer = library.Tokenizer(bpe)
    split, byte_level = library.pre_tokenizers.Split, library.pre_tokenizers.ByteLevel
    steps = [split(library.Regex(pattern), "isolated") for pattern in splitting.patterns]
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence(
        [*steps, byte_level(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = library.decoders.ByteLevel()
    tokenizer.add_special_tokens([token for token in apart if token.special])
    tokenizer.add_tokens([token for token in apart if not token.special])
    return tokenizer


def add_start(tokenizer: Any, token: str, index: int) -> None:
    """Let every text begin with a token."""
    processors = import_library().processors
    tokenizer.post_processor = processors.TemplateProcessing(single=[token, "$A"], special_tokens=[(token, index)])
