"""The cache as a map: a row per layer and head, a column per position, filling up as tokens arrive."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Offset, Region
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from kvtui.core.commands import ShowCache
from kvtui.core.config import ModelConfig
from kvtui.core.events import CacheContents
from kvtui.tui.messages import QuestionChanged
from kvtui.tui.panes.lines import strips
from kvtui.tui.views.cache.draw_map import (
    ATTENTION_RAMPS,
    QUANTITIES,
    RAMPS,
    STYLES,
    MapDrawing,
    draw,
    legend,
    pointed,
    title,
)
from kvtui.tui.views.cache.map_layout import CacheMapLayout


class CacheMapPane(Widget, can_focus=True):
    """What is kept, what the newest step wrote and what it read."""

    ALLOW_SELECT = False  # a drawing, not text: dragging selects nothing
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
    ramp: reactive[int] = reactive(0)
    fitted: reactive[bool] = reactive(True)
    top: reactive[int] = reactive(0)

    def __init__(self, *, id: str | None = None) -> None:
        self._view = CacheMapLayout(1, 1, 1, 1, False, 1)
        self._drawing = MapDrawing()
        self._lines: list[Strip] = []
        self._pointed: Offset | None = None
        self._titles = ("", "")
        self._told: ShowCache | None = None
        self._length: int | None = None
        super().__init__(id=id)
        self.border_title = "Cache map"

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
        self._announce()

    def show(
        self,
        contents: CacheContents | None,
        cache: bool,
        context: int,
        length: int | None = None,
        written: int | None = None,
        gone: str = "",
    ) -> None:
        """Draw this from the next refresh on, if there is anything new.

        Args:
            contents: a new answer, None if there is none.
            cache: whether it is on. When switched off it is empty at once.
            context: positions of the text.
            length: positions at the earlier token whose cache is shown; None for the newest.
            written: positions that the step of that token wrote; None for the newest.
            gone: why that cache cannot be shown; empty if it can.
        """
        known = (contents or self._view.contents) if cache and not gone else None
        changed = replace(self._view, cache=cache, context=context, contents=known, written=written, gone=gone)
        if contents is not None or changed != self._view or length != self._length:
            self._view, self._length = changed, length
            self._redraw()

    def clear(self) -> None:
        """Clear the map for another text."""
        self._view = replace(self._view, contents=None, context=0)
        self._redraw()

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
        self._announce()

    def watch_ramp(self) -> None:
        """Redraw with the other characters."""
        self._announce()

    def watch_fitted(self) -> None:
        """Redraw with all positions in the width, or one per cell."""
        self._announce()

    def watch_top(self) -> None:
        """Ask for the layers that have come into view."""
        self._announce()

    def on_resize(self) -> None:
        """Ask again, because more or fewer rows fit."""
        self._announce()

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

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Show the cell under the mouse in figures."""
        self._pointed = event.get_content_offset(self)
        self._describe()

    def on_leave(self) -> None:
        """Show the legend again."""
        self._pointed = None
        self._describe()

    # Drawing

    def _announce(self) -> None:
        """Draw the contents at hand, and ask for others if the choice changed."""
        if not self.is_running:
            return
        self._redraw()
        if self.size.height and self._told != (question := self.question):
            self._told = question
            self.post_message(QuestionChanged())

    def _redraw(self) -> None:
        """Lay everything out again."""
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
        self._describe()
        self.refresh()

    def _describe(self) -> None:
        """Label the border: what the marks mean above; the legend or the cell under the mouse below."""
        subtitle = legend(self._view)
        if self._pointed is not None:
            subtitle = pointed(self._view, self._pointed.x, self._pointed.y) or subtitle
        titles = (title(self._view, self._drawing), subtitle)
        if self._titles != titles:
            self._titles = titles
            self.border_title, self.border_subtitle = Content(titles[0]), Content(titles[1])

    def render(self) -> RenderResult:
        """Unused, as render_line draws; defined so that nothing else is drawn."""
        return ""

    def render_lines(self, crop: Region) -> list[Strip]:
        """Colour everything once per refresh, as the theme may have changed; render_line returns it line by line."""
        self._lines = strips(self, self._drawing.lines)
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Return one line of the content."""
        return self._lines[y] if y < len(self._lines) else Strip.blank(self.size.width, self.rich_style)
