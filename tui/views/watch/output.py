"""The text as it is written. It follows its end unless the user has scrolled up."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import ClassVar, Literal

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from kvtui.core.events import Token
from kvtui.tui.drawing.transcript import LIMIT, PROMPT, Transcript
from kvtui.tui.messages import TokenPicked
from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update

Colouring = Literal["nothing", "time", "probability"]
COLOURINGS: tuple[Colouring, ...] = ("nothing", "time", "probability")
LEVELS = 5
_PROBABILITIES = (0.5, 0.25, 0.1, 0.02)  # a token at least this likely has level 0, 1, 2, 3; any other 4
_LEGENDS: dict[Colouring, tuple[str, tuple[str, ...]]] = {
    "nothing": ("", ()),
    "time": ("× the fastest ", ("<2", "<4", "<8", "<16", "≥16")),
    "probability": ("probability ", ("≥50%", "≥25%", "≥10%", "≥2%", "<2%")),
}
# The colours of the levels in the legend, the same as the style sheet gives them in the text.
_COLOURS = (
    "$foreground",
    "$foreground on $foreground 20%",
    "i $foreground on $primary-muted",
    "b $foreground on $accent-muted",
    "b u $foreground on $error-muted",
)

EMPTY = (
    "The text will appear here.",
    "Type a prompt and press Enter, or press Enter alone for an empty prompt.",
    "",
    "Then press t (ctrl+t while typing) to switch the KV cache off and on: same text, different cost.",
    "",
    "New here? F6 opens a guided tour, from tokens to cache policies.",
)


def probability_level(logprob: float) -> int:
    """Level of a log-probability in nats: 0 (likely) to 4 (a surprise)."""
    probability = math.exp(min(logprob, 0.0))
    return next((level for level, least in enumerate(_PROBABILITIES) if probability >= least), LEVELS - 1)


def time_level(seconds: float, fastest: float) -> int:
    """Level of a time against the fastest: 0 (less than twice) to 4 (at least 16 times)."""
    return min(int(math.log2(max(seconds / fastest, 1.0))), LEVELS - 1) if fastest > 0 else 0


class OutputPane(ScrollView, can_focus=True):
    """The text with its prompt; on request each token is tinted by its time or its probability."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"output--level-{level}" for level in range(LEVELS)),
        "output--prompt",
        "output--cursor",
        "output--hint",
        "output--chosen",
        "output--later",
    }

    colouring: reactive[Colouring] = reactive[Colouring]("nothing")
    writing: reactive[bool] = reactive(False)

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.border_title = "Output"
        self.transcript = Transcript()
        self._hint = Transcript()
        self._hint.append("\n".join(EMPTY))
        self._fastest = math.inf
        self._following = True
        self._began = False
        self._start_of_tokens = 0  # characters before the first of those tokens
        self._first = 0  # index in the whole text of the first token in _ends
        self._ends: list[int] = []  # for each token: characters of the text up to its end
        self._looking: int | None = None  # index in the whole text of the selected token

    def feed(self, update: Update, session: Session) -> None:
        """Show the text written so far."""
        if update.reset and session.prompt is not None:
            self.start()
        if update.prefill is not None:
            self.add_prompt(update.prefill.prompt)
        if update.tokens:
            self.add(update.tokens)
        self.writing = session.writing  # a race is not this text
        self.look(session.cursor.token)

    def start(self) -> None:
        """Clear the pane for a new text."""
        self.transcript.clear()
        self._fastest = math.inf
        self._following = self._began = True
        self._ends, self._looking = [], None
        self._update()

    def add_prompt(self, text: str) -> None:
        """Show the prompt that the model continues."""
        self.transcript.append(text)
        self._update()

    def add(self, tokens: Sequence[Token]) -> None:
        """Append a batch of tokens."""
        if tokens and not self._ends:
            self._first, self._start_of_tokens = tokens[0].position, self._length
        for token in tokens:
            self._ends.append(self._length + len(token.text))
            self._fastest = min(self._fastest, token.seconds)
            self.transcript.append(
                token.text, time_level(token.seconds, self._fastest), probability_level(token.logprob)
            )
        if tokens:
            self._update()
        if len(self._ends) > 2 * LIMIT:
            gone = bisect_right(self._ends, self.transcript.let_go)
            self._start_of_tokens, self._first = self._ends[gone - 1], self._first + gone
            del self._ends[:gone]

    def look(self, token: Token | None) -> None:
        """Mark a token and scroll to it; None clears the mark."""
        position = None if token is None else token.position
        if position == self._looking:
            return
        self._looking = position
        if token is not None and (line := self._line_of(token.position)) is not None:
            self._following = False
            top, height = self.scroll_offset.y, self.scrollable_content_region.height
            if not top <= line < top + height:
                self.scroll_to(y=max(line - height // 2, 0), animate=False, immediate=True)
        self._describe()
        self.refresh()

    def follow(self) -> None:
        """Scroll to the end, and follow it from now on."""
        self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)
        self._following = True
        self._describe()

    def cycle_colouring(self) -> None:
        """Switch the tint: none, time, probability."""
        self.colouring = COLOURINGS[(COLOURINGS.index(self.colouring) + 1) % len(COLOURINGS)]

    # Where the tokens are

    @property
    def _length(self) -> int:
        """Number of characters of the whole text so far."""
        return self._ends[-1] if self._ends else self.transcript.let_go + len(self.transcript)

    def _characters_of(self, position: int) -> tuple[int, int] | None:
        """Start and end of a token's characters in the text that is kept."""
        number = position - self._first
        if not 0 <= number < len(self._ends):
            return None
        gone, end = self.transcript.let_go, self._ends[number]
        start = self._ends[number - 1] if number else self._start_of_tokens
        return (start - gone, end - gone) if start >= gone else None

    def _line_of(self, position: int) -> int | None:
        characters = self._characters_of(position)
        return None if characters is None else self.transcript.line_of(characters[0])

    def _is_line_break(self, place: int, number: int) -> bool:
        """Whether this place is the line break at the end of a line."""
        lines = self._shown.lines
        return number + 1 < len(lines) and lines[number][1] == place == lines[number + 1][0] - 1

    def on_click(self, event: events.Click) -> None:
        """Select the token under the mouse."""
        offset = event.get_content_offset(self)
        if offset is None or not self._began or not self._ends:
            return
        place = self.transcript.place_at(offset.x, offset.y + int(self.scroll_offset.y))
        if place is not None:
            number = bisect_right(self._ends, place + self.transcript.let_go)
            self.post_message(TokenPicked(self._first + min(number, len(self._ends) - 1)))

    # What follows from changes

    def watch_colouring(self) -> None:
        """Show the legend of the tint."""
        self._describe()

    def on_resize(self, event: events.Resize) -> None:
        """Wrap the text again."""
        self._update()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Stop following when the user scrolls up; follow again at the end."""
        super().watch_scroll_y(old_value, new_value)
        self._following = new_value >= self.max_scroll_y - 0.5
        self._describe()

    def _update(self) -> None:
        """Update the scrollable size, and scroll to the end if following."""
        width = self.scrollable_content_region.width
        if not width:
            return
        following = self._following
        text = self._shown
        text.resize(width)
        text.wrap()
        self.virtual_size = Size(width, len(text.lines))
        dropped = text.take_dropped()
        if following:
            self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)
        elif dropped:
            self.scroll_to(y=max(0.0, self.scroll_y - dropped), animate=False, immediate=True)
        self._following = following
        self.refresh()

    @property
    def _shown(self) -> Transcript:
        return self.transcript if self._began else self._hint

    def _describe(self) -> None:
        title, names = _LEGENDS[self.colouring]
        subtitle = title + " ".join(f"[{colours}]{name}[/]" for colours, name in zip(_COLOURS, names, strict=False))
        if self._looking is not None:  # the tint stays, and so does its legend
            subtitle = subtitle or "looking back: End follows again"
        elif not self._following:
            subtitle = "scrolled up: End follows again"
        if subtitle != self.border_subtitle:
            self.border_subtitle = subtitle

    # Drawing

    def render_line(self, y: int) -> Strip:
        """Return one line of the text."""
        number = y + int(self.scroll_offset.y)
        width = self.scrollable_content_region.width
        text = self._shown
        if number >= len(text.lines):
            return Strip.blank(width, self.rich_style)
        colouring = 1 if self.colouring == "probability" else 0
        chosen = None if self._looking is None else self._characters_of(self._looking)
        segments = [
            Segment(piece, self._style(mark) + self._moment(place, chosen))
            for piece, mark, place in text.line(number, colouring, chosen or ())
        ]
        if chosen is not None and self._is_line_break(chosen[0], number):
            segments.append(Segment("↵", self.get_component_rich_style("output--chosen")))
        if self._began and self.writing and number == len(text.lines) - 1:
            segments.append(Segment("▌", self.get_component_rich_style("output--cursor")))
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _moment(self, place: int, chosen: tuple[int, int] | None) -> Style:
        """Style of the selected token and of those after it, on top of their tint."""
        if chosen is None or place < chosen[0]:
            return Style.null()
        name = "output--chosen" if place < chosen[1] else "output--later"
        return self.get_component_rich_style(name, partial=True)

    def _style(self, mark: int) -> Style:
        if not self._began:
            return self.get_component_rich_style("output--hint")
        if mark == PROMPT:
            return self.get_component_rich_style("output--prompt")
        if self.colouring == "nothing":
            return self.rich_style
        return self.get_component_rich_style(f"output--level-{mark}")
