"""The screen of ``M``: choose one of the models on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from kvtui.core.errors import KvtuiError
from kvtui.core.loading import model_path
from kvtui.core.loading.hub import hub_folder
from kvtui.core.loading.library import LibraryModel, find_models
from kvtui.tui.characters import printable
from kvtui.tui.drawing.words import count_words, size_words

_NAME_CELLS = 28


class ModelsScreen(ModalScreen[LibraryModel | None]):
    """A line for every model; Enter chooses one, Esc none.

    Args:
        folder: where to search; None for the Hugging Face cache.
        current: the loaded model, as given to ``--model``; None for the bundled one.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,M,q", "close", "Close", show=False)]

    def __init__(self, folder: Path | None, current: str | None) -> None:
        super().__init__()
        self._folder = folder
        self._current = current
        self._models: list[LibraryModel] = []

    def compose(self) -> ComposeResult:
        """The list, which is filled when the folder has been searched."""
        models = OptionList(Option("looking …", disabled=True), id="models")
        models.border_title = "Models"
        models.border_subtitle = "Enter loads it and writes the same prompt · Esc closes"
        yield models

    def on_mount(self) -> None:
        """Search in a thread: a folder may be large or on a slow disk."""
        self._search()

    @work(thread=True)
    def _search(self) -> None:
        try:
            models, problem = find_models(self._folder), ""
        except KvtuiError as error:
            models, problem = [], str(error)
        self.app.call_from_thread(self._fill, models, problem)

    def _fill(self, models: list[LibraryModel], problem: str) -> None:
        if not self.is_current:
            return
        self._models = models
        options = self.query_one(OptionList)
        options.clear_options()
        current = [is_current(model, self._current) for model in models]
        for model, is_it in zip(models, current, strict=True):
            options.add_option(Option(line(model, is_it), disabled=bool(model.problem)))
        if not problem and all(model.bundled for model in models):
            problem = f"no others in {self._folder or hub_folder()}"
        if problem:
            for words in (printable(problem), "for another folder: kvtui --models-dir DIR"):
                options.add_option(Option(Text(words), disabled=True))
        options.highlighted = current.index(True) if True in current else 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Load the chosen model."""
        self.dismiss(self._models[event.option_index])

    def action_close(self) -> None:
        """Close without a choice."""
        self.dismiss(None)


def is_current(model: LibraryModel, current: str | None) -> bool:
    """Whether ``current``, as given to ``--model``, means this model."""
    try:
        return model.path.resolve() == model_path(current).resolve()
    except KvtuiError:  # it has been moved since it was loaded
        return False


def line(model: LibraryModel, current: bool) -> Text:
    """A model: whether it is loaded, its name, parameters, bytes, and its kind or why it cannot be used."""
    mark = "●" if current else " "
    count = count_words(model.parameters) if model.parameters else "?"
    figures = f"{count:>8} {size_words(model.file_bytes):>9}"
    name = printable(model.name)
    if cell_len(name) > _NAME_CELLS:
        name = set_cell_size(name, _NAME_CELLS - 1) + "…"
    words = f"not usable: {model.problem}" if model.problem else model.kind
    return Text(
        f"{mark} {set_cell_size(name, _NAME_CELLS)} {figures}  {printable(words)}", no_wrap=True, overflow="ellipsis"
    )
