"""What terminals, shells and signals do to the dashboard, as a program in a pseudo-terminal of its own."""

from __future__ import annotations

import os
import select
import shlex
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from pseudo_terminal import ENTRY, Terminal

from kvtui.tui.cli.signals import ENDING

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
FULL = "of 512 positions"  # in the cache bar: a text is being written


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """Those of a test; what is left of their programs is killed, whatever becomes of the test."""
    started: list[Terminal] = []
    yield started
    for terminal in started:
        terminal.clear_up()


def dashboard(terminals: list[Terminal], folder: Path, before: str = "", options: str = "") -> Terminal:
    """A dashboard that writes."""
    terminal = Terminal(f"{before} exec {ENTRY} 'ROMEO:' {options}", folder)
    terminals.append(terminal)
    terminal.until(FULL)
    return terminal


def worker(terminal: Terminal) -> int:
    """A handle of the generator process."""
    (child,) = Path(f"/proc/{terminal.pid}/task/{terminal.pid}/children").read_text().split()
    return os.pidfd_open(int(child))


def assert_gone(handle: int) -> None:
    ready, _, _ = select.select([handle], [], [], 60)
    os.close(handle)
    assert ready, "the generator process is still there"


def finish(terminal: Terminal) -> int:
    """The exit status; the terminal is as it was."""
    terminal.drain()
    assert terminal.modes() == terminal.before
    assert terminal.left_on() <= {7, 25}  # lines are wrapped, the cursor is shown
    assert "\x1b[?25h" in terminal.output[terminal.output.rindex("\x1b[?25l") :]
    pushed, popped = terminal.output.count("\x1b[>25u"), terminal.output.count("\x1b[<u")
    assert pushed == popped, "kitty's keyboard protocol"
    return terminal.wait()


@pytest.mark.parametrize("before", ["", "trap '' HUP;"])
def test_a_terminal_that_goes_away_ends_it_whether_the_hang_up_comes_or_not(
    terminals: list[Terminal], tmp_path: Path, before: str
) -> None:
    terminal = dashboard(terminals, tmp_path, before)
    generator = worker(terminal)
    assert terminal.hang_up() == 128 + signal.SIGHUP
    assert_gone(generator)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_it_and_gives_the_terminal_back(
    terminals: list[Terminal], tmp_path: Path, number: signal.Signals
) -> None:
    terminal = dashboard(terminals, tmp_path)
    generator = worker(terminal)
    os.kill(terminal.pid, number)
    assert finish(terminal) == 128 + number
    assert "Traceback" not in terminal.output
    assert_gone(generator)


def test_the_generator_process_ends_with_a_dashboard_that_is_killed(terminals: list[Terminal], tmp_path: Path) -> None:
    terminal = dashboard(terminals, tmp_path, options="--pace unlimited")
    generator = worker(terminal)
    terminal.kill()
    assert terminal.finish() == -signal.SIGKILL
    assert_gone(generator)


@pytest.mark.parametrize(("end", "status"), [("q", 0), ("\x03", 130), (signal.SIGTERM, 143)])
def test_a_stopped_generator_process_keeps_nobody(
    terminals: list[Terminal], tmp_path: Path, end: str | signal.Signals, status: int
) -> None:
    terminal = dashboard(terminals, tmp_path, options="--pace unlimited")
    generator = worker(terminal)
    signal.pidfd_send_signal(generator, signal.SIGSTOP)
    start = len(terminal.output)
    terminal.press("tttt?")  # the screen goes on
    terminal.until("Pause to look", start)
    if isinstance(end, str):
        terminal.press("\x1b[27u" + end)
    else:
        os.kill(terminal.pid, end)
    assert finish(terminal) == status
    assert_gone(generator)


def test_a_stop_that_cannot_be_handled_is_survived(terminals: list[Terminal], tmp_path: Path) -> None:
    terminal = dashboard(terminals, tmp_path)
    for _ in range(3):
        start = len(terminal.output)
        os.kill(terminal.pid, signal.SIGSTOP)
        os.waitpid(terminal.pid, os.WUNTRACED)
        os.kill(terminal.pid, signal.SIGCONT)
        terminal.until("\x1b[?1049h", start)
        terminal.until(FULL, terminal.output.index("\x1b[?1049h", start))
    terminal.press("q")
    assert finish(terminal) == 0


