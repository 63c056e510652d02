"""Characters to ids and back, exactly, and clear words about characters that the model does not know."""

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kvtui.core.errors import KvtuiError
from kvtui.core.tokenizer import (
    CharTokenizer,
    TextStream,
    decode_tokens,
    describe_bytes,
    describe_character,
    describe_start,
    start_of_texts,
)

relaxed = settings(max_examples=60)

# Any characters but those that a vocabulary refuses.
TEXT = st.text(st.one_of(st.characters(exclude_categories=["Cc", "Cs"]), st.sampled_from("\t\n\r")), min_size=1)


@relaxed
@given(TEXT)
def test_any_text_comes_back_exactly(text):
    tokenizer = CharTokenizer.from_text(text)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text)
    assert set(ids) == set(range(tokenizer.vocab_size))


@relaxed
@given(TEXT, st.data())
def test_any_ids_come_back_exactly(text, data):
    tokenizer = CharTokenizer.from_text(text)
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    assert tokenizer.encode(tokenizer.decode(ids)) == ids


@relaxed
@given(TEXT)
def test_the_vocabulary_is_sorted_and_its_own_tokenizer_is_the_same(text):
    tokenizer = CharTokenizer.from_text(text)
    assert list(tokenizer.vocabulary) == sorted(set(text))
    assert CharTokenizer(tokenizer.vocabulary).encode(text) == tokenizer.encode(text)


def test_ids_follow_the_order_of_the_vocabulary():
    tokenizer = CharTokenizer(["b", "\n", "a"])
    assert tokenizer.encode("ab\n") == [2, 0, 1]
    assert tokenizer.decode(iter([1, 2])) == "\na"
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("é", "'é' (U+00E9), at line 1, column 1"),
        ("abé", "'é' (U+00E9), at line 1, column 3"),
        ("ab\nbaX", "'X' (U+0058), at line 2, column 3"),
        ("\n\nX", "'X' (U+0058), at line 3, column 1"),
        ("ab\tab", r"'\t' (U+0009), at line 1, column 3"),
        ("a\n\x1b[0m", r"'\x1b' (U+001B), at line 2, column 1"),
        ("b😀Xé", "'😀' (U+1F600), at line 1, column 2"),
        ("a\udcff", r"'\udcff' (U+DCFF), at line 1, column 2"),
    ],
)
def test_an_unknown_character_is_named_with_its_place(text, named):
    with pytest.raises(KvtuiError) as caught:
        CharTokenizer.from_text("ab\n").encode(text)
    assert str(caught.value) == f"the model does not know the character {named}; remove or replace it"
    assert caught.value.__suppress_context__


@relaxed
@given(st.text("ab\n"), st.text("ab\nX"))
def test_the_place_of_the_first_unknown_character_is_right(before, after):
    with pytest.raises(KvtuiError) as caught:
        CharTokenizer.from_text("ab\n").encode(before + "X" + after)
    lines = before.split("\n")
    assert f"at line {len(lines)}, column {len(lines[-1]) + 1};" in str(caught.value)


@pytest.mark.parametrize("wrong", [-1, 3, 10**30])
def test_an_id_outside_the_vocabulary_is_refused(wrong):
    with pytest.raises(KvtuiError, match=f"^id {wrong} is outside the vocabulary of 3$"):
        CharTokenizer.from_text("abc").decode([0, wrong])


