"""Well-behaved input and output: text files, standard input and output.

Every text that a command shows leaves through this file, where it is escaped.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import category

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from kvtui.core.errors import KvtuiError

LARGEST_INPUT = 1 << 26  # bytes of standard input: a prompt beyond this is a mistake, such as an endless pipe
_LONGEST_MESSAGE = 400  # characters
LARGEST_TEXT = 1 << 28  # bytes of a text file: one that never ends, such as /dev/zero, must not take all memory


def escaped(text: str) -> str:
    """The text with everything made visible that a terminal could obey: names, files and prompts may hold anything."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(message: str) -> str:
    """A message on one line, cut if it is very long, and escaped."""
    text = escaped(" ".join(message.split()))
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"


def note(message: str) -> None:
    """Tell the user something, in one line on standard error."""
    write_error(f"kvtui: {one_line(message)}\n")


def write_error(text: str) -> None:
    """Write to standard error, escaped."""
    if sys.stderr is not None:
        sys.stderr.write(escaped(text))
        sys.stderr.flush()


def write(text: str) -> None:
    """Write to standard output at once, escaped: a pipe sees every line as it is written."""
    _emit(escaped(text))


def write_generated(text: str) -> None:
    """Write a model's text, or its prompt: to a terminal with control characters made visible, elsewhere unchanged."""
    if sys.stdout.isatty():
        text = "".join(f"<0x{ord(c):02X}>" if category(c) == "Cc" and c not in "\t\n\r" else c for c in text)
    _emit(text)


def write_rich(*things: RenderableType) -> None:
    """Write what Rich can draw, its texts escaped.

    Rich's own printing would end the program with status 1 when the pipe is closed.
    """
    console = Console(highlight=False)
    with console.capture() as capture:
        console.print(*map(_Escaped, things), sep="\n")
    _emit(capture.get())


@dataclass(frozen=True)
class _Escaped:
    """What Rich draws of something, with the texts in it escaped and its own control codes left alone."""

    inner: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.inner, options):
            yield segment if segment.control else Segment(escaped(segment.text), segment.style)


def write_json(value: dict[str, Any]) -> None:
    """One JSON object, one line. A number that JSON cannot hold, such as NaN, is an error of ours."""
    _emit(json.dumps(value, allow_nan=False) + "\n")


def _emit(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def discard_output() -> None:
    """Discard what is still buffered, so that the interpreter does not complain about it at exit."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            descriptor = stream.fileno()
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)


def read_prompt(prompt: str) -> str:
    """The prompt that an argument names: itself, or standard input for ``-``. Line ends become newlines.

    Raises:
        KvtuiError: standard input is closed, too long, or not UTF-8.
    """
    return _read_stdin() if prompt == "-" else _newlines(prompt)


def _read_stdin() -> str:
    """Read all of standard input.

    Raises:
        KvtuiError: it is closed, too long, or not UTF-8.
    """
    if sys.stdin is None:
        raise KvtuiError("the prompt is '-', but standard input is closed")
    data = sys.stdin.buffer.read(LARGEST_INPUT + 1)
    if len(data) > LARGEST_INPUT:
        raise KvtuiError(f"standard input holds more than {LARGEST_INPUT:,} bytes: give a shorter prompt")
    return _decode(data, "standard input")


def read_text(path: Path) -> str:
    """Read a text file, with line ends as newlines.

    Raises:
        KvtuiError: it is missing, a folder, unreadable, empty or not UTF-8.
    """
    try:
        if path.is_dir():
            raise KvtuiError(f"{path} is a folder: give a text file")
        with path.open("rb") as file:
            data = file.read(LARGEST_TEXT + 1)
    except FileNotFoundError:
        raise KvtuiError(f"there is no text file {path}") from None
    except (OSError, ValueError) as error:
        raise KvtuiError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > LARGEST_TEXT:
        raise KvtuiError(f"{path} holds more than {LARGEST_TEXT:,} bytes: give a shorter text")
    text = _decode(data, str(path))
    if not text:
        raise KvtuiError(f"{path} is empty: give a file with text in it")
    return text


def check_place(out: Path, example: str) -> None:
    """Refuse a file that cannot be written, before the work that would fill it.

    Raises:
        KvtuiError: it is a folder, a device or a pipe (which moving a file there would replace), or its folder is
            missing or not writable.
    """
    folder = out.absolute().parent
    if out.is_dir():
        raise KvtuiError(f"{out} is a folder: give a file in it, such as {out / example}")
    if not folder.is_dir():
        raise KvtuiError(f"{out}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise KvtuiError(f"{out}: the folder {folder} cannot be written to")
    if out.exists() and not out.is_file():
        raise KvtuiError(f"{out} is a device or a pipe: give a file, such as {example}")


def _decode(data: bytes, source: str) -> str:
    encoding = _wide_encoding(data)
    if encoding:
        raise KvtuiError(f"{source} is {encoding} text: convert it first, with 'iconv -f {encoding} -t UTF-8'")
    try:
        return _newlines(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise KvtuiError(
            f"{source} is not UTF-8 text: byte {error.start:,} is 0x{data[error.start]:02x}, in line {line:,}; convert "
            "it first, for example with 'iconv -f ISO-8859-1 -t UTF-8'"
        ) from None


def _wide_encoding(data: bytes) -> str:
    """UTF-16 or UTF-32 if the data begin as such a text does, with a mark or with characters of ASCII; else empty."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    even, odd = data[:64:2], data[1:64:2]
    if len(odd) >= 2 and not any(odd) and all(even):
        return "UTF-16LE"
    return "UTF-16BE" if len(odd) >= 2 and not any(even) and all(odd) else ""


def _newlines(text: str) -> str:
    """The text with newlines for the line ends of Windows, as everywhere else that takes text."""
    return text.replace("\r\n", "\n")
