"""``kvtui generate``: the text, the JSON contract, and the prompts that people really type."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from calling import Kvtui, assert_refused, run_process

from kvtui.core.cache import parse_policy
from kvtui.core.events import End, Prefill, Token
from kvtui.tui.cli.generate import _summary
from kvtui.tui.cli.streams import write_generated


def events(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


def test_text_follows_the_prompt_and_the_summary_goes_to_stderr(kvtui: Kvtui, tiny_model_file: Path) -> None:
    outcome = kvtui("generate", "ROMEO:", "-n", 20, "--model", tiny_model_file, "--seed", 7)
    assert outcome.status == 0
    assert outcome.out.startswith("ROMEO:")
    assert len(outcome.out) in (26, 27)  # a newline is added unless the text ends with one
    assert "20 tokens" in outcome.err
    assert "tokens/s" in outcome.err
    assert "median" in outcome.err
    assert "26 positions" in outcome.err


def test_json_lines_hold_what_the_contract_names(kvtui: Kvtui, tiny_model_file: Path) -> None:
    outcome = kvtui("generate", "ROMEO:", "-n", 40, "--model", tiny_model_file, "--json", "--verify")
    assert outcome.status == 0
    assert outcome.err == ""
    lines = events(outcome.out)
    kinds = [line["event"] for line in lines]
    assert kinds[0] == "prefill"
    assert kinds[-1] == "end"
    assert kinds.count("token") == 40
    assert "evict" in kinds  # 6 + 40 tokens do not fit in 32
    assert {"tokens", "seconds", "cache_bytes"} <= lines[0].keys()
    tokens = [line for line in lines if line["event"] == "token"]
    named = {"step", "position", "id", "text", "logprob", "seconds", "cache", "cached_positions", "cache_bytes"}
    assert all(named | {"max_logit_error"} <= token.keys() for token in tokens)
    assert [token["step"] for token in tokens] == list(range(40))
    assert [token["position"] for token in tokens] == list(range(6, 46))
    assert max(float(str(token["max_logit_error"])) for token in tokens) <= 1e-4
    assert lines[-1]["reason"] == "length"
    assert lines[-1]["tokens"] == 40


@pytest.mark.parametrize("sampling", [[], ["--greedy"], ["--temperature", 1.3, "--top-k", 20, "--top-p", 0.9]])
def test_the_cache_does_not_change_the_text(kvtui: Kvtui, tiny_model_file: Path, sampling: list[object]) -> None:
    common = ["generate", "ROMEO:", "-n", 60, "--model", tiny_model_file, "--seed", 7, "--json", *sampling]
    cached, uncached = events(kvtui(*common).out), events(kvtui(*common, "--no-cache").out)
    assert [line["id"] for line in cached if line["event"] == "token"] == [
        line["id"] for line in uncached if line["event"] == "token"
    ]
    assert {line["cache"] for line in cached if line["event"] == "token"} == {True}
    assert {line["cache"] for line in uncached if line["event"] == "token"} == {False}


def test_the_bundled_model_writes_the_same_ids_with_no_cache(kvtui: Kvtui) -> None:
    common = ["generate", "ROMEO:", "-n", 200, "--seed", 7, "--json"]
    cached, uncached = events(kvtui(*common).out), events(kvtui(*common, "--no-cache").out)
    ids = [line["id"] for line in cached if line["event"] == "token"]
    assert len(ids) == 200
    assert ids == [line["id"] for line in uncached if line["event"] == "token"]


def test_verify_reports_the_difference(kvtui: Kvtui, tiny_model_file: Path) -> None:
    outcome = kvtui("generate", "ROMEO:", "-n", 5, "--model", tiny_model_file, "--verify")
    assert "largest logit difference" in outcome.err
    assert "the same token is likeliest in 5 of 5" in outcome.err


def test_no_tokens_at_all(kvtui: Kvtui, tiny_model_file: Path) -> None:
    outcome = kvtui("generate", "ROMEO:", "-n", 0, "--model", tiny_model_file)
    assert (outcome.status, outcome.out) == (0, "ROMEO:\n")


def test_empty_prompt_starts_from_a_newline_and_says_so(kvtui: Kvtui, tiny_model_file: Path) -> None:
    outcome = kvtui("generate", "", "-n", 5, "--model", tiny_model_file, "--json")
    assert outcome.status == 0
    assert events(outcome.out)[0]["prompt"] == "\n"
    assert "empty" in outcome.err
    assert "newline" in outcome.err


def test_long_prompt_uses_its_end_and_says_so(kvtui: Kvtui, tiny_model_file: Path) -> None:
    prompt = "a" * 60 + "b" * 40
    outcome = kvtui("generate", prompt, "-n", 5, "--model", tiny_model_file, "--json")
    assert outcome.status == 0
    assert events(outcome.out)[0]["prompt"] == "b" * 16
    assert "its first 84 tokens are removed, its last 16 are used, and there is room for 16 more" in outcome.err


def test_unknown_character_is_named_with_its_place(kvtui: Kvtui, tiny_model_file: Path) -> None:
    outcome = kvtui("generate", "one\ntwé", "--model", tiny_model_file)
    assert_refused(outcome, "'é' (U+00E9)", "line 2, column 3")


def test_prompt_from_stdin() -> None:
    outcome = run_process("generate", "-", "-n", 5, "--seed", 1, stdin="JULIET:")
    assert outcome.status == 0
    assert outcome.out.startswith("JULIET:")


def test_stdin_that_is_not_text(kvtui: Kvtui, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"ROMEO\xff")))
    assert_refused(kvtui("generate", "-"), "standard input", "UTF-8", "0xff")


def test_closed_stdin(kvtui: Kvtui, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert_refused(kvtui("generate", "-"), "standard input is closed")


def test_a_model_cannot_move_the_cursor_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal, expected in ((True, "a<0x1B>[2J\té\n"), (False, "a\x1b[2J\té\n")):
        out = io.StringIO()
        monkeypatch.setattr(out, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setattr("sys.stdout", out)
        write_generated("a\x1b[2J\té\n")
        assert out.getvalue() == expected


@pytest.mark.parametrize(
    ("error", "policy", "wrong"), [(1e-4, "full", False), (0.5, "full", True), (0.5, "int8", False)]
)
def test_verify_says_that_a_cache_is_wrong(error: float, policy: str, wrong: bool) -> None:
    """One that keeps everything; a policy that rounds is bound to differ."""
    token = Token(0, 1, 5, "a", -1.0, 0.001, True, 2, 1, 2, 100, None, error, True, 1e-3)
    words = _summary(Prefill(1, 0.01, True, 50, "a"), [token], End("length", 1, 0.001, 1000.0), parse_policy(policy))
    assert ("the cache is wrong: that is more than rounding explains" in words) is wrong
