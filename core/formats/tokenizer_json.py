"""The tokenizer of a Hugging Face folder: ``tokenizer.json``, ``tokenizer.model``, or ``vocab.json`` with
``merges.txt``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kvtui.core.errors import KvtuiError, brief
from kvtui.core.formats.byte_level import SPLITTINGS, add_start, byte_level_tokenizer
from kvtui.core.formats.library_tokenizer import LibraryTokenizer, check_fit, import_library, refusals
from kvtui.core.formats.sentencepiece_model import read_sentencepiece
from kvtui.core.formats.shards import LARGEST_JSON, check_file, read_json
from kvtui.core.tokenizer import Tokenizer

_TEMPLATES = {"TemplateProcessing", "BertProcessing", "RobertaProcessing"}
_SPLITTING_OF = {"gpt2": "gpt-2", "qwen2": "qwen2", "qwen3": "qwen2"}  # by model_type, for vocab.json and merges.txt


def read_tokenizer(
    folder: Path, config: Mapping[str, Any], vocab_size: int, on_note: Callable[[str], None] = lambda words: None
) -> Tokenizer:
    """Read the tokenizer of a folder.

    ``config.json`` and ``generation_config.json`` name start and end of a text, ``tokenizer_config.json`` whether the
    start begins every text, unless ``tokenizer.json`` has a template of its own. That is what llama.cpp's converter and
    transformers 4 do; transformers 5 ignores ``add_bos_token`` beside a tokenizer.json (tokenization_utils_base.py,
    ``_from_pretrained``), although models such as DeepSeek-R1-Distill-Qwen were trained with the start.

    Args:
        folder: of the model.
        config: of the model.
        vocab_size: rows of the model's embedding.
        on_note: called with what was ignored.

    Raises:
        KvtuiError: the files are missing, damaged or do not fit the model, or the library is not installed.
    """
    path = folder / "tokenizer.json"
    settings = _settings(folder)
    stop_ids = frozenset(_stop_ids(folder, config, vocab_size, on_note))
    start_ids = _token_ids(folder / "config.json", config, "bos_token_id", vocab_size, on_note)
    if not path.is_file() and (folder / "tokenizer.model").is_file():
        path = folder / "tokenizer.model"
        starts = settings.get("add_bos_token", True) is not False
        added = _added(folder, settings)
        tokenizer: Tokenizer = read_sentencepiece(path, added, start_ids[:1], stop_ids, starts, vocab_size)
    else:
        library = _read_library(path) if path.is_file() else _from_vocabulary(folder, config, settings)
        path = path if path.is_file() else folder / "vocab.json"
        start_id = _start_id(path, library, settings, start_ids or sorted(stop_ids)[:1], on_note)
        try:
            tokenizer = LibraryTokenizer(library, start_id, stop_ids, vocab_size)
        except KvtuiError as error:
            raise KvtuiError(f"{path}: {error}") from None
    check_fit(path, tokenizer, vocab_size)
    return tokenizer


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.is_file() else {}


def _read_library(path: Path) -> Any:
    check_file(path, LARGEST_JSON)
    tokenizers = import_library()
    with refusals(f"{path} cannot be read"):
        return tokenizers.Tokenizer.from_file(str(path))


def _from_vocabulary(folder: Path, config: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """The tokenizer of vocab.json and merges.txt, which do not say how texts are split into words: the model does.

    Raises:
        KvtuiError: they are missing or damaged, or it is not known how texts are split.
    """
    path, merges_path = folder / "vocab.json", folder / "merges.txt"
    splitting = _SPLITTING_OF.get(str(config.get("model_type")))
    if splitting is None or not path.is_file() or not merges_path.is_file():
        raise KvtuiError(
            f"{folder} has no tokenizer.json: make one with AutoTokenizer.from_pretrained(FOLDER)"
            ".save_pretrained(FOLDER) of transformers"
        )
    vocabulary = read_json(path)
    if not all(type(index) is int and index >= 0 for index in vocabulary.values()):
        raise KvtuiError(f"{path} has no ids from 0 for its tokens")
    merges = []
    try:
        lines = merges_path.read_text("utf-8").split("\n")
    except ValueError:
        raise KvtuiError(f"{merges_path} is not UTF-8 text") from None
    for line in lines:
        pair = line.rstrip("\r").split(" ")
        if len(pair) == 2 and not line.startswith("#version"):
            merges.append((pair[0], pair[1]))
    added = _added(folder, settings)
    if splitting == "gpt-2" and "<|endoftext|>" in vocabulary:
        added.setdefault(vocabulary["<|endoftext|>"], ("<|endoftext|>", True))
    names = [added[index] for index in sorted(added)]
    tokenizer = byte_level_tokenizer(vocabulary, merges, SPLITTINGS[splitting], names, str(merges_path))
    if splitting == "qwen2":
        tokenizer.normalizer = import_library().normalizers.NFC()
    for index, (name, _) in added.items():
        if tokenizer.token_to_id(name) != index:
            raise KvtuiError(f"{path}: the added token {brief(name)} cannot have the id {index}")
    return tokenizer


def _added(folder: Path, settings: Mapping[str, Any]) -> dict[int, tuple[str, bool]]:
    """Added tokens by id: name, and whether it has no text. From tokenizer_config.json and added_tokens.json."""
    found: dict[int, tuple[str, bool]] = {}
    listed = settings.get("added_tokens_decoder")
    for index, token in (listed if isinstance(listed, dict) else {}).items():
        name = _content(token)
        if index.isdecimal() and len(index) < 9 and name:
            found[int(index)] = (name, bool(isinstance(token, dict) and token.get("special")))
    path = folder / "added_tokens.json"
    for name, index in (read_json(path) if path.is_file() else {}).items():
        if type(index) is int and index >= 0 and name:
            found.setdefault(index, (name, True))
    return found


def _content(token: Any) -> str:
    """The text of a token, which a config gives alone or in an object."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else ""


