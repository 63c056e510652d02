"""The line at the top: the model, what it is doing, and the state of the cache in letters that cannot be missed."""

from __future__ import annotations

from typing import ClassVar

from textual.app import RenderResult
from textual.strip import Strip
from textual.widget import Widget

from kvtui.tui.drawing.lines import Line, Piece
from kvtui.tui.drawing.words import count_words, off_words
from kvtui.tui.panes.lines import strip
from kvtui.tui.session.figures import Figures, pace_words
from kvtui.tui.worker.protocol import Ready

# Two lines a letter: large enough for the last row of a room.
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
_BADGE_WIDTH = 15  # of the widest, so that the rest of the line stays as it is when the cache is switched


def phase_words(figures: Figures) -> str:
    """What is being done, always of the same width."""
    words = "▶ racing" if figures.race and figures.phase == "writing" else _PHASES[figures.phase]
    if figures.phase == "loading" and figures.loaded:
        words = f"◌ load {100 * figures.loaded:3.0f} %"
    return f"{words:{_PHASE_WIDTH}}"


def large(word: str) -> tuple[str, str]:
    """A word in letters of two lines."""
    return " ".join(_LETTERS[letter][0] for letter in word), " ".join(_LETTERS[letter][1] for letter in word)


def badge(figures: Figures) -> Piece:
    """The state of the cache on one line: a solid block for on, hatching for off. The lanes of a race differ in it."""
    if racing(figures):
        return " RACE ", "status--race"
    return (" CACHE ON ", "status--badge-on") if figures.cache else ("╱╱ CACHE OFF ╱╱", "status--off")


def banner(figures: Figures) -> tuple[Piece, Piece]:
    """The same on two lines; off is hatched at both sides."""
    on, side = figures.cache, "" if figures.cache or racing(figures) else "╱╱"
    word, style = ("CACHE ON", "status--on") if on else ("CACHE OFF", "status--off")
    if racing(figures):
        word, style = "RACE", "status--race"
    first, second = large(word)
    return (f"{side} {first} {side}", style), (f"{side} {second} {side}", style)


def racing(figures: Figures) -> bool:
    """Whether the lanes of a race are being written now."""
    return figures.race and figures.phase in ("writing", "paused")


class StatusPane(Widget):
    """Two lines with large letters where there is room, else one."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "status--on",
        "status--badge-on",
        "status--off",
        "status--race",
        "status--name",
        "status--dim",
    }

    def __init__(self, ready: Ready, figures: Figures, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ready = ready
        self._figures = figures

    def show(self, ready: Ready, figures: Figures) -> None:
        """Show these from the next refresh on."""
        if (ready, figures) != (self._ready, self._figures):
            self._ready, self._figures = ready, figures
            self.set_class(figures.cache_wrong and not figures.race, "-wrong")
            self.refresh()

    def render(self) -> RenderResult:
        """Unused, as render_line draws; given so that nothing else is drawn."""
        return ""

    def render_line(self, y: int) -> Strip:
        """The model at the left, the cache at the right."""
        width = self.size.width
        if self.size.height == 1:
            right = badge(self._figures)
            left = self._fit(self._brief(), width - _BADGE_WIDTH - 1)
        else:
            right = banner(self._figures)[min(y, 1)]
            left = self._fit(self._model() if y == 0 else self._run(), width - len(right[0]) - 3)
        used = sum(len(text) for text, _ in left)
        pieces = [*left, (" " * (width - used - len(right[0])), ""), right]
        return strip(self, pieces)

    def _model(self) -> Line:
        config = self._ready.config
        if self._ready.stream:
            return [("kvtui ", "status--dim"), (f" {self._ready.name}", "status--name"), *self._told()]
        return [
            ("kvtui ", "status--dim"),
            (f" {self._ready.name}", "status--name"),
            (f" · {count_words(self._ready.parameters)} parameters", ""),
            (f" · {config.num_layers} layers × {config.num_heads} heads", ""),
            (f" · context {config.context_length}", ""),
        ]

    def _told(self) -> Line:
        """What a stream says of its model."""
        if not self._ready.parameters:
            return [(" · events of another program", "")]
        config = self._ready.config
        return [
            (f" · {count_words(self._ready.parameters)} parameters", ""),
            (f" · {config.num_layers} layers × {config.num_heads} heads", ""),
            (f" · context {config.context_length}", ""),
            (" · another program's", ""),
        ]

    def _run(self) -> Line:
        figures = self._figures
        return [
            (phase_words(figures), "status--name"),
            (f" · pace {pace_words(figures.pace):9}", ""),
            *self._of_the_text(" · "),
            *([] if self._ready.stream else [(f" · seed {figures.seed}", "")]),
            (f" · {figures.written:7,} tokens {'in each lane' if figures.race else 'written'}", ""),
        ]

    def _of_the_text(self, before: str) -> Line:
        """How the text is written; the lanes of a race have settings of their own."""
        return [] if self._figures.race else [*self._without(), *self._policy(before), *self._verified(before)]

    def _policy(self, before: str) -> Line:
        """What the cache keeps, if that is not everything."""
        policy = self._figures.policy
        return [(f"{before}{policy}", "status--name")] if policy != "full" else []

    def _brief(self) -> Line:
        figures = self._figures
        if self._ready.stream:
            pace = (f" {pace_words(figures.pace):9}", "")
            return [self._run()[0], pace, (f" · {self._ready.name}", "status--dim"), *self._told()]
        return [
            (phase_words(figures), "status--name"),
            (f" pace {pace_words(figures.pace):9}", ""),
            *self._of_the_text(" "),
            (f" seed {figures.seed}", ""),
            (f" · {self._ready.name}", "status--dim"),
            (f" {count_words(self._ready.parameters)} parameters", "status--dim"),
            (f" {self._ready.config.num_layers} × {self._ready.config.num_heads} heads", "status--dim"),
        ]

    def _verified(self, gap: str) -> Line:
        """How the cache compares with a run without it, in a word and the worst difference so far."""
        verification = self._figures.verification
        if not verification.on and not self._figures.cache_wrong:
            return []
        if not verification.checked:
            return [(f"{gap}verifying", "")]
        checked = (f" in {verification.checked:,} token{'s' if verification.checked != 1 else ''}", "")
        other = (f", in {verification.disagreements:,} another likeliest" if verification.disagreements else "", "")
        if self._figures.policy != "full":
            return [(f"{gap}policy differs {verification.worst:.2g}", "status--name"), checked, other]
        if verification.failed:
            return [(f"{gap}✖ CACHE WRONG {verification.worst:.2g}", "status--name"), checked, other]
        return [(f"{gap}✓ verified {verification.worst:.0e}", "status--name"), checked]

    def _without(self) -> Line:
        """A warning while the text is not the model's own."""
        off = self._figures.heads_off
        if not off:
            return []
        return [(f" · without {off_words(off) if len(off) <= 2 else f'{len(off)} heads'}", "status--off")]

    @staticmethod
    def _fit(pieces: Line, room: int) -> Line:
        """As many whole pieces as there is room for."""
        kept: Line = [(" ", "")]
        room -= 1
        for text, style in pieces:
            if len(text) > room:
                break
            kept.append((text, style))
            room -= len(text)
        return kept
