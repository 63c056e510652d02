"""Every message that panes send, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message

from kvtui.tui.notices import Notice


@dataclass
class QuestionChanged(Message):
    """What a pane shows has changed: ask the worker now, without waiting for the next tick."""

    def can_replace(self, message: Message) -> bool:
        """Only the newest request counts."""
        return isinstance(message, QuestionChanged)


@dataclass
class PromptSubmitted(Message):
    """The user pressed Enter in the prompt: continue this text."""

    text: str


@dataclass
class PromptLeft(Message):
    """The user pressed Esc in the prompt: keys are actions again."""


@dataclass
class HeadChosen(Message):
    """The user clicked on a head: (layer, head), both counted from 0."""

    head: tuple[int, int]


@dataclass
class TokenPicked(Message):
    """The user clicked on a token of the text: select it. ``position`` is its index in the whole text."""

    position: int


@dataclass
class Tell(Message):
    """Show this to the user."""

    notice: Notice
