"""Notices over the lower part of the view: in place of Textual's toasts, which pile up and cover dialogs."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from kvtui.tui.notices import Notice

MOST = 2  # notices at once; the oldest makes room
SECONDS = 8.0  # that each is shown for


class NoticesPane(Vertical):
    """The newest notices. Each disappears when its time is up, when it no longer holds, or when it is clicked.

    While a dialog is open they are hidden, and their time does not pass.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.display = False
        self.clock = clock
        self._last = clock()
        self._shown: list[tuple[Notice, float]] = []  # with the seconds that are left
        self._covered = False

    @property
    def notices(self) -> list[Notice]:
        """What is shown, oldest first."""
        return [notice for notice, _ in self._shown]

    def compose(self) -> ComposeResult:
        """One line or more for each."""
        for _ in range(MOST):
            yield Static(classes="notice", markup=False)

    def tell(self, notice: Notice) -> None:
        """Show a notice."""
        others = [(other, left) for other, left in self._shown if not notice.replaces(other)]
        self._show([*others, (notice, SECONDS)][-MOST:])

    def check(self, covered: bool) -> None:
        """Remove what is over; called a few times a second. ``covered``: a dialog is open."""
        now = self.clock()
        passed, self._last, self._covered = (0.0 if covered else now - self._last), now, covered
        self._show([(one, left - passed) for one, left in self._shown if left > passed and one.holds()])

    def on_click(self, event: events.Click) -> None:
        """Remove a notice that has been read."""
        if event.widget in self.children:
            place = self.children.index(event.widget)
            self._show(self._shown[:place] + self._shown[place + 1 :])

    def _show(self, shown: list[tuple[Notice, float]]) -> None:
        before, self._shown = self.notices, shown
        self.display = bool(shown) and not self._covered
        if self.notices == before:
            return
        for place, line in enumerate(self.query_children(Static)):
            line.display = place < len(shown)
            if line.display:
                notice = shown[place][0]
                line.update(notice.message)
                line.set_classes(f"notice -{notice.severity}")
