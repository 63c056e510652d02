"""How attention weights are laid out in a pane: lines of text with style classes. Does not import Textual."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from textwrap import wrap
from typing import Literal

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len

from kvtui.core.events import Attention
from kvtui.core.layers import Array
from kvtui.tui.drawing.grid import RAMPS, Tiling, arrange, paint, tabs, window
from kvtui.tui.drawing.labels import piece, upright
from kvtui.tui.drawing.lines import Line
from kvtui.tui.panes.bars import runs

Mode = Literal["one", "all", "mean"]
MODES: tuple[Mode, ...] = ("one", "all", "mean")
EMPTY = (
    "What the model attends to will appear here:",
    "one row for each of the newest tokens,",
    "one mark for every key that it attends to.",
    "Type a prompt and press Enter.",
)
STREAM = (
    "A stream of events carries no attention weights:",
    "they would take megabytes per token, and the program that writes it cannot be asked for only those that fit.",
    "To see attention, open the model here: kvtui --model M",
)
INTENSITY = ("attention--faint", "attention--middling", "attention--strong")
DROPPED = "╱"  # a key that a cache policy had dropped before the query
_LOOKS = (*INTENSITY, "attention--dropped")

_GUTTER, _WIDE_GUTTER = 2, 7  # "a " or "a  12%‹": the query's character, and its weight off screen to the left
_PIECE, _WIDE_PIECE = 6, 8  # cells of a query's token, if tokens are longer than a character
_UPRIGHT = (
    (26, 12),
    (18, 8),
    (14, 5),
    (12, 4),
    (8, 3),
    (6, 2),
)  # from this many lines on, labels of this height fit above a grid
_WIDE = 50  # cells: from here on the wide gutter is used
_LONGEST_PIECE = 24  # cells of a token in the border
_TALL = 9  # lines: from here on layers and heads have a line each
_LABELLED = 5  # lines: from here on a tile among many labels its keys


@dataclass(frozen=True)
class AttentionLayout:
    """What is to be drawn, and in how many cells.

    Attributes:
        first: the window index of the first key; None for the newest that fit.
        pieces: whether tokens are longer than a character. If so, they are written out, vertically above a grid.
        cell: cells per key: 2 if any token has wide characters.
        moment: the token that the newest row is of, such as ``token 93``.
    """

    width: int
    height: int
    layers: int
    heads: int
    layer: int
    head: int | None
    mode: Mode
    ramp: str = RAMPS[0]
    first: int | None = None
    event: Attention | None = None
    stream: bool = False
    words: tuple[str, ...] = EMPTY  # shown instead of weights
    pieces: bool = False
    cell: int = 1
    moment: str = ""

    @property
    def tall(self) -> bool:
        """Whether layers and heads have a line each."""
        return self.height >= _TALL

    @property
    def body(self) -> int:
        """Number of lines below the tabs."""
        return max(self.height - (2 if self.tall else 1), 1)

    @property
    def gutter(self) -> int:
        """Number of cells left of a row's weights."""
        if self.spelled:
            return self.piece + (_WIDE_GUTTER - 1 if self.width >= _WIDE else 1)
        return _WIDE_GUTTER if self.width >= _WIDE and self.mode != "all" else _GUTTER

    @property
    def spelled(self) -> bool:
        """Whether whole tokens fit: not beside the small grids of all heads."""
        return self.pieces and self.mode != "all"

    @property
    def piece(self) -> int:
        """Number of cells of a row's token."""
        return (_WIDE_PIECE if self.width >= _WIDE else _PIECE) if self.spelled else self.cell

    @property
    def header(self) -> int:
        """Number of lines of key labels above a grid."""
        return next((lines for room, lines in _UPRIGHT if self.spelled and self.body >= room), 1)

    @property
    def tiling(self) -> Tiling:
        """How the grids share the area below the tabs."""
        if self.mode == "all":
            return arrange(self.heads, self.width, self.body)
        return Tiling(1, 1, max(self.width, 1), self.body)

    @property
    def wanted_heads(self) -> tuple[int, ...] | None:
        """The heads that are drawn, None for all or their mean: with many heads only some have room for a tile."""
        if self.mode == "one" and self.head is not None:
            return (self.head,)
        shown = min(self.tiling.count, self.heads)
        if self.mode != "all" or shown == self.heads:
            return None
        first = min(max((self.head or 0) - shown + 1, 0), self.heads - shown)
        return tuple(range(first, first + shown))

    @property
    def rows(self) -> int:
        """Number of query rows that fit into a grid."""
        tile = self.tiling.height
        if self.mode == "all":
            return max(tile - (2 if tile >= _LABELLED else 1), 1)
        return max(tile - self.header, 1)

    @property
    def key_room(self) -> int:
        """Number of keys that fit into a grid."""
        return max((self.tiling.width - self.gutter) // self.cell, 1)


@dataclass(frozen=True)
class Target:
    """Cells ``start`` up to ``end`` of line ``y``: clicking them makes a choice."""

    y: int
    start: int
    end: int
    layer: int | None = None
    head: int | None = None
    mode: Mode | None = None


@dataclass(frozen=True)
class Place:
    """Where the weights of a grid are drawn, and the window indices of the query and the key in its first cell."""

    x: int
    y: int
    weights: Array  # (rows shown, keys shown), NaN where a key had been dropped
    row: int
    key: int
    head: int | None  # None: mean
    cell: int = 1  # cells per key

    def at(self, x: int, y: int) -> tuple[int, int, float] | None:
        """Query index, key index and weight in a cell."""
        row, key = y - self.y, (x - self.x) // self.cell
        if not (0 <= row < self.weights.shape[0] and 0 <= key < self.weights.shape[1]):
            return None
        return self.row + row, self.key + key, float(self.weights[row, key])


@dataclass
class Drawing:
    """The lines from top to bottom, the clickable targets, where the weights are, and the range of keys shown."""

    lines: list[Line] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    keys: tuple[int, int, int] | None = None  # first, last + 1, total
    dropped: bool = False  # whether any key shown had been dropped
    hidden: float = 0.0  # the newest query's weight on keys to the left of the first one shown
    strongest: tuple[str, float] | None = None  # the key that the newest query attends to most, where keys are pieces


def draw(layout: AttentionLayout) -> Drawing:
    """The tabs, and below them one grid or a tile for every head."""
    drawing = Drawing()
    if layout.stream:
        drawing.lines += [[(text, "attention--hint")] for part in STREAM for text in wrap(part, max(layout.width, 8))]
        return drawing
    _draw_tabs(layout, drawing)
    event = layout.event
    if event is None:
        width = max(layout.width, 8)
        drawing.lines += [[(text, "attention--hint")] for part in layout.words for text in wrap(part, width)]
        return drawing
    grids = _grids(layout, event)
    if not grids:
        drawing.lines.append([(f"waiting for layer {layout.layer + 1} …", "attention--hint")])
        return drawing
    first, last = window(len(event.keys), layout.key_room, layout.first)
    drawing.keys = (first, last, len(event.keys))
    tiling, top = layout.tiling, len(drawing.lines)
    drawing.lines += [[] for _ in range(tiling.rows * tiling.height)]
    for number, (head, weights) in enumerate(grids):
        down, across = divmod(number, tiling.columns)
        x, y = across * (tiling.width + 1), top + down * tiling.height
        _draw_tile(layout, drawing, event, head, weights, x, y)
    drawing.hidden = float(grids[-1][1][-1, :first].sum())
    if layout.pieces:
        newest = next((weights for head, weights in grids if head == layout.head), grids[0][1])[-1]  # (keys,)
        strongest = int(newest.argmax())
        drawing.strongest = event.keys[strongest], float(newest[strongest])
    return drawing


def _grids(layout: AttentionLayout, event: Attention) -> list[tuple[int | None, Array]]:
    """The heads to draw with their (rows, keys) weights; none if the event is about another layer or lacks the head."""
    if event.layer != layout.layer or not event.weights.size:
        return []
    if layout.mode == "mean":
        return [(None, event.weights.mean(axis=0))] if len(event.heads) == layout.heads else []
    wanted = tuple(range(layout.heads)) if layout.wanted_heads is None else layout.wanted_heads
    if event.mean or not set(wanted) <= set(event.heads):
        return []
    return [(head, event.weights[event.heads.index(head)]) for head in wanted]


def _draw_tabs(layout: AttentionLayout, drawing: Drawing) -> None:
    """Layers, then "all", "mean" and the heads: on a line each, or together on one."""
    room = layout.width if layout.tall else (layout.width - 1) // 2
    selected = {"all": 0, "mean": 1, "one": 2 + (layout.head or 0)}[layout.mode]
    layer_names = [f"L{layer + 1}" for layer in range(layout.layers)]
    head_names = ["all", "mean", *(f"H{head + 1}" for head in range(layout.heads))]
    layers = tabs(layer_names, layout.layer, room)
    start = 0 if layout.tall else layers[-1].end + 1
    heads = tabs(head_names, selected, layout.width - start, start)
    second = 1 if layout.tall else 0
    line = [(tab.text, "attention--selected" if tab.index == layout.layer else "attention--tab") for tab in layers]
    drawing.lines.append(line)
    drawing.targets += [Target(0, tab.start, tab.end, layer=tab.index) for tab in layers]
    if layout.tall:
        drawing.lines.append([])
    else:
        line.append((" ", ""))
    for tab in heads:
        drawing.lines[second].append((tab.text, "attention--selected" if tab.index == selected else "attention--tab"))
        target = Target(second, tab.start, tab.end)
        if tab.index < 2:
            drawing.targets.append(replace(target, mode="mean" if tab.index else "all"))
        else:
            drawing.targets.append(replace(target, mode="one", head=tab.index - 2))


def _draw_tile(
    layout: AttentionLayout, drawing: Drawing, event: Attention, head: int | None, weights: Array, x: int, y: int
) -> None:
    """One grid with its labels in the tile whose first cell is (x, y); the lines so far end at or before x."""
    tiling, gutter = layout.tiling, layout.gutter
    first, last = window(weights.shape[1], layout.key_room, layout.first)
    bottom = y + tiling.height
    if layout.mode == "all":
        chosen = head == layout.head
        name = f"[H{(head or 0) + 1}]" if chosen else f" H{(head or 0) + 1} "
        _put(drawing.lines[y], x, [(name, "attention--selected" if chosen else "attention--tab")])
        drawing.targets += [Target(line, x, x + tiling.width, head=head) for line in range(y, bottom)]
        y += 1
    if layout.mode != "all" or tiling.height >= _LABELLED:
        corner = "query│ "[-gutter:].rjust(gutter) if gutter > 2 else " " * gutter
        for number, labels in enumerate(upright(event.keys[first:last], layout.header, layout.cell), 1):
            margin = corner if number == layout.header else f"{'│ '[-gutter:]:>{gutter}}"
            _put(drawing.lines[y], x, [(margin, "attention--tab"), (labels, "attention--label")])
            y += 1
    shown = max(0, min(weights.shape[0], bottom - y))
    top_row = event.first_row + weights.shape[0] - shown
    part = weights[weights.shape[0] - shown :, first:last]
    hidden = weights[weights.shape[0] - shown :, :first].sum(axis=1)
    texts, intensities = paint(part, layout.ramp)
    room = gutter - layout.piece
    gone = _dropped(event, head, shown)[:, first:last]
    intensities[gone] = len(INTENSITY)
    for row, text in enumerate(texts):
        text = "".join(np.where(gone[row], DROPPED, list(text))) if gone[row].any() else text
        token = event.keys[top_row + row] if top_row + row < len(event.keys) else " "
        share = f"{100 * float(hidden[row]):4.0f}%‹" if first and room >= 6 else " " * room
        label = (_row_label(layout, token), "attention--newest" if row == shown - 1 else "attention--label")
        cells = "".join(mark * layout.cell for mark in text) if layout.cell > 1 else text
        marks = [
            (cells[start * layout.cell : end * layout.cell], _LOOKS[intensities[row, start]])
            for start, end in runs(intensities[row])
        ]
        _put(drawing.lines[y + row], x, [label, (share, "attention--tab"), *marks])
    drawing.dropped = drawing.dropped or bool(gone.any())
    drawing.places.append(Place(x + gutter, y, np.where(gone, np.nan, part), top_row, first, head, layout.cell))


def _row_label(layout: AttentionLayout, token: str) -> str:
    """The whole token where it fits, else its first character."""
    return piece(token if layout.spelled else (token.strip() or token)[:1], layout.piece)


def _dropped(event: Attention, head: int | None, rows: int) -> npt.NDArray[np.bool_]:
    """(rows, keys): which keys a cache policy had dropped before the newest queries; for None, in every head."""
    if event.dropped is None:
        return np.zeros((rows, event.weights.shape[2]), bool)
    newest = event.dropped[:, event.dropped.shape[1] - rows :]  # (heads, rows, keys)
    return np.logical_and.reduce(newest if head is None else newest[[event.heads.index(head)]])


def _put(line: Line, x: int, pieces: Line) -> None:
    """Append pieces at cell x of a line that ends before it."""
    length = sum(cell_len(text) for text, _ in line)
    if x > length:
        line.append((" " * (x - length), ""))
    line += pieces


def title(layout: AttentionLayout) -> str:
    """Whose attention it is, the choice and the ramp, as far as they fit; the tabs name the choice as well."""
    if layout.stream:
        return "Attention"
    name = f"Attention of {layout.moment}" if layout.event is not None and layout.moment else "Attention"
    layer = f"layer {layout.layer + 1}/{layout.layers}"
    one = f"head {(layout.head or 0) + 1}/{layout.heads}"
    head = {"one": one, "all": f"all {layout.heads} heads", "mean": f"mean of {layout.heads} heads"}[layout.mode]
    choices = (
        f"{name} · {layer} · {head} · ramp {layout.ramp} of √weight, 0 to 1",
        f"{name} · {layer} · √weight {layout.ramp}",
        f"{name} · √weight {layout.ramp}",
        f"{name} {layout.ramp}",
    )
    return next((words for words in choices if len(words) <= layout.width - 4), name)


def key_range(drawing: Drawing, room: int = 200) -> str:
    """Which keys are shown, the one that the newest query attends to most, and its weight on earlier ones.

    As many of these as fit into ``room`` cells.
    """
    if drawing.keys is None:
        return ""
    first, last, total = drawing.keys
    words = [f"keys {first + 1}–{last} of {total}"]
    if drawing.dropped:
        words.append(f"{DROPPED} dropped")
    if drawing.strongest is not None:
        text, weight = drawing.strongest
        words.append(f"most on {_spelled(text, _LONGEST_PIECE)} {weight:.2f}")
    if first and len(drawing.places) == 1:
        words.append(f"{100 * drawing.hidden:2.0f}% older")
    return next(
        (line for count in range(len(words), 1, -1) if len(line := " · ".join(words[:count])) <= room), words[0]
    )


def _spelled(token: str, cells: int) -> str:
    """A whole token, or as much of it as fits."""
    return piece(token, cells).rstrip()


def pointed(layout: AttentionLayout, drawing: Drawing, x: int, y: int) -> str:
    """The weight in a cell as a number; empty where there is none."""
    if layout.event is None:
        return ""
    keys = layout.event.keys
    for place in drawing.places:
        cell = place.at(x, y)
        if cell is not None and cell[0] < len(keys):
            row, key, weight = cell
            found = "dropped" if np.isnan(weight) else f"{weight:.3f}"
            fixed = len(f"query  {row + 1} → key  {key + 1}: {found}")
            cells = min(max((layout.width - 4 - fixed) // 2, _WIDE_PIECE), _LONGEST_PIECE)
            query, other = _spelled(keys[row], cells), _spelled(keys[key], cells)
            return f"query {query} {row + 1} → key {other} {key + 1}: {found}"
    return ""
