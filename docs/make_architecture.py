"""Draws who imports whom into docs/architecture.md, from the imports themselves: ``python docs/make_architecture.py``.

The rooms and their order are the table of that page.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
FOLDERS = ("core", "tui")
OUTSIDE = ("core/__init__.py", "tui/__init__.py")
_PICTURE = re.compile(r"^<!-- picture -->\n```text\n.*?^```$", re.MULTILINE | re.DOTALL)


def rooms(text: str) -> dict[str, tuple[str, ...]]:
    """Room -> its files, and its folders with a slash at the end; the lowest room first."""
    rows = text.split("<!-- rooms -->\n")[1].split("\n\n")[0].splitlines()[2:]
    cells = [row.strip("|").split("|") for row in rows]
    return {name.strip(): tuple(re.findall(r"`([^`]+)`", files)) for name, files, *_ in cells}


def room_of(file: str, table: dict[str, tuple[str, ...]]) -> str | None:
    """The room of a file, given by its path from the top; None if the table has none for it."""
    return next((name for name, places in table.items() if any(_is_in(file, place) for place in places)), None)


def _is_in(file: str, place: str) -> bool:
    return file.startswith(place) if place.endswith("/") else file == place


def files() -> list[str]:
    """Every file of the two packages, by its path from the top."""
    found = [path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return sorted(file for file in found if file not in OUTSIDE)


def imports(file: str) -> set[str]:
    """The files of the two packages that a file imports, inside functions and for type checkers too."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {target for name in _names(tree) if (target := _file_of(name)) and target != file}


def _names(tree: ast.AST) -> Iterator[str]:
    """Dotted names that may be modules: of ``from a import b`` both ``a.b`` and ``a``, whichever is a file."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if _file_of(whole) else node.module
        yield from _names(node)


def _file_of(module: str) -> str | None:
    """``kvtui.core.cache`` -> ``core/cache/__init__.py``; None for what is no file of the two packages."""
    first, *rest = module.split(".")
    if first != "kvtui" or not rest or rest[0] not in FOLDERS:
        return None
    path = "/".join(rest)
    found = next((file for file in (f"{path}.py", f"{path}/__init__.py") if (ROOT / file).is_file()), None)
    return None if found in OUTSIDE else found


def picture(table: dict[str, tuple[str, ...]]) -> str:
    """A row and a column for each room; a dot where the row imports from the column."""
    names = list(table)
    width = max(map(len, names))
    used = {(room_of(file, table), room_of(other, table)) for file in files() for other in imports(file)}
    lines = [" " * (width + 4) + "".join(f"{number:3}" for number in range(1, len(names) + 1))]
    for number, name in enumerate(names, 1):
        cells = ["╲" if other == name else "●" if (name, other) in used else "·" for other in names]
        lines.append(f"{number:2}  {name:{width}}" + "".join(f"{cell:>3}" for cell in cells))
    return "".join(f"{line.rstrip()}\n" for line in lines)


def page(text: str) -> str:
    """The page with the picture as the imports are now."""
    return _PICTURE.sub(lambda match: f"<!-- picture -->\n```text\n{picture(rooms(text))}```", text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
