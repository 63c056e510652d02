"""The line at the top: the model, what it is doing, and the state of the cache in large letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import RenderResult
from textual.strip import Strip
from textual.widget import Widget

from kvtui.core.errors import counted
from kvtui.tui.drawing.lines import Line, Piece
from kvtui.tui.drawing.words import count_words, off_words
from kvtui.tui.panes.lines import strip
from kvtui.tui.session.state import RunState, pace_words
from kvtui.tui.worker.protocol import ModelInfo

# Two lines per letter: large enough for the last row of a room.
_LETTERS = {
    "C": ("█▀▀", "█▄▄"),
    "A": ("▄▀█", "█▀█"),
    "H": ("█ █", "█▀█"),
    "E": ("█▀▀", "██▄"),
    "O": ("█▀█", "█▄█"),
    "N": ("█▄ █", "█ ▀█"),
    "F": ("█▀▀", "█▀ "),
    "R": ("█▀█", "█▀▄"),
    " ": (" ", " "),
}
_PHASES = {
    "idle": "○ ready",
    "writing": "▶ writing",
    "paused": "‖ paused",
    "ended": "■ ended",
    "dead": "✖ restarting",
    "loading": "◌ loading",
}
_BETWEEN = (" · ", "")  # two fields
_BADGE_WIDTH = 15  # of the widest badge, so that the rest of the line does not move when the cache is switched


def phase_words(state: RunState) -> str:
    """What the process is doing."""
    if state.silent:
        return "✖ silent"
    if state.phase == "loading" and state.loaded:
        return f"◌ loading {100 * state.loaded:.0f} %"
    return "▶ racing" if state.race and state.phase == "writing" else _PHASES[state.phase]


def large(word: str) -> tuple[str, str]:
    """A word in letters two lines high."""
    return " ".join(_LETTERS[letter][0] for letter in word), " ".join(_LETTERS[letter][1] for letter in word)


def badge(state: RunState) -> Piece:
    """The state of the cache on one line: a solid block for on, hatching for off. In a race it differs by lane."""
    if racing(state):
        return " RACE ", "status--race"
    return (" CACHE ON ", "status--badge-on") if state.cache else ("╱╱ CACHE OFF ╱╱", "status--off")


def banner(state: RunState) -> tuple[Piece, Piece]:
    """The state of the cache on two lines; off is hatched on both sides."""
    on, side = state.cache, "" if state.cache or racing(state) else "╱╱"
    word, style = ("CACHE ON", "status--on") if on else ("CACHE OFF", "status--off")
    if racing(state):
        word, style = "RACE", "status--race"
    first, second = large(word)
    return (f"{side} {first} {side}", style), (f"{side} {second} {side}", style)


def racing(state: RunState) -> bool:
    """Whether a race is running."""
    return state.race and state.phase in ("writing", "paused")


class StatusPane(Widget):
    """Two lines with large letters where they fit, else one line."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "status--on",
        "status--badge-on",
        "status--off",
        "status--race",
        "status--name",
        "status--dim",
    }

    def __init__(self, model: ModelInfo, state: RunState, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._model_info = model
        self._state = state

    def show(self, model: ModelInfo, state: RunState) -> None:
        """Show these values from the next refresh on."""
        if (model, state) != (self._model_info, self._state):
            self._model_info, self._state = model, state
            self.set_class(state.cache_wrong and not state.race, "-wrong")
            self.refresh()

    def render(self) -> RenderResult:
        """Unused, as render_line draws; defined so that nothing else is drawn."""
        return ""

    def render_line(self, y: int) -> Strip:
        """Return one line: the model at the left, the cache at the right."""
        width = self.size.width
        if self.size.height == 1:
            right = badge(self._state)
            left = fit(self._brief(), width - _BADGE_WIDTH - 1)
        else:
            right = banner(self._state)[min(y, 1)]
            left = fit(self._model() if y == 0 else self._run(), width - len(right[0]) - 3)
        used = sum(len(text) for text, _ in left)
        pieces = [*left, (" " * (width - used - len(right[0])), ""), right]
        return strip(self, pieces)

    # Fields, the most important first

    def _model(self) -> list[Line]:
        return [[("kvtui", "status--dim")], *self._of_the_model("status--name", "")]

    def _run(self) -> list[Line]:
        return [*self._of_the_run(), self._written(brief=False)]

    def _brief(self) -> list[Line]:
        """Everything on one line."""
        model, written = self._of_the_model("status--dim", "status--dim"), self._written(brief=True)
        if self._model_info.stream:  # that nothing runs here comes first
            return [*self._of_the_run(), *model, written]
        return [*self._of_the_run(), written, *model]

    def _of_the_model(self, name: str, style: str) -> list[Line]:
        """Its name and shape, as far as a stream reports it."""
        info, config = self._model_info, self._model_info.config
        shape = [
            f"{count_words(info.parameters)} parameters",
            f"{config.num_layers} layers × {config.num_heads} heads",
            f"context {config.context_length}",
        ]
        if info.stream:
            shape = [*shape, "another program's"] if info.parameters else ["events of another program"]
        return [[(info.name, name)], *([(words, style)] for words in shape)]

    def _of_the_run(self) -> list[Line]:
        state = self._state
        seed: list[Line] = [] if self._model_info.stream else [[(f"seed {state.seed}", "")]]
        pace: Line = [(f"pace {pace_words(state.pace)}", "")]
        return [[(phase_words(state), "status--name")], pace, *self._of_the_text(), *seed]

    def _written(self, brief: bool) -> Line:
        """How many tokens have been written after the prompt."""
        count = self._state.written
        where = "in each lane" if self._state.race else "written"
        return [(f"{count:,} {where}" if brief else f"{counted(count, 'token')} {where}", "")]

    def _of_the_text(self) -> list[Line]:
        """How the text is written; race lanes have settings of their own."""
        fields = [] if self._state.race else [self._without(), self._policy(), self._verified()]
        return [field for field in fields if field]

    def _without(self) -> Line:
        """A warning while heads are switched off."""
        off = self._state.heads_off
        words = off_words(off) if len(off) <= 2 else f"{len(off)} heads"
        return [(f"without {words}", "status--off")] if off else []

    def _policy(self) -> Line:
        """The cache policy, if it does not keep everything."""
        policy = self._state.policy
        return [(policy, "status--name")] if policy != "full" else []

    def _verified(self) -> Line:
        """How the cache compares with a run without it, in a phrase with the largest difference so far."""
        verification = self._state.verification
        if not verification.on and not self._state.cache_wrong:
            return []
        if not verification.checked:
            return [("verifying", "")]
        tokens = counted(verification.checked, "token")
        over = (f" over {tokens}", "")
        other = (f", another likeliest in {verification.disagreements:,}" if verification.disagreements else "", "")
        worst, brief = verification.worst, self.size.height == 1
        if self._state.policy != "full":
            differs = f"Δlogits ≤ {worst:.2g}" if brief else f"logits differ by up to {worst:.2g}"
            return [(differs, "status--name"), over, other]
        if verification.failed:
            return [(f"✖ CACHE WRONG by {worst:.2g}", "status--name"), over, other]
        if brief:
            return [(f"✓ verified to {worst:.0e}", "status--name"), over]
        return [(f"✓ verified: {tokens}", "status--name"), (f", largest difference {worst:.0e}", "")]


def fit(fields: Sequence[Line], room: int) -> Line:
    """As many whole fields as fit, with a dot between each two; of the next one, its first pieces."""
    kept: Line = [(" ", "")]
    room -= 1
    for number, field in enumerate(fields):
        for place, piece in enumerate(field):
            new = [_BETWEEN, piece] if number and not place else [piece]
            room -= sum(len(text) for text, _ in new)
            if room < 0:
                return kept
            kept += new
    return kept
