"""What answers each question of :mod:`kvtui.core.commands`: a new kind of question is a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kvtui.core import commands as ask
from kvtui.core import events
from kvtui.core.cache_contents import cache_contents
from kvtui.core.errors import KvtuiError

if TYPE_CHECKING:
    from kvtui.core.generation import Generation


# A function reads the generation (model, window, cache, record) and changes nothing in it.
ANSWERS: dict[type, Callable[[Generation, Any], events.Answer]] = {
    ask.ShowAttention: lambda generation, question: generation.attention(question),
    ask.ShowCache: cache_contents,
    ask.Inspect: lambda generation, question: generation.inspect(question),
}


def answer(generation: Generation, question: ask.Question) -> events.Answer:
    """The answer; :class:`~kvtui.core.events.Unanswered` where the function raises a KvtuiError."""
    try:
        return ANSWERS[type(question)](generation, question)
    except KvtuiError as error:
        return events.Unanswered(question, str(error))
