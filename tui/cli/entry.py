"""Entry point of the ``kvtui`` command: Ctrl-C ends it quietly from the very start."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Import the command line and run it; Ctrl-C while it is being imported gives status 130 and no traceback."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # otherwise Ctrl-C is to be ignored, as in a background job
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))
    from kvtui.tui.cli.main import main as run

    signal.signal(signal.SIGINT, before)
    run()
