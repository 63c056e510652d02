"""llama2.c files: the published text, a random file written here, and what damaged files are answered."""

import io
import itertools
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from random_model import random_parameters

from kvtui.core import KvtuiError, ModelConfig, SamplingSettings, generate, load
from kvtui.core.events import Prefill, Token
from kvtui.core.formats.sentencepiece import SentencePieceTokenizer

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a "
    "big, red ball. She wanted to play with it, but it was too high."
)
PIECES = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{byte:02X}>" for byte in range(256))]
PIECES += [*" abcdeé", " a", "ab", " ab", "cd", "ed", "é\n", "abc", "\n"]
SCORES = [0.0] * 259 + [-float(rank) for rank in range(len(PIECES) - 259)]


def make_config(tied: bool) -> ModelConfig:
    return ModelConfig(
        vocab_size=len(PIECES),
        context_length=10,
        num_layers=3,
        num_heads=6,
        num_kv_heads=2,
        head_dim=4,
        embed_dim=24,
        mlp_dim=20,
        norm="rms",
        mlp="swiglu",
        tied_output=tied,
    )


def write_model(path: Path, version: int, tied: bool) -> dict[str, np.ndarray]:
    """A random model as llama2.c's export.py writes it; the parameters that a reader has to find."""
    config = make_config(tied)
    parameters = random_parameters(config, seed=4, scale=0.2)

    def every(name: str, transposed: bool = False) -> list[np.ndarray]:
        arrays = [parameters[f"blocks.{layer}.{name}"] for layer in range(config.num_layers)]
        return [np.ascontiguousarray(array.T) for array in arrays] if transposed else arrays

    names = ("query", "key", "value", "output")
    attention = [array for name in names for array in every(f"attention.{name}.weight", True)]
    mlp = [array for name in ("gate", "down", "up") for array in every(f"mlp.{name}.weight", True)]
    embedding, final = [parameters["token_embedding"]], [parameters["final_norm.gain"]]
    output = [] if tied else [np.ascontiguousarray(parameters["output.weight"].T)]
    sizes = (24, 20, 3, 6, 2, len(PIECES), 10)
    if version == 0:
        sizes = (*sizes[:5], len(PIECES) if tied else -len(PIECES), 10)
        tables = [np.ones((2, 10, 2), np.float32)]
        norms = every("attention_norm.gain"), every("mlp_norm.gain")
        arrays = embedding + norms[0] + attention + norms[1] + mlp + final + tables + output
        header = struct.pack("<7i", *sizes)
    else:
        arrays = every("attention_norm.gain") + every("mlp_norm.gain") + final + embedding + attention + mlp + output
        header = struct.pack("<Ii7i?", 0x616B3432, version, *sizes, tied).ljust(256, b"\0")
    path.write_bytes(header + b"".join(array.tobytes() for array in arrays))
    return parameters


def write_tokenizer(path: Path, pieces=PIECES, scores=SCORES) -> None:
    data = struct.pack("<i", max(len(piece.encode()) for piece in pieces))
    for piece, score in zip(pieces, scores, strict=True):
        data += struct.pack("<fi", score, len(piece.encode())) + piece.encode()
    path.write_bytes(data)


@pytest.fixture
def folder(tmp_path):
    write_model(tmp_path / "small.bin", 0, True)
    write_tokenizer(tmp_path / "tokenizer.bin")
    return tmp_path


def refused(path, *reasons):
    with pytest.raises(KvtuiError) as caught:
        load(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for reason in (path.parent.name, *reasons):
        assert reason in message


def test_stories260k_tells_the_published_story():
    if not (SHARED / "stories260K.bin").is_file():
        pytest.skip("needs stories260K.bin and tok512.bin in ../shared/data")
    model = load(SHARED / "stories260K.bin")
    for cache in (True, False):
        greedy = SamplingSettings(temperature=0.0)
        events = list(generate(model, "", max_new_tokens=90, sampling=greedy, cache=cache))
        text = "".join(event.text for event in events if isinstance(event, Token))
        assert text.startswith(STORY)


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("tied", [True, False])
def test_every_number_is_found_in_its_place(tmp_path, version, tied):
    expected = write_model(tmp_path / "small.bin", version, tied)
    write_tokenizer(tmp_path / f"tok{len(PIECES)}.bin")
    model = load(tmp_path / "small.bin")
    assert model.config == make_config(tied)
    assert (model.name, model.source) == ("small", f"llama2.c version {version}, float32")
    assert list(model.parameters) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(model.parameters[name], value)


def test_weights_stay_in_the_file(folder):
    model = load(folder / "small.bin")
    for value in model.parameters.values():
        assert not value.flags.owndata
        assert not value.flags.writeable


def test_an_empty_prompt_starts_from_the_beginning_of_a_text(folder):
    first, *_ = generate(load(folder / "small.bin"), "", max_new_tokens=1)
    assert isinstance(first, Prefill)
    assert (first.tokens, first.prompt) == (1, "")


# --- damaged and foreign files ---


def test_a_truncated_model_is_refused(folder):
    whole = (folder / "small.bin").read_bytes()
    for size in (0, 5, 27, 28, 300, len(whole) - 1):
        (folder / "cut.bin").write_bytes(whole[:size])
        refused(folder / "cut.bin", "llama2.c")
    (folder / "long.bin").write_bytes(whole + b"\0")
    refused(folder / "long.bin", f"implies {len(whole):,} bytes, it has {len(whole) + 1:,}")


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ((24, 20, 3, 5, 2, 275, 10), "a width of 24 cannot be shared by 5 heads"),
        ((24, 20, 3, 0, 2, 275, 10), "cannot be shared by 0 heads"),
        ((24, 20, 3, 6, 0, 275, 10), "num_kv_heads is 0"),
        ((24, 20, 3, 6, 4, 275, 10), "6 heads cannot share 4"),
        ((24, 20, -3, 6, 2, 275, 10), "num_layers is -3"),
        ((24, 20, 3, 6, 2, 275, 2**30), "context_length is"),
        ((24, 20, 3, 6, 2, -(2**31), 10), "vocab_size is"),
    ],
)
def test_an_impossible_header_is_refused(folder, sizes, reason):
    (folder / "odd.bin").write_bytes(struct.pack("<7i", *sizes) + bytes(1000))
    refused(folder / "odd.bin", "is not a llama2.c model", reason)


