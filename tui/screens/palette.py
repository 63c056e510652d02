"""The command palette: Textual's own, without two crashes when keys come fast (Textual 8.2)."""

from __future__ import annotations

from contextlib import suppress

from textual.command import CommandPalette
from textual.css.query import NoMatches


class Palette(CommandPalette):
    """Every action by name."""

    def _action_command_list(self, action: str) -> None:
        with suppress(KeyError):  # Page Down before the list has a height
            super()._action_command_list(action)

    def _watch__list_visible(self) -> None:
        with suppress(NoMatches):  # closed while it was still searching for commands
            super()._watch__list_visible()

    async def _watch__show_busy(self) -> None:
        with suppress(NoMatches):
            await super()._watch__show_busy()
