"""Every kind of tokenizer that the library can read: the texts of the events are what the library itself decodes."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtui.core.errors import KvtuiError
from kvtui.core.formats.library_tokenizer import LibraryTokenizer
from kvtui.core.tokenizer import TextStream

tokenizers = pytest.importorskip("tokenizers", reason="needs the package tokenizers: pip install 'kvtui[hf]'")
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

SAMPLE = [
    "Once upon a time, there wasn't a caf\u00e9 . It is over there !",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \U0001f600 \U0001f469\u200d\U0001f680",
    "  two  spaces\n\ttab\n\n",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
]
SPECIAL = ["[UNK]", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def trained(model: Any, trainer: Any, size: int = 400, **options: Any) -> Any:
    library = Tokenizer(model)
    for name, value in options.items():
        setattr(library, name, value)
    library.train_from_iterator(SAMPLE * 4, trainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False))
    library.add_tokens([tokenizers.AddedToken("<tool>", special=False)])
    return library


def byte_level() -> Any:
    trainer = lambda **more: trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **more)  # noqa: E731
    pre = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return trained(models.BPE(), trainer, pre_tokenizer=pre, decoder=decoders.ByteLevel())


def metaspace(mark: str = "\u2581", scheme: str = "always") -> Any:
    return trained(
        models.BPE(unk_token="[UNK]"),
        trainers.BpeTrainer,
        pre_tokenizer=pre_tokenizers.Metaspace(mark, scheme),
        decoder=decoders.Metaspace(mark, scheme),
    )


def word_piece(cleanup: bool) -> Any:
    return trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer,
        normalizer=normalizers.BertNormalizer(lowercase=False),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        decoder=decoders.WordPiece("##", cleanup),
    )


def unigram() -> Any:
    trainer = lambda **more: trainers.UnigramTrainer(unk_token="[UNK]", **more)  # noqa: E731
    pre = pre_tokenizers.Metaspace()
    return trained(models.Unigram(), trainer, 120, pre_tokenizer=pre, decoder=decoders.Metaspace())


def word_level(decoder: Any = None) -> Any:
    library = trained(models.WordLevel(unk_token="[UNK]"), trainers.WordLevelTrainer, decoder=None)
    if decoder is not None:
        library.decoder = decoder
    return library


def characters(decoder: Any = None) -> Any:
    vocabulary = {letter: index for index, letter in enumerate([*SPECIAL, *sorted(set("".join(SAMPLE)))])}
    library = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    library.add_special_tokens(SPECIAL)
    if decoder is not None:
        library.decoder = decoder
    return library


def suffixes() -> Any:
    trainer = lambda **more: trainers.BpeTrainer(end_of_word_suffix="</w>", **more)  # noqa: E731
    model = models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>")
    return trained(model, trainer, pre_tokenizer=pre_tokenizers.WhitespaceSplit(), decoder=decoders.BPEDecoder("</w>"))


def replacing() -> Any:
    """Two marks for two characters (make_cases.py, 08b)."""
    marks = [normalizers.Replace(" ", "\u2581"), normalizers.Replace("\n", "\u21b5")]
    back = [decoders.Replace("\u2581", " "), decoders.Replace("\u21b5", "\n"), decoders.Fuse()]
    return trained(
        models.BPE(unk_token="[UNK]"),
        trainers.BpeTrainer,
        normalizer=normalizers.Sequence(marks),
        decoder=decoders.Sequence(back),
    )


def llama(strip: int = 1) -> Any:
    """As Llama 2 has it: byte tokens, and a space in front that is not shown."""
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *BYTES, "\u2581", "a", "\u2581a", "b"])}
    library = Tokenizer(models.BPE(vocabulary, [("\u2581", "a")], unk_token="[UNK]", byte_fallback=True))
    library.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", strip, 0)]
    library.decoder = decoders.Sequence(steps)
    library.add_special_tokens(SPECIAL)
    library.post_processor = processors.TemplateProcessing(single=["<s>", "$A"], special_tokens=[("<s>", 1)])
    return library


KINDS: dict[str, Callable[[], Any]] = {
    "byte-level BPE": byte_level,
    "metaspace": metaspace,
    "metaspace with another mark": lambda: metaspace("_"),
    "metaspace without a space in front": lambda: metaspace(scheme="never"),
    "WordPiece": lambda: word_piece(False),
    "WordPiece, cleaned up": lambda: word_piece(True),
    "Unigram": unigram,
    "WordLevel without a decoder": word_level,
    "WordLevel with WordPiece's decoder": lambda: word_level(decoders.WordPiece("##", True)),
    "characters without a decoder": characters,
    "characters, fused": lambda: characters(decoders.Fuse()),
    "ends of words": suffixes,
    "two marks": replacing,
    "byte fallback": llama,
    "byte fallback, nothing stripped": lambda: llama(0),
}
LIBRARIES = {name: make() for name, make in KINDS.items()}
every_kind = pytest.mark.parametrize("name", KINDS)
TEXTS = [*SAMPLE, "", "a", " a", "a<s>a</s> a", "<tool> a <tool>", "\u00df\u4e16\u754c", "a\r\n\x00b", "\U0001f600"]


def pieces(tokenizer: LibraryTokenizer, ids: list[int], before: list[int]) -> str:
    stream = TextStream(tokenizer, before)
    return "".join(stream.add(index, final=place == len(ids) - 1) for place, index in enumerate(ids))


@every_kind
@pytest.mark.parametrize("text", TEXTS)
def test_the_texts_of_all_tokens_are_what_the_library_decodes(name, text):
    library = LIBRARIES[name]
    tokenizer = LibraryTokenizer(library, 1, frozenset({2}))
    ids = tokenizer.encode(text)
    assert ids == library.encode(text).ids
    assert tokenizer.decode(ids) == library.decode(ids)
    for cut in range(len(ids)):
        if not library.decode(ids[:cut]).endswith("\ufffd"):  # no prompt ends within a character
            assert tokenizer.decode(ids[:cut]) + pieces(tokenizer, ids[cut:], ids[:cut]) == library.decode(ids)


@every_kind
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_tokens_in_any_order_decode_as_the_library_decodes_them(name, data):
    library = LIBRARIES[name]
    tokenizer = LibraryTokenizer(library, 1, frozenset({2}))
    usable = [index for index in range(tokenizer.vocab_size) if library.id_to_token(index) not in BYTES]
    ids = data.draw(st.lists(st.sampled_from(usable), max_size=12))
    expected = library.decode(ids) if any(library.id_to_token(index) not in SPECIAL for index in ids) else ""
    assert tokenizer.decode(ids) == expected
    assert pieces(tokenizer, ids, []) == expected


@settings(max_examples=60, deadline=None)
@given(ids=st.lists(st.integers(3, 262), max_size=12))
def test_bytes_that_are_no_characters_are_the_same_in_pieces_and_as_a_whole(ids):
    """The library makes as many U+FFFD of a run of bytes as it has bytes, even of those that are characters: text that
    has been shown would change with the next token."""
    tokenizer = LibraryTokenizer(LIBRARIES["byte fallback"], 1, frozenset({2}))
    data = b"".join(tokenizer.token_bytes(index, 262) for index in ids if index < 259)
    ids = [index for index in ids if index < 259]
    assert tokenizer.decode(ids) == data.decode("utf-8", "replace").removeprefix(" " if data[:1] == b" " else "")
    assert pieces(tokenizer, ids, []) == tokenizer.decode(ids)


@every_kind
def test_every_token_has_a_label_and_special_ones_have_no_text(name):
    tokenizer = LibraryTokenizer(LIBRARIES[name], 1, frozenset({2}))
    assert all(tokenizer.piece(index) for index in range(tokenizer.vocab_size))
    assert [tokenizer.piece(index) for index in range(3)] == SPECIAL
    assert [tokenizer.token_bytes(index) for index in range(3)] == [b""] * 3
    assert tokenizer.piece(10**6) == "<1000000>"
    assert tokenizer.token_bytes(10**6, 5) == b""


def test_a_word_that_the_vocabulary_lacks_and_no_unknown_token_is_refused_in_one_line():
    library = Tokenizer(models.WordLevel({"a": 0}, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    with pytest.raises(KvtuiError, match=r"^this text cannot be encoded: "):
        LibraryTokenizer(library, 0, frozenset()).encode("a b")