@pytest.mark.parametrize(
    ("vocabulary", "reason"),
    [
        ([], "needs at least one character"),
        ("", "needs at least one character"),
        (["a", "bc"], "must be one character"),
        (["a", ""], "must be one character"),
        (["a", 1], "must be one character"),
        (["a", None], "must be one character"),
        ([["a"], "b"], "must be one character"),
        ([{}], "must be one character"),
        (["a", "b", "a"], "must not hold a character twice"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(vocabulary, reason):
    with pytest.raises(KvtuiError, match=reason):
        CharTokenizer(vocabulary)


def test_no_vocabulary_comes_from_an_empty_text():
    with pytest.raises(KvtuiError, match="at least one character"):
        CharTokenizer.from_text("")


@pytest.mark.parametrize(("text", "start"), [("ab\n", "\n"), ("ba", "a"), ("\n", "\n"), ("\t\nx", "\n")])
def test_an_empty_prompt_starts_from_a_newline_or_else_the_first_character(text, start):
    tokenizer = CharTokenizer.from_text(text)
    assert tokenizer.decode([tokenizer.start_id]) == start


def test_split_known_keeps_the_order_and_names_each_unknown_once():
    tokenizer = CharTokenizer.from_text("abc ")
    assert tokenizer.split_known("aXb XYc") == ("ab c", ["X", "Y"])
    assert tokenizer.split_known("abc") == ("abc", [])
    assert tokenizer.split_known("YX") == ("", ["Y", "X"])
    assert tokenizer.split_known("") == ("", [])


@relaxed
@given(TEXT, st.text())
def test_what_split_known_keeps_can_be_encoded(text, prompt):
    tokenizer = CharTokenizer.from_text(text)
    known, unknown = tokenizer.split_known(prompt)
    assert tokenizer.decode(tokenizer.encode(known)) == known
    assert len(unknown) == len(set(unknown))
    assert set(unknown).isdisjoint(tokenizer.vocabulary)
    assert len(known) + sum(prompt.count(character) for character in unknown) == len(prompt)


@relaxed
@given(st.characters())
def test_a_described_character_can_be_seen_and_found(character):
    described = describe_character(character)
    assert described.endswith(f"(U+{ord(character):04X})")
    assume(character.isprintable() and character not in "\\'")
    assert described.startswith(f"'{character}'")


@pytest.mark.parametrize("character", ["\x1b", "\x00", "\x9b", "\x07", "\ud800"])
def test_control_characters_cannot_be_in_a_vocabulary(character):
    with pytest.raises(KvtuiError, match=rf"control character .*U\+{ord(character):04X}"):
        CharTokenizer(["a", character])


class Bytes:
    """One token a byte, and 256 for a special token; no more of a tokenizer than a stream of text needs."""

    start_id = 256

    def token_bytes(self, index, previous=None):
        return b"" if index == 256 else bytes([index])

    def piece(self, index):
        return "<s>" if index == 256 else describe_bytes(bytes([index]))


BYTES: Any = Bytes()


@relaxed
@given(st.text())
def test_a_stream_never_shows_half_a_character_and_adds_up_to_the_text(text):
    stream, shown = TextStream(BYTES), ""
    for count, index in enumerate(text.encode(), 1):
        shown += stream.add(index)
        assert text.startswith(shown)
        assert 0 <= count - len(shown.encode()) <= 3
    assert shown == text


@relaxed
@given(st.lists(st.integers(0, 256)))
def test_a_stream_of_any_tokens_is_the_text_that_decoding_gives(ids):
    stream = TextStream(BYTES)
    parts = [stream.add(index, final=count == len(ids)) for count, index in enumerate(ids, 1)]
    assert "".join(parts) == decode_tokens(BYTES, ids) == bytes(i for i in ids if i < 256).decode("utf-8", "replace")


def test_a_character_comes_with_the_token_that_completes_it():
    stream = TextStream(BYTES)
    assert [stream.add(index) for index in "aé😀".encode()] == ["a", "", "é", "", "", "", "😀"]
    assert [stream.add(index) for index in (0xE4, 0xB8, ord("a"))] == ["", "", "\ufffda"]


def test_labels_name_what_cannot_be_seen():
    assert [describe_bytes(data) for data in (b" cat", "é".encode(), b"\xc3", b"a\xff")] == [
        " cat",
        "é",
        "<0xC3>",
        "<0x61><0xFF>",
    ]
    assert describe_start(BYTES) == "the token <s>"
    assert describe_start(CharTokenizer("ab\n")) == "a newline"
    assert describe_start(CharTokenizer("ab")) == "'a' (U+0061)"


def test_a_character_model_never_ends_and_its_tokens_are_their_characters():
    tokenizer = CharTokenizer("aé\n")
    assert tokenizer.stop_ids == frozenset()
    assert [tokenizer.piece(index) for index in range(3)] == ["a", "é", "\n"]
    assert tokenizer.token_bytes(1, 0) == "é".encode()


class Beginning(CharTokenizer):
    """Begins every text with its first character, or ends it there."""

    def __init__(self, start: list[int], stop: list[int]) -> None:
        super().__init__("ab")
        self.added = start, stop

    def encode(self, text: str) -> list[int]:
        return [*self.added[0], *super().encode(text), *self.added[1]]


def test_the_token_that_begins_every_text():
    assert start_of_texts(CharTokenizer("ab")) is None
    assert start_of_texts(Beginning([0], [])) == 0
    assert start_of_texts(Beginning([0], [1])) == 0
    assert start_of_texts(Beginning([], [1])) is None
