"""How much of the cache is in use."""

from __future__ import annotations

from typing import ClassVar

from textual.app import RenderResult
from textual.strip import Strip
from textual.widget import Widget

from kvtui.tui.drawing.lines import Line
from kvtui.tui.drawing.words import size_words
from kvtui.tui.panes.lines import strip
from kvtui.tui.panes.tabs import token_words
from kvtui.tui.session.session import Session
from kvtui.tui.session.state import RunState
from kvtui.tui.session.update import Update
from kvtui.tui.worker.protocol import ModelInfo

_LEAST_BAR = 10


class CachePane(Widget):
    """A bar of the positions in use, and their size in bytes."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"cache--used", "cache--free", "cache--off", "cache--label"}

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Cache"
        self._model: ModelInfo | None = None
        self._state = RunState()
        self._moment = ""

    def feed(self, update: Update, session: Session) -> None:
        """The current state, or the state at the selected token."""
        looking = session.cursor.token is not None
        self.show(session.model, session.shown, f"at {token_words(session.shown.written)}" if looking else "")

    def show(self, model: ModelInfo, state: RunState, moment: str = "") -> None:
        """Show these figures from the next refresh on; ``moment`` says of when they are if not of now."""
        if (model, state, moment) != (self._model, self._state, self._moment):
            self._model, self._state, self._moment = model, state, moment
            self.border_title = f"Cache {moment}".rstrip()
            self.refresh()

    def render(self) -> RenderResult:
        """Unused, as render_line draws; defined so that nothing else is drawn."""
        return ""

    def render_line(self, y: int) -> Strip:
        """Return the bar and its caption."""
        width = self.size.width
        if self._model is None:
            return Strip.blank(width, self.rich_style)
        bordered = bool(self.styles.border_top[0])
        label = "" if bordered else f"{self.border_title} "
        words = self._words(self._model, width - len(label) - _LEAST_BAR - 2)
        room = max(width - len(label) - len(words) - 2, 0)
        pieces = [(label, "cache--label"), *self._bar(self._model, room), (f"  {words}", "")]
        return strip(self, pieces)

    def _bar(self, model: ModelInfo, room: int) -> Line:
        state, capacity = self._state, model.config.context_length
        if not state.cache:
            return [("╱" * room, "cache--off")]
        if not model.parameters:  # a stream that has not stated its context length
            return [(" " * room, "")]
        used = min(round(room * state.cached_positions / capacity), room)
        if state.cached_positions and not used:
            used = min(1, room)
        return [("█" * used, "cache--used"), ("░" * (room - used), "cache--free")]

    def _words(self, model: ModelInfo, room: int) -> str:
        """The longest caption that fits."""
        state, capacity = self._state, model.config.context_length
        digits = len(str(capacity))
        full = each = model.cache_bytes_per_position
        if state.cached_positions and (model.stream or state.policy != "full"):
            each = round(state.cache_bytes / state.cached_positions)
        if state.cache and not model.parameters:
            choices = [
                f"{state.cached_positions:7,} positions",
                f" · {size_words(state.cache_bytes):>8}",
                f" · {size_words(each)} per token",
            ]
        elif state.cache:
            choices = [
                f"{state.cached_positions:{digits}} of {capacity} positions",
                f" · {size_words(state.cache_bytes):>8} of {size_words(capacity * (each if model.stream else full))}",
                f" · {size_words(each)} per token",
                self._whose(model),
                self._moved(),
            ]
        else:
            choices = [
                "off: nothing is kept",
                f" · all {state.context:{digits}} positions recomputed for each token" if state.context else "",
                self._moved(),
            ]
        words = ""
        for choice in choices:
            if words and len(words) + len(choice) > room:
                break
            words += choice
        return words

    def _whose(self, model: ModelInfo) -> str:
        """Which positions those are, where none has been dropped."""
        state = self._state
        prompt = state.cached_positions - state.written
        complete = prompt > 0 and state.cached_positions == state.context and not state.evictions
        if not complete or state.race or model.stream or state.policy != "full":
            return ""
        return f" · prompt {prompt} + {state.written:,} written"

    def _moved(self) -> str:
        """How often the full context has dropped its oldest half."""
        count = self._state.evictions
        return f" · oldest half dropped {count} {'time' if count == 1 else 'times'}" if count else ""
