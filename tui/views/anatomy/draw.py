"""How the anatomy of a token is laid out: lines of text with style classes. Does not import Textual."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np

from kvtui.core.events import Attention, Candidate, Inspection
from kvtui.core.sampling import SamplingSettings
from kvtui.tui.drawing.grid import window
from kvtui.tui.drawing.labels import label
from kvtui.tui.drawing.lines import Line, bar
from kvtui.tui.drawing.words import Head, head_name, settings_words
from kvtui.tui.session.state import RunState

LEVELS = "▁▂▃▄▅▆▇█"
CELLS = (6, 5)  # "[2.13]" or " 2.13▅"; "[2.1]" where the heads do not fit otherwise
GUTTER = 4  # "L12 "
_LABEL = 10  # cells of the longest token label
_SHARE = 7  # "100.0 %"
_SEEN = 0.00005  # the smallest change of probability that two decimals of a percent show
_LOOKED = 0.001  # the smallest weight that gets a line
_BARS = 12  # cells: bars narrower than this are not drawn twice


def share(probability: float) -> str:
    """A probability as seven cells of text."""
    percent = 100 * probability
    return f"{percent:5.1f} %" if percent >= 9.995 else f"{percent:5.2f} %"


def _width_of_labels(texts: Collection[str]) -> int:
    return min(max((len(label(text)) for text in texts), default=1), _LABEL)


def query_title(choices: Sequence[str], inspection: Inspection, width: int) -> str:
    """The title of a pane about the position before the token: its own token, and the one it predicted.

    Args:
        choices: what stands before those two, the longest first.
        inspection: of the token.
        width: of the pane, in cells.
    """
    query, token = label(inspection.query, _LABEL), label(inspection.text, _LABEL)
    both = (f"“{query}”, predicting “{token}”", f"“{query}” → “{token}”", f"“{query}”")
    titles = [f"{choice} {words}" for words in both for choice in choices]
    return next((title for title in titles if len(title) <= width - 6), titles[-1])


def hint_lines(text: str, width: int) -> list[Line]:
    """The hint of a pane that is still empty."""
    return [[(line, "lines--hint")] for line in wrap(text, max(width, 10))]


# Candidates


def candidate_lines(inspection: Inspection, width: int, height: int) -> list[Line]:
    """A line for each candidate: its probability from the model, and after the sampling settings."""
    shown = _with_chosen(inspection.candidates, height - 1)
    names = _width_of_labels([candidate.text for candidate in shown])
    room = width - 2 - names - 1 - 2 * _SHARE - 3
    bars = room // 2 if room >= 2 * _BARS else room
    first, second = max(bars, 0), max(bars, 0) if room >= 2 * _BARS else 0
    head = f"{'':{2 + names + 1}}{'model':>{_SHARE}} {'':{first}} {'sampled':>{_SHARE}}"
    lines: list[Line] = [[(head, "lines--label")]]
    for candidate in shown:
        name = label(candidate.text, names)
        style = "lines--chosen" if candidate.chosen else ""
        line: Line = [
            (f"{'▶' if candidate.chosen else ' '} {name:{names}} ", style),
            (share(candidate.probability), style or "lines--figure"),
            (f" {bar(candidate.probability, first):{first}} ", "lines--bar"),
        ]
        if candidate.cut_by:
            line.append((f"{'✂ ' + candidate.cut_by:>{_SHARE}}", "lines--cut"))
        else:
            line.append((share(candidate.sampled), style or "lines--figure"))
            line.append((f" {bar(candidate.sampled, second)}", "lines--bar"))
        lines.append(line)
    return lines


def _with_chosen(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """The likeliest candidates; the chosen one comes last if it is not among them."""
    shown = list(candidates[: max(count, 1)])
    chosen = [candidate for candidate in candidates if candidate.chosen]
    if chosen and chosen[0] not in shown:
        shown[-1] = chosen[0]
    return shown


def candidates_subtitle(inspection: Inspection, settings: SamplingSettings, state: RunState) -> str:
    """How the token was chosen and from how much text, or how the inspected model differs from the text's."""
    how = settings_words(settings) if inspection.written else "given by the prompt, not chosen"
    what = f"after {inspection.context} tokens"
    if state.policy != "full":
        what = f"with the full cache, not {state.policy}"
    if state.heads_off:
        what = "with all heads on"
    return f"{how} · {what}"


def candidates_title(inspection: Inspection, width: int) -> tuple[str, str]:
    """The token shown: as much of the preceding text as fits, and the token."""
    name, token = "Candidates · ", label(inspection.text, _LABEL)
    room = max(width - len(name) - len(token) - 6, 0)
    before = label(inspection.before, len(inspection.before) + 1)
    return f"{name}{'…' if len(before) > room else ''}{before[len(before) - min(room, len(before)) :]}", f"▸{token}"


