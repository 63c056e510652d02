"""The dashboard as an application: themes, command palette, global keys, and exit."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.driver import Driver
from textual.screen import Screen

from kvtui.tui.actions import ACTIONS, ALWAYS
from kvtui.tui.main_screen import MainScreen
from kvtui.tui.messages import Tell
from kvtui.tui.notices import Notice, Severity
from kvtui.tui.panes.policy_screen import CHOICES, meaning
from kvtui.tui.screens.palette import Palette
from kvtui.tui.session.session import Session
from kvtui.tui.settings import INTERRUPTED, DashboardSettings
from kvtui.tui.terminal.driver import TerminalDriver
from kvtui.tui.theme import themes
from kvtui.tui.views.table import KEYS, VIEWS
from kvtui.tui.worker.link import Link
from kvtui.tui.worker.protocol import ModelInfo


class KvtuiApp(App[None]):
    """Shows a model as it writes.

    Args:
        link: the generator process, already started.
        model: its model.
        settings: how the dashboard starts.
    """

    TITLE = "kvtui"
    CSS_PATH = Path(__file__).with_name("kvtui.tcss")  # absolute, because subclasses live in other folders
    AUTO_FOCUS = None  # the main screen decides: keys pressed early must not end up in a prompt that is running
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall"), (50, "-very-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(keys, f"act('{name}')", title, show=False, priority=True) for keys, name, title in ALWAYS
    ]

    def __init__(self, link: Link, model: ModelInfo, settings: DashboardSettings) -> None:
        super().__init__()
        for theme in themes(self.console.color_system):
            self.register_theme(theme)
        self.stylesheet.set_variables(self.get_css_variables())  # the dark one is in use already
        self.session = Session(link, model, settings)
        self.main = MainScreen(self.session, settings)
        self.least_frame_seconds = settings.least_frame_seconds  # the driver keeps it
        self._held = False  # while the terminal belongs to the shell

    def get_driver_class(self) -> type[Driver]:
        """The driver that survives what terminals do."""
        return TerminalDriver

    def on_mount(self) -> None:
        """Hold the text while the program is suspended."""
        self.app_suspend_signal.subscribe(self, self._hold, immediate=True)  # later would be after the wait
        self.app_resume_signal.subscribe(self, self._release, immediate=True)

    def _hold(self, _: object) -> None:
        self._held = self.session.state.phase == "writing"
        if self._held:
            self.session.pause()

    def _release(self, _: object) -> None:
        if self._held:
            self._held = False
            self.session.resume()

    def get_default_screen(self) -> MainScreen:
        """The screen below all others."""
        return self.main

    async def action_act(self, name: str) -> None:
        """Carry out an action, whatever screen is on top."""
        await self.main.action_act(name)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: Severity = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Textual's own notices, as those of the dashboard: with their rules, and not over a dialog."""
        self.main.post_message(Tell(Notice(Content.from_markup(message).plain if markup else message, severity)))

    def action_theme(self) -> None:
        """Dark or light."""
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    def action_interrupt(self) -> None:
        """Quit as on Ctrl-C."""
        self.exit(return_code=INTERRUPTED)

    def action_suspend(self) -> None:
        """Return to the shell until its ``fg``."""
        driver = self._driver
        if not isinstance(driver, TerminalDriver) or not driver.suspend_job():
            self.notify("There is no shell to return to: kvtui cannot be suspended here.", severity="warning")

    def pop_screen(self) -> AwaitComplete:
        """Close the screen on top. A key pressed twice closes it once: the second press comes too late."""
        return super().pop_screen() if len(self.screen_stack) > 1 else AwaitComplete()

    def action_command_palette(self) -> None:
        """Every action by name."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every action, and Textual's own commands."""
        main = self.main
        for action in ACTIONS:
            yield SystemCommand(f"{action.title}  ({action.shown})", action.help, partial(main.action_act, action.name))
        if not self.session.model.stream:
            for choice in CHOICES:
                yield SystemCommand(f"Cache policy {choice}", meaning(choice), partial(main.set_policy, choice))
        for number, view in enumerate(VIEWS):
            yield SystemCommand(f"View {view.TITLE}  ({KEYS[number]})", view.SUMMARY, partial(main.action_view, number))
            for action in view.ACTIONS:
                act = partial(self._act_in_view, number, action.first_key)
                yield SystemCommand(f"{action.title}  ({action.shown} in {view.TITLE})", action.help, act)
        for command in super().get_system_commands(screen):
            if command.title not in ("Quit", "Keys", "Screenshot"):
                yield command
        yield SystemCommand("Screenshot", "Save the screen as an SVG file in the current directory.", self.screenshot)

    def screenshot(self) -> None:
        """Save the screen once the palette is gone."""
        self.call_after_refresh(self._save_screen)

    def _save_screen(self) -> None:
        """Into the current directory: a folder for downloads need not exist."""
        try:
            path = Path(self.save_screenshot(path=os.getcwd()))
        except OSError as error:
            notice = Notice(f"The screenshot could not be saved: {error.strerror or error}.", "error", "screenshot")
        else:
            notice = Notice(f"Screenshot saved: {path}", about="screenshot")
        self.main.tell(notice)

    def _act_in_view(self, number: int, key: str) -> None:
        """Run a view's own action from the palette: show the view first."""
        self.main.action_view(number)
        self.main.action_in_view(key)
