"""Every message that panes send, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message


@dataclass
class AttentionWanted(Message):
    """What the attention pane shows has changed: it wants these weights. A newer wish replaces an older one.

    Attributes:
        layer: counted from 0.
        heads: the heads, None for all.
        rows: number of newest query rows.
    """

    layer: int
    heads: tuple[int, ...] | None
    rows: int

    def can_replace(self, message: Message) -> bool:
        """Only the newest wish counts."""
        return isinstance(message, AttentionWanted)


@dataclass
class PromptSubmitted(Message):
    """The reader pressed Enter in the prompt: write on from this text."""

    text: str


@dataclass
class PromptLeft(Message):
    """The reader pressed Esc in the prompt: keys are actions again."""
