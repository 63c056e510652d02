"""What the dashboard requires of a terminal, checked before anything is started or drawn."""

from __future__ import annotations

import os
import sys

from kvtui.core.errors import KvtuiError
from kvtui.tui.settings import LEAST_HEIGHT, LEAST_WIDTH


def require_terminal(keyboard: bool = True, instead: str = "use 'kvtui generate PROMPT'") -> None:
    """Raise KvtuiError unless standard output is a terminal that the dashboard can draw on.

    Args:
        keyboard: whether standard input must be the terminal as well.
        instead: what to do if a requirement is not met.
    """
    streams = {"standard output": sys.stdout, "standard error": sys.stderr}  # Textual draws on standard error
    if keyboard:
        streams = {"standard input": sys.stdin, **streams}
    for name, stream in streams.items():
        if stream is None or not stream.isatty():
            raise KvtuiError(f"the dashboard needs a terminal, and {name} is not one: {instead}")
    if os.environ.get("TERM") == "dumb":
        raise KvtuiError(f"the dashboard needs a terminal that can move its cursor, and TERM is dumb: {instead}")
    size = os.get_terminal_size(sys.stdout.fileno())
    if 0 < size.columns < LEAST_WIDTH or 0 < size.lines < LEAST_HEIGHT:  # 0: the terminal does not report its size
        raise KvtuiError(
            f"kvtui needs {LEAST_WIDTH} × {LEAST_HEIGHT} cells; this terminal has {size.columns} × {size.lines}"
        )
