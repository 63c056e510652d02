"""Tokenizers of the tokenizers library: text comes back exactly, whole or as a stream, and special tokens are none."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtui.core.errors import KvtuiError
from kvtui.core.formats.library_tokenizer import LibraryTokenizer, byte_letters
from kvtui.core.formats.tokenizer_json import read_tokenizer
from kvtui.core.tokenizer import TextStream

tokenizers = pytest.importorskip("tokenizers", reason="needs the package tokenizers: pip install 'kvtui[hf]'")

relaxed = settings(max_examples=80)
SAMPLE = ["Once upon a time there was a café.", "日本語のテキスト 😀 😀", "  two  spaces\n\ttab", "naïve façade 日本"]
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def byte_level() -> LibraryTokenizer:
    """As GPT-2, Llama 3 and Qwen have it."""
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    library.train_from_iterator(SAMPLE * 4, trainer)
    return LibraryTokenizer(library, 0, frozenset({0}))


def sentencepiece(prepend: bool = True) -> LibraryTokenizer:
    """As Llama 2 and TinyLlama have it: a space before the text, byte tokens, a beginning of text."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdé", "▁a", "ab"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    start = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    spec = {
        "version": "1.0",
        "added_tokens": [{"id": index, "content": tokens[index], "special": True} | FLAGS for index in range(3)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [start, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]},
        "model": {
            "type": "BPE", "vocab": vocabulary, "merges": ["▁ a", "a b"], "unk_token": "<unk>", "fuse_unk": True,
            "byte_fallback": True,
        },
    }  # fmt: skip
    return LibraryTokenizer(tokenizers.Tokenizer.from_str(json.dumps(spec)), 1, frozenset({2}))


KINDS = {"byte level": byte_level(), "sentencepiece": sentencepiece()}
every_kind = pytest.mark.parametrize("tokenizer", KINDS.values(), ids=KINDS)


@every_kind
@relaxed
@given(text=st.text(st.characters(exclude_characters="<▁", exclude_categories=["Cs"])))  # special tokens, the space
def test_any_text_comes_back_exactly_whole_and_as_a_stream(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    stream, shown = TextStream(tokenizer), ""
    for index in ids:
        shown += stream.add(index)
        assert text.startswith(shown)
    assert shown == text


@relaxed
@given(ids=st.lists(st.integers(1, 319)))
def test_any_byte_level_tokens_decode_as_the_library_decodes_them(ids):
    tokenizer = KINDS["byte level"]
    ids = [index for index in ids if index < tokenizer.vocab_size]
    assert tokenizer.decode(ids) == tokenizer._library.decode(ids)


@relaxed
@given(ids=st.lists(st.integers(259, 266)))
def test_any_sentencepiece_tokens_decode_as_the_library_decodes_them(ids):
    tokenizer = KINDS["sentencepiece"]
    assert tokenizer.decode([1, *ids]) == tokenizer._library.decode([1, *ids])


def test_a_character_of_several_tokens_comes_when_it_is_whole():
    tokenizer = KINDS["sentencepiece"]
    ids = tokenizer.encode("a😀b")
    stream = TextStream(tokenizer)
    assert [tokenizer.piece(index) for index in ids] == ["<s>", " a", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "b"]
    assert [stream.add(index) for index in ids] == ["", "a", "", "", "", "😀", "b"]


def test_special_tokens_have_names_and_no_text():
    tokenizer = KINDS["byte level"]
    ids = tokenizer.encode("a<|endoftext|>b")
    assert 0 in ids
    assert tokenizer.piece(0) == "<|endoftext|>"
    assert tokenizer.token_bytes(0) == b""
    assert tokenizer.decode(ids) == "ab"


@every_kind
def test_ids_beyond_the_vocabulary_have_a_label_and_no_text(tokenizer):
    assert tokenizer.piece(5000) == "<5000>"
    assert tokenizer.decode([5000]) == ""


@every_kind
def test_what_is_no_unicode_is_replaced(tokenizer):
    assert tokenizer.decode(tokenizer.encode("a\udcffb")) == "a?b"
    assert tokenizer.split_known("aé😀") == ("aé😀", [])


def test_the_space_before_a_text_is_not_shown_but_others_are():
    tokenizer = KINDS["sentencepiece"]
    space_a = tokenizer.encode("a")[-1]
    assert tokenizer.token_bytes(space_a, previous=1) == b"a"
    assert tokenizer.token_bytes(space_a, previous=space_a) == b" a"


def test_the_letters_of_bytes_are_those_of_the_library():
    letters = byte_letters()
    assert sorted(letters.values()) == sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    assert (letters[ord(" ")], letters[ord("a")], letters[0]) == ("Ġ", "a", "Ā")


# --- hostile files ---


def damaged(**changes) -> str:
    """A byte-level tokenizer with something wrong in it."""
    spec = json.loads(KINDS["byte level"]._library.to_str())
    for path, value in changes.items():
        *within, last = path.split("__")
        part = spec
        for name in within:
            part = part[name]
        part[last] = value
    return json.dumps(spec)


TEMPLATE = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}], "pair": []}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def sequence(last: dict[str, object]) -> dict[str, object]:
    """A decoder that makes one text of the tokens and then does something to it."""
    replace = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    return {"type": "Sequence", "decoders": [replace, {"type": "Fuse"}, last]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be read"),
        ("[1]", "cannot be read"),
        (damaged(model=None), "cannot be read"),
        (damaged(model__vocab={"a": -1}), "cannot be read"),
        (damaged(model__type="x" * 5000), "cannot be read"),
        (damaged(model__vocab={"a": 2**31}, model__merges=[], added_tokens=[]), "has ids up to 2,147,483,648"),
        (damaged(decoder={"type": "CTC", "pad_token": "a", "word_delimiter_token": "|", "cleanup": True}), "by 'CTC'"),
        (damaged(decoder=sequence(STRIP | {"start": 2})), "a Strip of 2 characters at the start and 0 at the end"),
        (damaged(decoder=sequence(STRIP | {"stop": 1})), "a Strip of 1 characters at the start and 1 at the end"),
        (damaged(decoder=sequence({"type": "Replace", "pattern": {"String": "ab"}, "content": ""})), "after Fuse"),
        (damaged(decoder=sequence(BYTE_LEVEL)), "by 'ByteLevel' with other steps"),
        (damaged(post_processor=TEMPLATE | {"special_tokens": {}}), "tokenizer.json"),  # the library panics
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, text, reason):
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(KvtuiError) as caught:
        read_tokenizer(tmp_path, {}, 400)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "tokenizer.json"))
    assert reason in message
    assert len(message.splitlines()) == 1
    assert len(message) < len(str(tmp_path)) + 250


def test_a_panic_of_the_library_writes_no_lines_of_its_own(tmp_path, capfd):
    (tmp_path / "tokenizer.json").write_text(damaged(post_processor=TEMPLATE | {"special_tokens": {}}))
    with pytest.raises(KvtuiError):
        read_tokenizer(tmp_path, {}, 1000)
    assert capfd.readouterr().err == ""
