"""Where the user is looking: at the newest token or an earlier one. Does not import Textual."""

from __future__ import annotations

from kvtui.core.events import Token
from kvtui.tui.session.timeline import Timeline


class Cursor:
    """A place in the text.

    Attributes:
        position: index in the whole text of the selected token; None follows the newest.

    Args:
        timeline: the text.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.position: int | None = None
        self._timeline = timeline

    @property
    def token(self) -> Token | None:
        """The selected token; None at the live end."""
        return None if self.position is None else self._timeline.at(self.position)

    def look_at(self, position: int | None) -> None:
        """Move to the nearest token still kept; None, or the newest, is the live end."""
        tokens = self._timeline.tokens
        if position is None or not tokens or position >= tokens[-1].position:
            self.position = None
        else:
            self.position = self._timeline.nearest(position)

    def move(self, tokens: int) -> None:
        """Move forward by this many tokens, or back if negative."""
        if self._timeline.tokens:
            here = self._timeline.tokens[-1].position if self.position is None else self.position
            self.look_at(here + tokens)

    def stay(self) -> None:
        """Move to the nearest kept token if the selected one has been discarded."""
        if self.position is not None and self.token is None and self._timeline.tokens:
            self.position = self._timeline.nearest(self.position)
