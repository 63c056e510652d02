"""The key line at the bottom: the keys that work now, as many as fit. Each entry can be clicked."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text
from textual.app import RenderResult
from textual.reactive import reactive
from textual.widget import Widget

from kvtui.tui.actions import ACTIONS, LAB, PAST, Action
from kvtui.tui.session.state import Phase

Entry = tuple[tuple[tuple[str, str], ...], str]  # keys with their actions, and a label

TYPING: tuple[Entry, ...] = (
    ((("Enter", "submit_prompt"),), "Write"),
    ((("Esc", "leave_prompt"),), "Leave the prompt"),
    ((("ctrl+t", "act('toggle_cache')"),), "Cache"),
    ((("F6", "act('tour')"),), "Tour"),
    ((("ctrl+q", "act('quit')"),), "Quit"),
)
TOURING: tuple[Entry, ...] = (
    ((("Space", "tour_on"),), "Next"),
    ((("Backspace", "tour_back"),), "Back"),
    ((("Esc", "tour_leave"),), "Leave the tour"),
)
_NOT_LEFT_OUT = ("Help", "Quit")  # others are dropped first when space runs out
_PAUSE = {"paused": "Resume", "ended": "Again"}  # what Space does, by phase


def entries(
    phase: Phase, of_view: Sequence[Action] = (), stream: bool = False, looking_back: bool = False
) -> list[Entry]:
    """The entries outside the prompt. Actions labelled ``-`` share the entry of the next one.

    For a ``stream`` from another program, only those that do not need the model. When ``looking_back``, those that move
    among earlier tokens come first, the others by rank.
    """
    calls = [(action, f"act('{action.name}')") for action in ACTIONS]
    calls += [(action, f"in_view('{action.first_key}')") for action in of_view]
    calls.sort(key=lambda call: -1 if looking_back and call[0] in (*PAST, *LAB) else call[0].rank)
    result: list[Entry] = []
    shared: list[tuple[str, str]] = []
    for action, call in calls:
        if stream and action.asks:
            continue
        if action.brief:
            shared.append((action.shown, call))
        if action.brief and action.brief != "-":
            word = _PAUSE.get(phase, action.brief) if action.name == "pause" else action.brief
            result.append((tuple(shared), word))
            shared = []
    return result


def width_of(entry: Entry) -> int:
    """Number of cells of an entry with the two spaces after it."""
    keys, word = entry
    return len(" ".join(key for key, _ in keys)) + 1 + len(word) + 2


def fitting(choices: list[Entry], width: int, lines: int = 1) -> list[list[Entry]]:
    """The entries that fit into this many lines, in order; help and quit always stay."""
    kept = list(choices)
    while len(rows := _wrapped(kept, width)) > lines and len(kept) > len(_NOT_LEFT_OUT):
        last = max(place for place, (_, word) in enumerate(kept) if word not in _NOT_LEFT_OUT)
        del kept[last]
    return rows


def _wrapped(kept: list[Entry], width: int) -> list[list[Entry]]:
    """Arrange entries in lines; the two spaces after the last one of a line may be cut."""
    rows: list[list[Entry]] = [[]]
    for entry in kept:
        if sum(map(width_of, [*rows[-1], entry])) > width + 1:
            rows.append([])
        rows[-1].append(entry)
    return rows


class KeysPane(Widget):
    """The keys and what they do."""

    COMPONENT_CLASSES = {"keys--key", "keys--word"}  # noqa: RUF012

    touring: reactive[bool] = reactive(False)
    typing: reactive[bool] = reactive(False)
    phase: reactive[Phase] = reactive[Phase]("idle")
    stream: reactive[bool] = reactive(False)
    looking_back: reactive[bool] = reactive(False)
    of_view: reactive[tuple[Action, ...]] = reactive[tuple[Action, ...]](())

    def __init__(self, of_view: tuple[Action, ...], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.of_view = of_view

    def render(self) -> RenderResult:
        """The entries that fit."""
        choices = list(TYPING) if self.typing else entries(self.phase, self.of_view, self.stream, self.looking_back)
        if self.touring and not self.typing:  # Space is the tour's
            choices = [*TOURING, *(entry for entry in choices if entry[0][0][1] not in ("act('pause')", "act('tour')"))]
        key_style = self.get_component_rich_style("keys--key", partial=True)
        word_style = self.get_component_rich_style("keys--word", partial=True)
        text = Text(no_wrap=True, end="")
        for number, row in enumerate(fitting(choices, self.size.width - 1, max(self.size.height, 1))):
            text.append("\n " if number else " ")
            for keys, word in row:
                for key, action in keys:
                    text.append(key, key_style + Style(meta={"@click": f"screen.{action}"}))
                    text.append(" ")
                text.append(word, word_style + Style(meta={"@click": f"screen.{keys[-1][1]}"}))
                text.append("  ")
        return text
