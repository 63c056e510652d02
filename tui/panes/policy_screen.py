"""The dialog of ``P``: a cache policy, chosen from a list or typed."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from kvtui.core.cache import KINDS, parse_policy
from kvtui.core.config import ModelConfig
from kvtui.core.errors import KvtuiError

OFF = "off"  # no policy: a race lane without the cache
COMBINED = "int8,window:128"  # an example of a combination
CHOICES = (*(kind.example for kind in KINDS), COMBINED)
HINT = "The text continues; its next token recomputes the context under the new policy. You can change the numbers."


class PolicyScreen(ModalScreen[str | None]):
    """Returns the policy as entered, or None if the user cancels.

    Args:
        current: the policy in force.
        config: of the model, which may not support every policy.
        title: the purpose of the choice.
        hint: the effect of the choice.
        off: whether to offer no cache as well.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close", show=False),
        Binding("down", "move(1)", "Next", show=False),
        Binding("up", "move(-1)", "Previous", show=False),
    ]

    def __init__(
        self, current: str, config: ModelConfig, title: str = "Cache policy", hint: str = HINT, off: bool = False
    ) -> None:
        super().__init__()
        self._current = current
        self._config = config
        self._title = title
        self._hint = hint
        self._off = off
        self._choices = (*CHOICES, OFF) if off else CHOICES

    def compose(self) -> ComposeResult:
        """An input field, the meaning of its content or the error in it, and the known policies."""
        with Vertical(id="policy") as box:
            box.border_title = self._title
            box.border_subtitle = "↑ ↓ choose · Enter applies · Esc cancels"
            yield Input(self._current, id="policy-spec", select_on_focus=True)
            yield Static(id="policy-meaning")
            yield OptionList(*map(self._option, self._choices), id="policy-list")
            yield Static(self._hint, id="policy-hint")

    def on_mount(self) -> None:
        """Mark the current policy."""
        kinds = [choice.partition(":")[0] for choice in self._choices]
        kind = self._current.partition(":")[0]
        self._list.highlighted = kinds.index(kind) if kind in kinds else CHOICES.index(COMBINED)
        self.query_one(Input).focus()
        self._check(self._current)

    @property
    def _list(self) -> OptionList:
        return self.query_one(OptionList)

    def _option(self, choice: str) -> Option:
        mark = "●" if choice == self._current else " "
        return Option(Text.assemble(f"{mark} ", (f"{choice:17}", "bold"), meaning(choice)), id=choice)

    def action_move(self, step: int) -> None:
        """Copy the highlighted policy into the field."""
        self._list.highlighted = ((self._list.highlighted or 0) + step) % len(self._choices)
        self._fill()

    def _fill(self) -> None:
        field, choice = self.query_one(Input), self._choices[self._list.highlighted or 0]
        field.value, field.cursor_position = choice, len(choice)

    @on(OptionList.OptionSelected)
    def _clicked(self) -> None:
        self._fill()
        self.action_apply()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._check(event.value)

    @on(Input.Submitted)
    def action_apply(self) -> None:
        """Return the policy if it is valid."""
        spec = self.query_one(Input).value
        if self._check(spec):
            self.dismiss(OFF if self._is_off(spec) else parse_policy(spec).spec)

    def _is_off(self, spec: str) -> bool:
        return self._off and spec.strip().lower() == OFF

    def _check(self, spec: str) -> bool:
        """Whether this model supports this policy; shows its meaning, or the reason why not."""
        words = self.query_one("#policy-meaning", Static)
        words.set_class(False, "-wrong")
        if self._is_off(spec):
            words.update(Text(meaning(OFF, True)))
            return True
        try:
            policy = parse_policy(spec)
            policy.check(self._config)
        except KvtuiError as error:
            words.update(Text(str(error)))
            words.set_class(True, "-wrong")
            return False
        words.update(Text(". ".join(meaning(part, True) for part in policy.spec.split(","))))
        return True


def meaning(choice: str, form: bool = False) -> str:
    """What a policy keeps and where it was published; for a combination, what it combines."""
    if choice == OFF:
        return f"{f'{OFF}: ' if form else ''}no cache; every token recomputes the whole context"
    if "," in choice:
        return "fewer positions, and fewer bits of each"
    kind = next(kind for kind in KINDS if kind.name == choice.partition(":")[0])
    return f"{f'{kind.form}: ' if form else ''}{kind.summary}{f'. {kind.paper}' if kind.paper else ''}"
