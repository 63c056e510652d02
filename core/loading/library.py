"""The models on this machine: the bundled ones, and those in a folder. No weights are read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kvtui.core.config import parameter_count
from kvtui.core.errors import KvtuiError
from kvtui.core.formats import peek_model
from kvtui.core.formats.gguf import gguf_parts
from kvtui.core.formats.shards import WEIGHTS
from kvtui.core.loading import bundled_names, bundled_path
from kvtui.core.loading.hub import hub_folder

_SUFFIXES = (".safetensors", ".gguf", ".bin", ".pt", ".pth")
_TOKENIZERS = re.compile(r"tok\d*\.bin|tokenizer\.bin")  # of llama2.c
_CLAUSE_END = re.compile(r"; |, (?!\d)| \((?!\d)|: ")  # not within a shape
_DEPTH = 5  # levels of subfolders to search: a snapshot of the Hugging Face cache is three levels down
_MOST_FOLDERS = 5_000  # to search: someone may name a whole disk


@dataclass(frozen=True)
class LibraryModel:
    """A model, or what looks like one.

    Attributes:
        name: short; for a bundled model what ``--model`` takes.
        path: its file or folder, which ``--model`` takes.
        kind: format and architecture; empty if it cannot be read.
        parameters: their number; 0 if it cannot be read.
        file_bytes: of its weights.
        problem: why it cannot be loaded, in a few words; empty if no problem is known.
        bundled: whether it comes with the package.
    """

    name: str
    path: Path
    kind: str
    parameters: int
    file_bytes: int
    problem: str = ""
    bundled: bool = False

    @property
    def model(self) -> str:
        """What ``--model`` takes."""
        return self.name if self.bundled else str(self.path)


def find_models(folder: Path | None = None) -> list[LibraryModel]:
    """The bundled models, then those in a folder by name.

    Args:
        folder: searched with its subfolders; None for :func:`hub_folder`, which need not exist.

    Raises:
        KvtuiError: the named folder does not exist or cannot be read.
    """
    bundled = [_describe(bundled_path(name), name, bundled=True) for name in bundled_names()]
    if folder is None:
        folder = hub_folder()
        if not os.path.isdir(folder):
            return bundled
    elif not os.path.isdir(folder):
        raise KvtuiError(f"there is no folder {folder}")
    elif not os.access(folder, os.R_OK | os.X_OK):
        raise KvtuiError(f"cannot read the folder {folder}")
    found = [_describe(path, _name(path, folder)) for path in _candidates(folder)]
    return bundled + sorted(found, key=lambda model: (model.name.lower(), str(model.path)))


def _candidates(folder: Path) -> Iterator[Path]:
    """Model folders, and model files that are not in one. What cannot be read is not searched."""
    waiting = [(folder, 0)]
    searched: set[str] = set()  # a link may lead back up
    while waiting and len(searched) < _MOST_FOLDERS:
        current, depth = waiting.pop()
        if (real := os.path.realpath(current)) in searched:
            continue
        searched.add(real)
        if os.path.isfile(current / "config.json"):
            yield current
            continue
        for entry in _entries(current):
            if entry.name.startswith("."):
                continue
            if os.path.isdir(entry):
                if depth < _DEPTH:
                    waiting.append((entry, depth + 1))
            elif entry.suffix in _SUFFIXES and not _TOKENIZERS.fullmatch(entry.name) and not _is_further_part(entry):
                yield entry


def _is_further_part(path: Path) -> bool:
    """Whether a file belongs to a model whose first file is beside it."""
    first = gguf_parts(path)[0]
    return first != path and os.path.isfile(first)


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _name(path: Path, folder: Path) -> str:
    """``openai-community/gpt2`` for a snapshot in the Hugging Face cache, else the path within the folder."""
    within = path.relative_to(folder)
    if os.path.isfile(path):
        within = within.with_suffix("")
    match within.parts:
        case [repository, "snapshots", revision, *rest] if repository.startswith("models--"):
            name = "/".join([repository.removeprefix("models--").replace("--", "/"), *rest])
            several = len(_entries(folder / repository / "snapshots")) > 1
            return f"{name} ({revision[:7]})" if several else name
        case []:
            return os.path.basename(os.path.realpath(path))
    return str(within)


def _describe(path: Path, name: str, *, bundled: bool = False) -> LibraryModel:
    size = 0
    try:
        size = weight_bytes(path)
        config, kind = peek_model(path)
    except KvtuiError as error:
        return LibraryModel(name, path, "", 0, size, _brief(str(error), path), bundled)
    except OSError as error:
        return LibraryModel(name, path, "", 0, size, error.strerror or "unreadable", bundled)
    return LibraryModel(name, path, kind, parameter_count(config), size, "", bundled)


def weight_bytes(path: Path) -> int:
    """Bytes of a model's file or files, or of the weights in its folder."""
    if path.is_file():
        return sum(part.stat().st_size for part in gguf_parts(path) if part == path or part.is_file())
    if (path / WEIGHTS).is_file():  # whatever else there is, it is not read
        return (path / WEIGHTS).stat().st_size
    return sum(file.stat().st_size for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())


def _brief(message: str, path: Path) -> str:
    """The beginning of a message, without the path, which the user sees anyway."""
    for known in (f"{path}{os.sep}", f"{path}: ", f"{path} "):
        message = message.replace(known, "")
    unread = message.removeprefix("cannot read ")
    reason = re.sub(r"^[\w.-]+\.\w+: ", "", unread)  # the name of a file in the folder
    brief = _CLAUSE_END.split(reason, maxsplit=1)[0]
    return brief if unread == message else f"cannot be read: {brief}"