def _start_id(
    path: Path, library: Any, settings: Mapping[str, Any], known: list[int], on_note: Callable[[str], None]
) -> int:
    """What an empty prompt starts from; lets every text begin with it if the folder says so."""
    name = _content(settings.get("bos_token"))
    with refusals(f"{path} cannot be used"):
        index = library.token_to_id(name) if name else None
        processor = json.loads(library.post_processor.__getstate__()) if library.post_processor else {}
        templates = [part for part in _parts(processor) if part.get("type") in _TEMPLATES]
        first = library.encode("").ids[:1] if any(map(_begins, templates)) else []
        if settings.get("add_bos_token") is True and not templates:
            if index is None:
                on_note(f"{path.parent / 'tokenizer_config.json'}: there is no token {brief(name)} to begin texts with")
            else:
                add_start(library, name, index)
                first = [index]
    if first:
        return int(first[0])
    return known[0] if known else (index or 0)


def _parts(processor: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A post-processor, or those of a sequence."""
    return [processor, *(processor.get("processors") or ())]


def _begins(template: Mapping[str, Any]) -> bool:
    """Whether a template puts a token in front of a text; those of BERT and RoBERTa always do."""
    single = template.get("single", [{"SpecialToken": {}}])
    return bool(single) and "SpecialToken" in single[0]


def _stop_ids(folder: Path, config: Mapping[str, Any], vocab_size: int, on_note: Callable[[str], None]) -> list[int]:
    generation = folder / "generation_config.json"
    ids = _token_ids(folder / "config.json", config, "eos_token_id", vocab_size, on_note)
    if generation.is_file():
        ids = ids + _token_ids(generation, read_json(generation), "eos_token_id", vocab_size, on_note)
    return ids


def _token_ids(
    path: Path, values: Mapping[str, Any], name: str, vocab_size: int, on_note: Callable[[str], None]
) -> list[int]:
    """The ids that a config gives for the start or the end of a text: one, several or none. Those that the model does
    not have are ignored, as a model never writes them."""
    value = values.get(name)
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(index, int) and not isinstance(index, bool) for index in ids):
        raise KvtuiError(f"{path}: {name} is {brief(value)}; it must be the number of a token, or several")
    outside = [index for index in ids if not 0 <= index < vocab_size]
    if outside:
        on_note(f"{path.name}: {name} {brief(outside[0])} is ignored: the vocabulary has only {vocab_size:,} tokens")
    return [index for index in ids if index not in outside]
