"""Tokenizers of folders: tokenizer_config.json, vocab.json with merges.txt, and tokenizer.model."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from kvtui.core.errors import KvtuiError
from kvtui.core.formats.library_tokenizer import byte_letters
from kvtui.core.formats.sentencepiece_model import read_sentencepiece
from kvtui.core.formats.shards import read_json
from kvtui.core.formats.tokenizer_json import read_tokenizer
from kvtui.core.tokenizer import Tokenizer

tokenizers = pytest.importorskip("tokenizers", reason="needs the package tokenizers: pip install 'kvtui[hf]'")

GPT2 = {"model_type": "gpt2"}
LLAMA = {"model_type": "llama", "bos_token_id": 1}


def write(folder: Path, **files: Any) -> Path:
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(value if isinstance(value, str) else json.dumps(value))
    return folder


def names(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.piece(index) for index in tokenizer.encode(text)]


# --- tokenizer_config.json ---


def byte_level(processor: Any = None) -> str:
    library = tokenizers.Tokenizer(tokenizers.models.BPE({c: i for i, c in enumerate(byte_letters().values())}, []))
    library.add_special_tokens(["<s>", "</s>"])
    library.decoder = tokenizers.decoders.ByteLevel()
    if processor is not None:
        library.post_processor = processor
    return str(library.to_str())


def template(*parts: str) -> Any:
    return tokenizers.processors.TemplateProcessing(single=list(parts), special_tokens=[("<s>", 256), ("</s>", 257)])


@pytest.mark.parametrize("bos", ["<s>", {"content": "<s>", "special": True}])
@pytest.mark.parametrize("processor", [None, "bytes"])
def test_the_beginning_that_the_config_asks_for_is_added(tmp_path: Path, bos: Any, processor: str | None) -> None:
    """Where tokenizer.json has no template, as that of DeepSeek-R1-Distill-Qwen (swift-transformers #161)."""
    own = tokenizers.processors.ByteLevel(trim_offsets=False) if processor else None
    write(tmp_path, tokenizer__json=byte_level(own), tokenizer_config__json={"bos_token": bos, "add_bos_token": True})
    tokenizer = read_tokenizer(tmp_path, {"bos_token_id": 7}, 258)
    assert names(tokenizer, "ab") == ["<s>", "a", "b"]
    assert names(tokenizer, "") == ["<s>"]
    assert tokenizer.start_id == 256
    assert tokenizer.decode(tokenizer.encode("ab")) == "ab"


@pytest.mark.parametrize("settings", [{}, {"add_bos_token": False}, {"add_bos_token": None}, {"add_bos_token": "yes"}])
def test_without_being_asked_for_it_is_not(tmp_path: Path, settings: dict[str, Any]) -> None:
    write(tmp_path, tokenizer__json=byte_level(), tokenizer_config__json={"bos_token": "<s>"} | settings)
    tokenizer = read_tokenizer(tmp_path, {}, 258)
    assert names(tokenizer, "ab") == ["a", "b"]
    assert tokenizer.start_id == 256  # what an empty prompt starts from


@pytest.mark.parametrize(("parts", "tokens"), [(("<s>", "$A"), ["<s>", "a"]), (("$A", "</s>"), ["a", "</s>"])])
def test_a_template_in_tokenizer_json_wins(tmp_path: Path, parts: tuple[str, ...], tokens: list[str]) -> None:
    settings = {"bos_token": "<s>", "add_bos_token": parts[0] != "<s>"}
    write(tmp_path, tokenizer__json=byte_level(template(*parts)), tokenizer_config__json=settings)
    assert names(read_tokenizer(tmp_path, {}, 258), "a") == tokens


def test_a_beginning_that_there_is_not_is_said_in_one_line(tmp_path: Path) -> None:
    write(tmp_path, tokenizer__json=byte_level(), tokenizer_config__json={"bos_token": "<bos>", "add_bos_token": True})
    notes: list[str] = []
    assert names(read_tokenizer(tmp_path, {}, 258, notes.append), "a") == ["a"]
    assert len(notes) == 1
    assert "there is no token '<bos>' to begin texts with" in notes[0]


# --- vocab.json and merges.txt ---

VOCABULARY = {token: index for index, token in enumerate([*byte_letters().values(), "Ġa", "ab", "12", "<|endoftext|>"])}
MERGES = "#version: 0.2\nĠ a\na b\n1 2\n"


def test_vocab_json_and_merges_txt_alone(tmp_path: Path) -> None:
    write(tmp_path, vocab__json=VOCABULARY, merges__txt=MERGES)
    tokenizer = read_tokenizer(tmp_path, GPT2 | {"eos_token_id": 259}, 260)
    assert names(tokenizer, "ab a 12<|endoftext|>") == ["ab", " a", " ", "12", "<|endoftext|>"]
    assert tokenizer.decode(tokenizer.encode("naïve ab\n\n 😀")) == "naïve ab\n\n 😀"
    assert tokenizer.stop_ids == {259}
    assert tokenizer.decode([259]) == ""


def test_qwen_splits_digits_and_has_added_tokens(tmp_path: Path) -> None:
    added = {"260": {"content": "<|im_start|>", "special": True}, "261": {"content": "<think>", "special": False}}
    write(tmp_path, vocab__json=VOCABULARY, merges__txt=MERGES, tokenizer_config__json={"added_tokens_decoder": added})
    tokenizer = read_tokenizer(tmp_path, {"model_type": "qwen2"}, 300)
    assert names(tokenizer, "<|im_start|>12<think>") == ["<|im_start|>", "1", "2", "<think>"]
    assert tokenizer.decode(tokenizer.encode("<|im_start|>a<think>e\u0301")) == "a<think>\u00e9"  # NFC


@pytest.mark.parametrize(
    ("files", "config", "reason"),
    [
        ({"vocab__json": VOCABULARY}, GPT2, "has no tokenizer.json"),
        ({"vocab__json": VOCABULARY, "merges__txt": MERGES}, LLAMA, "has no tokenizer.json"),
        ({"vocab__json": {"a": "0"}, "merges__txt": ""}, GPT2, "has no ids from 0"),
        ({"vocab__json": {"a": True}, "merges__txt": ""}, GPT2, "has no ids from 0"),
        ({"vocab__json": {"a": 2**70}, "merges__txt": ""}, GPT2, "merges.txt"),
        ({"vocab__json": VOCABULARY, "merges__txt": "x y\n"}, GPT2, "merges.txt do not fit the tokens"),
        ({"vocab__json": "[]", "merges__txt": MERGES}, GPT2, "does not hold a JSON object"),
        (
            {"vocab__json": VOCABULARY, "merges__txt": MERGES, "added_tokens__json": {"<x>": 500}},
            GPT2,
            "the added token '<x>' cannot have the id 500",
        ),
        (
            {"vocab__json": VOCABULARY, "merges__txt": MERGES, "added_tokens__json": {"\ud800": 260}},
            GPT2,
            "merges.txt do not fit the tokens",
        ),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused(
    tmp_path: Path, files: dict[str, Any], config: dict[str, Any], reason: str
) -> None:
    with pytest.raises(KvtuiError) as caught:
        read_tokenizer(write(tmp_path, **files), config, 260)
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


# --- tokenizer.model ---

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
PIECES = [
    ("<unk>", UNKNOWN),
    ("<s>", CONTROL),
    ("</s>", CONTROL),
    *((f"<0x{byte:02X}>", BYTE) for byte in range(256)),
    ("▁a", NORMAL),
    ("ab", NORMAL),
    ("▁", NORMAL),
    ("a", NORMAL),
    ("b", NORMAL),
    ("<|user|>", USER_DEFINED),
]


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: bytes | int | float) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


def model(kind: int = 2, trainer: bytes = b"", normalizer: bytes = field(4, 0), more: bytes = b"") -> bytes:
    pieces = b"".join(
        field(1, field(1, piece.encode()) + field(2, -float(place)) + field(3, kind) * (kind != NORMAL))
        for place, (piece, kind) in enumerate(PIECES)
    )
    return pieces + field(2, field(3, kind) + trainer) + field(3, normalizer) + more


def test_a_sentencepiece_model(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(model())
    tokenizer = read_tokenizer(tmp_path, LLAMA | {"eos_token_id": 2}, 300)
    assert names(tokenizer, "ab<|user|>a</s>é") == [
        "<s>", " a", "b", "<|user|>", "a", "</s>", "<0xC3>", "<0xA9>",
    ]  # fmt: skip
    assert tokenizer.decode(tokenizer.encode("ab 😀")) == "ab 😀"
    assert (tokenizer.start_id, tokenizer.stop_ids) == (1, {2})
    write(tmp_path, tokenizer_config__json={"add_bos_token": False}, added_tokens__json={"<pad>": len(PIECES)})
    assert names(read_tokenizer(tmp_path, {}, 300), "<pad>ab") == ["<pad>", "ab"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("<|user|>ab", ["<|user|>", "ab"]),
        ("ab<|user|> ab", [" a", "b", "<|user|>", " a", "b"]),
        ("ab</s>ab", [" a", "b", "</s>", "ab"]),
        ("</s>ab", ["</s>", "ab"]),
        ("<pad>ab", ["<pad>", "ab"]),
    ],
)
def test_only_a_whole_text_has_a_space_in_front(tmp_path: Path, text: str, tokens: list[str]) -> None:
    """As transformers 5.24 has it for the same model."""
    (tmp_path / "tokenizer.model").write_bytes(model())
    write(tmp_path, added_tokens__json={"<pad>": len(PIECES)})
    assert names(read_tokenizer(tmp_path, LLAMA, 300), text) == ["<s>", *tokens]


def test_a_tokenizer_json_beside_it_wins(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(model())
    assert names(read_tokenizer(write(tmp_path, tokenizer__json=byte_level()), {}, 258), "ab") == ["a", "b"]


def test_the_file_itself_names_start_end_and_unknown(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(
        model(trainer=field(41, 2) + field(42, 1) + field(40, 0), normalizer=field(3, 0) + field(4, 0))
    )
    tokenizer = read_sentencepiece(tmp_path / "m", {}, [], frozenset(), True, 300)
    assert (tokenizer.start_id, tokenizer.stop_ids) == (2, {1})
    assert names(tokenizer, "ab") == ["</s>", "ab"]  # without a space in front
    (tmp_path / "m").write_bytes(model(trainer=field(42, (1 << 64) - 1)))  # -1: there is none
    assert read_sentencepiece(tmp_path / "m", {}, [], frozenset(), True, 300).stop_ids == {2}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "of the kind unigram, but only bpe"),
        (model(kind=1), "of the kind unigram, but only bpe is implemented"),
        (model(kind=9), "of the kind 9, but only bpe"),
        (model(normalizer=b""), "changes characters or spaces"),
        (model(normalizer=field(4, 0) + field(2, b"nfkc")), "changes characters or spaces"),
        (model()[:-1], "not a whole SentencePiece model"),
        (b"\x0a" + b"\xff" * 20, "not a whole SentencePiece model"),
        (b"\x0a" + varint(2**62), "not a whole SentencePiece model"),
        (b"\x0b", "not a whole SentencePiece model"),
        (field(1, field(1, b"\xff\xfe")) + field(2, field(3, 2)), "not a whole SentencePiece model"),
        (field(2, field(3, 2)) + field(3, field(4, 0)), "not a whole SentencePiece model"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_a_model_that_is_damaged_or_of_another_kind_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(KvtuiError) as caught:
        read_tokenizer(tmp_path, LLAMA, 300)
    assert reason in str(caught.value)
    assert str(tmp_path / "tokenizer.model") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_added_token_far_beyond_the_pieces_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(model())
    with pytest.raises(KvtuiError, match=r"has 265 pieces, but an added token has the id 99,999,999"):
        read_tokenizer(write(tmp_path, added_tokens__json={"x": 99_999_999}), LLAMA, 300)


def test_no_more_pieces_are_read_than_the_model_has_rows(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(field(1, b"") * 100_000 + model())
    tracemalloc.start()
    try:
        with pytest.raises(KvtuiError, match=r"has more pieces than the 300 rows of the model's embedding"):
            read_tokenizer(tmp_path, LLAMA, 300)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_files_that_are_larger_than_any_are_not_read(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("shards", "tokenizer_json"):
        monkeypatch.setattr(f"kvtui.core.formats.{module}.LARGEST_JSON", 10)
    (tmp_path / name).write_text(byte_level())
    with pytest.raises(KvtuiError, match=r"bytes; at most 10 are read"):
        read_json(tmp_path / name) if name == "config.json" else read_tokenizer(tmp_path, {}, 300)
