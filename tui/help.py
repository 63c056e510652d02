"""The screen behind ``?``: every key, and a paragraph on what each pane shows."""

from __future__ import annotations

from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from kvtui.tui.actions import ACTIONS

PANES: tuple[tuple[str, str], ...] = (
    (
        "What this is",
        "A transformer writes text, one token at a time, in a process of its own. You watch what each token cost, what "
        "the KV cache held and what every head attended to. Every figure is measured from the running model.",
    ),
    (
        "Prompt",
        "What the model goes on from. Enter starts, Esc leaves, up and down bring earlier prompts back, ctrl+n puts in "
        "a line break, shown as ↵. Characters that the model never saw are dropped, with a notice.",
    ),
    (
        "Output",
        "The text, your prompt underlined. It follows its end until you scroll up; the End key follows again. With c, "
        "each token is tinted by its time against the fastest one, or by the probability the model gave it.",
    ),
    (
        "Attention",
        "Which characters the model looked at. Rows are the newest characters, columns the ones before; the denser the "
        "mark, the greater the weight. A row sums to 1. Point at a cell to read its weight. Click layers and heads, "
        "scroll along the keys.",
    ),
    (
        "Time per token",
        "One bar per token: the model's own time, without drawing, pipes and waiting. Solid bars were written with the "
        "cache, dotted ones without. Turning the cache on again costs one long bar: the whole context is run once to "
        "fill it. The saving is the ratio of medians at comparable length.",
    ),
    (
        "Cache",
        "Keys and values that are kept, so that a new token need not run the whole text again. When the context is "
        "full, its oldest half is dropped and the rest is run once more.",
    ),
)


def keys_table() -> Table:
    """Every action with its key."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1)
    for action in ACTIONS:
        table.add_row(action.shown, _described(action.title, action.help))
    table.add_row("ctrl+p", _described("Command palette", "Every action by name, and more themes."))
    table.add_row("Tab", _described("Next pane", "Panes scroll with the arrow keys and with the wheel."))
    return table


def _described(title: str, sentence: str) -> Text:
    return Text.assemble((title, "bold"), f". {sentence}")


def panes_text() -> Text:
    """A paragraph for each pane."""
    text = Text()
    for name, paragraph in PANES:
        text.append(f"{name}\n", style="bold")
        text.append(f"{paragraph}\n\n")
    return text


class HelpScreen(ModalScreen[None]):
    """Help, over the dashboard, which goes on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1,q,enter", "dismiss", "Close", show=False),
    ]

    def compose(self) -> ComposeResult:
        """Panes first, then keys."""
        with VerticalScroll(id="help") as scroll:
            scroll.border_title = "Help"
            scroll.border_subtitle = "Esc closes · arrow keys scroll"
            yield Static(panes_text(), id="help-panes")
            yield Static(keys_table(), id="help-keys")

    def on_click(self) -> None:
        """Nothing: clicks do not reach the panes below."""
