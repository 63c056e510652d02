"""The screen of ``b``: the branches of the text, two of them side by side."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from kvtui.tui.drawing.labels import label
from kvtui.tui.screens.overlay import Overlay
from kvtui.tui.session.branches import compare
from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update

_BEFORE = 40  # characters of the common text that are shown


class BranchesScreen(Overlay):
    """A line for every branch; below, the selected one beside the one being written. Enter switches to it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,b,q", "dismiss", "Close", show=False)]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def compose(self) -> ComposeResult:
        """The list, and two texts."""
        with Vertical(id="branches") as box:
            box.border_title = "Branches"
            box.border_subtitle = "↑ ↓ compare · Enter switches to it · Esc closes"
            yield OptionList(*self._lines(), id="branches-list")
            yield Static(id="branches-shared")
            with Horizontal(id="branches-texts"):
                for name in ("chosen", "now"):
                    with VerticalScroll(id=f"branches-{name}"):
                        yield Static()

    def on_mount(self) -> None:
        """Start at the branch before the current one."""
        session, options = self._session, self.query_one(OptionList)
        begun = session.branches.begun(session.branches.current)
        options.highlighted = begun.parent if begun is not None else session.branches.current
        options.focus()
        self._compare()

    def show(self, update: Update, session: Session) -> None:
        """Update the text that is being written."""
        if update.news:
            self._compare()

    @on(OptionList.OptionHighlighted)
    def _compare(self) -> None:
        session, number = self._session, self.query_one(OptionList).highlighted or 0
        chosen, now = session.branches.tokens(number), session.branches.tokens(session.branches.current)
        texts = [self.query_one(f"#branches-{name}", VerticalScroll) for name in ("chosen", "now")]
        texts[0].border_title, texts[1].border_title = (
            f"branch {number}",
            f"branch {session.branches.current}, being written",
        )
        comparison = compare(chosen, now)
        before = label(comparison.before[-_BEFORE:], _BEFORE)
        if number == session.branches.current:
            words = "This branch is being written. Select another one to compare it with."
        else:
            words = f"The first {comparison.shared:,} tokens are the same: …{before}"
        self.query_one("#branches-shared", Static).update(Text(words))
        for box, text in zip(texts, (comparison.first, comparison.second), strict=True):
            box.query_one(Static).update(Text(text if number != session.branches.current else ""))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Switch to this branch."""
        if event.option_index != self._session.branches.current:
            self._session.revisit(event.option_index)
        self.dismiss()

    def _lines(self) -> list[Option]:
        session = self._session
        return [Option(_line(number, session)) for number in range(len(session.branches))]


def _line(number: int, session: Session) -> Text:
    """A branch: where it starts, its length, and what it could reuse of the cache."""
    begun, tokens = session.branches.begun(number), session.branches.tokens(number)
    mark = "●" if number == session.branches.current else " "
    written = tokens[-1].step + 1 if tokens else 0
    line = f"{mark} {number:2}  {written:6,} tokens"
    if begun is None:
        return Text(f"{line}  original text", no_wrap=True)
    token = next((token for token in tokens if token.position == begun.position), None)
    place = "" if token is None else f" at token {token.step + 1:,}: {label(token.text)}"
    return Text(f"{line}  from {begun.parent}{place} · {begun.reused:,} positions reused", no_wrap=True)
