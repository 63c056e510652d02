"""The names of the views with their keys; the visible one stands in brackets."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text
from textual.app import RenderResult
from textual.reactive import reactive
from textual.widget import Widget


class TabsPane(Widget):
    """A row of names to click on."""

    COMPONENT_CLASSES = {"tabs--selected", "tabs--key", "tabs--name"}  # noqa: RUF012

    selected: reactive[int] = reactive(0)

    def __init__(self, names: Sequence[str], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._names = tuple(names)

    def render(self) -> RenderResult:
        """``[1 Watch] 2 Race …``."""
        key_style, name_style, selected_style = (
            self.get_component_rich_style(name, partial=True) for name in ("tabs--key", "tabs--name", "tabs--selected")
        )
        text = Text(no_wrap=True, end="")
        for number, name in enumerate(self._names):
            link = Style(meta={"@click": f"app.view({number})"})
            if number == self.selected:
                text.append(f"[{number + 1} {name}]", selected_style + link)
            else:
                text.append(f" {number + 1}", key_style + link).append(f" {name} ", name_style + link)
        return text
