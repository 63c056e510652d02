"""The adapter for transformers: its loop with an engine that is none, and all of it with a tiny random model."""

from __future__ import annotations

import json
import math
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kvtui.core.event_json import Line, ModelWords, parse_line
from kvtui.core.events import End, Prefill, Token

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "transformers_events.py"
WORDS = ("<s>", "</s>", "to", "be", "or", "not", "that", "is", "the", "question")
PARITY = "needs torch and transformers: pip install 'kvtui[parity]'"


def check(values: list[dict[str, Any]]) -> list[Line]:
    """The events as ``kvtui watch`` reads them: none is left out."""
    lines = [parse_line(json.dumps(value).encode()) for value in values]
    assert None not in lines
    return [line for line in lines if line is not None]


def tokens_of(lines: list[Line]) -> list[Token]:
    return [line.event for line in lines if isinstance(line.event, Token)]


class Stub:
    """An engine that writes the bytes of a text."""

    about = {"name": "stub", "parameters": 7, "num_layers": 1, "num_heads": 1, "context_length": 64}  # noqa: RUF012
    stop_id, cached = 0, True

    def __init__(self, text: str) -> None:
        self.left = list(text.encode())
        self.cached_positions = 0

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode(errors="replace")

    def run(self, ids: list[int]) -> None:
        assert len(ids) > self.cached_positions
        self.cached_positions = len(ids)

    def sample(self) -> tuple[int, float]:
        return self.left.pop(0), -1.0

    @property
    def cache_bytes(self) -> int:
        return 100 * self.cached_positions


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_the_adapter_is_short() -> None:
    assert len(SCRIPT.read_text().splitlines()) < 100


def test_the_loop_tells_what_its_engine_does(script: dict[str, Any]) -> None:
    lines = check(list(script["write_text"](Stub("漢 é!"), "Say: ", 7)))
    prefill, end = lines[0].event, lines[-1].event
    assert prefill == Prefill(5, pytest.approx(0, abs=1), True, 500, "Say: ")  # type: ignore[arg-type]
    assert lines[0].model == ModelWords("stub", 7, 1, 1, 64)
    tokens = tokens_of(lines)
    assert [token.text for token in tokens] == ["", "", "漢", " ", "", "é", "!"]
    assert [(token.step, token.position, token.context, token.computed) for token in tokens[:2]] == [
        (0, 5, 6, 1),
        (1, 6, 7, 1),
    ]
    assert tokens[-1].cache_bytes == 100 * (5 + len(tokens))
    assert isinstance(end, End)
    assert (end.reason, end.tokens) == ("length", len(tokens))
    assert end.seconds == pytest.approx(sum(token.seconds for token in tokens))


def test_the_loop_ends_at_the_end_of_text_and_at_the_end_of_the_context(script: dict[str, Any]) -> None:
    stopped = check(list(script["write_text"](Stub("ab\0cd"), "x", 5)))[-1].event
    assert isinstance(stopped, End)
    assert (stopped.reason, stopped.tokens) == ("stop", 3)
    full = check(list(script["write_text"](Stub("a" * 100), "x" * 60, 100)))[-1].event
    assert isinstance(full, End)
    assert (full.reason, full.tokens) == ("length", 4)
    over = check(list(script["write_text"](Stub(""), "x" * 100, 100)))
    assert [type(line.event) for line in over] == [Prefill, End]
    assert isinstance(over[0].event, Prefill)
    assert over[0].event.tokens == 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of 3 layers and 2 heads of 8, in a folder as transformers saves it."""
    torch = pytest.importorskip("torch", reason=PARITY)
    transformers = pytest.importorskip("transformers", reason=PARITY)
    tokenizers = pytest.importorskip("tokenizers", reason=PARITY)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=3, n_head=2, eos_token_id=1, bos_token_id=0
    )
    path = tmp_path_factory.mktemp("model") / "tiny"
    transformers.GPT2LMHeadModel(config).save_pretrained(path)
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="the"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", bos_token="<s>")
    fast.save_pretrained(path)
    return path


def run_script(folder: Path, *options: str) -> list[Line]:
    """The script as its reader calls it."""
    command = [sys.executable, str(SCRIPT), str(folder), "to be or not", "-n", "20", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return check([json.loads(line) for line in done.stdout.splitlines()])


def test_a_random_model_writes_the_same_with_its_cache_and_without(folder: Path) -> None:
    cached = run_script(folder, "--temperature", "0")
    uncached = run_script(folder, "--temperature", "0", "--no-cache")
    assert cached[0].model is not None
    assert (cached[0].model.name, cached[0].model.num_layers, cached[0].model.context_length) == ("tiny", 3, 32)
    kept, fresh = tokens_of(cached), tokens_of(uncached)
    assert [token.id for token in kept] == [token.id for token in fresh]
    assert [token.text for token in kept] == [token.text for token in fresh]
    assert [token.logprob for token in kept] == pytest.approx([token.logprob for token in fresh], abs=1e-4)
    assert all(token.seconds > 0 for token in kept + fresh)
    for token in kept:
        assert (token.computed, token.cached_positions) == (1, token.position + 1)
        assert token.cache_bytes == 2 * 3 * 2 * 8 * token.cached_positions * 4  # keys and values, float32
    for token in fresh:
        assert (token.computed, token.cached_positions, token.cache_bytes) == (token.position + 1, 0, 0)


def test_log_probabilities_are_the_models_own(folder: Path) -> None:
    """At another temperature too, and against a run of the whole text."""
    torch = pytest.importorskip("torch", reason=PARITY)
    transformers = pytest.importorskip("transformers", reason=PARITY)
    lines = run_script(folder, "--temperature", "2.5", "--seed", "3")
    ids = [WORDS.index(word) for word in ("to", "be", "or", "not")] + [token.id for token in tokens_of(lines)]
    model = transformers.GPT2LMHeadModel.from_pretrained(folder, local_files_only=True)
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    for token in tokens_of(lines):
        assert token.logprob == pytest.approx(float(expected[token.position - 1, token.id]), abs=1e-4)
        assert math.isfinite(token.seconds)
