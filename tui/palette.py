"""The command palette: Textual's own, but for one crash."""

from __future__ import annotations

from contextlib import suppress

from textual.command import CommandPalette


class Palette(CommandPalette):
    """Every action by name."""

    def _action_command_list(self, action: str) -> None:
        with suppress(KeyError):  # Page Down before the list has a height: OptionList._move_page of Textual 8.2
            super()._action_command_list(action)
