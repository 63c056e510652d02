"""View 4: why the model wrote this token rather than another."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content

from kvtui.core.commands import Inspect, Question, ShowAttention
from kvtui.core.events import Attention, Inspection, Unanswered
from kvtui.tui.actions import Action
from kvtui.tui.drawing.words import Head, off_words
from kvtui.tui.messages import HeadChosen, QuestionChanged, Tell
from kvtui.tui.notices import Notice
from kvtui.tui.panes.lines import Draw, LinesPane
from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update
from kvtui.tui.views.anatomy import draw
from kvtui.tui.views.anatomy.heads import HeadsPane, belongs
from kvtui.tui.views.view import View

CONTINUATION = 120  # tokens to write with and without the heads, once the text is paused

EMPTY = {
    "candidates": "The tokens that could have been chosen will appear here. To write a prompt, press p.",
    "lens": "What each layer would have predicted will appear here.",
    "heads": "How widely each head attends will appear here.",
    "without": draw.NOTHING_OFF,
}
WORKING = "Computing: the first inspection of a text runs all of it once, which takes seconds with a large model."
WORKING_WITHOUT = "Computing: the text is being run again without these heads."
RACING = "A race is running: its texts cannot be inspected. Write a text in view 1, or stop the race with s."
TITLES = {
    "candidates": "Candidates",
    "lens": "Logit lens",
    "heads": "Heads · entropy in nats",
    "without": "Without heads",
}
LENS = ("Logit lens · at",)  # before the token whose position predicted the one that the view is about
HEADS = ("Heads · entropy in nats · query", "Heads, nats · query")


class AnatomyView(View):
    """The selected token, or the newest: its candidates, the prediction by layer, the heads, and the effect of each."""

    TITLE = "Anatomy"
    SUMMARY = "Why this token: candidates, layers and heads."
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("switch_head", "x", "x", "Head off or on", "Compare with the model without this head.", "Head off"),
        Action("previous_layer", "left_square_bracket", "[", "Previous layer", "The same head, one layer down.", "-"),
        Action("next_layer", "right_square_bracket", "]", "Next layer", "The same head, one layer up.", "Layer"),
        Action("previous_head", "less_than_sign", "<", "Previous head", "Choose the previous head.", "-"),
        Action("next_head", "greater_than_sign", ">", "Next head", "Choose the next head.", "Head"),
        Action("all_heads", "X", "X", "All heads on", "Switch on every head that is off.", "All on", rank=6),
        Action(
            "write_without",
            "w",
            "w",
            "The text without these heads",
            "Continue the text without the heads that are off; it is then not the model's own. Again: with all heads.",
            "Text without",
        ),
    )
    PARAGRAPHS = (
        (
            "Candidates",
            "The tokens that could have been chosen, likeliest first: the probability from the model, and what is left "
            "of it by temperature, top-k and top-p, or which of them cut it off. ▶ marks the token that was written.",
        ),
        (
            "Logit lens",
            "What the model would have predicted if it ended after each layer: final norm and output projection, "
            "applied to the residual there. At the right, the probability of the token that was written. The token was "
            "predicted at the position before it, so lens and heads are those of that position: the title names its "
            "token. What the token itself attends to is in view 1.",
        ),
        (
            "Heads",
            "Entropy of each head's attention in nats: 0 attends to a single key, the maximum to all of them equally. "
            "x switches the chosen head off, which zeroes its output in this view only; w does the same to the text.",
        ),
        (
            "Without heads",
            "The model's prediction without the heads that are off. KL, in nats, measures how far it is from the "
            "prediction of the whole model. Pause to see both texts continue, always with the likeliest token.",
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self.chosen: Head = (0, 0)
        self.off: frozenset[Head] = frozenset()
        self._shape = (1, 1)
        self._inspection: Inspection | None = None
        self._before: Inspection | None = None  # the previous one, whose weights may arrive after this one
        self._attention: Attention | None = None
        self._reason = ""  # why there is no inspection
        self._session: Session | None = None
        self._last_drawn: object = None  # the state of the session when last drawn

    def compose(self) -> ComposeResult:
        """Candidates and their continuation at the left, the layers and heads they come from at the right."""
        with Horizontal():
            with Vertical():
                yield LinesPane(_hint("candidates"), id="candidates")
                yield LinesPane(_hint("without"), id="without")
            with Vertical():
                yield LinesPane(_hint("lens"), id="lens")
                yield HeadsPane(id="heads")

    def show(self, update: Update, session: Session) -> None:
        """Draw what is new."""
        super().show(update, session)
        self._session = session
        shape = (session.model.config.num_layers, session.model.config.num_heads)
        if self._shape != shape:
            self._shape, self.off, self.chosen = shape, frozenset(), (0, 0)
            self.query_one("#lens").styles.max_height = shape[0] + 4  # embedding, layers, header and border
        now = (session.state.phase, session.answering, session.state.heads_off, session.state.policy)
        stale = update.reset or now != self._last_drawn
        self._last_drawn = now
        if update.reset:
            self._inspection, self._before, self._attention, self._reason = None, None, None, ""
        for answer in update.answers:
            stale = True
            if isinstance(answer, Inspection):
                self._before, self._inspection, self._reason = self._inspection, answer, ""
            elif isinstance(answer, Attention):
                self._attention = answer
            elif isinstance(answer, Unanswered) and isinstance(answer.question, Inspect):
                self._inspection, self._before, self._reason = None, None, answer.reason
        if stale:
            self._draw()

    def questions(self, session: Session) -> Iterable[Question]:
        """How the token came about; its continuation only while the text is paused, as that takes many steps."""
        waits, position = session.state.phase != "writing", session.cursor.position
        if waits and position is None and session.timeline.tokens:  # named, as an answer may be old: large models rest
            position = session.timeline.tokens[-1].position
        yield Inspect(position, tuple(sorted(self.off)), CONTINUATION if waits and self.off else 0)
        explained = self._inspection.position if self._inspection is not None else session.cursor.position
        # The row of the previous token: it made the prediction.
        yield ShowAttention(self.chosen[0], (self.chosen[1],), -2, -1, position=explained)

    def on_resize(self) -> None:
        """Titles have another width."""
        self._draw()

    # Keys

    def action_previous_layer(self) -> None:
        """Choose the same head of the previous layer."""
        self._choose((self.chosen[0] - 1, self.chosen[1]))

    def action_next_layer(self) -> None:
        """Choose the same head of the next layer."""
        self._choose((self.chosen[0] + 1, self.chosen[1]))

    def action_previous_head(self) -> None:
        """Choose the previous head of the layer."""
        self._choose((self.chosen[0], self.chosen[1] - 1))

    def action_next_head(self) -> None:
        """Choose the next head of the layer."""
        self._choose((self.chosen[0], self.chosen[1] + 1))

    @on(HeadChosen)
    def _head_chosen(self, message: HeadChosen) -> None:
        self._choose(message.head)

    def action_switch_head(self) -> None:
        """Switch the chosen head off, or on again."""
        self._switch(self.off ^ {self.chosen})

    def action_all_heads(self) -> None:
        """Switch all heads on."""
        self._switch(frozenset())

    def action_write_without(self) -> None:
        """Continue the text itself without the heads that are off, or with all of them."""
        session = self._session
        if session is None:
            return
        if not session.running:
            words = "No text is being written: r writes it again."
            self.post_message(Tell(Notice(words, "warning", "heads", lambda: self.display and not session.running)))
        elif session.state.heads_off:
            session.set_heads(())
        elif self.off:
            session.set_heads(tuple(sorted(self.off)))
        else:
            words = "All heads are on: x switches the chosen head off."
            self.post_message(Tell(Notice(words, "warning", "heads", lambda: self.display and not self.off)))

    def _choose(self, head: Head) -> None:
        """Choose a head, wrapping around at both ends."""
        layers, heads = self._shape
        self.chosen = (head[0] % layers, head[1] % heads)
        self._draw()
        self.post_message(QuestionChanged())

    def _switch(self, off: frozenset[Head]) -> None:
        """Switch these heads off from now on; in the text as well if it is written without some."""
        self.off = off
        if self._session is not None and self._session.state.heads_off:
            self._session.set_heads(tuple(sorted(off)))
        self._draw()
        self.post_message(QuestionChanged())

    # Drawing

    @property
    def _weighed(self) -> Inspection | None:
        """The newest inspection to which the attention belongs: while tokens arrive fast, the previous one."""
        attention, both = self._attention, (self._inspection, self._before)
        return next((one for one in both if one and attention and belongs(attention, one, self.chosen)), None)

    def _draw(self) -> None:
        """Draw every pane."""
        session, inspection = self._session, self._inspection
        if session is None:
            return
        panes = {name: self.query_one(f"#{name}", LinesPane) for name in TITLES}
        for name, pane in panes.items():
            pane.border_title, pane.border_subtitle = TITLES[name], ""
        if inspection is None:
            reason = self._reason or (RACING if session.racing else WORKING if session.answering else "")
            for name, pane in panes.items():
                pane.show(_hint(name, reason))
            return
        self._draw_inspection(inspection, session, panes)

    def _draw_inspection(self, inspection: Inspection, session: Session, panes: dict[str, LinesPane]) -> None:
        chosen, off, waits = self.chosen, self.off, session.state.phase != "writing"
        panes["candidates"].show(partial(draw.candidate_lines, inspection))
        before, token = draw.candidates_title(inspection, panes["candidates"].size.width)
        title = Content.assemble(before, (token, "$text-accent"))
        panes["candidates"].border_title = title  # pyright: ignore[reportAttributeAccessIssue]  # Textual types it as str
        panes["candidates"].border_subtitle = Content(
            draw.candidates_subtitle(inspection, session.sampling, session.state)
        )
        panes["lens"].show(partial(draw.lens_lines, inspection, chosen[0]))
        panes["lens"].border_title = Content(draw.query_title(LENS, inspection, panes["lens"].outer_size.width))
        panes["lens"].border_subtitle = Content(draw.settled(inspection))
        weighed = self._weighed or inspection
        self.query_one(HeadsPane).show_heads(weighed, chosen, off, self._attention)
        panes["heads"].border_title = Content(draw.query_title(HEADS, weighed, panes["heads"].outer_size.width))
        panes["heads"].border_subtitle = draw.entropy_scale(weighed)
        answered = inspection.without is not None and off == frozenset(inspection.without.heads)
        panes["without"].show(
            partial(draw.without_lines, inspection, waits)
            if answered
            else _hint("without", WORKING_WITHOUT if off else "")
        )
        if off:
            panes["without"].border_title = f"Without {off_words(off)}"
            written = "w: text with all" if session.state.heads_off else "w: text without"
            panes["without"].border_subtitle = f"{written} · X: all on"


def _hint(name: str, reason: str = "") -> Draw:
    """What a pane will show, and how to get there."""
    return lambda width, height: draw.hint_lines(reason or EMPTY[name], width)
