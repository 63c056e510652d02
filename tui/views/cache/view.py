"""View 3: the cache as a map, its size, and what the caches of other models would take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.reactive import reactive

from kvtui.core.commands import Question, ShowCache
from kvtui.core.events import CacheContents, Token, Unanswered
from kvtui.tui.actions import Action
from kvtui.tui.drawing.chart import Axis, Curve, Drawing
from kvtui.tui.drawing.labels import label
from kvtui.tui.drawing.lines import Line
from kvtui.tui.panes.bars import round_up
from kvtui.tui.panes.chart import Chart
from kvtui.tui.panes.lines import LinesPane
from kvtui.tui.session.session import Session
from kvtui.tui.session.update import Update
from kvtui.tui.views.cache.draw_sizes import Sizes, sizes_lines
from kvtui.tui.views.cache.known_models import KnownModelsPane
from kvtui.tui.views.cache.map import CacheMapPane
from kvtui.tui.views.view import View

GONE = "the cache has been refilled since then: its earlier contents are gone"
BELOW = ("-all", "-growth", "-models", "-none")  # what is below the map: as much as fits, or one pane

_LABEL = 10  # cells of the token in the title
MOST_POINTS = 4096  # of the chart


class CacheView(View):
    """The cache as a map, its size and its growth, and the sizes for well-known models."""

    TITLE = "Cache"
    SUMMARY = "The cache as a map of layers, heads and positions; its size, here and in well-known models."
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action(
            "quantity",
            "k",
            "k",
            "What the map shows",
            "Norms of values or keys, what was read, why it is kept.",
            "Colour by",
        ),
        Action("previous_layer", "left_square_bracket", "[", "Previous layer", "Scroll the map up to it.", "-"),
        Action("next_layer", "right_square_bracket", "]", "Next layer", "Scroll the map down to it.", "Layer"),
        Action("zoom", "z", "z", "Zoom of the map", "All positions in the width, or one per cell.", "Zoom"),
        Action("ramp", "g", "g", "Characters of the map", "Shades or bars.", "Marks", rank=6),
        Action(
            "below",
            "m",
            "m",
            "What is below the map",
            "Sizes and growth, growth alone, well-known models, or nothing.",
            "More",
        ),
        Action(
            "shorter", "left_curly_bracket", "{", "Shorter context", "For the caches of well-known models.", "-", rank=3
        ),
        Action(
            "longer",
            "right_curly_bracket",
            "}",
            "Longer context",
            "For the caches of well-known models.",
            "Context",
            rank=3,
        ),
    )
    PARAGRAPHS = (
        (
            "Cache map",
            "A row for every layer and key/value head, a column for every position, or for several if they do not fit: "
            "the title says how many. The denser the mark, the longer the stored vector, or the more the "
            "newest token, or the chosen one, attended to it: the query that the title names, as in view 1. The line "
            "below marks what its step wrote and read. With a policy (P), "
            "× marks what was dropped, and the last choice of k shows why the rest is kept.",
        ),
        (
            "Cache size",
            "Bytes per position, of those kept now (measured), and of a full context; the formula; and the memory of "
            "the generator process, with model and Python, as the system measures it.",
        ),
        (
            "Well-known models",
            "The same formula with the shapes published for each model, for one text of a context that you choose with "
            "{ and }. A server keeps one such cache for every text that is being written.",
        ),
    )

    below: reactive[str] = reactive(BELOW[0])

    def __init__(self) -> None:
        super().__init__()
        self._points: list[tuple[float, float]] = []  # tokens of the text, MB
        self._stride = 1  # tokens from one point to the next
        self._growth = Drawing()
        self._contents: CacheContents | None = None
        self._refused = ""  # why the worker could not answer
        self._shown_sizes: Sizes | None = None
        self._here: Token | None = None  # the token that the chart marks

    def compose(self) -> ComposeResult:
        """The map above; sizes, growth and well-known models below."""
        yield CacheMapPane(id="cache-map")
        with Horizontal(id="cache-below"):
            with Vertical(id="cache-weight"):
                yield LinesPane(lambda width, height: [], "Cache size", id="cache-sizes")
                yield Chart("Growth · MB against tokens of the text", id="cache-growth")
            yield KnownModelsPane(id="cache-models")

    @property
    def map(self) -> CacheMapPane:
        """The pane of the map."""
        return self.query_one(CacheMapPane)

    def show(self, update: Update, session: Session) -> None:
        """Pass what is new to every pane."""
        super().show(update, session)
        if update.reset or update.model:
            self.map.configure(session.model.config)
        if update.reset:
            self.map.clear()
            self._points, self._stride = [], 1
            self._contents, self._refused = None, ""
        if update.prefill is not None:
            self._points.append((update.prefill.dropped + update.prefill.tokens, update.prefill.cache_bytes / 1e6))
        self._add(update.tokens)
        self._take(update)
        self._show_map(update.answer(CacheContents), session)
        sizes = self._sizes(session)
        if sizes != self._shown_sizes:
            self._shown_sizes = sizes
            self.query_one("#cache-sizes", LinesPane).show(partial(_sizes_lines, sizes))
        self.query_one(KnownModelsPane).here(session.model.name, sizes)
        here = session.cursor.token
        if update.news or here != self._here or not self._growth.curves:
            self._here = here
            self._growth = growth(self._points, sizes, here)
        self.query_one(Chart).show(self._growth)

    def _add(self, tokens: Sequence[Token]) -> None:
        """Add the bytes of every token to the chart; for a long text every second, then every fourth …"""
        self._points += [
            (token.position + 1, token.cache_bytes / 1e6) for token in tokens if token.step % self._stride == 0
        ]
        if len(self._points) > MOST_POINTS:
            self._stride *= 2
            self._points = self._points[::2]

    def _take(self, update: Update) -> None:
        """Keep the worker's answers."""
        for answer in update.answers:
            if isinstance(answer, CacheContents):
                self._contents, self._refused = answer, ""
            elif isinstance(answer, Unanswered) and isinstance(answer.question, ShowCache):
                self._refused = answer.reason

    def _show_map(self, contents: CacheContents | None, session: Session) -> None:
        """Show the cache as it is, or as it was at the selected token."""
        state, token, query = session.shown, session.cursor.token, self._query(session)
        if token is None:
            self.map.show(contents, state.cache, state.context, query=query)
            return
        start = self._contents.position if self._contents else 0
        length = max(0, token.position + 1 - start) if token.cache else 0
        gone = GONE if token.position < start or self._differs(token, length) else self._refused
        self.map.show(contents, state.cache, state.context, length, token.computed, gone, query)

    def _query(self, session: Session) -> str:
        """Label of the token that the contents are of: the last that is in them. Those of the prompt are not kept."""
        contents = self._contents
        token = session.timeline.at(contents.position + contents.length - 1) if contents is not None else None
        return label(token.text, _LABEL) if token is not None else ""

    def _differs(self, token: Token, length: int) -> bool:
        """Whether the cache has been filled under another policy since: it then held another number of positions."""
        contents = self._contents
        if contents is None or contents.length != length or not token.cache:
            return False
        return contents.kept.shape[2] != token.cached_positions

    def _sizes(self, session: Session) -> Sizes:
        model, state = session.model, session.shown
        config, contents = model.config, self._contents
        return Sizes(
            config,
            model.itemsize,
            state.cache,
            state.cached_positions if state.cache else 0,
            state.cache_bytes if state.cache else 0,
            contents.process_bytes if contents else None,
            contents is not None,
            state.policy,
        )

    def questions(self, session: Session) -> Iterable[Question]:
        """Ask for the layers that are on the map."""
        yield self.map.question

    # Keys

    def watch_below(self, before: str, below: str) -> None:
        """Show other panes below the map."""
        self.remove_class(before).add_class(below)

    def action_quantity(self) -> None:
        """Choose what the map shows: value norm, key norm, what was read, why it is kept."""
        self.map.cycle_quantity()

    def action_previous_layer(self) -> None:
        """Scroll the map up to the previous layer."""
        self.map.move_layer(-1)

    def action_next_layer(self) -> None:
        """Scroll the map down to the next layer."""
        self.map.move_layer(1)

    def action_zoom(self) -> None:
        """Fit all positions into the width, or show one per cell."""
        self.map.fitted = not self.map.fitted

    def action_ramp(self) -> None:
        """Switch between shades and bars."""
        self.map.cycle_ramp()

    def action_below(self) -> None:
        """Show everything below the map, one pane, or nothing."""
        self.below = BELOW[(BELOW.index(self.below) + 1) % len(BELOW)]

    def action_shorter(self) -> None:
        """Halve the context of the well-known models."""
        self.query_one(KnownModelsPane).choice -= 1

    def action_longer(self) -> None:
        """Double the context of the well-known models."""
        self.query_one(KnownModelsPane).choice += 1


def _sizes_lines(sizes: Sizes, width: int, height: int) -> list[Line]:
    return sizes_lines(sizes, width)


def growth(points: list[tuple[float, float]], sizes: Sizes, here: Token | None = None) -> Drawing:
    """Measured bytes against tokens of the text, and the formula up to a full context; ``here`` is marked."""
    capacity = sizes.config.context_length
    full = sizes.by_formula(capacity) / 1e6
    formula = Curve([(0.0, 0.0), (capacity, full)], style="chart--axis", label="formula")
    measured = Curve(list(points), style="chart--first", label="measured")
    last = max(capacity, points[-1][0] if points else 0)
    looked_at = [] if here is None else [(here.position + 1.0, here.cache_bytes / 1e6)]
    mark = Curve(looked_at, style="chart--third", marker="◆", joined=False)
    return Drawing((formula, measured, mark), Axis(0, last), Axis(0, round_up(full)))
