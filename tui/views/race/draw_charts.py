"""The two charts of a race: total time against tokens, and time per token against context."""

from __future__ import annotations

import numpy as np

from kvtui.core.config import ModelConfig
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
    """Milliseconds per token against context: dots for what was measured, dashes for what the counts predict.

    The prediction extends to where the race will end, at most to the end of the context or to what a policy keeps.
    """
    measured, predicted = [], []
    last = config.context_length
    if race.planned is not None and race.lanes:
        last = min(last, race.lanes[0].prompt_tokens + race.planned)
    lasts = [lane.kept or last for lane in race.lanes]
    for lane, last, style in zip(race.lanes, lasts, _styles(race), strict=True):
        measured.append(Curve(_medians(lane), style, joined=False, label=lane.label))
        prediction = lane.prediction(config)
        if prediction is not None:
            seen = [context for context, _ in lane.times()]  # below the prompt's once the window has moved
            first = min(lane.prompt_tokens + 1, last, *seen)
            contexts = np.linspace(first, last, _PREDICTED_POINTS).astype(int)
            points = [(float(context), 1e3 * prediction.seconds(int(context))) for context in contexts]
            predicted.append(Curve(points, style, marker="-", joined=False))
    end = float(max(lasts, default=last))
    return Drawing((*predicted, *measured), x=Axis(0.0, end), y=Axis(logarithmic=logarithmic))


def _styles(race: RaceRecord) -> list[str]:
    """Of each lane."""
    return [_STYLES[way_of(race, number)] for number in range(len(race.lanes))]


def _medians(lane: LaneRecord) -> list[Point]:
    """Median milliseconds of tokens at about the same context, ordered by context and then by time of writing."""
    times = np.array(sorted(lane.times(), key=lambda pair: pair[0]))  # (tokens, 2)
    if not len(times):
        return []
    groups = np.array_split(times, min(_BINS, len(times)))
    return [(float(np.median(group[:, 0])), 1e3 * float(np.median(group[:, 1]))) for group in groups]
