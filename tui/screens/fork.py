"""The screen of ``f``: alternatives to a token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Key
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from kvtui.core.commands import Inspect, Question
from kvtui.core.events import Candidate, Inspection, Token
from kvtui.tui.drawing.labels import label, piece
from kvtui.tui.panes.prompt import NEWLINE
from kvtui.tui.screens.overlay import Overlay
from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update

NOTHING_WRITTEN = "There is nothing to fork yet: write a text first."
RACING = "A race is running: the text can be forked after it ends. s stops it."
GONE = "The process that wrote this text is gone: press r to write it again."
_BAR, _LABEL, _BEFORE = 20, 12, 48  # cells


def unforkable(session: Session) -> str:
    """Why the selected token, or the newest, cannot be replaced; empty if it can."""
    tokens = session.timeline.tokens
    if session.racing:
        return RACING
    if not tokens or not session.answering:
        return GONE if tokens else NOTHING_WRITTEN
    token = session.cursor.token or tokens[-1]
    if token.position > session.window_start:
        return ""
    first = session.timeline.at(session.window_start + 1)
    place = f"the first that can be replaced is {first.step + 1:,}" if first else "no token can be replaced"
    return f"Token {token.step + 1:,} has left the model's window: {place}."


def fork_screen(session: Session) -> ForkScreen:
    """The screen for the selected token, or for the newest, unless it is :func:`unforkable`."""
    token = session.cursor.token or session.timeline.tokens[-1]
    tokens, prefill = session.timeline.tokens, session.timeline.prefill
    before = (prefill.prompt if prefill else "") + "".join(
        earlier.text for earlier in tokens if earlier.position < token.position
    )
    return ForkScreen(token, before, session)


class ForkScreen(Overlay):
    """The likeliest candidates for a token, and a line to type another text; the text continues from the choice.

    Args:
        token: the token to replace.
        before: the text that stays.
        session: performs the fork.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Close", show=False)]

    def __init__(self, token: Token, before: str, session: Session) -> None:
        super().__init__()
        self._token = token
        self._before = before
        self._session = session
        self._candidates: tuple[Candidate, ...] = ()

    def compose(self) -> ComposeResult:
        """The text before, the candidates, and the input line."""
        with Vertical(id="fork") as box:
            box.border_title = f"Fork at token {self._token.step + 1:,}"
            box.border_subtitle = "Enter continues from here · or type · Esc closes"
            yield Static(Text.assemble(f"…{label(self._before[-_BEFORE:], _BEFORE)}", ("▌", "bold")), id="fork-before")
            yield OptionList(Option("asking the model …", disabled=True), id="fork-candidates")
            yield Input(placeholder="or type a replacement", compact=True, select_on_focus=False, id="fork-text")

    def on_mount(self) -> None:
        """Focus the list: arrow keys choose, letters are typed."""
        self.query_one(OptionList).focus()

    def on_key(self, event: Key) -> None:
        """Pass letters to the input line, wherever the focus is."""
        text = self.query_one(Input)
        if event.is_printable and event.character and not text.has_focus:
            text.focus()
            text.insert_text_at_cursor(event.character)
            event.stop()

    def questions(self, session: Session) -> Iterable[Question]:
        """Ask for the candidates."""
        yield Inspect(self._token.position)

    def show(self, update: Update, session: Session) -> None:
        """Fill the list once the candidates have arrived."""
        inspection = update.answer(Inspection)
        if self._candidates or inspection is None or inspection.position != self._token.position:
            return
        self._candidates = inspection.candidates
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(candidate_line(candidate)) for candidate in self._candidates])
        options.highlighted = next((place for place, one in enumerate(self._candidates) if not one.chosen), 0)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Continue from this candidate."""
        self._session.fork(self._token.position, (self._candidates[event.option_index].id,))
        self.dismiss()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Continue from what was typed."""
        if event.value:
            self._session.fork(self._token.position, text=event.value.replace(NEWLINE, "\n"))
            self.dismiss()


def candidate_line(candidate: Candidate) -> Text:
    """Rank, text, probability, and whether it is the token that was written."""
    bar = "█" * round(candidate.probability * _BAR)
    written = "  written" if candidate.chosen else ""
    text = piece(candidate.text, _LABEL)
    share = f"{candidate.probability:6.1%}"
    return Text(f"{candidate.rank + 1:3}  {text} {share}  {bar:{_BAR}}{written}", no_wrap=True)
