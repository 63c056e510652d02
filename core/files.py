"""Atomic writing of files."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from kvtui.core.errors import KvtuiError


def write_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file next to its destination and move it there, so that nobody ever reads half of it.

    Raises:
        KvtuiError: the file cannot be written. The previous file is unchanged, and nothing else is left behind.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise KvtuiError(f"cannot write {path}: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        raise KvtuiError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
