"""Messages between the dashboard and the generator process, and their encoding in a pipe. Does not import Textual.

The dashboard sends requests: :class:`Start`, :class:`StartRace`, :class:`Shutdown`, and the commands of
:mod:`kvtui.core.commands`.
The process answers with reports: :class:`Loading` while it loads a model of several parts, :class:`Ready` once, then a
:class:`Batch` of events about every 30 ms; :class:`Pong` to a :class:`Ping`.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from kvtui.core.commands import Command
from kvtui.core.config import ModelConfig
from kvtui.core.events import Event
from kvtui.core.race import LANES, Lane
from kvtui.core.settings import GenerationSettings

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Start:
    """Write a new text, ending the previous one. ``run`` numbers it, and batches carry the number: late ones show."""

    run: int
    prompt: str
    settings: GenerationSettings


RACE_TOKENS = 512  # at most, in a race without a given length


@dataclass(frozen=True)
class StartRace:
    """Write a text in several lanes, ending the previous text or race.

    Attributes:
        run: as in :class:`Start`.
        prompt: the text that every lane continues.
        settings: for every lane; the lanes themselves specify their caches.
        lanes: ways of writing the text.
        tokens: number to write in each lane; None for as many as fit into the context, but not more than
            :data:`RACE_TOKENS`.
        confirmed: the user knows how long it takes. Otherwise a race of more than a minute does not start, and a
            :class:`~kvtui.core.events.RaceEstimate` is sent instead.
    """

    run: int
    prompt: str
    settings: GenerationSettings
    lanes: tuple[Lane, ...] = LANES
    tokens: int | None = None
    confirmed: bool = False


@dataclass(frozen=True)
class Shutdown:
    """End the process."""


@dataclass(frozen=True)
class Ping:
    """Ask whether the process is still there; a thread of its own answers :class:`Pong` at once."""


Work = Start | StartRace | Shutdown | Command
Request = Work | Ping


@dataclass(frozen=True)
class Loading:
    """The model is being loaded: ``done`` of ``total`` parts."""

    done: int
    total: int


@dataclass(frozen=True)
class ModelInfo:
    """What the dashboard knows about a model.

    Attributes:
        name: given by its file or by the program that runs it.
        config: its shape; a placeholder if ``parameters`` is 0.
        parameters: number of parameters, 0 if unknown.
        itemsize: bytes per number in the cache, 0 if unknown.
        stream: it belongs to another program (see :mod:`kvtui.tui.worker.stream_link`): its events can be shown, but it
            cannot be asked anything.
    """

    name: str
    config: ModelConfig
    parameters: int
    itemsize: int
    stream: bool = False

    @property
    def cache_bytes_per_position(self) -> int:
        """Bytes of the keys and values of one position in all layers."""
        return self.config.cache_bytes_per_token(self.itemsize)


@dataclass(frozen=True)
class Ready:
    """A model has been loaded, or another program has started writing with it."""

    model: ModelInfo


@dataclass(frozen=True)
class Refused:
    """The model could not be loaded; ``message`` is one line for the user."""

    message: str


@dataclass(frozen=True)
class Notice:
    """A message for the user about run number ``run``; ``fatal`` if it ended the run."""

    run: int
    message: str
    fatal: bool = False


@dataclass(frozen=True)
class Batch:
    """Events of run number ``run``, in order."""

    run: int
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Ended:
    """The process is gone. Created by the dashboard's end of the pipe; ``reason`` is one line."""

    reason: str


@dataclass(frozen=True)
class Pong:
    """The process is there."""


@dataclass(frozen=True)
class Silent:
    """The process has not answered for ``seconds``; it may be stopped. Created, as the next, by the dashboard's end."""

    seconds: float


@dataclass(frozen=True)
class Answering:
    """The process that was silent answers again."""


Report = Loading | Ready | Refused | Notice | Batch | Ended | Pong | Silent | Answering


def write_frame(stream: BinaryIO, value: Request | Report) -> None:
    """Send a value: its length, then its pickle. Both ends are processes of the same program.

    Raises:
        OSError: the other end is gone.
    """
    data = memoryview(frame(value))
    while data:  # an unbuffered pipe may accept only a part
        data = data[stream.write(data) :]
    stream.flush()


def frame(value: Request | Report) -> bytes:
    """The bytes of a value in the pipe."""
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


def read_frame(stream: BinaryIO) -> Any:
    """Wait for a value and receive it.

    Raises:
        EOFError: the other end is gone.
    """
    (length,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
    return pickle.loads(_read_exactly(stream, length))


def _read_exactly(stream: BinaryIO, size: int) -> bytearray:
    data = bytearray()
    while len(data) < size:
        part = stream.read(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data
