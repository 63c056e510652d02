"""Textual's driver for terminals that are closed, stopped, resized, slow, or send bytes that are not UTF-8."""

from __future__ import annotations

import os
import re
import selectors
import signal
import termios
from codecs import getincrementaldecoder
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.events import InputEvent, Paste, Resize
from textual.message import Message

from kvtui.tui.terminal.canvas import Canvas
from kvtui.tui.terminal.writer import Writer, write_all

HUNG_UP = 128 + signal.SIGHUP  # exit status when the terminal is gone
_KEYBOARD = 0
_SCREEN = 2  # standard error, as Textual does
_INPUT_SECONDS = 0.1  # after which an escape character is the Esc key and not the beginning of a sequence
_INPUT_BYTES = 4096
_MOVE = re.compile(r"\x1b\[\d+;\d+H")

# In the order in which Textual leaves its modes: synchronized output, bracketed paste, line wrap, reports of resizing
# and of the mouse, kitty's keyboard protocol, the alternate screen, cursor, reports of focus, colours.
_LEAVE = "".join(f"\x1b[?{mode}" for mode in ("2026l", "2004l", "7h", "2048l", "1000l", "1003l", "1015l", "1006l"))
_LEAVE += "\x1b[?1016l\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l\x1b[0m"


class TerminalDriver(LinuxDriver):
    """Draws on a terminal and reads its keys; ends the app with :data:`HUNG_UP` when the terminal is gone."""

    def __init__(self, app: App[Any], **settings: Any) -> None:
        super().__init__(app, **settings)
        self._interval = getattr(app, "least_frame_seconds", 0.0)
        self._writer: Writer | None = None
        self._suspended = False  # by SIGTSTP, until SIGCONT

    # Output

    def write(self, data: str) -> None:
        """Write without blocking; discarded outside application mode."""
        if self._writer is None:
            return
        if _MOVE.match(data):  # a frame: nothing else begins so
            self._writer.draw(data)
        else:
            self._writer.put(data)

    def process_message(self, message: Message) -> None:
        """Pass on what the user does, and draw the answer at once."""
        if self._writer is not None and isinstance(message, InputEvent | Paste):
            self._writer.hurry()
        elif self._writer is not None and isinstance(message, Resize):
            self._writer.resize(message.size.width, message.size.height)
        super().process_message(message)

    def start_application_mode(self) -> None:
        """Take the terminal."""
        self._writer = Writer(_SCREEN, Canvas(*self._get_terminal_size()), self._interval, self._hang_up)
        super().start_application_mode()  # type: ignore[no-untyped-call]
        if not self._is_reading and not os.isatty(self.fileno):
            self._hang_up()

    def stop_application_mode(self) -> None:
        """Give the terminal back as it was."""
        if self._writer is not None:
            self._writer.stop_drawing()
        if self._mouse_pixels:
            self.write("\x1b[?1016l")  # Textual leaves it on
        super().stop_application_mode()

    def close(self) -> None:
        """Write what is left."""
        super().close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _get_terminal_size(self) -> tuple[int, int]:
        """The size that the terminal reports, whatever COLUMNS and LINES say. Textual asks when it has changed."""
        width, height = _terminal_size((_SCREEN, self.fileno))
        if self._writer is not None:
            self._writer.resize(width, height)
        return width, height

    # Input

    @property
    def _is_reading(self) -> bool:
        return self._key_thread is not None and self._key_thread.is_alive()

    def run_input_thread(self) -> None:
        """Pass on keys and mouse until the terminal is given back, or gone."""
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self.fileno, selectors.EVENT_READ)
                self._read_input(selector)
        except Exception as error:
            self._app.call_later(raise_error, error)

    def _read_input(self, selector: selectors.BaseSelector) -> None:
        decode = getincrementaldecoder("utf-8")(errors="replace").decode
        parser = XTermParser(self._debug)
        while not self.exit_event.is_set():
            if selector.select(_INPUT_SECONDS):
                data = self._read()
                if not data:
                    self._hang_up()
                    return
                for message in parser.feed(decode(data)):
                    self.process_message(message)
            for message in parser.tick():
                self.process_message(message)
        with suppress(EOFError, ParseError):
            list(parser.feed(""))

    def _read(self) -> bytes:
        """What has been typed; nothing if the terminal is gone."""
        try:
            return os.read(self.fileno, _INPUT_BYTES)
        except OSError:
            return b""

    def _hang_up(self) -> None:
        """The terminal is gone; called in any thread."""
        with suppress(RuntimeError):  # the app has ended already
            self._loop.call_soon_threadsafe(self._app.exit, None, HUNG_UP)

    # Suspending. The handlers run between any two instructions, so the work is left to the loop.

    def _sigtstp_application(self, *_: object) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._suspend)

    def _sigcont_application(self, *_: object) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._continue)

    def suspend_job(self) -> bool:
        """Suspend this process and the others of the same command line, as Ctrl-Z does; False if there is no shell to
        return to."""
        if os.getpgrp() == os.getsid(0):
            return False
        os.killpg(os.getpgrp(), signal.SIGTSTP)
        return True

    def _suspend(self) -> None:
        """Give the terminal back and stop, until SIGCONT."""
        if not self._auto_restart:
            return
        self._app.app_suspend_signal.publish(self._app)
        self.suspend_application_mode()
        self._suspended = True
        os.kill(os.getpid(), signal.SIGSTOP)

    def _continue(self) -> None:
        """Take the terminal again: after SIGSTOP, which cannot be handled, the shell has changed its modes, too."""
        if not self._auto_restart:
            return
        if self._is_reading:
            self.suspend_application_mode()
        self.start_application_mode()
        if self._is_reading and self._suspended:
            self._suspended = False
            self._app.app_resume_signal.publish(self._app)


def raise_error(error: BaseException) -> None:
    """Raise an error of another thread in the app's: it ends the app, shows its traceback and gives a status of 1."""
    raise error


def _terminal_size(descriptors: Iterable[int]) -> tuple[int, int]:
    for descriptor in descriptors:
        with suppress(OSError):
            size = os.get_terminal_size(descriptor)
            if size.columns and size.lines:
                return size.columns, size.lines
    return 80, 24


def terminal_modes() -> list[Any] | None:
    """The modes of the terminal on standard input, for :func:`restore_terminal`; None if it has none."""
    try:
        return termios.tcgetattr(_KEYBOARD)
    except termios.error:
        return None


def restore_terminal(modes: list[Any] | None) -> None:
    """As a last resort, give the terminal back from outside the app, without waiting for a terminal that is stopped."""
    with suppress(OSError, termios.error):
        termios.tcflush(_SCREEN, termios.TCOFLUSH)
        if modes is not None:
            termios.tcsetattr(_KEYBOARD, termios.TCSANOW, modes)
    with suppress(OSError):
        os.set_blocking(_SCREEN, False)
        write_all(_SCREEN, _LEAVE)
    with suppress(OSError):
        os.set_blocking(_SCREEN, True)  # the shell has the same terminal
