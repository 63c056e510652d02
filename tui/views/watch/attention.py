"""What the model attends to: attention weights of one layer, newest queries at the bottom, newest keys at the right."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Offset, Region, Size
from textual.reactive import reactive
from textual.strip import Strip

from kvtui.core.commands import ShowAttention
from kvtui.core.config import ModelConfig
from kvtui.core.events import Attention
from kvtui.tui.drawing.grid import RAMPS
from kvtui.tui.drawing.labels import is_wide
from kvtui.tui.panes.grid import GridPane
from kvtui.tui.panes.lines import strips
from kvtui.tui.panes.tabs import token_words
from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update
from kvtui.tui.views.watch.draw_attention import (
    EMPTY,
    INTENSITY,
    MODES,
    AttentionLayout,
    Drawing,
    Mode,
    draw,
    key_range,
    title,
)
from kvtui.tui.views.watch.draw_attention import (
    pointed as weight_words,
)

LEFT_THE_WINDOW = (
    "This token has left the model's window:",
    "the model can no longer see it, and its",
    "attention weights are not kept.",
)
RACING = (
    "A race is running: the attention of this token",
    "can be asked for when it is over.",
)
_SCROLL = 8  # keys per press of an arrow key


class AttentionPane(GridPane):
    """A grid of attention weights of one head, of all heads side by side, or of their mean."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *INTENSITY,
        "attention--dropped",
        "attention--label",
        "attention--newest",
        "attention--tab",
        "attention--selected",
        "attention--hint",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("shift+left", "scroll_keys(-1)", "Older keys", show=False),
        Binding("shift+right", "scroll_keys(1)", "Newer keys", show=False),
        Binding("shift+home", "oldest_keys", "Oldest keys", show=False),
        Binding("shift+end", "newest_keys", "Newest keys", show=False),
        Binding("up", "page(-1)", "Previous layer", show=False),
        Binding("down", "page(1)", "Next layer", show=False),
    ]

    # Not `layer`: that is a property of every widget, which the compositor reads.
    layer_index: reactive[int] = reactive(0)
    head_index: reactive[int | None] = reactive[int | None](0)  # None: the mean over all heads
    mode: reactive[Mode] = reactive[Mode]("one")

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        self._layers = self._heads = 1
        self._stream = self._pieces = False
        self._cell = 1
        self._event: Attention | None = None
        self._last_head = 0
        self._first: int | None = None  # index in the whole text of the first key shown; None follows the newest
        self._moment = ""
        self._words: tuple[str, ...] = EMPTY
        self._drawing = Drawing()
        self._drawn_size = Size()
        super().__init__("Attention", id=id, classes=classes)

    def feed(self, update: Update, session: Session) -> None:
        """Draw the new weights."""
        if update.reset or update.model:
            self.configure(session.model.config, session.model.stream)
        if update.reset and session.prompt is not None:
            self.clear()
        if attention := update.answer(Attention):
            newest = attention.position + len(attention.keys) - 1
            self.show(attention, token_words(session.timeline.number(newest)))
        if session.left_the_window:
            self.say(LEFT_THE_WINDOW)
        elif session.racing and session.timeline.prefill is not None and self._moment != _wanted(session):
            self.say(RACING)

    def configure(self, config: ModelConfig, stream: bool = False) -> None:
        """Take the number of layers and heads from a model; a ``stream`` has no weights."""
        self._stream = stream
        self._layers, self._heads = config.num_layers, config.num_heads
        self._event = None
        self.ask_again()
        self.layer_index = min(self.layer_index, self._layers - 1)
        self._last_head = min(self._last_head, self._heads - 1)
        if self.head_index is not None:
            self.head_index = min(self.head_index, self._heads - 1)
        self.announce()

    def show(self, event: Attention, moment: str = "") -> None:
        """Draw these weights on the next refresh; ``moment`` names the newest query's token, as the text may be further
        by now."""
        self._event, self._moment = event, moment
        self._pieces = any(len(key) > 1 for key in event.keys)
        self._cell = 2 if any(map(is_wide, event.keys)) else 1
        self.redraw()

    def say(self, words: tuple[str, ...]) -> None:
        """Show these lines instead of weights."""
        if self._event is not None or self._words != words:
            self._event, self._moment, self._words = None, "", words
            self.redraw()

    def clear(self) -> None:
        """Discard the weights: a new generation starts."""
        self._event, self._first, self._moment, self._words = None, None, "", EMPTY
        self.redraw()

    def next_layer(self) -> None:
        """Choose the next layer; after the last comes the first."""
        self.layer_index = (self.layer_index + 1) % self._layers

    def previous_layer(self) -> None:
        """Choose the previous layer; before the first comes the last."""
        self.layer_index = (self.layer_index - 1) % self._layers

    def next_head(self) -> None:
        """Choose the next head; from the mean, the head chosen before it."""
        self.head_index = self._last_head if self.head_index is None else (self.head_index + 1) % self._heads

    def previous_head(self) -> None:
        """Choose the previous head; from the mean, the head chosen before it."""
        self.head_index = self._last_head if self.head_index is None else (self.head_index - 1) % self._heads

    def cycle_mode(self) -> None:
        """Switch between one head, all heads and their mean."""
        self.mode = MODES[(MODES.index(self.mode) + 1) % len(MODES)]

    def cycle_ramp(self) -> None:
        """Switch between ASCII characters and shades."""
        self.ramp = (self.ramp + 1) % len(RAMPS)

    @property
    def question(self) -> ShowAttention:
        """The weights that fit on this pane now."""
        view = self._view()
        return ShowAttention(self.layer_index, view.wanted_heads, -view.rows, mean=self.mode == "mean")

    # Choices and what follows from them

    def validate_layer_index(self, layer: int) -> int:
        """Clamp to the layers of the model."""
        return min(max(layer, 0), self._layers - 1)

    def validate_head_index(self, head: int | None) -> int | None:
        """Clamp to the heads of the model; None stays."""
        return None if head is None else min(max(head, 0), self._heads - 1)

    def watch_layer_index(self) -> None:
        """Ask for the newly chosen layer."""
        self.announce()

    def watch_head_index(self, head: int | None) -> None:
        """None is the mean; a number is one head, or the selected one among all."""
        if head is None:
            self.mode = "mean"
        else:
            self._last_head = head
            if self.mode == "mean":
                self.mode = "one"
        self.announce()

    def watch_mode(self, mode: Mode) -> None:
        """Keep the head in step with the mode."""
        if mode == "mean":
            self.head_index = None
        elif self.head_index is None:
            self.head_index = self._last_head
        self.announce()

    # Keys and mouse

    def action_scroll_keys(self, direction: int) -> None:
        """Scroll to older (-1) or newer (1) keys."""
        if self._event is None:
            return
        total, position = len(self._event.keys), self._event.position
        newest = max(total - self._view().key_room, 0)
        now = newest if self._first is None else self._first - position
        first = max(now + direction * _SCROLL, 0)
        self._first = None if first >= newest else first + position
        self.redraw()

    def action_oldest_keys(self) -> None:
        """Scroll to the start of the window and stay there."""
        if self._event is not None:
            self._first = self._event.position
            self.redraw()

    def action_newest_keys(self) -> None:
        """Follow the newest key."""
        self._first = None
        self.redraw()

    def action_page(self, direction: int) -> None:
        """Choose the next or the previous layer."""
        (self.next_layer if direction > 0 else self.previous_layer)()

    def _wheel(self, event: events.MouseEvent, direction: int) -> None:
        """Scroll layers on the tabs and labels, heads on their own row, and keys on the grid."""
        event.stop()
        y = event.get_content_offset_capture(self).y
        if y == 0:
            self.action_page(direction)
        elif y == 1 and self._view().tall:
            (self.next_head if direction > 0 else self.previous_head)()
        else:
            self.action_scroll_keys(direction)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Next layer or head, or newer keys."""
        self._wheel(event, 1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Previous layer or head, or older keys."""
        self._wheel(event, -1)

    def on_mouse_scroll_left(self, event: events.MouseScrollLeft) -> None:
        """Scroll to older keys."""
        event.stop()
        self.action_scroll_keys(-1)

    def on_mouse_scroll_right(self, event: events.MouseScrollRight) -> None:
        """Scroll to newer keys."""
        event.stop()
        self.action_scroll_keys(1)

    def on_click(self, event: events.Click) -> None:
        """Choose the layer, head or mode under the mouse."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        for target in self._drawing.targets:
            if offset.y == target.y and target.start <= offset.x < target.end:
                if target.layer is not None:
                    self.layer_index = target.layer
                if target.mode is not None:
                    self.mode = target.mode
                if target.head is not None:
                    if (
                        target.head == self.head_index and target.mode is None
                    ):  # a tile that is already selected: enlarge it
                        self.mode = "one"
                    self.head_index = target.head
                return

    # Drawing

    def _view(self) -> AttentionLayout:
        event = self._event
        first = None if self._first is None or event is None else self._first - event.position
        ramp = RAMPS[self.ramp]
        size = self.size
        return AttentionLayout(
            size.width,
            size.height,
            self._layers,
            self._heads,
            self.layer_index,
            self.head_index,
            self.mode,
            ramp,
            first,
            event,
            self._stream,
            self._words,
            self._pieces,
            self._cell,
            self._moment,
        )

    def render_lines(self, crop: Region) -> list[Strip]:
        """Colour everything once per refresh, as the theme may have changed; render_line returns it line by line."""
        if self._drawn_size != self.size:
            self.redraw()
        self.strips = strips(self, self._drawing.lines)
        return super().render_lines(crop)

    def lay_out(self) -> None:
        """Lay rows, keys and tabs out."""
        self._drawn_size = self.size
        self._drawing = draw(self._view())

    def titles(self, pointed: Offset | None) -> tuple[str, str]:
        """Choice and ramp above; the range of keys or the weight under the mouse below."""
        view = self._view()
        weight = "" if pointed is None else weight_words(view, self._drawing, pointed.x, pointed.y)
        return title(view), weight or key_range(self._drawing, self.size.width - 4)


def _wanted(session: Session) -> str:
    """The token that the other panes show: the selected one, or the newest."""
    token = session.cursor.token or session.timeline.newest
    return token_words(0 if token is None else token.step + 1)
