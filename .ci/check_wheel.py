"""Compares the installed kvtui with a checkout, file by file, and imports every module: ``check_wheel.py CHECKOUT``.

To be run by the Python that kvtui is installed for, outside the checkout. Exit status 1 when a file of the checkout is
missing or another one is there, or when a module cannot be imported without the extras.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path

import kvtui


def files(package: Path) -> set[Path]:
    """Files of a package, from its top. ``kvtui/core`` and ``kvtui/tui`` may be links: rglob would not follow them."""
    folders = [package, *(path for path in package.iterdir() if path.is_dir())]
    found = [path for folder in folders for path in folder.glob("*" if folder == package else "**/*")]
    return {path.relative_to(package) for path in found if path.is_file() and path.suffix != ".pyc"}


def module(path: Path) -> str:
    """The import name of a Python file."""
    parts = path.with_suffix("").parts
    return ".".join((kvtui.__name__, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def main(checkout: Path) -> int:
    """Report what differs or fails."""
    installed = Path(kvtui.__file__).parent
    if installed.is_relative_to(checkout):
        print(f"{installed} is the checkout itself", file=sys.stderr)
        return 1
    wanted, there = files(checkout / "kvtui"), files(installed)
    wrong = [f"missing: {path}" for path in sorted(wanted - there)]
    wrong += [f"not in the checkout: {path}" for path in sorted(there - wanted)]
    modules = sorted(module(path) for path in wanted if path.suffix == ".py")
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception:
            wrong.append(f"cannot be imported: {name}\n{traceback.format_exc()}")
    print("\n".join([*wrong, f"{len(there)} files, {len(modules)} modules"]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
