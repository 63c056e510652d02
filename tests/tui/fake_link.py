"""A generator process that is none: it keeps what it is told, and says what a test wants it to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kvtui.core import ModelConfig
from kvtui.core.commands import ShowAttention, ShowCache
from kvtui.core.events import Attention, CacheContents, Event, Prefill, Token
from kvtui.tui.wire import Batch, Ready, Report, Request, Start

CONFIG = ModelConfig(
    vocab_size=27,
    context_length=32,
    num_layers=3,
    num_heads=2,
    num_kv_heads=2,
    head_dim=8,
    embed_dim=16,
    mlp_dim=32,
)
READY = Ready("small", CONFIG, 12_345, CONFIG.cache_bytes_per_token())


def token(step: int, text: str = "a", *, cache: bool = True, seconds: float = 0.001, logprob: float = -0.5) -> Token:
    """A token as the loop would tell of it."""
    context = step + 7
    kept = context if cache else 0
    return Token(
        step=step,
        position=context - 1,
        id=1,
        text=text,
        logprob=logprob,
        seconds=seconds,
        cache=cache,
        context=context,
        computed=1 if cache else context,
        cached_positions=kept,
        cache_bytes=kept * READY.cache_bytes_per_position,
    )


def attention(link: FakeLink, question: ShowAttention) -> Attention:
    """Half of a row's weight on the newest key, the other half on the one before."""
    keys = link.window
    heads = tuple(range(CONFIG.num_heads)) if question.heads is None else question.heads
    first, last, _ = slice(question.first_row, question.last_row).indices(len(keys))
    weights = np.zeros((len(heads), last - first, last), np.float32)
    for row in range(first, last):
        weights[:, row - first, max(row - 1, 0)] += 0.5
        weights[:, row - first, row] += 0.5
    return Attention(question.layer, heads, first, weights, keys[:last], 0)


def cache(link: FakeLink, question: ShowCache) -> CacheContents:
    """Everything is kept; the numbers grow with the position."""
    length = len(link.window)
    layers = len(range(CONFIG.num_layers)[question.first_layer : question.last_layer])
    kept = np.broadcast_to(np.arange(length), (layers, CONFIG.num_kv_heads, length))
    shades = kept / max(length * (length - 1) / 2, 1) if question.shade == "read" else kept % 7
    return CacheContents(question.shade, question.first_layer, kept, shades, length, 0, 1, 143_200_000)


# What the fake process answers to each kind of question; a kind that is not here gets no answer.
ANSWERS: dict[type, Callable[[FakeLink, Any], Event]] = {
    ShowAttention: attention,
    ShowCache: cache,
}


class FakeLink:
    """Implements :class:`kvtui.tui.link.Link`. Answers starts and questions by itself."""

    def __init__(self) -> None:
        self.sent: list[Request] = []
        self.restarts = 0
        self.closed = False
        self.window: tuple[str, ...] = ()  # the newest tokens, as text
        self._reports: list[Report] = []

    @property
    def starts(self) -> list[Start]:
        """Texts that were asked for."""
        return [request for request in self.sent if isinstance(request, Start)]

    @property
    def quiet(self) -> bool:
        """Whether all that was said has been read."""
        return not self._reports

    def commands(self, kind: type) -> list[Request]:
        """Commands of one kind."""
        return [request for request in self.sent if isinstance(request, kind)]

    def say(self, *reports: Report) -> None:
        """Report something."""
        self._reports.extend(reports)

    def write(self, events: Sequence[Event], run: int | None = None) -> None:
        """Report events of the newest run."""
        texts = tuple(event.text for event in events if isinstance(event, Token))
        self.window = (*self.window, *texts)[-CONFIG.context_length :]
        self.say(Batch(self.starts[-1].run if run is None else run, tuple(events)))

    def send(self, request: Request) -> None:
        self.sent.append(request)
        if isinstance(request, Start):
            self.window = tuple(request.prompt or "\n")
            prefill = Prefill(6, 0.01, request.settings.cache, 6 * 768, request.prompt or "\n")
            self.say(Batch(request.run, (prefill,)))
        elif (answer := ANSWERS.get(type(request))) and self.starts:
            self.say(Batch(self.starts[-1].run, (answer(self, request),)))

    def drain(self) -> list[Report]:
        reports, self._reports = self._reports, []
        return reports

    def restart(self) -> None:
        self.restarts += 1

    def close(self) -> None:
        self.closed = True
