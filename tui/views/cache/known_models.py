"""The cache sizes of well-known models at a context that the user chooses."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import RenderResult
from textual.reactive import reactive
from textual.widget import Widget

from kvtui.core.measure.cache_size import SERVED_ITEMSIZE
from kvtui.tui.drawing.grid import tabs
from kvtui.tui.views.cache.draw_sizes import CONTEXTS, Sizes, context_words, model_lines

TITLE = f"The formula for well-known models · {SERVED_ITEMSIZE} bytes per number"


class KnownModelsPane(Widget):
    """The formula evaluated for well-known models, and for the running one. Contexts can be clicked."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "lines--label",
        "lines--figure",
        "lines--chosen",
        "lines--selected",
        "lines--cut",
        "lines--hint",
    }

    choice: reactive[int] = reactive(CONTEXTS.index(8192))

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = TITLE
        self._here: tuple[str, Sizes] | None = None

    def here(self, name: str, sizes: Sizes) -> None:
        """Add the running model, for comparison."""
        if (name, sizes) != self._here:
            self._here = (name, sizes)
            own = "" if sizes.itemsize == SERVED_ITEMSIZE else f", {sizes.itemsize} in the last line"
            self.border_title = TITLE + own
            self.refresh()

    def validate_choice(self, choice: int) -> int:
        """Clamp to the contexts on offer."""
        return min(max(choice, 0), len(CONTEXTS) - 1)

    def action_choose(self, choice: int) -> None:
        """Choose the context that was clicked."""
        self.choice = choice

    def render(self) -> RenderResult:
        """The contexts, then a line for each model."""
        text = self._tabs()
        if self._here is not None:
            for line in model_lines(CONTEXTS[self.choice], *self._here, self.size.width):
                text.append("\n")
                for piece, style in line:
                    text.append(piece, self._style(style) if style else None)
        return text

    def _tabs(self) -> Text:
        text = Text("context ", style=self._style("lines--label"), no_wrap=True, end="")
        names = [context_words(context) for context in CONTEXTS]
        for tab in tabs(names, self.choice, self.size.width - len(text)):
            style = self._style("lines--selected" if tab.index == self.choice else "lines--label")
            text.append(tab.text, style + Style(meta={"@click": f"choose({tab.index})"}))
        return text

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(name)
