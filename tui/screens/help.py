"""The screen of ``?``: every key, then a paragraph on what each pane of the visible view shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from kvtui.tui.actions import ACTIONS, Action

WHAT_THIS_IS = (
    "A transformer writes text, one token at a time, in a process of its own. You watch what each token cost, what "
    "the KV cache held and what every head attended to. Every figure is measured from the running model."
)
Paragraph = tuple[str, str]  # the name of a pane, and what it shows

PANES: tuple[Paragraph, ...] = (
    (
        "Prompt",
        "The text that the model continues. Enter starts, Esc leaves, up and down recall earlier prompts, ctrl+n "
        "inserts a line break, shown as ↵. Characters unknown to the model are removed, with a notice.",
    ),
)


def keys_table(title: str, actions: Sequence[Action], views: Iterable[tuple[str, str, str]]) -> Table:
    """Every action with its key: those that work everywhere, then the visible view's own."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1)
    for action in ACTIONS:
        table.add_row(action.shown, _described(action.title, action.help))
    for key, name, summary in views:
        table.add_row(key, _described(f"View {name}", summary))
    table.add_row("ctrl+p", _described("Command palette", "Every action by name, and more themes."))
    table.add_row("Tab", _described("Next pane", "Panes scroll with the wheel, and with the up and down arrow keys."))
    if actions:
        table.add_row()
        table.add_row("", Text(f"Only in view {title}:", style="italic"))
        for action in actions:
            table.add_row(action.shown, _described(action.title, action.help))
    return table


def _described(title: str, sentence: str) -> Text:
    return Text.assemble((title, "bold"), f". {sentence}")


def panes_text(paragraphs: Iterable[Paragraph]) -> Text:
    """A paragraph for each pane that is visible."""
    text = Text()
    for name, paragraph in (*PANES, *paragraphs):
        text.append(f"{name}\n", style="bold")
        text.append(f"{paragraph}\n\n")
    return text


class HelpScreen(ModalScreen[None]):
    """Help, over the dashboard, which stays live.

    Args:
        title: of the visible view.
        actions: of that view.
        paragraphs: name and text for each of its panes.
        views: key, title and summary of every view.
    """

    AUTO_FOCUS = "#help"  # for the keys that scroll
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1,q,enter", "dismiss", "Close", show=False),
    ]

    def __init__(
        self,
        title: str,
        actions: Sequence[Action],
        paragraphs: Iterable[Paragraph],
        views: Iterable[tuple[str, str, str]],
    ) -> None:
        super().__init__()
        self._view_title = title
        self._keys = keys_table(title, actions, views)
        self._panes = panes_text(paragraphs)

    def compose(self) -> ComposeResult:
        """What this is, then keys, then panes."""
        with VerticalScroll(id="help") as scroll:
            scroll.border_title = f"Help · view {self._view_title}"
            scroll.border_subtitle = "Esc closes · arrow keys scroll"
            yield Static(WHAT_THIS_IS, id="help-intro")
            yield Static(self._keys, id="help-keys")
            yield Static(self._panes, id="help-panes")

    def on_click(self) -> None:
        """Ignore clicks, so that they do not reach the panes below."""
