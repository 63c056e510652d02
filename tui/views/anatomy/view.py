"""View 4: why this token, and not another."""

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
from kvtui.tui.messages import HeadChosen, QuestionChanged
from kvtui.tui.panes.lines import Draw, LinesPane
from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update
from kvtui.tui.views.anatomy import draw
from kvtui.tui.views.anatomy.heads import HeadsPane, belongs
from kvtui.tui.views.view import View

CONTINUATION = 120  # tokens to go on with and without heads, once the text waits

EMPTY = {
    "candidates": "The tokens that could have been chosen will stand here. Write a prompt: press p.",
    "lens": "What each layer would have predicted will stand here.",
    "heads": "How widely each head looks will stand here.",
    "without": draw.NOTHING_OFF,
}
WORKING = "Working it out: the first look at a text runs all of it once, which takes seconds with a large model."
WORKING_WITHOUT = "Working it out: the text is run once more without these heads."
RACING = "A race is being run: what it writes is not taken apart. Write a text in view 1, or end the race with s."
TITLES = {
    "candidates": "Candidates",
    "lens": "Logit lens",
    "heads": "Heads · entropy in nats",
    "without": "Without heads",
}


class AnatomyView(View):
    """The chosen token, or the newest: its candidates, its prediction layer by layer, the heads, and life without."""

    TITLE = "Anatomy"
    SUMMARY = "Why this token: candidates, layers and heads."
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("switch_head", "x", "x", "Head off or on", "Compare with the model without this head.", "Head off"),
        Action("previous_layer", "left_square_bracket", "[", "Previous layer", "The head of the layer before.", "-"),
        Action("next_layer", "right_square_bracket", "]", "Next layer", "The head of the layer after.", "Layer"),
        Action("previous_head", "less_than_sign", "<", "Previous head", "Choose the head before.", "-"),
        Action("next_head", "greater_than_sign", ">", "Next head", "Choose the head after.", "Head"),
        Action("all_heads", "X", "X", "All heads on", "Switch on every head that is off.", "All on", rank=6),
        Action(
            "write_without",
            "w",
            "w",
            "The text without these heads",
            "The text goes on without the heads that are off, and is not the model's own any more; again: with all.",
            "Text without",
        ),
    )
    PARAGRAPHS = (
        (
            "Candidates",
            "The tokens that could have stood here, likeliest first: what the model gave each, and the chance that the "
            "temperature, top-k and top-p left it, or which of them cut it off. ▶ marks the one that was written.",
        ),
        (
            "Logit lens",
            "What the model would have predicted if it ended after each layer: final norm and output projection, "
            "applied to the residual there. On the right the probability of the token that was written.",
        ),
        (
            "Heads",
            "Entropy of each head's attention in nats: 0 looks at one key, the most at all of them alike. x switches "
            "the chosen head off, which zeroes what it adds, here only; w lets the text itself go on without it.",
        ),
        (
            "Without heads",
            "The prediction of the model without the heads that are off. KL, in nats, is what it costs to predict with "
            "it what the whole model expects. Pause, and both go on from here, always taking the likeliest token.",
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self.chosen: Head = (0, 0)
        self.off: frozenset[Head] = frozenset()
        self._shape = (1, 1)
        self._inspection: Inspection | None = None
        self._before: Inspection | None = None  # the one before, whose weights come when this one is there already
        self._attention: Attention | None = None
        self._reason = ""  # why there is no inspection
        self._session: Session | None = None
        self._told: object = None  # what was drawn of the session

    def compose(self) -> ComposeResult:
        """What was chosen from and what becomes of it on the left, where it comes from on the right."""
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
        told = (session.state.phase, session.answering, session.state.heads_off, session.state.policy)
        stale = update.reset or told != self._told
        self._told = told
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
        """How the token came about; how the text would go on only while it waits, as that takes many steps."""
        waits, position = session.state.phase != "writing", session.cursor.position
        if waits and position is None and session.timeline.tokens:  # named, as an answer may be old: large models rest
            position = session.timeline.tokens[-1].position
        yield Inspect(position, tuple(sorted(self.off)), CONTINUATION if waits and self.off else 0)
        explained = self._inspection.position if self._inspection is not None else session.cursor.position
        # The row of the token before: it made the prediction.
        yield ShowAttention(self.chosen[0], (self.chosen[1],), -2, -1, position=explained)

    # Keys

    def action_previous_layer(self) -> None:
        """The same head of the layer before."""
        self._choose((self.chosen[0] - 1, self.chosen[1]))

    def action_next_layer(self) -> None:
        """The same head of the layer after."""
        self._choose((self.chosen[0] + 1, self.chosen[1]))

    def action_previous_head(self) -> None:
        """In the same layer."""
        self._choose((self.chosen[0], self.chosen[1] - 1))

    def action_next_head(self) -> None:
        """In the same layer."""
        self._choose((self.chosen[0], self.chosen[1] + 1))

    @on(HeadChosen)
    def _head_chosen(self, message: HeadChosen) -> None:
        self._choose(message.head)

    def action_switch_head(self) -> None:
        """The chosen head."""
        self._switch(self.off ^ {self.chosen})

    def action_all_heads(self) -> None:
        """None is off."""
        self._switch(frozenset())

    def action_write_without(self) -> None:
        """The text itself without the heads that are off, or with all of them."""
        session = self._session
        if session is None:
            return
        if not session.running:
            self.notify("Nothing is being written: r writes the text again.", severity="warning")
        elif session.state.heads_off:
            session.set_heads(())
        elif self.off:
            session.set_heads(tuple(sorted(self.off)))
        else:
            self.notify("All heads are on: x switches the chosen one off.", severity="warning")

    def _choose(self, head: Head) -> None:
        """A head that there is; before the first comes the last."""
        layers, heads = self._shape
        self.chosen = (head[0] % layers, head[1] % heads)
        self._draw()
        self.post_message(QuestionChanged())

    def _switch(self, off: frozenset[Head]) -> None:
        """These are off from now on; in the text as well if it goes on without some."""
        self.off = off
        if self._session is not None and self._session.state.heads_off:
            self._session.set_heads(tuple(sorted(off)))
        self._draw()
        self.post_message(QuestionChanged())

    # Drawing

    @property
    def _weighed(self) -> Inspection | None:
        """The newest inspection to which the attention belongs: while tokens come fast, that is the one before."""
        attention, both = self._attention, (self._inspection, self._before)
        return next((one for one in both if one and attention and belongs(attention, one, self.chosen)), None)

    def _draw(self) -> None:
        """Every pane."""
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
        panes["candidates"].border_title = Content.assemble(before, (token, "$text-accent"))
        panes["candidates"].border_subtitle = Content(
            draw.candidates_subtitle(inspection, session.sampling, session.state)
        )
        panes["lens"].show(partial(draw.lens_lines, inspection, chosen[0]))
        panes["lens"].border_subtitle = Content(draw.settled(inspection))
        weighed = self._weighed or inspection
        self.query_one(HeadsPane).show_heads(weighed, chosen, off, self._attention)
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
    """What a pane will show, and how to make it."""
    return lambda width, height: draw.hint_lines(reason or EMPTY[name], width)
