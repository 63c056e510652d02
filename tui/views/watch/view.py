"""View 1: the text as it is written, what the model attends to, what each token cost, and how full the cache is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal

from kvtui.core.commands import Question
from kvtui.tui.actions import Action
from kvtui.tui.session.session import Session
from kvtui.tui.views.view import View
from kvtui.tui.views.watch.attention import AttentionPane
from kvtui.tui.views.watch.cache_bar import CachePane
from kvtui.tui.views.watch.output import OutputPane
from kvtui.tui.views.watch.timing import TimingPane


class WatchView(View):
    """The text with its attention, its time per token and its cache."""

    TITLE = "Watch"
    ASKS = False
    SUMMARY = "The text, its attention, the time per token and the cache, live."
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action(
            "previous_layer",
            "left_square_bracket",
            "[",
            "Previous layer",
            "Attention of the previous layer.",
            "-",
            True,
        ),
        Action("next_layer", "right_square_bracket", "]", "Next layer", "Attention of the next layer.", "Layer", True),
        Action("previous_head", "less_than_sign", "<", "Previous head", "Attention of the previous head.", "-", True),
        Action("next_head", "greater_than_sign", ">", "Next head", "Attention of the next head.", "Head", True),
        Action(
            "heads",
            "h",
            "h",
            "One head, all heads, or their mean",
            "What the attention pane draws.",
            "Heads",
            asks=True,
            rank=3,
        ),
        Action(
            "ramp",
            "g",
            "g",
            "Characters of the attention grid",
            "ASCII characters or shades.",
            "Marks",
            asks=True,
            rank=6,
        ),
        Action(
            "colour",
            "c",
            "c",
            "Colour of the output",
            "None, each token's time, or its probability.",
            "Colour",
            rank=3,
        ),
        Action(
            "time_scale",
            "l",
            "l",
            "Logarithmic or linear time",
            "The axis of the time per token.",
            "Scale",
            rank=6,
        ),
        Action(
            "time_zoom",
            "z",
            "z",
            "Zoom of the bars",
            "More tokens per bar; after the most, automatic again.",
            "Zoom",
            rank=6,
        ),
    )
    PARAGRAPHS = (
        (
            "Output",
            "The text, with your prompt underlined. It follows its end until you scroll up; the End key follows again. "
            "Click a token, or press the left arrow key, to select it: every pane then shows the state at the moment "
            "when it was written. With c, each token is tinted by its time relative to the fastest one, or by the "
            "probability that the model gave it.",
        ),
        (
            "Attention",
            "Which tokens the model attends to. Rows are the newest tokens, columns the tokens before them; the denser "
            "the mark, the greater the weight. A row sums to 1. Point at a cell to read its weight. Click layers and "
            "heads; scroll along the keys with the wheel, or with shift and an arrow key. ╱ marks a key that a cache "
            "policy had dropped before the query.",
        ),
        (
            "Time per token",
            "One bar per token: the model's own time, without drawing, pipes and waiting. Solid bars were computed "
            "with the cache, dotted ones without. ^ marks a prefill, which runs many positions at once: first the "
            "prompt, later the whole context when the cache was switched on or the context was full. If tokens share a "
            "bar, it ends at their median, and a thin line continues to the slowest. Median, p95 and max cover the "
            "tokens on the screen of the same kind as the newest (or selected) one, cached or uncached; tok/s is one "
            "token per median time. The speed-up is the ratio of medians at the length given. ─ is the previous text, "
            "token by token, drawn only above the bars. A logarithmic scale has no zero, so bars become points.",
        ),
        (
            "Cache",
            "Keys and values are kept, so that a new token need not recompute the whole text. When the context is "
            "full, its oldest half is dropped and the rest is recomputed once.",
        ),
    )

    def compose(self) -> ComposeResult:
        """Text and attention side by side, then the time, then the cache."""
        with Horizontal(id="middle"):
            yield OutputPane(id="output")
            yield AttentionPane(id="attention")
        yield TimingPane(id="timing")
        yield CachePane(id="cache")

    @property
    def output(self) -> OutputPane:
        """The pane of the text."""
        return self.query_one(OutputPane)

    @property
    def attention(self) -> AttentionPane:
        """The pane of the attention weights."""
        return self.query_one(AttentionPane)

    @property
    def timing(self) -> TimingPane:
        """The pane of the time per token."""
        return self.query_one(TimingPane)

    def follow(self) -> None:
        """Scroll to the end of the text."""
        self.output.follow()

    def questions(self, session: Session) -> Iterable[Question]:
        """Ask for the rows of attention that fit, up to the selected token."""
        yield replace(self.attention.question, position=session.cursor.position)

    def action_previous_layer(self) -> None:
        """Show the attention of the previous layer."""
        self.attention.previous_layer()

    def action_next_layer(self) -> None:
        """Show the attention of the next layer."""
        self.attention.next_layer()

    def action_previous_head(self) -> None:
        """Show the attention of the previous head."""
        self.attention.previous_head()

    def action_next_head(self) -> None:
        """Show the attention of the next head."""
        self.attention.next_head()

    def action_heads(self) -> None:
        """Switch between one head, all heads and their mean."""
        self.attention.cycle_mode()

    def action_ramp(self) -> None:
        """Switch between ASCII characters and shades."""
        self.attention.cycle_ramp()

    def action_time_scale(self) -> None:
        """Switch between a logarithmic and a linear axis of time."""
        self.timing.action_toggle_scale()

    def action_time_zoom(self) -> None:
        """Put more tokens into a bar."""
        self.timing.action_zoom(2)

    def action_colour(self) -> None:
        """Tint tokens by nothing, by time, or by probability."""
        self.output.cycle_colouring()
