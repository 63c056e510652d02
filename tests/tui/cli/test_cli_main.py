"""The program as a whole: help, default command, pipes, and what it must not import."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from calling import Kvtui, Outcome, arguments, assert_refused

from kvtui.core import Model
from kvtui.core.commands import Stop
from kvtui.tui.cli.main import COMMANDS as CLI_COMMANDS
from kvtui.tui.cli.main import DASHBOARD, cli
from kvtui.tui.cli.signals import Ended, stop_on_signal
from kvtui.tui.settings import DashboardSettings

COMMANDS = ["bench", "doctor", "eval", "generate", "info", "models", "train", "watch"]


def test_version(kvtui: Kvtui) -> None:
    outcome = kvtui("--version")
    assert outcome.status == 0
    assert outcome.out.startswith("kvtui 0.")


def test_help_lists_dashboard_options_and_commands(kvtui: Kvtui) -> None:
    outcome = kvtui("--help")
    assert outcome.status == 0
    for word in (*COMMANDS, "--pace", "--no-cache", "--temperature", "--version", "_KVTUI_COMPLETE"):
        assert word in outcome.out
    assert DASHBOARD not in outcome.out
    assert kvtui("ROMEO:", "--help").out == outcome.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(kvtui: Kvtui, command: str) -> None:
    outcome = kvtui(command, "--help")
    assert outcome.status == 0
    assert f"  kvtui {command} " in outcome.out or f"  kvtui {command}\n" in outcome.out


@pytest.mark.parametrize("name", CLI_COMMANDS)
def test_the_table_of_commands_names_what_is_there(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.short_help


def test_only_the_command_that_is_called_is_imported() -> None:
    code = (
        "import sys; from kvtui.tui.cli.main import run; status = run(['info', '--help']); "
        "sys.exit(status or 'kvtui.tui.cli.info' not in sys.modules or 'kvtui.tui.cli.train' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("args", [[], ["ROMEO:"], [""], ["--", "train"], ["--seed", "3", "ROMEO:", "--no-cache"]])
def test_dashboard_without_a_terminal_points_to_generate(kvtui: Kvtui, args: list[str]) -> None:
    assert_refused(kvtui(*args), "terminal", "kvtui generate")


def in_terminal(
    *args: object, size: tuple[int, int] = (80, 24), term: str = "xterm-256color", stderr: int | None = None
) -> Outcome:
    """A real ``kvtui`` process in a pseudo-terminal of so many columns and rows, to its end; its output is ``err``."""
    termios = pytest.importorskip("termios", reason="needs a pseudo-terminal")
    ours, theirs = os.openpty()
    try:
        termios.tcsetwinsize(theirs, (size[1], size[0]))
        done = subprocess.run(
            arguments(*args),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs if stderr is None else stderr,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | {"TERM": term},
        )
        os.set_blocking(ours, False)
        with contextlib.suppress(BlockingIOError):
            return Outcome(done.returncode, "", os.read(ours, 1 << 16).decode().replace("\r\n", "\n"))
    finally:
        os.close(theirs)
        os.close(ours)
    return Outcome(done.returncode, "", done.stderr)


def test_dashboard_refuses_a_missing_model_before_it_draws(tmp_path: Path) -> None:
    outcome = in_terminal("A", "--model", tmp_path / "no.safetensors")
    assert outcome.status == 2
    assert "\x1b[?1049h" not in outcome.err  # the screen of the dashboard; a bar of loading may have been there
    assert "kvtui: there is no model" in outcome.err.splitlines()[-1]


@pytest.mark.parametrize("size", [(63, 40), (120, 19), (20, 5)])
def test_dashboard_refuses_a_terminal_too_small(size: tuple[int, int]) -> None:
    assert_refused(in_terminal("A", size=size), f"64 × 20 cells; this terminal has {size[0]} × {size[1]}")


def test_dashboard_refuses_to_draw_into_a_pipe() -> None:
    assert_refused(in_terminal("A", stderr=subprocess.PIPE), "standard error is not one")


def test_dashboard_refuses_a_terminal_that_cannot_move_its_cursor() -> None:
    assert_refused(in_terminal("A", term="dumb"), "TERM is dumb", "kvtui generate")


def test_dashboard_refuses_a_folder_of_models_that_is_not_there(kvtui: Kvtui, tmp_path: Path) -> None:
    assert_refused(kvtui("A", "--models-dir", tmp_path / "no"), f"there is no folder {tmp_path / 'no'}")


@pytest.mark.parametrize("args", [("bench", "--repeats", 1), ("policies", "--tokens", 16)], ids=lambda args: args[0])
def test_closed_pipe_ends_a_table_quietly(tiny_model_file: Path, args: tuple[object, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = arguments(*args, "--model", tiny_model_file)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_while_the_command_line_is_imported_leaves_no_traceback() -> None:
    code = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == "kvtui.tui.cli.main":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from kvtui.tui.cli.entry import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code, "info"], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_closed_pipe_ends_quietly(tiny_model_file: Path, options: list[str]) -> None:
    command = arguments("generate", "ROMEO:", "-n", 100_000, "--model", tiny_model_file, *options)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(20)) == 20
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_generate_in_good_order(tiny_model_file: Path, number: signal.Signals) -> None:
    command = arguments("generate", "ROMEO:", "-n", 10_000_000, "--model", tiny_model_file, "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.send_signal(number)
        *_, last = process.stdout
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 128 + number
    assert json.loads(first)["event"] == "prefill"
    assert json.loads(last)["reason"] == "cancelled"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize(
    "args",
    [
        ("eval", "text.txt"),
        ("policies", "text.txt"),
        ("bench", "--repeats", 9),
        ("figure", "timing", "-o", "a.png"),
        ("figure", "attention", "A", "-o", "a.png"),
    ],
    ids=lambda args: " ".join(map(str, args[:2])),
)
def test_a_signal_ends_every_command_at_once(
    kvtui: Kvtui,
    tmp_path: Path,
    tiny_model_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[object, ...],
    number: signal.Signals,
) -> None:
    if args[0] == "figure":
        pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install 'kvtui[plot]'")
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("To be or not to be\n" * 40)
    forward = Model.forward

    def interrupted(self: Model, *positional: object, **named: object) -> object:
        os.kill(os.getpid(), number)
        return forward(self, *positional, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "forward", interrupted)
    outcome = kvtui(*args, "--model", tiny_model_file)
    assert (outcome.status, outcome.out, outcome.err) == (128 + number, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_hang_up_that_is_ignored_stays_ignored(
    kvtui: Kvtui, tiny_model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As below nohup."""
    forward = Model.forward

    def hung_up(self: Model, *positional: object, **named: object) -> object:
        os.kill(os.getpid(), signal.SIGHUP)
        return forward(self, *positional, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "forward", hung_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert kvtui("generate", "ROMEO:", "-n", 3, "--model", tiny_model_file).status == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_ends_the_work_that_the_first_asked_to_stop() -> None:
    with stop_on_signal() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.ended is not None
        assert isinstance(asked.poll(None), Stop)
        with pytest.raises(Ended) as caught:
            os.kill(os.getpid(), signal.SIGHUP)
    assert caught.value.status == 128 + signal.SIGHUP
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_one_line(tiny_model_file: Path) -> None:
    with open("/dev/full", "wb") as full:
        command = arguments("generate", "A", "-n", 3, "--model", tiny_model_file)
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == "kvtui: No space left on device\n"


def test_generate_never_imports_textual(tiny_model_file: Path) -> None:
    code = (
        "import sys; from kvtui.tui.cli.main import run; "
        f"status = run(['generate', 'A', '-n', '2', '--model', {str(tiny_model_file)!r}]); "
        "sys.exit(status or 'textual' in sys.modules or 'plotext' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("kvtui ge", "plain,generate"),
        ("kvtui generate --no", "plain,--no-cache"),
        ("kvtui figure ti", "plain,timing"),
        ("kvtui generate --model sha", "plain,shakespeare"),
        ("kvtui generate --model my.sa", "file,my.sa"),
        ("kvtui eval my", "file,my"),
        ("kvtui watch my", "file,my"),
        ("kvtui --pa", "plain,--pace"),
        ("kvtui --ver", "plain,--version"),
        ("kvtui --pace un", "plain,unlimited"),
    ],
)
def test_shell_completion(kvtui: Kvtui, monkeypatch: pytest.MonkeyPatch, words: str, expected: str) -> None:
    monkeypatch.setenv("_KVTUI_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert expected in kvtui().out.splitlines()


@pytest.mark.parametrize(("options", "tour"), [(["--tour"], True), (["ROMEO:", "--tour"], True), (["ROMEO:"], False)])
def test_the_tour_can_be_asked_for(
    kvtui: Kvtui, monkeypatch: pytest.MonkeyPatch, options: list[str], tour: bool
) -> None:
    opened: list[DashboardSettings] = []
    monkeypatch.setattr("kvtui.tui.cli.main.require_terminal", lambda: None)
    monkeypatch.setattr("kvtui.tui.cli.launch.run_dashboard", lambda settings: opened.append(settings) or 0)
    assert kvtui(*options).status == 0
    assert [settings.tour for settings in opened] == [tour]


@pytest.mark.parametrize("arguments", ["--version", "generate ROMEO: -n 1", "models"])
def test_a_closed_output_is_said_and_no_text_is_lost_in_silence(arguments: str) -> None:
    command = f"exec {sys.executable} -m kvtui {arguments} >&-"
    process = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert process.returncode == 2
    assert process.stderr == "kvtui: standard output is closed: redirect it to a file, or to /dev/null\n"


def test_the_package_can_be_run() -> None:
    process = subprocess.run([sys.executable, "-m", "kvtui", "--version"], capture_output=True, text=True, timeout=60)
    assert process.stdout.startswith("kvtui ")
    assert process.returncode == 0
