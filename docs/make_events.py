"""Writes the tables of docs/events.md from the docstrings of events and commands: ``python docs/make_events.py``.

A table stands below a comment that names its dataclass, and has a row for each entry of the docstring's ``Attributes``.
The words around the tables are written by hand.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import is_dataclass
from pathlib import Path

from kvtui.core import commands, events
from kvtui.core.inspection import ANSWERS

PAGE = Path(__file__).with_name("events.md")
TABLE = re.compile(r"^<!-- fields: (?P<name>\w+) -->\n(?:\|.*\n)*", re.MULTILINE)
HEAD = "| field | meaning |\n|---|---|\n"
_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def kinds() -> dict[str, type]:
    """Every event, part of an event and command by its name, also of a question that stands in a file of its own."""
    found = [*vars(events).values(), *vars(commands).values()]
    found += [kind for question in ANSWERS for kind in (question, question.answer)]
    return {kind.__name__: kind for kind in found if isinstance(kind, type) and is_dataclass(kind)}


def attributes(kind: type) -> dict[str, str]:
    """Field -> what the docstring says of it, as Markdown."""
    section = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2]
    return {name: _markdown(words) for name, words in _ATTRIBUTE.findall(section)}


def _markdown(words: str) -> str:
    """reStructuredText in one line, as the cell of a table."""
    line = re.sub(r"\s+", " ", words).removesuffix(".")
    line = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", line)
    return line.replace("``", "`").replace("|", "\\|")


def table(kind: type) -> str:
    """Two columns, a row for each field."""
    return HEAD + "".join(f"| `{name}` | {words} |\n" for name, words in attributes(kind).items())


def page(text: str) -> str:
    """The page with its tables as the docstrings have them."""
    known = kinds()
    return TABLE.sub(lambda match: match[0].partition("\n")[0] + "\n" + table(known[match["name"]]), text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
