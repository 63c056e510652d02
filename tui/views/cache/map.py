"""The cache as a map: a row per layer and head, a column per position, filling up as tokens arrive."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Offset, Region
from textual.reactive import reactive
from textual.strip import Strip

from kvtui.core.commands import ShowCache
from kvtui.core.config import ModelConfig
from kvtui.core.events import CacheContents
from kvtui.tui.panes.grid import GridPane
from kvtui.tui.panes.lines import strips
from kvtui.tui.views.cache.draw_map import (
    ATTENTION_RAMPS,
    QUANTITIES,
    RAMPS,
    STYLES,
    MapDrawing,
    draw,
    legend,
    title,
)
from kvtui.tui.views.cache.draw_map import (
    pointed as cell_words,
)
from kvtui.tui.views.cache.map_layout import CacheMapLayout


class CacheMapPane(GridPane):
    """What is kept, what the newest step wrote and what it read."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *STYLES.values(),
        "cache-map--label",
        "cache-map--hint",
        "cache-map--off",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_rows(-1)", "Up", show=False),
        Binding("down", "scroll_rows(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "A page up", show=False),
        Binding("pagedown", "page(1)", "A page down", show=False),
    ]

    quantity: reactive[int] = reactive(0)
    fitted: reactive[bool] = reactive(True)
    top: reactive[int] = reactive(0)

    def __init__(self, *, id: str | None = None) -> None:
        self._view = CacheMapLayout(1, 1, 1, 1, False, 1)
        self._drawing = MapDrawing()
        self._length: int | None = None
        super().__init__("Cache map", id=id)

    # What the view calls

    def configure(self, config: ModelConfig) -> None:
        """Take the shape of a model."""
        self._view = CacheMapLayout(
            self.size.width,
            self.size.height,
            config.num_layers,
            config.num_kv_heads,
            config.num_kv_heads < config.num_heads,
            config.context_length,
        )
        self.top = 0
        self.announce()

    def show(
        self,
        contents: CacheContents | None,
        cache: bool,
        context: int,
        length: int | None = None,
        written: int | None = None,
        gone: str = "",
        query: str = "",
    ) -> None:
        """Draw this from the next refresh on, if there is anything new.

        Args:
            contents: a new answer, None if there is none.
            cache: whether it is on. When switched off it is empty at once.
            context: positions of the text.
            length: positions at the earlier token whose cache is shown; None for the newest.
            written: positions that the step of that token wrote; None for the newest.
            gone: why that cache cannot be shown; empty if it can.
            query: label of the token whose step that is; empty if it is not known.
        """
        known = (contents or self._view.contents) if cache and not gone else None
        changed = replace(
            self._view, cache=cache, context=context, contents=known, written=written, gone=gone, query=query
        )
        if contents is not None or changed != self._view or length != self._length:
            self._view, self._length = changed, length
            self.redraw()

    def clear(self) -> None:
        """Clear the map for another text."""
        self._view = replace(self._view, contents=None, context=0)
        self.redraw()

    def cycle_quantity(self) -> None:
        """Choose what the map shows: value norm, key norm, what was read, why it is kept."""
        self.quantity = (self.quantity + 1) % len(QUANTITIES)

    def cycle_ramp(self) -> None:
        """Switch between shades and bars."""
        self.ramp = (self.ramp + 1) % len(RAMPS)

    def move_layer(self, direction: int) -> None:
        """Scroll to the next or the previous layer."""
        heads, first = self._view.heads, self._view.first_row
        self.top = (first // heads + 1 if direction > 0 else (first - 1) // heads) * heads

    @property
    def question(self) -> ShowCache:
        """Ask for the layers that this pane shows now."""
        return ShowCache(QUANTITIES[self.quantity], *self._view.shown_layers, self._length)

    # Choices and what follows from them

    def validate_top(self, top: int) -> int:
        """Clamp so that the rows fill the pane."""
        return max(0, min(top, self._view.total_rows - self._view.rows))

    def watch_quantity(self) -> None:
        """Ask for the other numbers."""
        self.announce()

    def watch_fitted(self) -> None:
        """Redraw with all positions in the width, or one per cell."""
        self.announce()

    def watch_top(self) -> None:
        """Ask for the layers that have come into view."""
        self.announce()

    def action_scroll_rows(self, rows: int) -> None:
        """Scroll by one row."""
        self.top += rows

    def action_page(self, direction: int) -> None:
        """Scroll by a screenful."""
        self.top += direction * max(self._view.rows - 1, 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll down."""
        event.stop()
        self.action_scroll_rows(1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll up."""
        event.stop()
        self.action_scroll_rows(-1)

    # Drawing

    def lay_out(self) -> None:
        """Lay the rows and columns out."""
        self._view = replace(
            self._view,
            width=self.size.width,
            height=self.size.height,
            top=self.top,
            fitted=self.fitted,
            quantity=QUANTITIES[self.quantity],
            ramp=(ATTENTION_RAMPS if QUANTITIES[self.quantity] == "attention" else RAMPS)[self.ramp],
        )
        self._drawing = draw(self._view)

    def titles(self, pointed: Offset | None) -> tuple[str, str]:
        """What the marks mean above; the legend or the cell under the mouse below."""
        figures = "" if pointed is None else cell_words(self._view, pointed.x, pointed.y)
        return title(self._view, self._drawing), figures or legend(self._view)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Colour everything once per refresh, as the theme may have changed; render_line returns it line by line."""
        self.strips = strips(self, self._drawing.lines)
        return super().render_lines(crop)