def test_quantised_versions_are_refused(folder):
    (folder / "two.bin").write_bytes(struct.pack("<Ii", 0x616B3432, 2) + bytes(400))
    refused(folder / "two.bin", "llama2.c model of version 2; only 0 and 1")


def test_a_nan_is_refused(folder):
    path = folder / "small.bin"
    data = bytearray(path.read_bytes())
    data[400:404] = struct.pack("<f", float("nan"))
    path.write_bytes(data)
    refused(path, "embedding holds a NaN")


def test_a_missing_tokenizer_is_named(folder):
    (folder / "tokenizer.bin").unlink()
    refused(folder / "small.bin", f"tok{len(PIECES)}.bin or tokenizer.bin in the same folder")


def test_a_foreign_or_damaged_tokenizer_is_refused(folder):
    path = folder / "tokenizer.bin"
    write_tokenizer(path, [*PIECES, "more"], [*SCORES, 0.0])
    refused(folder / "small.bin", f"has {len(PIECES) + 1} tokens, the model's vocabulary {len(PIECES)}")
    write_tokenizer(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refused(folder / "small.bin", f"token {len(PIECES) - 1} claims 1 bytes")
    path.write_bytes(whole[:-5])
    refused(folder / "small.bin", f"ends within token {len(PIECES) - 1}")
    path.write_bytes(whole[:8] + b"\xff\xff\xff\xff" + whole[12:])
    refused(folder / "small.bin", "token 0 claims -1 bytes")
    path.write_bytes(b"")
    refused(folder / "small.bin", "has 0 tokens")


def test_a_pickle_is_refused_with_how_to_convert(tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
    for data in (archive.getvalue(), pickle.dumps({"a": [1] * 100}, protocol=2), pickle.dumps({"a": [1] * 100})):
        for name in ("pytorch_model.bin", "model.pt"):
            (tmp_path / name).write_bytes(data)
            refused(tmp_path / name, "is a PyTorch pickle", "save_pretrained")


# --- the tokenizer ---


def make_tokenizer(**options) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(PIECES, SCORES, 1, {1, 2}, {0, 1, 2}, **options)


def join_plainly(text: str) -> list[str]:
    """As run.c has it: look at every neighbouring pair, join the best, begin again."""
    rank = dict(zip(PIECES[259:], SCORES[259:], strict=True))
    parts = list(text)
    while True:
        pairs = [(rank.get(a + b, -1e9), -at) for at, (a, b) in enumerate(itertools.pairwise(parts))]
        if not pairs or max(pairs)[0] == -1e9:
            return parts
        at = -max(pairs)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def test_text_is_joined_as_run_c_joins_it():
    rng = np.random.default_rng(0)
    tokenizer = make_tokenizer()
    for _ in range(200):
        text = "".join(rng.choice(list(" abcdeé\nx"), rng.integers(1, 30)))
        expected = [1]
        for part in join_plainly(" " + text):
            expected += [PIECES.index(part)] if part in PIECES[259:] else [3 + byte for byte in part.encode()]
        assert tokenizer.encode(text) == expected
        assert tokenizer.decode(expected) == text


def test_characters_that_are_no_piece_are_spelled_in_bytes():
    tokenizer = make_tokenizer()
    ids = tokenizer.encode("a😀")
    assert [tokenizer.piece(index) for index in ids] == ["\n<s>\n", " a", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]
    assert tokenizer.decode(ids) == "a😀"
    assert tokenizer.piece(3 + ord("\n")) == "\n"
    assert tokenizer.split_known("a😀") == ("a😀", [])


def test_the_first_space_of_a_text_is_not_shown():
    tokenizer = make_tokenizer()
    space_a = PIECES.index(" a")
    assert tokenizer.token_bytes(space_a, previous=1) == tokenizer.token_bytes(space_a) == b"a"
    assert tokenizer.token_bytes(space_a, previous=space_a) == b" a"
    assert make_tokenizer(add_space=False, add_start=False).encode("ab") == [PIECES.index("ab")]


def test_a_long_text_is_joined_in_good_time():
    tokenizer = make_tokenizer()
    text = "abcd edc ab" * 5000
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_without_byte_tokens_unknown_characters_are_named():
    tokenizer = SentencePieceTokenizer(["?", "<s>", " ", "a"], [0.0] * 4, 1, {1}, {0, 1})
    assert tokenizer.split_known("aéa") == ("aa", ["é"])
    assert tokenizer.encode("aé") == [1, 2, 3, 0, 0]
