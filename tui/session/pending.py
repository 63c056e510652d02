"""Commands that have not taken effect yet. Does not import Textual."""

from __future__ import annotations

from kvtui.core.commands import Command


class Pending:
    """Counts the commands the process has not answered, and keeps those held back from the text during a race.

    While an answer is missing, the state reported by the process is older than the user's latest request.
    """

    def __init__(self) -> None:
        self._unanswered = 0
        self._owed: dict[type, Command] = {}

    def sent(self) -> None:
        """A command that will be answered was sent."""
        self._unanswered += 1

    def answered(self) -> bool:
        """One answer has arrived; returns whether none is missing."""
        self._unanswered = max(0, self._unanswered - 1)
        return not self._unanswered

    def expect_nothing(self) -> None:
        """The text, the race or the process has ended: commands sent too late get no answer."""
        self._unanswered = 0

    def owe(self, command: Command) -> None:
        """Send this to the text after the race; only the newest command of each kind counts."""
        self._owed[type(command)] = command

    def take_owed(self) -> list[Command]:
        """The commands to send to the text now."""
        owed, self._owed = list(self._owed.values()), {}
        return owed
