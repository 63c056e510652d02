"""The rooms of docs/architecture.md hold: every file is in one, and no import goes up."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = runpy.run_path(str(ROOT / "docs" / "make_architecture.py"))
TEXT = PAGE["PAGE"].read_text(encoding="utf-8")
ROOMS: dict[str, tuple[str, ...]] = PAGE["rooms"](TEXT)
FILES: list[str] = PAGE["files"]()
IMPORTS: dict[str, set[str]] = {file: set(PAGE["imports"](file)) for file in FILES}


def test_every_file_is_in_one_room() -> None:
    for file in FILES:
        places = [place for places in ROOMS.values() for place in places if PAGE["_is_in"](file, place)]
        assert len(places) == 1, f"{file}: {places or 'no room in docs/architecture.md'}"


def test_every_place_of_the_table_is_there() -> None:
    missing = [place for room in ROOMS.values() for place in room if not (ROOT / place).exists()]
    assert not missing


def test_no_import_goes_to_a_room_below_in_the_table() -> None:
    order = {name: number for number, name in enumerate(ROOMS)}
    height = {file: order[PAGE["room_of"](file, ROOMS)] for file in FILES}
    upwards = {(file, other) for file in FILES for other in IMPORTS[file] if height[other] > height[file]}
    assert not upwards


def test_no_circle_among_files() -> None:
    """Files that import nothing of what is left go, until none can; what stays and is imported is in a circle."""
    left = dict(IMPORTS)
    while free := [file for file, others in left.items() if not others & left.keys()]:
        for file in free:
            del left[file]
    while unused := left.keys() - set().union(*left.values()):
        for file in unused:
            del left[file]
    assert not left


def test_core_imports_nothing_of_the_dashboard() -> None:
    assert not [file for file in FILES if file.startswith("core/") for other in IMPORTS[file] if other[:3] == "tui"]


# What draws lines of characters, and what the dashboard knows, is tested without a terminal.
NO_TEXTUAL = re.compile(r"core/.*|tui/(session|worker|drawing)/.*|tui/settings\.py|.*/(draw\w*|verdict|map_layout)\.py")


@pytest.mark.parametrize("file", [file for file in FILES if NO_TEXTUAL.fullmatch(file)])
def test_textual_is_not_imported_by(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in names if name.partition(".")[0] in ("textual", "textual_plotext")]


def test_the_picture_is_drawn_from_the_imports() -> None:
    assert PAGE["page"](TEXT) == TEXT, "run: python docs/make_architecture.py"


POINTERS = re.findall(r"`(\w+)`[^|`]* \[([\w/.]+\.py)\]", TEXT.split("## Three paths")[0])


def test_the_page_points_somewhere() -> None:
    assert len(POINTERS) >= 6


@pytest.mark.parametrize(("name", "file"), POINTERS)
def test_what_it_points_to_is_there(name: str, file: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^(class |def )?{name}\b", source, re.MULTILINE)
