"""The decoder against transformers, on random models of every family at odd sizes. Needs the extra ``parity``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="parity with transformers is skipped: pip install 'kvtui[parity]' runs it")
transformers = pytest.importorskip(
    "transformers", reason="parity with transformers is skipped: pip install 'kvtui[parity]' runs it"
)

from kvtui.core import SamplingSettings, generate, load  # noqa: E402
from kvtui.core.events import Prefill, Token  # noqa: E402

VOCABULARY, CONTEXT, ROLLOUT = 97, 120, 64
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 40,
}
GPT2 = {"vocab_size": VOCABULARY, "n_positions": CONTEXT, "n_layer": 3, "n_head": 3, "n_embd": 60}
LLAMA = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "hidden_size": 60,
    "intermediate_size": 52,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
SHARED_HEADS = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", GPT2),
    "gpt2 with the exact GELU": ("GPT2", GPT2 | {"activation_function": "gelu"}),
    "gpt2 untied, own width, wide MLP": ("GPT2", GPT2 | {"tie_word_embeddings": False, "n_inner": 70}),
    "llama": ("Llama", LLAMA),
    "llama tied, shared heads": ("Llama", LLAMA | SHARED_HEADS | {"tie_word_embeddings": True}),
    "llama with biases": ("Llama", LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama 3 rotary scaling": ("Llama", LLAMA | {"rope_parameters": LLAMA3}),
    "llama linear rotary scaling": (
        "Llama",
        LLAMA | {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}},
    ),
    "mistral, window in sight": ("Mistral", LLAMA | SHARED_HEADS | {"sliding_window": 17}),
    "mistral without window": ("Mistral", LLAMA | {"sliding_window": None}),
    "qwen2": ("Qwen2", LLAMA | {"num_attention_heads": 6, "num_key_value_heads": 2}),
    "qwen2, window in every layer": (
        "Qwen2",
        LLAMA | {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 0},
    ),
    "qwen3, heads wider than the model": ("Qwen3", LLAMA | {"num_key_value_heads": 1, "head_dim": 28}),
    "qwen3 tied": ("Qwen3", LLAMA | {"head_dim": 20, "tie_word_embeddings": True}),
}


def write_tokenizer(path: Any) -> None:
    """Characters with ids 3 and up, as SentencePiece models have them."""
    tokens = ["<unk>", "<s>", "</s>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    added = [
        {"id": i, "content": tokens[i], "special": True, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False}
        for i in range(3)
    ]
    spec = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "decoder": {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(tokens)}, "merges": []},
    }
    path.write_text(json.dumps(spec))


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda name: name)
def pair(request, tmp_path_factory) -> tuple[Any, Any]:
    """The same random model in transformers and here."""
    name, options = FAMILIES[request.param]
    torch.manual_seed(7)
    config = getattr(transformers, f"{name}Config")(
        **options, initializer_range=0.15, bos_token_id=1, eos_token_id=None
    )
    theirs = getattr(transformers, f"{name}ForCausalLM" if name != "GPT2" else "GPT2LMHeadModel")(config).eval()
    with torch.no_grad():
        for parameter, value in theirs.named_parameters():
            if parameter.endswith(("bias", "norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight")):
                value.add_(torch.randn_like(value) * 0.2)  # nothing stays at zero or one
    folder = tmp_path_factory.mktemp("model")
    theirs.save_pretrained(folder)
    write_tokenizer(folder / "tokenizer.json")
    return theirs, load(folder)


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    return np.random.default_rng(3).integers(VOCABULARY, size=CONTEXT)


def their_logits(theirs: Any, ids: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return theirs(torch.from_numpy(ids[None])).logits[0].numpy()


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert np.abs(theirs).max() > 0.5
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_logits_of_every_position(pair, ids):
    theirs, ours = pair
    close(ours.forward(ids), their_logits(theirs, ids))


def test_logits_with_a_prefill_in_pieces_and_single_steps(pair, ids):
    theirs, ours = pair
    cache = ours.new_cache()
    pieces = [ours.forward(ids[first:last], cache) for first, last in ((0, 1), (1, 30), (30, 31), (31, 100))]
    steps = [ours.decode(int(token), cache).copy()[None] for token in ids[100:]]
    close(np.concatenate(pieces + steps), their_logits(theirs, ids))


@pytest.mark.parametrize("cache", [True, False], ids=["cached", "uncached"])
def test_greedy_rollout(pair, cache):
    theirs, ours = pair
    prompt = "the cat sat"
    with torch.no_grad():
        start = torch.tensor([ours.tokenizer.encode(prompt)])
        expected = theirs.generate(
            start, attention_mask=torch.ones_like(start), max_new_tokens=ROLLOUT, do_sample=False, pad_token_id=0
        )[0, start.shape[1] :].tolist()
    greedy = SamplingSettings(temperature=0.0)
    first, *events = generate(ours, prompt, max_new_tokens=ROLLOUT, sampling=greedy, cache=cache)
    assert isinstance(first, Prefill)
    assert first.prompt == prompt
    assert [event.id for event in events if isinstance(event, Token)] == expected
    assert len(expected) == ROLLOUT