def test_ctrl_z_returns_to_the_shell_and_fg_to_the_text(terminals: list[Terminal], tmp_path: Path) -> None:
    script = f"set -m; {ENTRY} 'ROMEO:'; stty -a | grep -o '.icanon'; echo SHELL; fg; echo LEFT $?"
    terminal = Terminal(f"exec bash -c {shlex.quote(script)}", tmp_path)
    terminals.append(terminal)
    terminal.until(FULL)
    terminal.press("\x1a")
    terminal.until("SHELL")
    shell = terminal.output.index("SHELL")
    assert "-icanon" not in terminal.output
    assert terminal.output.count("\x1b[?1049l", 0, shell) == 1
    terminal.until("writing", shell)  # held meanwhile
    terminal.until(FULL, shell)
    terminal.press("q")
    terminal.until("LEFT 0")
    assert finish(terminal) == 0


def test_without_a_shell_ctrl_z_says_so(terminals: list[Terminal], tmp_path: Path) -> None:
    terminal = dashboard(terminals, tmp_path)
    terminal.press("\x1a")
    terminal.until("no shell")
    terminal.press("q")
    assert finish(terminal) == 0


@pytest.mark.parametrize("exported", ["COLUMNS=50 LINES=10", "COLUMNS=300 LINES=90"])
def test_the_size_is_that_of_the_terminal_and_not_that_of_the_environment(
    terminals: list[Terminal], tmp_path: Path, exported: str
) -> None:
    terminal = dashboard(terminals, tmp_path, f"export {exported};")
    terminal.until("\x1b[24;1H")
    assert "kvtui needs" not in terminal.output
    assert "\x1b[25;1H" not in terminal.output
    terminal.press("q")
    assert finish(terminal) == 0


def test_bytes_that_are_not_utf_8_end_nothing(terminals: list[Terminal], tmp_path: Path) -> None:
    terminal = dashboard(terminals, tmp_path)
    start = len(terminal.output)
    terminal.press("p")
    terminal.until("\x1b[2;15H", start)  # the cursor is in the prompt
    terminal.press(b"\xe9t\xff")
    terminal.press(b"\x1b[200~caf\xe9\x1b[201~")  # pasted in Latin-1
    terminal.until("caf", start)
    terminal.press("\x11")
    assert finish(terminal) == 0


# Apps that go wrong

BROKEN = """
import os, sys, threading
from textual.app import App
from kvtui.tui.cli.launch import run_app
from kvtui.tui.terminal.driver import TerminalDriver

class Broken(App):
    def get_driver_class(self):
        return TerminalDriver
    def on_key(self, event):
        {fault}
    def fail(self):
        raise ValueError("no such luck")
    def on_mount(self):
        self.call_after_refresh(os.write, 2, b"READY")

sys.exit(run_app(Broken()))
"""


def broken(terminals: list[Terminal], folder: Path, fault: str) -> Terminal:
    """An app with a fault, after the key that brings it out."""
    (folder / "broken.py").write_text(textwrap.dedent(BROKEN.format(fault=fault)))
    terminal = Terminal(f"exec {shlex.quote(sys.executable)} broken.py", folder)
    terminals.append(terminal)
    terminal.until("READY")
    terminal.press("x")
    return terminal


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_an_app_that_hangs_by_force(
    terminals: list[Terminal], tmp_path: Path, number: signal.Signals
) -> None:
    terminal = broken(terminals, tmp_path, "os.write(2, b'STUCK'); threading.Event().wait()")
    terminal.until("STUCK")
    os.kill(terminal.pid, number)
    assert finish(terminal) == 128 + number


@pytest.mark.parametrize(
    "fault",
    [
        "self.fail()",
        "threading.Thread(target=self.fail).start()",
        "self._driver.process_message = None; os.write(2, b'DEAF')",
    ],
)
def test_a_crash_gives_the_terminal_back_its_traceback_once_and_a_status(
    terminals: list[Terminal], tmp_path: Path, fault: str
) -> None:
    """In the app, in a thread, and in the thread that reads the keys."""
    terminal = broken(terminals, tmp_path, fault)
    if "process_message" in fault:
        terminal.until("DEAF")
        terminal.press("y")
    assert finish(terminal) == 1
    left = terminal.output[terminal.output.rindex("\x1b[?1049l") :]
    assert left.count("Traceback") == terminal.output.count("Traceback") == 1
