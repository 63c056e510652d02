"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from kvtui.core.errors import KvtuiError


def write_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file beside its place and move it there, so that no reader ever sees half of it.

    Raises:
        KvtuiError: the place cannot be written to. What was there before is as it was, and nothing else is left.
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
