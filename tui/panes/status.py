"""The line at the top: the model, what it is doing, and the state of the cache in large letters."""

from __future__ import annotations

from typing import ClassVar

from textual.app import RenderResult
from textual.strip import Strip
from textual.widget import Widget

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
_PHASE_WIDTH = max(map(len, _PHASES.values()))
_BADGE_WIDTH = 15  # of the widest badge, so that the rest of the line does not move when the cache is switched


def phase_words(state: RunState) -> str:
    """The phase, always with the same width."""
    words = "▶ racing" if state.race and state.phase == "writing" else _PHASES[state.phase]
    if state.phase == "loading" and state.loaded:
        words = f"◌ load {100 * state.loaded:3.0f} %"
    return f"{words:{_PHASE_WIDTH}}"


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
            left = self._fit(self._brief(), width - _BADGE_WIDTH - 1)
        else:
            right = banner(self._state)[min(y, 1)]
            left = self._fit(self._model() if y == 0 else self._run(), width - len(right[0]) - 3)
        used = sum(len(text) for text, _ in left)
        pieces = [*left, (" " * (width - used - len(right[0])), ""), right]
        return strip(self, pieces)

    def _model(self) -> Line:
        config = self._model_info.config
        if self._model_info.stream:
            return [("kvtui ", "status--dim"), (f" {self._model_info.name}", "status--name"), *self._stream_words()]
        return [
            ("kvtui ", "status--dim"),
            (f" {self._model_info.name}", "status--name"),
            (f" · {count_words(self._model_info.parameters)} parameters", ""),
            (f" · {config.num_layers} layers × {config.num_heads} heads", ""),
            (f" · context {config.context_length}", ""),
        ]

    def _stream_words(self) -> Line:
        """What a stream reports about its model."""
        if not self._model_info.parameters:
            return [(" · events of another program", "")]
        config = self._model_info.config
        return [
            (f" · {count_words(self._model_info.parameters)} parameters", ""),
            (f" · {config.num_layers} layers × {config.num_heads} heads", ""),
            (f" · context {config.context_length}", ""),
            (" · another program's", ""),
        ]

    def _run(self) -> Line:
        state = self._state
        return [
            (phase_words(state), "status--name"),
            (f" · pace {pace_words(state.pace):9}", ""),
            *self._of_the_text(" · "),
            *([] if self._model_info.stream else [(f" · seed {state.seed}", "")]),
            (f" · {state.written:7,} tokens {'in each lane' if state.race else 'written'}", ""),
        ]

    def _of_the_text(self, before: str) -> Line:
        """How the text is written; race lanes have settings of their own."""
        return [] if self._state.race else [*self._without(), *self._policy(before), *self._verified(before)]

    def _policy(self, before: str) -> Line:
        """The cache policy, if it does not keep everything."""
        policy = self._state.policy
        return [(f"{before}{policy}", "status--name")] if policy != "full" else []

    def _brief(self) -> Line:
        state = self._state
        if self._model_info.stream:
            pace = (f" {pace_words(state.pace):9}", "")
            return [self._run()[0], pace, (f" · {self._model_info.name}", "status--dim"), *self._stream_words()]
        return [
            (phase_words(state), "status--name"),
            (f" pace {pace_words(state.pace):9}", ""),
            *self._of_the_text(" "),
            (f" seed {state.seed}", ""),
            (f" · {self._model_info.name}", "status--dim"),
            (f" {count_words(self._model_info.parameters)} parameters", "status--dim"),
            (f" {self._model_info.config.num_layers} × {self._model_info.config.num_heads} heads", "status--dim"),
        ]

    def _verified(self, gap: str) -> Line:
        """How the cache compares with a run without it, in a phrase with the largest difference so far."""
        verification = self._state.verification
        if not verification.on and not self._state.cache_wrong:
            return []
        if not verification.checked:
            return [(f"{gap}verifying", "")]
        tokens = f"{verification.checked:,} token{'s' if verification.checked != 1 else ''}"
        over = (f" over {tokens}", "")
        other = (f", another likeliest in {verification.disagreements:,}" if verification.disagreements else "", "")
        worst, brief = verification.worst, self.size.height == 1
        if self._state.policy != "full":
            differs = f"Δlogits ≤ {worst:.2g}" if brief else f"logits differ by up to {worst:.2g}"
            return [(f"{gap}{differs}", "status--name"), over, other]
        if verification.failed:
            return [(f"{gap}✖ CACHE WRONG by {worst:.2g}", "status--name"), over, other]
        if brief:
            return [(f"{gap}✓ verified to {worst:.0e}", "status--name"), over]
        return [(f"{gap}✓ verified: {tokens}", "status--name"), (f", largest difference {worst:.0e}", "")]

    def _without(self) -> Line:
        """A warning while heads are switched off."""
        off = self._state.heads_off
        if not off:
            return []
        return [(f" · without {off_words(off) if len(off) <= 2 else f'{len(off)} heads'}", "status--off")]

    @staticmethod
    def _fit(pieces: Line, room: int) -> Line:
        """As many whole pieces as fit."""
        kept: Line = [(" ", "")]
        room -= 1
        for text, style in pieces:
            if len(text) > room:
                break
            kept.append((text, style))
            room -= len(text)
        return kept
