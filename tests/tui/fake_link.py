"""A generator process that is none: it keeps what it is told, and says what a test wants it to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kvtui.core import ModelConfig
from kvtui.core.commands import ShowAttention
from kvtui.core.events import Attention, Event, Prefill, Token
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


class FakeLink:
    """Implements :class:`kvtui.tui.link.Link`. Answers requests for attention by itself."""

    def __init__(self) -> None:
        self.sent: list[Request] = []
        self.restarts = 0
        self.closed = False
        self._reports: list[Report] = []

    @property
    def starts(self) -> list[Start]:
        """Texts that were asked for."""
        return [request for request in self.sent if isinstance(request, Start)]

    def commands(self, kind: type) -> list[Request]:
        """Commands of one kind."""
        return [request for request in self.sent if isinstance(request, kind)]

    def say(self, *reports: Report) -> None:
        """Report something."""
        self._reports.extend(reports)

    def write(self, tokens: Sequence[Event], run: int | None = None) -> None:
        """Report events of the newest run."""
        self.say(Batch(self.starts[-1].run if run is None else run, tuple(tokens)))

    def send(self, request: Request) -> None:
        self.sent.append(request)
        if isinstance(request, Start):
            self.say(Batch(request.run, (Prefill(6, 0.01, request.settings.cache, 6 * 768, request.prompt or "\n"),)))
        elif isinstance(request, ShowAttention) and self.starts:
            heads = request.heads or tuple(range(CONFIG.num_heads))
            rows = -request.first_row
            weights = np.full((len(heads), min(rows, 6), 6), 1 / 6, np.float32)
            self.write([Attention(request.layer, heads, 6 - weights.shape[1], weights, tuple("ROMEO:"), 0)])

    def drain(self) -> list[Report]:
        reports, self._reports = self._reports, []
        return reports

    def restart(self) -> None:
        self.restarts += 1

    def close(self) -> None:
        self.closed = True
