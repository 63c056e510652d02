"""The tokenizer in GGUF metadata, against what llama.cpp does with the same metadata."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvtui.core.formats.byte_level import SPLITTINGS
from kvtui.core.formats.gguf_tokenizer import make_tokenizer
from kvtui.core.formats.library_tokenizer import byte_letters
from kvtui.core.tokenizer import TextStream

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
PIECES = {
    "<unk>": UNKNOWN,
    "<s>": CONTROL,
    "</s>": CONTROL,
    **{f"<0x{byte:02X}>": BYTE for byte in range(256)},
    "<|user|>": USER_DEFINED,
    "<|assistant|>": CONTROL,
    "\n\n\n": USER_DEFINED,
    "  ": USER_DEFINED,
    "▁": NORMAL,
    "a": NORMAL,
    "▁a": NORMAL,
    "b": NORMAL,
    "▁ab": NORMAL,
    "ab": NORMAL,
}


def metadata(pieces: dict[str, int], **more: Any) -> dict[str, Any]:
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": list(pieces),
        "tokenizer.ggml.token_type": np.array(list(pieces.values()), np.int32),
        "tokenizer.ggml.scores": -np.arange(len(pieces), dtype=np.float32),
    } | {f"tokenizer.ggml.{name}": value for name, value in more.items()}


def names(text: str, **more: Any) -> list[str]:
    tokenizer = make_tokenizer(metadata(PIECES, **more), 300)
    return [list(PIECES)[index] for index in tokenizer.encode(text)]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("ab", ["<s>", "▁ab"]),
        ("ab</s>", ["<s>", "▁ab", "</s>"]),
        ("<|user|>\nab</s>", ["<s>", "<|user|>", "▁", "<0x0A>", "ab", "</s>"]),
        ("a<|assistant|>a</s>a", ["<s>", "▁a", "<|assistant|>", "▁a", "</s>", "▁a"]),
        ("</s></s>", ["<s>", "</s>", "</s>"]),
        ("a\n\n\n\na", ["<s>", "▁a", "\n\n\n", "▁", "<0x0A>", "a"]),
        ("a  a", ["<s>", "▁a", "  ", "▁a"]),
        ("<unk>a<s>", ["<s>", "<unk>", "▁a", "<s>"]),
        ("<|user|", ["<s>", "▁", *(f"<0x{byte:02X}>" for byte in b"<|user|")]),
        ("", ["<s>"]),
    ],
)
def test_names_of_tokens_in_a_prompt_become_those_tokens(text, tokens):
    """llama-vocab.cpp: tokenizer_st_partition, and the space after a special token in llama_vocab::impl::tokenize."""
    assert names(text) == tokens
    assert names(text, add_bos_token=False) == tokens[1:]


def test_without_the_space_in_front_there_is_none_after_a_name_either():
    assert names("a</s>a", add_space_prefix=False) == ["<s>", "a", "</s>", "a"]


def test_the_longest_name_is_cut_out_first():
    pieces = PIECES | {"<b>": CONTROL, "<b><c>": CONTROL, "a<b>": USER_DEFINED}
    tokenizer = make_tokenizer(metadata(pieces), 300)
    found = [list(pieces)[index] for index in tokenizer.encode("a<b><c>a<b>")]
    assert found == ["<s>", "▁a", "<b><c>", "a<b>"]


def test_user_defined_tokens_have_text_and_control_tokens_have_none():
    tokenizer = make_tokenizer(metadata(PIECES), 300)
    ids = tokenizer.encode("<|user|>a  b<|assistant|>a\n\n\n")
    assert tokenizer.decode(ids) == "<|user|> a   b a\n\n\n"
    stream = TextStream(tokenizer)
    assert "".join(map(stream.add, ids)) == tokenizer.decode(ids)


def test_characters_are_known_within_names():
    pieces = {piece: kind for piece, kind in PIECES.items() if kind != BYTE}
    assert make_tokenizer(metadata(pieces), 300).split_known("<|user|>ac") == ("<|user|>a", ["c"])


@pytest.mark.parametrize(
    ("more", "start", "stops"),
    [
        ({}, 1, {2}),
        ({"bos_token_id": 4, "eos_token_id": 5}, 4, {2, 5}),
        ({"bos_token_id": 999, "eos_token_id": 999}, 1, {2}),  # outside the vocabulary
        ({"bos_token_id": True, "eot_token_id": 7, "eom_token_id": 8}, 1, {2, 7, 8}),
    ],
)
def test_without_ids_a_text_begins_with_1_and_ends_with_2(more, start, stops):
    tokenizer = make_tokenizer(metadata(PIECES, **more), 300)
    assert (tokenizer.start_id, tokenizer.stop_ids) == (start, stops)


@pytest.mark.parametrize(
    "name", ["<|endoftext|>", "<|im_end|>", "<|eot_id|>", "</s>", "<|end|>", "<end_of_turn>", "<eos>", "<|fim_pad|>"]
)
@pytest.mark.parametrize("kind", [NORMAL, CONTROL, USER_DEFINED])
def test_texts_end_on_tokens_of_certain_names(name, kind):
    pieces = {"<unk>": UNKNOWN, "<s>": CONTROL, "a": NORMAL, "b": NORMAL, name: kind}
    tokenizer = make_tokenizer(metadata(pieces, eos_token_id=3), 5)
    assert tokenizer.stop_ids == {3, 4}
    assert tokenizer.encode(name) == [1, 4]
    assert tokenizer.decode([4]) == ""


# --- byte level ---

pytest.importorskip("tokenizers", reason="needs the package tokenizers: pip install 'kvtui[hf]'")

TEXT = "Hello HELLOworld don't 12345 x=1,234!!  \n\n caf\u00e9 \u4f60\u597d \U0001f600"
# How each way splits TEXT: the regular expressions of llama-vocab.cpp, carried out by hand.
CHINESE, CAFE, SMILE = "\u4f60\u597d", "caf\u00e9", "\U0001f600"
WORDS = {
    "gpt-2": [
        "Hello", " HELLOworld", " don", "'t", " 12345", " x", "=", "1", ",", "234", "!!", "  \n\n", f" {CAFE}",
        f" {CHINESE}", f" {SMILE}",
    ],
    "qwen2": [
        "Hello", " HELLOworld", " don", "'t", " ", *"12345", " x", "=", "1", ",", *"234", "!!", "  \n\n", f" {CAFE}",
        f" {CHINESE}", f" {SMILE}",
    ],
    "llama-bpe": [
        "Hello", " HELLOworld", " don", "'t", " ", "123", "45", " x", "=", "1", ",", "234", "!!", "  \n\n", f" {CAFE}",
        f" {CHINESE}", f" {SMILE}",
    ],
    "tekken": [
        "Hello", " HELLOworld", " don", "'t", " ", *"12345", " x", "=", "1", ",", *"234", "!!", "  \n\n", f" {CAFE}",
        f" {CHINESE}", f" {SMILE}",
    ],
    "default": [
        "Hello", " HELLOworld", " don", "'", "t", " ", "123", "45", " x", "=", "1", ",", "234", "!!", "  \n\n",
        f" {CAFE}", f" {CHINESE}", f" {SMILE}",
    ],
    "deepseek-llm": [
        "Hello", " HELLOworld", " don", "'", "t", " ", "12345", " x", "=", "1", ",", "234", "!!", "  ", "\n", "\n",
        " caf", "\u00e9", " ", CHINESE, f" {SMILE}",  # its range ":-~" holds all letters of ASCII, but no others
    ],
}  # fmt: skip
SAME = {"deepseek-r1-qwen": "qwen2", "falcon3": "llama-bpe", "phi-2": "gpt-2"}


def byte_level(pre: str | None, pieces: list[str], **more: Any) -> Any:
    values = metadata(dict.fromkeys(pieces, NORMAL), model="gpt2", merges=[], **more)
    if pre is not None:
        values["tokenizer.ggml.pre"] = pre
    return make_tokenizer(values, len(pieces))


@pytest.mark.parametrize("pre", [*WORDS, *SAME, None])
def test_texts_are_split_into_words_as_llama_cpp_splits_them(pre):
    letters = byte_letters()
    tokenizer = byte_level(pre, list(letters.values()))
    split = tokenizer._library.pre_tokenizer.pre_tokenize_str(TEXT)
    words = [bytes(next(b for b, c in letters.items() if c == letter) for letter in word).decode() for word, _ in split]
    assert words == WORDS[SAME.get(pre, pre) if pre else "default"]
    assert "".join(words) == TEXT


@pytest.mark.parametrize(("pre", "begins"), [("falcon3", True), ("tekken", True), ("qwen2", False), ("default", False)])
def test_some_ways_begin_every_text_unless_the_file_says_otherwise(pre, begins):
    pieces = list(byte_letters().values())
    assert byte_level(pre, pieces, bos_token_id=9).encode("") == [9] * begins
    assert byte_level(pre, pieces, bos_token_id=9, add_bos_token=not begins).encode("") == [9] * (not begins)


@pytest.mark.parametrize(("pre", "whole"), [("falcon3", True), ("tekken", True), ("qwen2", False)])
def test_some_ways_take_a_whole_word_whatever_the_merges_say(pre, whole):
    tokenizer = byte_level(pre, [*byte_letters().values(), "ab"])
    tokenizer_ids = tokenizer.encode("ab")
    assert (tokenizer_ids[-1] == 256) == whole


def test_the_documentation_names_every_way_of_splitting():
    text = (Path(__file__).parents[3] / "docs" / "models.md").read_text("utf-8")
    assert [name for name in SPLITTINGS if f"`{name}`" not in text] == []