# Logit lens


def lens_lines(inspection: Inspection, layer: int, width: int, height: int) -> list[Line]:
    """A line for the embedding and each layer: what would have been predicted there."""
    rows = inspection.lens
    names = _width_of_labels([row.text for row in rows])
    written = label(inspection.text, _LABEL)
    last = max(_SHARE, len(written))
    room = max(width - 10 - 2 - names - 1 - _SHARE - 2 - last, 0)
    head = f"{'':10}{'likeliest':{names + 1 + _SHARE + 2 + room}}{f'▶ {written}':>{last + 2}}"
    lines: list[Line] = [[(head, "lines--label")]]
    first, end = around(layer + 1, len(rows), height - 1)
    for place in range(first, end):
        row = rows[place]
        hit = row.id == inspection.id
        style = "lines--chosen" if hit else ""
        name = "embedding" if place == 0 else f"layer {place}"
        lines.append(
            [
                (f"{name:10}", "lines--selected" if place == layer + 1 else "lines--label"),
                (f"{'▶' if hit else ' '} {label(row.text, names):{names}} ", style),
                (share(row.probability), style or "lines--figure"),
                (f" {bar(row.probability, room):{room}} ", "lines--bar"),
                (f"{share(row.chosen_probability):>{last}}", style or "lines--figure"),
            ]
        )
    return lines


def settled(inspection: Inspection) -> str:
    """The first layer from which the likeliest token is that of the whole model."""
    final = inspection.lens[-1].id
    first = len(inspection.lens) - 1
    while first > 0 and inspection.lens[first - 1].id == final:
        first -= 1
    where = "the embedding" if first == 0 else f"layer {first}"
    return f"{label(inspection.lens[-1].text, _LABEL)} leads from {where} on"


