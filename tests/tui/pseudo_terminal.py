"""A program in a pseudo-terminal of its own."""

from __future__ import annotations

import fcntl
import os
import re
import select
import shlex
import signal
import struct
import sys
import termios
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

ENTRY = f"{shlex.quote(sys.executable)} -c 'from kvtui.tui.cli.entry import main; main()'"
_MODE = re.compile(r"\x1b\[\?(\d+)([hl])")


class Terminal:
    """A shell command in a pseudo-terminal of its own, so that ``/dev/tty`` is that."""

    def __init__(self, command: str, cwd: Path, columns: int = 80, lines: int = 24) -> None:
        import pty

        waits, go = os.pipe()
        self.pid, self.descriptor = pty.fork()
        if not self.pid:
            os.close(go)
            os.read(waits, 1)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            os.chdir(cwd)
            os.environ["TERM"] = "xterm-256color"
            os.execvp("/bin/sh", ["/bin/sh", "-c", command])
        self.before = self.modes()
        os.close(go)
        os.close(waits)
        self.output = ""
        self._waited = False

    def modes(self) -> list[Any]:
        """What ``stty`` shows."""
        return termios.tcgetattr(self.descriptor)

    def left_on(self) -> set[int]:
        """Private modes that are on, of all that were switched: mouse reports and the like, and the cursor (25)."""
        states = {int(number): state == "h" for number, state in _MODE.findall(self.output)}
        return {number for number, on in states.items() if on}

    def read(self) -> None:
        """Read what has been drawn; wait until there is some."""
        ready, _, _ = select.select([self.descriptor], [], [], 60)
        assert ready, f"nothing more came: {self.output[-2000:]!r}"
        self.output += os.read(self.descriptor, 1 << 16).decode(errors="replace")

    def until(self, words: str, start: int = 0) -> None:
        """Read until the words have been drawn, after ``start`` characters of output."""
        deadline = monotonic() + 60
        while words not in self.output[start:]:
            assert monotonic() < deadline, f"{words!r} did not come: {self.output[-2000:]!r}"
            try:
                self.read()
            except OSError:
                raise AssertionError(f"{words!r} did not come: {self.output[-2000:]!r}") from None

    def press(self, keys: str | bytes) -> None:
        os.write(self.descriptor, keys.encode() if isinstance(keys, str) else keys)

    def drain(self) -> None:
        """Read to the end."""
        with suppress(OSError):  # the end of a pseudo-terminal
            while data := os.read(self.descriptor, 1 << 16):
                self.output += data.decode(errors="replace")

    def finish(self) -> int:
        """Read to the end; the exit status."""
        self.drain()
        return self.wait()

    def hang_up(self) -> int:
        """Close the terminal; the exit status."""
        os.close(self.descriptor)
        self.descriptor = -1
        return self.wait()

    def wait(self) -> int:
        """Wait for the program; its exit status."""
        _, status = os.waitpid(self.pid, 0)
        self._waited = True
        self.clear_up()
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def clear_up(self) -> None:
        """Close the terminal, and end the program if it is still there."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        if not self._waited:
            self.kill()
            os.waitpid(self.pid, 0)
            self._waited = True
