"""What answers each question of :mod:`kvtui.core.commands`: a new kind of question is a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kvtui.core import commands as ask
from kvtui.core import events
from kvtui.core.errors import KvtuiError
from kvtui.core.inspection.attention import attention
from kvtui.core.inspection.cache_contents import cache_contents
from kvtui.core.inspection.limits import measure_limits, measure_parts

if TYPE_CHECKING:
    from kvtui.core.generation import Generation


def _measure_parts(generation: Generation, question: ask.MeasureParts) -> events.Breakdown:
    return measure_parts(generation.model, generation.window)


def _measure_limits(generation: Generation, question: ask.MeasureLimits) -> events.Limits:
    return measure_limits(generation.model)


# A function reads the generation (model, window, cache, record) and changes nothing in it.
ANSWERS: dict[type, Callable[[Generation, Any], events.Answer]] = {
    ask.ShowAttention: attention,
    ask.ShowCache: cache_contents,
    ask.Inspect: lambda generation, question: generation.inspect(question),
    ask.MeasureParts: _measure_parts,
    ask.MeasureLimits: _measure_limits,
}


def answer(generation: Generation, question: ask.Question) -> events.Answer:
    """The answer; :class:`~kvtui.core.events.Unanswered` where the function raises a KvtuiError."""
    try:
        return ANSWERS[type(question)](generation, question)
    except KvtuiError as error:
        return events.Unanswered(question, str(error))
