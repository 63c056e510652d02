"""Whether the generator process still answers. Does not import Textual."""

from __future__ import annotations

from kvtui.tui.worker.protocol import Answering, Silent

SILENT_SECONDS = 5.0  # without an answer, after which a process is called silent
_QUIET_SECONDS = 1.0  # without any report, after which a process is asked for one


class Hearing:
    """Asks a process that has been quiet for an answer, and says when none comes.

    The process answers from a thread of its own, so that a long computation is not mistaken for silence.

    Attributes:
        silent: whether an answer has been missing for too long.

    Args:
        now: time in seconds, as in every call.
        patience: seconds without an answer, after which the process is silent.
    """

    def __init__(self, now: float, patience: float = SILENT_SECONDS) -> None:
        self.silent = False
        self._patience = patience
        self._heard = self._looked = now
        self._asked: float | None = None  # when the answer that is missing was asked for

    def listen(self, now: float, heard: bool) -> Silent | Answering | None:
        """Take in whether there were reports since the last call; returns a change."""
        if self._asked is not None and now - self._looked > _QUIET_SECONDS:
            self._asked = now  # it was the dashboard that was stopped
        self._looked = now
        if heard:
            self._heard, self._asked = now, None
            was, self.silent = self.silent, False
            return Answering() if was else None
        if self._asked is None or self.silent or now - self._asked < self._patience:
            return None
        self.silent = True
        return Silent(self._patience)

    def must_ask(self, now: float) -> bool:
        """Whether the process must be asked for an answer now; counts as asked from then on."""
        if self._asked is not None or now - self._heard < min(_QUIET_SECONDS, self._patience):
            return False
        self._asked = now
        return True
