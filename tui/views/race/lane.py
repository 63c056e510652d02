"""The text of one lane of a race, with a mark on every token that differs from the first lane's."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from kvtui.tui.drawing.transcript import PROMPT, Transcript
from kvtui.tui.session.race import LaneRecord

_PLAIN, _DIFFERS = 0, 1
_STYLES = {_PLAIN: "lane--plain", _DIFFERS: "lane--differs", PROMPT: "lane--prompt"}


class LanePane(ScrollView, can_focus=True):
    """A growing text that follows its end unless the user has scrolled up."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*_STYLES.values(), "lane--cursor"}

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.transcript = Transcript()
        self._shown = 0
        self._following = True
        self._writing = False

    def start(self, lane: LaneRecord) -> None:
        """Clear the pane for another race, and show the prompt."""
        self.transcript.clear()
        self.transcript.append(lane.prompt)
        self.border_title = lane.label.capitalize() if lane.label.isalpha() else lane.label
        self._shown, self._following = 0, True
        self._update()

    def show(self, lane: LaneRecord, writing: bool) -> None:
        """Append what is new."""
        new = lane.tokens[self._shown :]
        for entry in new:
            mark = _PLAIN if entry.agrees else _DIFFERS
            self.transcript.append(entry.token.text, mark)
        self._shown = len(lane.tokens)
        if new or writing != self._writing:
            self._writing = writing
            self._update()

    def on_resize(self, event: events.Resize) -> None:
        """Wrap the text again."""
        self._update()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Stop following when the user scrolls up; follow again at the end."""
        super().watch_scroll_y(old_value, new_value)
        self._following = new_value >= self.max_scroll_y - 0.5

    def _update(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        following = self._following
        self.transcript.resize(width)
        self.transcript.wrap()
        self.virtual_size = Size(width, len(self.transcript.lines))
        if following:
            self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)
        self._following = following
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return one line of the text."""
        number = y + int(self.scroll_offset.y)
        width = self.scrollable_content_region.width
        if number >= len(self.transcript.lines):
            return Strip.blank(width, self.rich_style)
        segments = [Segment(piece, self._style(mark)) for piece, mark, _ in self.transcript.line(number, 0)]
        if self._writing and number == len(self.transcript.lines) - 1:
            segments.append(Segment("▌", self.get_component_rich_style("lane--cursor")))
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _style(self, mark: int) -> Style:
        return self.get_component_rich_style(_STYLES[mark])