def around(chosen: int, total: int, room: int) -> tuple[int, int]:
    """``room`` of ``total`` places around the chosen one, with it in the middle if possible."""
    return window(total, max(room, 1), max(chosen - room // 2, 0))


# Entropy of the heads


@dataclass(frozen=True)
class Grid:
    """Which heads the entropy grid shows."""

    layers: tuple[int, int]
    heads: tuple[int, int]
    cell: int

    def at(self, x: int, y: int) -> Head | None:
        """The head in a cell."""
        layer, head = self.layers[0] + y - 1, self.heads[0] + (x - GUTTER) // self.cell
        inside = x >= GUTTER and y >= 1 and layer < self.layers[1] and head < self.heads[1]
        return (layer, head) if inside else None


def grid_of(inspection: Inspection, chosen: Head, width: int, height: int) -> Grid:
    """As many heads as fit, the chosen one among them."""
    layers, heads = inspection.entropy.shape
    cell = next((cell for cell in CELLS if GUTTER + heads * cell <= width), CELLS[-1])
    return Grid(around(chosen[0], layers, height - 2), around(chosen[1], heads, (width - GUTTER) // cell), cell)


def head_lines(inspection: Inspection, chosen: Head, off: Collection[Head], width: int, height: int) -> list[Line]:
    """Layers × heads: the entropy of each head's attention, ``off`` where it is switched off; the chosen one marked."""
    grid = grid_of(inspection, chosen, width, height)
    names = "".join(f"{f'H{head + 1}':^{grid.cell}}" for head in range(*grid.heads))
    lines: list[Line] = [[(f"{'':{GUTTER}}{names}", "lines--label")]]
    for layer in range(*grid.layers):
        line: Line = [(f"{f'L{layer + 1}':{GUTTER}}", "lines--label")]
        for head in range(*grid.heads):
            value = float(inspection.entropy[layer, head])
            is_off, is_chosen = (layer, head) in off, (layer, head) == chosen
            text = "off" if is_off else f"{value:.{grid.cell - 4}f}"
            after = "]" if is_chosen else " " if is_off else level(value, inspection.context)
            style = "lines--cut" if is_off else "lines--selected" if is_chosen else "lines--figure"
            line.append((f"{'[' if is_chosen else ' '}{text[: grid.cell - 2]:{grid.cell - 2}}{after}", style))
        lines.append(line)
    lines.append([(_head_words(inspection, chosen, chosen in off, width), "lines--label")])
    return lines


def looked_lines(attention: Attention, width: int, height: int) -> list[Line]:
    """The keys to which a head gave the most weight, for the only query row and head in the event."""
    weights = attention.weights[0, 0]  # (S,)
    query = attention.first_row
    order = np.argsort(-weights, kind="stable")[: max(height, 0)]
    names = _width_of_labels([attention.keys[key] for key in order])
    room = max(width - 9 - names - 1 - _SHARE - 1, 0)
    return [
        [
            (f"{'itself' if key == query else f'{query - key} back':>8} ", "lines--label"),
            (f"{label(attention.keys[key], names):{names}} ", "lines--figure"),
            (share(float(weights[key])), "lines--figure"),
            (f" {bar(float(weights[key]), room)}", "lines--bar"),
        ]
        for key in order
        if weights[key] >= _LOOKED
    ]


def level(entropy: float, context: int) -> str:
    """A bar of one cell: full for a head that attends equally to all positions."""
    most = math.log(context) if context > 1 else 1.0
    return LEVELS[min(int(entropy / most * len(LEVELS)), len(LEVELS) - 1)]


def entropy_scale(inspection: Inspection) -> str:
    """The two ends of the entropy scale."""
    return f"0: one key · {math.log(inspection.context):.2f}: all {inspection.context} equally"


def _head_words(inspection: Inspection, chosen: Head, off: bool, width: int) -> str:
    """The entropy of the chosen head as a number of keys: exp(entropy) keys with equal weights have that entropy."""
    name, keys = head_name(chosen), math.exp(float(inspection.entropy[chosen]))
    words, key = f"{name} attends to ≈{keys:.0f} of {inspection.context} keys", "x switches it off"
    if off:
        words, key = words.replace("attends", "(off) attended"), "x switches it on"
    full = f"{words} · {key}"
    brief = f"{name} is off · {key}" if off else words
    return full if len(full) <= width else brief


# Without heads

NOTHING_OFF = (
    "All heads are on. x switches the chosen head off; the resulting prediction will appear here. "
    "[\u00a0] choose a layer, <\u00a0> a head."
)


def without_lines(inspection: Inspection, paused: bool, width: int, height: int) -> list[Line]:
    """How far the prediction moves without the heads that are off, and in which direction."""
    without = inspection.without
    if without is None:
        return hint_lines(NOTHING_OFF, width)
    before, after = inspection.candidates[0], without.candidates[0]
    word = "still" if after.id == before.id else "now"
    now = f"{word} likeliest: {label(after.text, _LABEL)} {share(after.probability).strip()}"
    was = f"{label(before.text, _LABEL)} {share(before.probability).strip()}"
    lines: list[Line] = [
        [("KL ", "lines--label"), (f"{without.kl:.4f} nats", "lines--chosen"), ("  0: no change", "lines--label")],
        [(f"{now}  (was {was})" if len(now) + len(was) + 9 <= width else now, "lines--figure")],
    ]
    least = 2 if without.continuation else 1
    lines += _moves(inspection, height - len(lines) - least)
    return lines + _continuation_lines(inspection, paused, width, height - len(lines))


def _moves(inspection: Inspection, room: int) -> list[Line]:
    """The candidates whose probability changes the most, up or down."""
    assert inspection.without is not None
    after = {candidate.id: candidate for candidate in inspection.without.candidates}
    both = [(one, after[one.id]) for one in inspection.candidates if one.id in after]
    both = [(one, other) for one, other in both if abs(other.probability - one.probability) >= _SEEN]
    both.sort(key=lambda pair: -abs(pair[1].probability - pair[0].probability))
    names = _width_of_labels([one.text for one, _ in both])
    return [
        [
            (f"{'▶' if one.chosen else ' '} {label(one.text, names):{names}} ", "lines--label"),
            (f"{share(one.probability)} → {share(other.probability)}", "lines--figure"),
            (f"  {100 * (other.probability - one.probability):+6.2f} points", "lines--label"),
        ]
        for one, other in both[: max(room, 0)]
    ]


def _continuation_lines(inspection: Inspection, paused: bool, width: int, height: int) -> list[Line]:
    """How both texts would continue, in as many lines as fit."""
    without = inspection.without
    assert without is not None
    if not without.continuation:
        hint = "pause (Space) to continue both from here" if not paused else "the context is full"
        return [[(hint, "lines--hint")]]
    lines: list[Line] = []
    for name, text, style in (
        ("with    ", without.continuation_with, "lines--figure"),
        ("without ", without.continuation, "lines--chosen"),
    ):
        room, count = max(width - len(name), 1), max(height // 2, 1)
        shown = label(text, room * count)
        rows = [shown[start : start + room] for start in range(0, len(shown), room)]
        names = [name, *[" " * len(name)] * len(rows)]
        lines += [[(name, "lines--label"), (row, style)] for name, row in zip(names, rows, strict=False)]
    return lines
