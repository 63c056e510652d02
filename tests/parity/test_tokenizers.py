"""Tokenizers of folders against transformers: the same tokens, and the same text. Needs the extra ``parity``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

transformers = pytest.importorskip(
    "transformers", reason="parity with transformers is skipped: pip install 'kvtui[parity]' runs it"
)
tokenizers = pytest.importorskip("tokenizers", reason="needs the package tokenizers: pip install 'kvtui[hf]'")

from kvtui.core.formats.tokenizer_json import read_tokenizer  # noqa: E402

TEXTS = [
    "the cache holds 1234 keys",
    " two  spaces\n\n and a\ttab!",
    "don't naïve é 你好 😀 مرحبا",
    "a<|endoftext|>b<|im_start|>c",
    "",
]


def check(folder: Path, config: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), read_tokenizer(folder, config, 1000)
    for text in TEXTS:
        ids = theirs(text)["input_ids"]
        assert ours.encode(text) == list(ids)
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


def byte_level() -> Any:
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator(TEXTS * 5, trainer)
    return library


@pytest.mark.parametrize(
    ("model_type", "tokenizer_class"), [("gpt2", "GPT2Tokenizer"), ("qwen2", "Qwen2Tokenizer")], ids=str
)
def test_vocab_json_and_merges_txt(tmp_path: Path, model_type: str, tokenizer_class: str) -> None:
    library = byte_level()
    library.model.save(str(tmp_path))
    size = library.get_vocab_size()
    vocabulary = json.loads((tmp_path / "vocab.json").read_text("utf-8"))
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary | {"<|endoftext|>": size}))
    flags = {"special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    added = {
        str(size + place): {"content": name} | flags for place, name in enumerate(("<|endoftext|>", "<|im_start|>"))
    }
    settings = {"tokenizer_class": tokenizer_class, "added_tokens_decoder": added}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    check(tmp_path, {"model_type": model_type})


@pytest.mark.parametrize("decoder", ["ByteLevel", "Metaspace", "WordPiece", None])
def test_tokenizer_json(tmp_path: Path, decoder: str | None) -> None:
    library = byte_level()
    library.decoder = getattr(tokenizers.decoders, decoder)() if decoder else None
    library.add_special_tokens(["<|endoftext|>"])
    library.add_tokens(["<|im_start|>"])
    library.save(str(tmp_path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    check(tmp_path, {"model_type": "llama"})
