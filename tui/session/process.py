"""The process that writes: whether it lives, which model it has, and loading another one. Nothing of Textual."""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.tui.session.state import Phase
from kvtui.tui.session.update import Update
from kvtui.tui.worker.link import Link
from kvtui.tui.worker.protocol import Ended, Loading, ModelInfo, Ready, Refused


@dataclass(frozen=True)
class _Target:
    """What is being loaded: its name, what ``--model`` would say, and the name of the model to go back to if it
    cannot be; None on the way back."""

    name: str
    model: str | None
    before: str | None


class Process:
    """Follows the generator process from model to model, and starts another one when it has died.

    Attributes:
        model: what the process has loaded.
        path: the same as ``--model`` says it; None is the bundled model.
        alive: whether it can be told to write.
        loaded: share of the model that is being loaded.
        started: how many processes there have been; what one has told does not concern the next.

    Args:
        link: to the process.
        model: what it has loaded.
        path: what it has been started with.
    """

    def __init__(self, link: Link, model: ModelInfo, path: str | None) -> None:
        self.model = model
        self.path = path
        self.alive = True
        self.loaded = 0.0
        self.started = 1
        self._link = link
        self._target: _Target | None = None

    @property
    def loading(self) -> str:
        """The name of the model that is being loaded, empty if none is."""
        return self._target.name if self._target else ""

    def load(self, path: str | None, name: str) -> None:
        """End this process and start one with another model."""
        self._load(_Target(name, path, self.model.name))

    def _load(self, target: _Target) -> None:
        self._target = target
        self.alive, self.loaded = False, 0.0
        self.started += 1
        self._link.load(target.model)

    def revive(self) -> None:
        """Start another process after one that would not."""
        self._link.restart()

    def take(self, report: Loading | Ready | Refused | Ended, update: Update) -> Phase | None:
        """The process has told something of itself, or is gone; the phase that follows from it, if another does."""
        match report:
            case Loading(done, total):
                if self._target and total:
                    self.loaded = min(done / total, 1.0)
                return None
            case Ready(model):
                return self._ready(model, update)
            case Refused(reason) | Ended(reason) if self._target is not None:
                return self._not_loaded(self._target, reason, update)
            case Refused(reason):
                update.note(f"The model could not be loaded again: {reason}", "error")
                return None
            case Ended(reason):
                return self._lost(reason, update)

    def _ready(self, model: ModelInfo, update: Update) -> Phase | None:
        """A model is there."""
        self.model = update.model = model
        if model.stream:  # another text of a stream, by another model
            return None
        self.alive = True
        if self._target is not None:
            self.path, self._target = self._target.model, None
            update.note(f"{model.name} is loaded.")
        else:
            update.note("The generator process is ready again: press r to write the same text, or p for a prompt.")
        return "idle"

    def _not_loaded(self, target: _Target, reason: str, update: Update) -> Phase:
        """Back to the model before, but not again and again."""
        if target.before is None:
            self._target = None
            update.note(f"{target.name} could not be loaded again: {reason}. Press r to try once more.", "error")
            return "dead"
        update.note(f"{target.name} could not be loaded: {reason}. Back to {target.before}.", "error")
        self._load(_Target(target.before, self.path, None))
        return "loading"

    def _lost(self, reason: str, update: Update) -> Phase:
        """The process has died: start another, but only once in a row."""
        if self.alive:
            update.note(f"The generator process died ({reason}). A new one is being started.", "error")
            self._link.restart()
        else:
            update.note(f"The generator process died again ({reason}). Press r to try once more, q to quit.", "error")
        self.alive = False
        return "dead"
