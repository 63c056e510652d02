"""Commands that have not had their effect yet. Nothing of Textual."""

from __future__ import annotations

from kvtui.core.commands import Command


class Pending:
    """Counts the commands that the process has not answered, and keeps those that the text was not told during a race.

    While an answer is missing, what the process says of its state is older than what the user has asked for.
    """

    def __init__(self) -> None:
        self._unanswered = 0
        self._owed: dict[type, Command] = {}

    def sent(self) -> None:
        """A command was sent that will be answered."""
        self._unanswered += 1

    def answered(self) -> bool:
        """One answer has come; whether all have."""
        self._unanswered = max(0, self._unanswered - 1)
        return not self._unanswered

    def expect_nothing(self) -> None:
        """The text, the race or the process has ended: what came too late for it gets no answer."""
        self._unanswered = 0

    def owe(self, command: Command) -> None:
        """The text will be told after the race; the newest command of a kind counts."""
        self._owed[type(command)] = command

    def take_owed(self) -> list[Command]:
        """What the text is to be told now."""
        owed, self._owed = list(self._owed.values()), {}
        return owed
