"""What the dashboard and the generator process say to each other, and how it goes through a pipe. Nothing of Textual.

The dashboard sends requests: :class:`Start`, :class:`StartRace`, :class:`Shutdown`, and the commands of
:mod:`kvtui.core.commands`.
The process answers with reports: :class:`Loading` while it loads a model of several parts, :class:`Ready` once, then a
:class:`Batch` of events about every 30 ms.
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
    """Write a new text, ending the one before. ``run`` numbers it: batches carry it, so that late ones are told."""

    run: int
    prompt: str
    settings: GenerationSettings


RACE_TOKENS = 512  # of a race that is to go as far as the context has room, at most


@dataclass(frozen=True)
class StartRace:
    """Write a text in several lanes, ending the text or race before.

    Attributes:
        run: as of :class:`Start`.
        prompt: what every lane goes on from.
        settings: of every lane; the lanes themselves say what cache they have.
        lanes: ways of writing it.
        tokens: to write in each lane; None for as many as the context has room for, but not more than
            :data:`RACE_TOKENS`.
        confirmed: the user has been told how long it takes. Otherwise a race of more than a minute is not begun, and
            a :class:`~kvtui.core.events.RaceEstimate` comes instead.
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


Request = Start | StartRace | Shutdown | Command


@dataclass(frozen=True)
class Loading:
    """The model is being loaded: ``done`` of ``total`` parts."""

    done: int
    total: int


@dataclass(frozen=True)
class ModelInfo:
    """What the dashboard knows of a model.

    Attributes:
        name: as its file or its writer calls it.
        config: its shape; a placeholder if ``parameters`` is 0.
        parameters: how many numbers it has, 0 if that is not known.
        itemsize: bytes of a number in the cache, 0 if that is not known.
        stream: it is another program's (see :mod:`kvtui.tui.worker.stream_link`): its events can be shown, but nothing
            can be asked of it.
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
    """A model is loaded, or another program writes with it from now on."""

    model: ModelInfo


@dataclass(frozen=True)
class Refused:
    """The model could not be loaded; ``message`` is one line for the user."""

    message: str


@dataclass(frozen=True)
class Notice:
    """Something that the user should know about run number ``run``; ``fatal`` if it ended the run."""

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
    """The process is gone. Made by the dashboard's end of the pipe; ``reason`` is one line."""

    reason: str


Report = Loading | Ready | Refused | Notice | Batch | Ended


def write_frame(stream: BinaryIO, value: Request | Report) -> None:
    """Send a value: its length, then its pickle. Both ends are processes of the same program.

    Raises:
        OSError: the other end is gone.
    """
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    frame = memoryview(_LENGTH.pack(len(data)) + data)
    while frame:  # an unbuffered pipe may take only a part
        frame = frame[stream.write(frame) :]
    stream.flush()


def read_frame(stream: BinaryIO) -> Any:
    """Receive a value, waiting for it.

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
