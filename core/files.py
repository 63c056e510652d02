"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from kvtui.core.errors import KvtuiError


def write_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file next to its destination and move it there, so that nobody ever reads half of it.

    A new file has the mode that the umask gives, and one that is replaced keeps its own. A symbolic link is followed.

    Raises:
        KvtuiError: the file cannot be written. The previous file is unchanged, and nothing else is left behind.
    """
    part = None
    try:
        target = path.resolve()
        if target.is_symlink():  # links in a circle, which resolve() refuses only before Python 3.13
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        part = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            if target.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            for content in parts:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())  # on disk before it takes the place of the previous file
        os.replace(part, target)
    except (OSError, RuntimeError) as error:
        raise KvtuiError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None
    finally:
        if part is not None:
            with contextlib.suppress(OSError):
                part.unlink()
