"""The two charts of a race: total time against tokens, and time per token against its place in the text."""

from __future__ import annotations

import numpy as np

from kvtui.core.config import ModelConfig
from kvtui.core.sequence import next_context
from kvtui.tui.drawing.chart import Axis, Curve, Drawing, Point
from kvtui.tui.session.race import LaneRecord, RaceRecord
from kvtui.tui.views.race.ways import way_of

_STYLES = {"cached": "chart--first", "uncached": "chart--second", "other": "chart--third"}
_PREDICTED_POINTS = 100
_BINS = 80  # of measured times; each shows its median, so that a hiccup does not set the scale


def totals_drawing(race: RaceRecord) -> Drawing:
    """Model seconds of all tokens so far against tokens, for each lane."""
    curves = []
    for lane, style in zip(race.lanes, _styles(race), strict=True):
        points = [(float(number), total) for number, total in enumerate(lane.totals, 1)]
        curves.append(Curve([(0.0, 0.0), *points], style, label=lane.label if points else ""))
    return Drawing(tuple(curves), x=Axis(0.0, float(race.planned or max(race.steps, 1))))


def times_drawing(race: RaceRecord, config: ModelConfig, logarithmic: bool) -> Drawing:
    """Milliseconds per token against its place in the text: dots for what was measured, dashes for what the counts
    predict, up to where the race will end, or if that is open to where the context is full.

    Not against context, which stays the same under a policy that keeps a window.
    """
    measured, predicted, first, last = [], [], 0, config.context_length
    for lane, style in zip(race.lanes, _styles(race), strict=True):
        contexts = _contexts(lane, config, race.planned)
        first, last = min(contexts) - 1 - lane.prompt_tokens, max(contexts)
        measured.append(Curve(_medians(lane), style, joined=False, label=lane.label))
        prediction = lane.prediction(config)
        if prediction is not None:
            places = np.linspace(min(contexts), last, _PREDICTED_POINTS).astype(int).tolist()
            points = [(float(place), 1e3 * prediction.seconds(contexts[place])) for place in places]
            predicted.append(Curve(points, style, marker="-", joined=False))
    return Drawing((*predicted, *measured), x=Axis(float(first), float(last)), y=Axis(logarithmic=logarithmic))


def _contexts(lane: LaneRecord, config: ModelConfig, planned: int | None) -> dict[int, int]:
    """Positions that the model sees at each place in the text, counted from 1: what has been, and what is to come."""
    seen = {entry.token.position + 1: entry.token.context for entry in lane.tokens}
    place, context = (max(seen), lane.tokens[-1].token.context) if seen else (lane.prompt_tokens, lane.prompt_tokens)
    to_come = config.context_length - context if planned is None else planned - len(seen)
    for ahead in range(1, max(to_come, 0 if seen else 1) + 1):
        if lane.kept is None:
            context = next_context(context, config.context_length)
        seen[place + ahead] = context
    return seen


def _styles(race: RaceRecord) -> list[str]:
    """Of each lane."""
    return [_STYLES[way_of(race, number)] for number in range(len(race.lanes))]


def _medians(lane: LaneRecord) -> list[Point]:
    """Median milliseconds of neighbouring tokens."""
    times = np.array([(token.position + 1, 1e3 * token.seconds) for token in lane.typical])  # (tokens, 2)
    if not len(times):
        return []
    groups = np.array_split(times, min(_BINS, len(times)))
    return [(float(np.median(group[:, 0])), float(np.median(group[:, 1]))) for group in groups]
