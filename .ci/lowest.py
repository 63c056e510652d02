"""Prints constraints for pip: the lowest versions that pyproject.toml promises, of the dependencies and of every extra."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path


def main() -> None:
    """A line for each ``name>=version``."""
    project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    lowest = {found.group(1, 2) for found in (re.match(r"([\w-]+)>=([\d.]+)", it) for it in [*project["dependencies"], *extras]) if found}
    print("\n".join(f"{name}=={version}" for name, version in sorted(lowest)))


if __name__ == "__main__":
    main()
