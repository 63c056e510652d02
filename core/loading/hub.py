"""The Hugging Face cache: where other programs store what they download. Nothing is downloaded here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")


def hub_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where Hugging Face's libraries store what they download (huggingface_hub, "Manage the cache")."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if cache := environment.get(name):
            return Path(os.path.expanduser(cache))
    home = environment.get("HF_HOME") or os.path.join(environment.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.path.expanduser(home)) / "hub"


def repositories(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the repositories in the cache, such as ``HuggingFaceTB/SmolLM2-135M``, loadable or not."""
    try:
        names = os.listdir(hub_folder(environment))
    except OSError:
        return []
    return sorted(name.removeprefix("models--").replace("--", "/") for name in names if name.startswith("models--"))


def find_snapshot(repository: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder of a repository's files in the cache, for example of ``HuggingFaceTB/SmolLM2-135M``.

    Of several revisions, that of the branch main, as in Hugging Face's own libraries, or else the newest.

    Returns:
        None if there is none.
    """
    if not _REPOSITORY.fullmatch(repository):
        return None
    folder = hub_folder(environment) / f"models--{repository.replace('/', '--')}"
    try:
        snapshots = [path for path in (folder / "snapshots").iterdir() if path.is_dir()]
        newest = max(snapshots, key=lambda path: path.stat().st_mtime, default=None)
    except OSError:
        return None
    try:
        revision = (folder / "refs" / "main").read_text().strip()
    except (OSError, ValueError):
        return newest
    return next((path for path in snapshots if path.name == revision), newest)
