"""The generator process: whether it is alive, which model it has, and loading another. Does not import Textual."""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.tui.session.state import Phase
from kvtui.tui.session.update import Update
from kvtui.tui.worker.link import Link
from kvtui.tui.worker.protocol import Answering, Ended, Loading, ModelInfo, Ready, Refused, Silent

ProcessReport = Loading | Ready | Refused | Ended | Silent | Answering


@dataclass(frozen=True)
class _Target:
    """What is being loaded: its name, its ``--model`` value, and the name of the model to return to if loading fails
    (None when already returning)."""

    name: str
    model: str | None
    before: str | None


class Process:
    """Follows the generator process from model to model, and restarts it when it dies.

    Attributes:
        model: the model loaded.
        path: its ``--model`` value; None is the bundled model.
        alive: whether it accepts commands.
        silent: whether it has not answered for some seconds; it may be stopped, and can be replaced.
        loaded: fraction loaded of the next model.
        started: number of processes so far; reports of one do not concern the next.

    Args:
        link: connection to the process.
        model: the model it starts with.
        path: its ``--model`` value.
    """

    def __init__(self, link: Link, model: ModelInfo, path: str | None) -> None:
        self.model = model
        self.path = path
        self.alive = True
        self.silent = False
        self.loaded = 0.0
        self.started = 1
        self._link = link
        self._target: _Target | None = None

    @property
    def answers(self) -> bool:
        """Whether it does what it is asked."""
        return self.alive and not self.silent

    @property
    def loading(self) -> str:
        """The name of the model being loaded, empty if none is."""
        return self._target.name if self._target else ""

    def load(self, path: str | None, name: str) -> None:
        """End this process and start one with another model."""
        self._load(_Target(name, path, self.model.name))

    def _load(self, target: _Target) -> None:
        self._target = target
        self.alive, self.silent, self.loaded = False, False, 0.0
        self.started += 1
        self._link.load(target.model)

    def revive(self) -> None:
        """Start another process after one that failed, or in place of one that is silent."""
        self.alive, self.silent = False, False
        self._link.restart()

    def take(self, report: ProcessReport, update: Update) -> Phase | None:
        """The process has reported on itself, or is gone; returns the resulting phase if it changes."""
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
                self._report(f"The model could not be loaded again: {reason}", update, about="model")
                return None
            case Ended(reason):
                return self._lost(reason, update)
            case Silent(seconds):
                self.silent = True
                words = f"The generator process has not answered for {seconds:.0f} s; it may be stopped."
                update.note(f"{words} Press r to replace it, q to quit.", "error", "process", lambda: self.silent)
                return None
            case Answering():
                self.silent = False
                update.note("The generator process answers again.", about="process")
                return None

    def _ready(self, model: ModelInfo, update: Update) -> Phase | None:
        """A model has been loaded."""
        self.model = update.model = model
        if model.stream:  # the stream holds another text, by another model
            return None
        self.alive = True
        if self._target is not None:
            self.path, self._target = self._target.model, None
            update.note(f"{model.name} is loaded.", about="model", holds=lambda: not self.loading)
        return "idle"

    def _not_loaded(self, target: _Target, reason: str, update: Update) -> Phase:
        """Return to the previous model, but only once."""
        if target.before is None:
            self._target = None
            self._report(f"{target.name} could not be loaded again: {reason}. Press r to try once more.", update)
            return "dead"
        update.note(f"{target.name} could not be loaded: {reason}. Back to {target.before}.", "error")
        self._load(_Target(target.before, self.path, None))
        return "loading"

    def _lost(self, reason: str, update: Update) -> Phase:
        """The process has died: start another, but only once in a row."""
        if self.alive:
            self._report(f"The generator process died ({reason}). A new one is being started.", update)
            self._link.restart()
        else:
            self._report(f"The generator process died again ({reason}). Press r to try once more, q to quit.", update)
        self.alive = self.silent = False
        return "dead"

    def _report(self, message: str, update: Update, about: str = "process") -> None:
        """An error that holds until there is a process again."""
        update.note(message, "error", about, lambda: not self.alive)
