"""The names of the views with their keys, the visible one in brackets, and the selected token at the right."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text
from textual.app import RenderResult
from textual.geometry import Size
from textual.reactive import reactive
from textual.widget import Widget

from kvtui.core.events import Token


class TabsPane(Widget):
    """A row of clickable names, with the selected token at its end.

    Args:
        tabs: key and name of each view.
    """

    COMPONENT_CLASSES = {"tabs--selected", "tabs--key", "tabs--name", "tabs--past"}  # noqa: RUF012

    selected: reactive[int] = reactive(0)
    words: reactive[tuple[str, ...]] = reactive[tuple[str, ...]](())  # the first that fits is shown

    def __init__(self, tabs: Sequence[tuple[str, str]], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tabs = tuple(tabs)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """Number of cells of the names."""
        return sum(len(key) + len(name) + 3 for key, name in self._tabs)

    def render(self) -> RenderResult:
        """The names: ``[1 Watch] 2 Race …``."""
        key_style, name_style, selected_style, past_style = (
            self.get_component_rich_style(f"tabs--{name}", partial=True) for name in ("key", "name", "selected", "past")
        )
        text = Text(no_wrap=True, end="")
        for number, (key, name) in enumerate(self._tabs):
            link = Style(meta={"@click": f"screen.view({number})"})
            if number == self.selected:
                text.append(f"[{key} {name}]", selected_style + link)
            else:
                text.append(f" {key}", key_style + link).append(f" {name} ", name_style + link)
        room = self.size.width - text.cell_len
        fitting = [words for words in self.words if len(words) <= room]
        return text.append(f"{fitting[0]:>{room}}", past_style) if fitting else text


def token_words(number: int) -> str:
    """A token by its number among those written, from 1; 0 or less is the prompt. Panes name their moment with it."""
    return f"token {number:,}" if number > 0 else "the prompt"


def cursor_words(token: Token | None, written: int, left_the_window: bool) -> tuple[str, ...]:
    """The selected token, from the longest wording to the shortest; nothing for the newest."""
    if token is None:
        return ()
    place = f"◀ {token_words(token.step + 1)} of {written:,}"
    gone = " · left the window" if left_the_window else ""
    return f"{place}{gone} · End follows again", f"{place}{gone} · End: live", f"{place} · End: live", place
