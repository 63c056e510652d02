"""Where the user types the text that the model continues."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Static

from kvtui.tui.messages import PromptLeft, PromptSubmitted

NEWLINE = "↵"  # represents a line break, as the prompt is one line
_HISTORY = 100


class PromptInput(Input):
    """One line of text with a history; ``↵`` in it is a line break."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "older", "Older prompt", show=False),
        Binding("down", "newer", "Newer prompt", show=False),
        Binding("escape", "leave", "Leave the prompt", show=False),
        Binding("ctrl+n", "line_break", "Line break", show=False),
        Binding("ctrl+j", "submit", "Write", show=False),  # what Enter sends before the terminal is set up
    ]

    def __init__(self, value: str) -> None:
        super().__init__(
            value=value.replace("\r\n", "\n").replace("\n", NEWLINE),
            placeholder="for example ROMEO:",
            compact=True,
            select_on_focus=False,
        )
        self._history: list[str] = []
        self._place = 0
        self._draft = ""

    def action_older(self) -> None:
        """Recall the previous prompt."""
        self._go(self._place - 1)

    def action_newer(self) -> None:
        """Recall the next prompt, or finally what was being typed."""
        self._go(self._place + 1)

    def _go(self, place: int) -> None:
        if not 0 <= place <= len(self._history):
            return
        if self._place == len(self._history):
            self._draft = self.value
        self._place = place
        self.value = self._draft if place == len(self._history) else self._history[place]
        self.cursor_position = len(self.value)

    def action_line_break(self) -> None:
        """Insert a line break, shown as ``↵``."""
        self.insert_text_at_cursor(NEWLINE)

    def action_leave(self) -> None:
        """Leave the prompt: keys are actions again."""
        self.post_message(PromptLeft())

    async def action_submit(self) -> None:
        """Continue this text."""
        self.remember(self.value)
        self.post_message(PromptSubmitted(self.value.replace(NEWLINE, "\n")))

    def remember(self, text: str) -> None:
        """Add a prompt to the history, unless it equals the last one."""
        if text and (not self._history or self._history[-1] != text):
            self._history = [*self._history, text][-_HISTORY:]
        self._place, self._draft = len(self._history), ""

    def _on_paste(self, event: events.Paste) -> None:
        """Insert all lines of a pasted text, not only the first."""
        event.prevent_default()
        event.stop()
        text = event.text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", NEWLINE)
        start, end = sorted(self.selection)
        self.replace(text, start, end)


class PromptPane(Horizontal):
    """The prompt with its label."""

    def __init__(self, value: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Prompt"
        self.stream = False
        self._value = value

    def compose(self) -> ComposeResult:
        """A label, which small terminals show instead of the border, and the input."""
        yield Static("Prompt ", id="prompt-label")
        yield PromptInput(self._value)

    @property
    def stream(self) -> bool:
        """Whether another program writes the text, from its own prompt."""
        return self._stream

    @stream.setter
    def stream(self, stream: bool) -> None:
        self._stream = stream
        keys = "Enter writes · Esc leaves · ↑ ↓ earlier prompts · ctrl+n line break"
        self.border_subtitle = "written by another program; prompts cannot be sent from here" if stream else keys

    @property
    def input(self) -> PromptInput:
        """The input widget."""
        return self.query_one(PromptInput)
