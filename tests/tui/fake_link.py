"""A generator process that is none: it keeps what it is told, and says what a test wants it to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from random_model import SMALL

from kvtui.core.cache.base import reason_words
from kvtui.core.commands import Inspect, MeasureLimits, MeasureParts, ShowAttention, ShowCache
from kvtui.core.events import (
    Attention,
    Breakdown,
    CacheContents,
    Candidate,
    Cut,
    Event,
    Inspection,
    LensLayer,
    Limits,
    Parts,
    Prefill,
    Token,
    WithoutHeads,
)
from kvtui.core.layers import Array
from kvtui.tui.worker.protocol import Batch, ModelInfo, Report, Request, Start, StartRace

CONFIG = replace(SMALL, num_layers=3)
PARTS = Parts(0.00001, 0.0001, 0.00015, 0.0002, 0.00002, 0.00002)
MODEL = ModelInfo("small", CONFIG, 12_345, 4)


def token(
    step: int,
    text: str = "a",
    *,
    cache: bool = True,
    seconds: float = 0.001,
    logprob: float = -0.5,
    context: int | None = None,
) -> Token:
    """A token as the loop would tell of it, after a prompt of six."""
    context = step + 7 if context is None else context
    kept = context if cache else 0
    return Token(
        step=step,
        position=step + 6,
        id=ord(text[0]) if text else 0,
        text=text,
        logprob=logprob,
        seconds=seconds,
        cache=cache,
        context=context,
        computed=1 if cache else context,
        cached_positions=kept,
        cache_bytes=kept * MODEL.cache_bytes_per_position,
        window_start=step + 7 - context,
    )


def attention(link: FakeLink, question: ShowAttention) -> Attention:
    """Half of a row's weight on the newest key, the other half on the one before."""
    keys = link.window if question.position is None else link.window[: question.position + 1]
    heads = tuple(range(CONFIG.num_heads)) if question.heads is None else question.heads
    first, last, _ = slice(question.first_row, question.last_row).indices(len(keys))
    weights = np.zeros((len(heads), last - first, last), np.float32)
    for row in range(first, last):
        weights[:, row - first, max(row - 1, 0)] += 0.5
        weights[:, row - first, row] += 0.5
    weights = weights[:1] if question.mean else weights  # all heads are alike
    return Attention(question.layer, heads, first, weights, keys[:last], 0, mean=question.mean)


def cache(link: FakeLink, question: ShowCache) -> CacheContents:
    """Everything is kept; the numbers grow with the position."""
    length = len(link.window)
    layers = len(range(CONFIG.num_layers)[question.first_layer : question.last_layer])
    kept = np.broadcast_to(np.arange(length), (layers, CONFIG.num_kv_heads, length))
    numbers: Array = (
        kept / max(length * (length - 1) / 2, 1)
        if question.quantity == "attention"
        else (kept % (5 if question.quantity == "reason" else 7)).astype(float)
    )
    reasons = reason_words("heavy hitter") if question.quantity == "reason" else ()
    return CacheContents(question.quantity, question.first_layer, kept, numbers, length, 0, 1, 143_200_000, reasons)


def inspection(link: FakeLink, question: Inspect) -> Inspection:
    """Made-up numbers that depend on the token, on the layer and on the head."""
    position = len(link.window) - 1 if question.position is None else question.position
    text = link.window[min(position, len(link.window) - 1)]  # tokens stand as after a prompt of six, whatever was typed

    def candidates(likeliest: float) -> tuple[Candidate, ...]:
        rest = [(1 - likeliest) * 0.5**rank for rank in range(1, 10)]
        texts = (text, *(letter for letter in "etaonishr" if letter != text), "d")
        return tuple(
            Candidate(rank, ord(texts[rank]), texts[rank], share, share if rank < 4 else 0.0, CUTS.get(rank), not rank)
            for rank, share in enumerate([likeliest, *rest])
        )

    layers = CONFIG.num_layers + 1
    lens = tuple(
        LensLayer(ord(text if layer > 1 else "e"), text if layer > 1 else "e", 0.2 * (layer + 1), 0.2 * layer)
        for layer in range(layers)
    )
    entropy = np.arange(CONFIG.num_layers * CONFIG.num_heads).reshape(CONFIG.num_layers, -1) * 0.25
    without = WithoutHeads(
        question.heads_off,
        0.125 * len(question.heads_off),
        candidates(0.5),
        "nothing"[: question.continuation],
        "to write"[: question.continuation],
    )
    return Inspection(
        position=position,
        id=ord(text),
        text=text,
        written=position >= 6,
        context=position,
        before="".join(link.window[:position]),
        candidates=candidates(0.6),
        lens=lens,
        entropy=entropy,
        without=without if question.heads_off else None,
        seconds=0.0,
        query=link.window[min(position, len(link.window)) - 1],
    )


CUTS: dict[int, Cut] = {rank: "top-p" if rank < 7 else "top-k" for rank in range(4, 10)}


def breakdown(link: FakeLink, question: MeasureParts) -> Breakdown:
    """Half a millisecond with the cache, ten without."""
    return Breakdown(len(link.window), PARTS, Parts(*(20 * part for part in vars(PARTS).values())), 3)


def limits(link: FakeLink, question: MeasureLimits) -> Limits:
    """Of a machine with round numbers."""
    return Limits(50e9, 100e9, 49_380, 1)


# What the fake process answers to each kind of question; a kind that is not here gets no answer.
ANSWERS: dict[type, Callable[[FakeLink, Any], Event]] = {
    ShowAttention: attention,
    ShowCache: cache,
    Inspect: inspection,
    MeasureParts: breakdown,
    MeasureLimits: limits,
}


class FakeLink:
    """Implements :class:`kvtui.tui.worker.link.Link`. Answers starts and questions by itself."""

    def __init__(self) -> None:
        self.sent: list[Request] = []
        self.restarts = 0
        self.loads: list[str | None] = []
        self.closed = False
        self.window: tuple[str, ...] = ()  # the newest tokens, as text
        self._reports: list[Report] = []

    @property
    def starts(self) -> list[Start]:
        """Texts that were asked for."""
        return [request for request in self.sent if isinstance(request, Start)]

    @property
    def races(self) -> list[StartRace]:
        """Races that were asked for."""
        return [request for request in self.sent if isinstance(request, StartRace)]

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
            self.window = tuple((request.prompt or "\n").rjust(6)[-6:])  # as the prefill and the tokens have it
            prefill = Prefill(6, 0.01, request.settings.cache, 6 * 768, request.prompt or "\n")
            self.say(Batch(request.run, (prefill,)))
        elif (answer := ANSWERS.get(type(request))) and self.starts:
            runs = [begun.run for begun in self.sent if isinstance(begun, Start | StartRace)]
            self.say(Batch(runs[-1], (answer(self, request),)))  # as the process does after a race as well

    def drain(self) -> list[Report]:
        reports, self._reports = self._reports, []
        return reports

    def restart(self) -> None:
        self.restarts += 1

    def load(self, model: str | None) -> None:
        self.loads.append(model)

    def close(self) -> None:
        self.closed = True
