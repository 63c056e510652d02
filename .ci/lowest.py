"""Prints constraints for pip: the lowest versions that pyproject.toml promises, also those of the extras."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path


def main() -> None:
    """A line for each ``name>=version``."""
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    for requirement in sorted({*project["dependencies"], *extras}):
        if promised := re.match(r"([\w-]+)>=([\d.]+)", requirement):
            print(f"{promised[1]}=={promised[2]}")


if __name__ == "__main__":
    main()
