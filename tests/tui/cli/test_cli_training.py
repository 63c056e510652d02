"""``kvtui train`` and ``kvtui eval`` on a text made here, and ``kvtui bench`` on a tiny model."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
from pathlib import Path

import pytest
from calling import Kvtui, assert_refused

from kvtui.core.training import loop
from kvtui.core.training import run as run_state

TINY = ["--context", 32, "--layers", 1, "--heads", 2, "--embed", 16, "--batch", 2, "--validate-every", 2]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"line {number}: to be, or not\n" for number in range(60)), encoding="utf-8")
    return path


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> object:
    """Send this process a signal when the trainer computes the learning rate of a given step."""
    original = loop.learning_rate

    def install(step: int, number: signal.Signals = signal.SIGINT) -> None:
        def rate(run: run_state.Run) -> float:
            if run.step == step:
                monkeypatch.setattr(loop, "learning_rate", original)
                os.kill(os.getpid(), number)
            return original(run)

        monkeypatch.setattr(loop, "learning_rate", rate)

    return install


def test_train_then_use_the_model(kvtui: Kvtui, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    outcome = kvtui("train", text, "--out", out, "--steps", 4, *TINY)
    assert outcome.status == 0
    assert f"wrote {out}: 4 steps" in outcome.err.replace("kvtui: ", "")
    assert not run_state.state_path(out).exists()
    assert kvtui("generate", "line", "-n", 5, "--model", out).status == 0
    assert json.loads(kvtui("info", "--model", out, "--json").out)["training"]["settings"]["context_length"] == 32

    plain = kvtui("eval", text, "--model", out, "--last", 0.1)
    values = json.loads(kvtui("eval", text, "--model", out, "--last", 0.1, "--json").out)
    assert plain.status == 0
    assert "nats per token" in plain.out
    assert "windows" in plain.out
    assert values["tokens"] == int(len(text.read_text()) * 0.1)
    assert math.isclose(values["perplexity"], math.exp(values["loss"]))


def test_a_log_file_gets_a_line_for_every_validation(kvtui: Kvtui, text: Path, tmp_path: Path) -> None:
    outcome = kvtui("train", text, "--out", tmp_path / "model", "--steps", 5, *TINY)
    first, *lines, last = outcome.err.splitlines()
    assert "characters for 5 steps; validation every 2 steps" in first
    assert [line.split(" · ")[:2] for line in lines] == [
        ["kvtui: 40%", "step 2"],
        ["kvtui: 80%", "step 4"],
        ["kvtui: 100%", "step 5"],
    ]
    assert all("validation" in line and "left" in line and "tokens/s" in line for line in lines)
    assert last.startswith("kvtui: wrote")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_saves_and_resume_ends_where_a_whole_run_does(
    kvtui: Kvtui, text: Path, tmp_path: Path, interrupt_at: object, number: signal.Signals
) -> None:
    whole, parted = tmp_path / "whole.safetensors", tmp_path / "parted.safetensors"
    assert kvtui("train", text, "--out", whole, "--steps", 6, *TINY).status == 0

    assert callable(interrupt_at)
    interrupt_at(2, number)
    stopped = kvtui("train", text, "--out", parted, "--steps", 6, *TINY)
    assert stopped.status == 128 + number
    assert "stopped after step 3" in stopped.err
    assert f"kvtui train {text} --out {parted} --resume" in stopped.err
    assert parted.exists()
    assert run_state.state_path(parted).exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    assert_refused(kvtui("train", text, "--out", parted, "--resume", "--steps", 9), "--steps", "leave out")
    assert kvtui("train", text, "--out", parted, "--resume").status == 0
    ids = [kvtui("generate", "line", "-n", 30, "--greedy", "--json", "--model", model).out for model in (whole, parted)]
    tokens = [[json.loads(line).get("logprob") for line in output.splitlines()] for output in ids]
    assert tokens[0] == tokens[1]


def test_resume_needs_a_stopped_run_on_the_same_text(
    kvtui: Kvtui, text: Path, tmp_path: Path, interrupt_at: object
) -> None:
    out = tmp_path / "model.safetensors"
    assert_refused(kvtui("train", text, "--out", out, "--resume"), "nothing to resume")
    assert callable(interrupt_at)
    interrupt_at(0)
    assert kvtui("train", text, "--out", out, "--steps", 6, *TINY).status == 130
    text.write_text(text.read_text() + "more")
    assert_refused(kvtui("train", text, "--out", out, "--resume"), "another text")
    out.unlink()
    assert_refused(kvtui("train", text, "--out", out), "stopped run", "--resume", "--force")


def test_existing_out_needs_force(kvtui: Kvtui, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    out.write_text("precious")
    assert_refused(kvtui("train", text, "--out", out, "--steps", 2, *TINY), "exists", "--force")
    assert out.read_text() == "precious"
    assert kvtui("train", text, "--out", out, "--steps", 2, *TINY, "--force").status == 0
    assert kvtui("info", "--model", out).status == 0


def test_out_that_cannot_be_written(kvtui: Kvtui, text: Path, tmp_path: Path) -> None:
    assert_refused(kvtui("train", text, "--out", tmp_path), "is a folder")
    assert_refused(kvtui("train", text, "--out", tmp_path / "no" / "model"), "there is no folder")
    assert_refused(kvtui("train", text, "--out", text, "--force"), "the text itself")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_out_that_is_no_file_is_not_replaced_by_one(kvtui: Kvtui, text: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert_refused(kvtui("train", text, "--out", pipe, "--force"), "is a device or a pipe")
    assert pipe.is_fifo()


def test_model_too_large_to_train(kvtui: Kvtui, text: Path, tmp_path: Path) -> None:
    args = ["--layers", 256, "--embed", 16384, "--heads", 8]
    assert_refused(kvtui("train", text, "--out", tmp_path / "model", *args), "parameters", "at most")


def test_widths_that_do_not_split(kvtui: Kvtui, text: Path, tmp_path: Path) -> None:
    assert_refused(kvtui("train", text, "--out", tmp_path / "model", "--embed", 10, "--heads", 4), "embed_dim")


@pytest.mark.parametrize("command", [["eval"], ["train", "--out", "model.safetensors", "--steps", 2]])
def test_bad_text_files(kvtui: Kvtui, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[object]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "mark").write_text("", encoding="utf-8-sig")
    (tmp_path / "binary").write_bytes(b"abc\xff\xfe")
    name, *options = command
    assert_refused(kvtui(name, "missing", *options), "there is no text file missing")
    assert_refused(kvtui(name, tmp_path, *options), "is a folder")
    assert_refused(kvtui(name, "empty", *options), "is empty")
    assert_refused(kvtui(name, "mark", *options), "is empty")
    assert_refused(kvtui(name, "binary", *options), "not UTF-8", "byte 3 is 0xff, in line 1; convert it first")
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_text_is_named_with_the_way_to_convert_it(kvtui: Kvtui, tmp_path: Path, encoding: str) -> None:
    (tmp_path / "wide").write_text("ROMEO:\nbut soft", encoding=encoding)
    name = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    asked = f"is {name} text: convert it first, with 'iconv -f {name} -t UTF-8'"
    assert_refused(kvtui("eval", tmp_path / "wide"), asked)
    assert_refused(kvtui("train", tmp_path / "wide", "--out", tmp_path / "m.safetensors"), asked)


def test_a_form_feed_is_named_with_its_place(kvtui: Kvtui, tmp_path: Path) -> None:
    (tmp_path / "book").write_text("Chapter I\nIt was\n\x0cChapter II\n" * 50)
    out = kvtui("train", tmp_path / "book", "--out", tmp_path / "m.safetensors")
    assert_refused(out, r"'\x0c' (U+000C), at line 3, column 1", "remove or replace it")
    assert_refused(kvtui("eval", tmp_path / "book"), "U+000C), at line 3, column 1; remove or replace it")


def test_text_too_short(kvtui: Kvtui, tmp_path: Path, tiny_model_file: Path) -> None:
    text = tmp_path / "short"
    text.write_text("A")
    assert_refused(kvtui("eval", text, "--model", tiny_model_file), "nothing to score", "1 token,")
    assert_refused(kvtui("train", text, "--out", tmp_path / "model"), "1 character;", "needs at least", "context")
    assert not (tmp_path / "model").exists()


def test_eval_refuses_unknown_characters(kvtui: Kvtui, tmp_path: Path, tiny_model_file: Path) -> None:
    text = tmp_path / "text"
    text.write_text("abc\ndéf", encoding="utf-8")
    assert_refused(kvtui("eval", text, "--model", tiny_model_file), "'é' (U+00E9)", "line 2, column 2")


def test_bench_json_and_table(kvtui: Kvtui, tiny_model_file: Path) -> None:
    values = json.loads(kvtui("bench", "--model", tiny_model_file, "--repeats", 1, "--json").out)
    assert {"model", "threads", "cached_seconds", "uncached_seconds", "floor_seconds", "machine"} <= values.keys()
    contexts = [context for context, _ in values["cached_seconds"]]
    assert contexts == [context for context, _ in values["uncached_seconds"]]
    assert contexts[-1] == 32
    assert all(seconds > 0 for _, seconds in itertools.chain(values["cached_seconds"], values["uncached_seconds"]))
    table = kvtui("bench", "--model", tiny_model_file, "--repeats", 1)
    assert table.status == 0
    assert "uncached" in table.out
