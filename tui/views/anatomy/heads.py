"""How widely each head attends: a grid of layers and heads, with one chosen and possibly some switched off."""

from __future__ import annotations

from collections.abc import Collection

from textual import events

from kvtui.core.events import Attention, Inspection
from kvtui.tui.drawing.lines import Line
from kvtui.tui.drawing.words import Head
from kvtui.tui.messages import HeadChosen
from kvtui.tui.panes.lines import LinesPane
from kvtui.tui.views.anatomy.draw import grid_of, head_lines, looked_lines


class HeadsPane(LinesPane):
    """Entropy of every head's attention. A click chooses a head."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(lambda width, height: [], "Heads", id=id)
        self._inspection: Inspection | None = None
        self._chosen: Head = (0, 0)

    def show_heads(
        self, inspection: Inspection, chosen: Head, off: Collection[Head], attention: Attention | None
    ) -> None:
        """Draw this on the next refresh; ``attention`` has a single row with the chosen head's weights."""
        self._inspection, self._chosen = inspection, chosen

        def lines(width: int, height: int) -> list[Line]:
            grid = head_lines(inspection, chosen, off, width, height)
            if attention is None or not belongs(attention, inspection, chosen):
                return grid
            return grid + looked_lines(attention, width, height - len(grid))

        self.show(lines)

    def on_click(self, event: events.Click) -> None:
        """Choose the head under the mouse."""
        offset = event.get_content_offset(self)
        if offset is None or self._inspection is None:
            return
        head = grid_of(self._inspection, self._chosen, self.size.width, self.size.height).at(offset.x, offset.y)
        if head is not None:
            self.post_message(HeadChosen(head))


def belongs(attention: Attention, inspection: Inspection, chosen: Head) -> bool:
    """Whether these are the chosen head's weights, for the position before the inspected token."""
    same_head = (attention.layer, *attention.heads) == chosen
    return same_head and attention.position + attention.first_row + 1 == inspection.position
