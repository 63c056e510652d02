"""Questions about a generation: the function that answers each question of :mod:`kvtui.core.commands`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvtui.core import commands, events
from kvtui.core.errors import KvtuiError
from kvtui.core.generation import Generation
from kvtui.core.inspection.anatomy import inspect
from kvtui.core.inspection.attention import attention
from kvtui.core.inspection.cache_contents import cache_contents
from kvtui.core.inspection.limits import measure_limits, measure_parts

# A function reads the generation (model, sequence, cache, record) and never changes what is written.
# A new kind of question is one more line here.
ANSWERS: dict[type[commands.Question], Callable[[Generation, Any], events.Answer]] = {
    commands.ShowAttention: attention,
    commands.ShowCache: cache_contents,
    commands.Inspect: inspect,
    commands.MeasureParts: lambda generation, question: measure_parts(generation.model, generation.window),
    commands.MeasureLimits: lambda generation, question: measure_limits(generation.model),
}


def answer(generation: Generation, question: commands.Question) -> events.Answer:
    """The answer; :class:`~kvtui.core.events.Unanswered` if the function raises a KvtuiError."""
    try:
        return ANSWERS[type(question)](generation, question)
    except KvtuiError as error:
        return events.Unanswered(question, str(error))
