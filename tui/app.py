"""The dashboard: panes around a session, redrawn at most twelve times a second."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from time import monotonic
from typing import ClassVar

from textual import events, on
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Static

from kvtui.core.commands import ShowAttention
from kvtui.core.errors import KvtuiError
from kvtui.tui.actions import ACTIONS, ALWAYS
from kvtui.tui.help import HelpScreen
from kvtui.tui.link import Link, WorkerLink
from kvtui.tui.messages import AttentionWanted, PromptLeft, PromptSubmitted
from kvtui.tui.panes.attention import AttentionPane
from kvtui.tui.panes.cache import CachePane
from kvtui.tui.panes.keys import KeysPane
from kvtui.tui.panes.output import OutputPane
from kvtui.tui.panes.prompt import PromptPane
from kvtui.tui.panes.status import StatusPane
from kvtui.tui.panes.timing import TimingPane
from kvtui.tui.session import Session, Update, faster, slower
from kvtui.tui.settings import DashboardSettings
from kvtui.tui.stream_link import CACHE_IS_NOT_OURS
from kvtui.tui.wire import Ready

TICK_SECONDS = 1 / 12
ATTENTION_SECONDS = 0.1  # at most ten requests a second
ATTENTION_PATIENCE = 1.0  # a request that was not answered for so long is lost
LEAST_WIDTH, LEAST_HEIGHT = 64, 20
NOTICE_SECONDS = 8.0
INTERRUPTED = 130


class KvtuiApp(App[None]):
    """Watches a model write.

    Args:
        link: the generator process, started.
        ready: its model.
        settings: how to begin.
    """

    TITLE = "kvtui"
    CSS_PATH = "kvtui.tcss"
    AUTO_FOCUS = None  # on_mount decides: keys pressed early must not end up in a prompt that is running
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall"), (50, "-very-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(action.keys, action.name, action.title, show=False) for action in ACTIONS),
        *(Binding(keys, name, title, show=False, priority=True) for keys, name, title in ALWAYS),
    ]

    def __init__(self, link: Link, ready: Ready, settings: DashboardSettings) -> None:
        super().__init__()
        self.session = Session(link, ready, settings)
        self._first_prompt = settings.prompt or ""
        self._attention_due = False
        self._asked: float | None = None  # when, if not answered yet
        self._last_asked = 0.0
        self._limited_pace = settings.pace or 25.0

    # Panes

    def compose(self) -> ComposeResult:
        """Top to bottom as a reader meets them."""
        session = self.session
        yield Static(id="too-small")
        with Vertical(id="main"):
            yield StatusPane(session.ready, session.figures, id="status")
            yield PromptPane(self._first_prompt, id="prompt")
            with Horizontal(id="middle"):
                yield OutputPane(id="output")
                yield AttentionPane(id="attention")
            yield TimingPane(id="timing")
            yield CachePane(session.ready, session.figures, id="cache")
            yield KeysPane(id="keys")

    def on_mount(self) -> None:
        """Start at once if there is a prompt, else wait for one."""
        self._configure(self.session.ready)
        self.set_interval(TICK_SECONDS, self._tick)
        if self._first_prompt or self.session.ready.stream:
            self.prompt.input.remember(self.prompt.input.value)
            self.output.focus()
            self._start(self._first_prompt)
        else:
            self.prompt.input.focus()

    def _configure(self, ready: Ready) -> None:
        """Fit the panes to a model, or to a stream of another program's events."""
        self.attention.configure(ready.config, ready.stream)
        self.timing.stream = self.prompt.stream = ready.stream

    @property
    def output(self) -> OutputPane:
        """The text."""
        return self._main.query_one(OutputPane)

    @property
    def attention(self) -> AttentionPane:
        """What the model looked at."""
        return self._main.query_one(AttentionPane)

    @property
    def timing(self) -> TimingPane:
        """What each token cost."""
        return self._main.query_one(TimingPane)

    @property
    def prompt(self) -> PromptPane:
        """What the model goes on from."""
        return self._main.query_one(PromptPane)

    @property
    def _main(self) -> Screen[object]:
        """The screen of the panes, also while another one is above it."""
        return self.screen_stack[0]

    def on_resize(self, event: events.Resize) -> None:
        """Say what size is needed if this one will not do."""
        small = event.size.width < LEAST_WIDTH or event.size.height < LEAST_HEIGHT
        self._main.set_class(small, "-too-small")
        if small:
            self._main.query_one("#too-small", Static).update(
                f"kvtui needs {LEAST_WIDTH} × {LEAST_HEIGHT} cells; here are {event.size.width} × {event.size.height}"
            )

    # What the generator process tells

    def _tick(self) -> None:
        """Hand what has come since the last tick to the panes, all at once."""
        if not self.screen_stack or not self.is_running:
            return
        update = self.session.collect()
        self._show(update)
        self._ask_attention(bool(update.tokens or update.prefill))

    def _show(self, update: Update) -> None:
        if update.ready is not None:
            self._configure(update.ready)
        if update.prefill is not None:
            if self.session.ready.stream:
                self._clear()  # nobody here has started this text
            self.output.add_prompt(update.prefill.prompt)
        if update.tokens:
            self.output.add(update.tokens)
            self.timing.add(update.tokens)
        if update.attention is not None:
            self._asked = None
            self.attention.show(update.attention)
        for message, severity in update.notices:
            self.notify(message, severity=severity, timeout=NOTICE_SECONDS, markup=False)
        self._show_figures()

    def _show_figures(self) -> None:
        session = self.session
        self._main.query_one(StatusPane).show(session.ready, session.figures)
        self._main.query_one(CachePane).show(session.ready, session.figures)
        self.output.writing = session.running
        keys = self._main.query_one(KeysPane)
        keys.paused = session.figures.phase == "paused"
        keys.typing = self._main.focused is self.prompt.input

    def _ask_attention(self, news: bool) -> None:
        """Ask for what the attention pane shows, when there is something new and the last answer has come."""
        if self.session.ready.stream:
            return
        self._attention_due = self._attention_due or news
        now = monotonic()
        waiting = self._asked is not None and now - self._asked < ATTENTION_PATIENCE
        if not self._attention_due or waiting or now - self._last_asked < ATTENTION_SECONDS:
            return
        wanted = self.attention.wanted
        self.session.show_attention(ShowAttention(wanted.layer, wanted.heads, -wanted.rows))
        self._attention_due, self._asked, self._last_asked = False, now, now

    @on(AttentionWanted)
    def _attention_wanted(self) -> None:
        """The pane shows something else: ask, but not before its turn."""
        self._attention_due, self._asked = True, None
        self._ask_attention(False)

    # Starting and stopping

    def _start(self, prompt: str, seed: int | None = None) -> None:
        self._begin(self.session.start(prompt, seed))

    def _begin(self, started: bool) -> None:
        """Clear the panes for a new text."""
        if not started:
            if self.session.figures.phase == "dead":
                self.session.revive()
            else:
                self.notify("Write a prompt first: press p.", severity="warning")
            return
        self._clear()
        self._show_figures()

    def _clear(self) -> None:
        self._asked = None
        self.output.start()
        self.timing.start()
        self.attention.clear()

    @on(PromptSubmitted)
    def _prompt_submitted(self, message: PromptSubmitted) -> None:
        self.output.focus()
        self._start(message.text)

    @on(PromptLeft)
    def action_leave_prompt(self) -> None:
        """Give the keys to the dashboard."""
        self.output.focus()

    async def action_submit_prompt(self) -> None:
        """As Enter in the prompt."""
        await self.prompt.input.action_submit()

    def action_prompt(self) -> None:
        """Focus the prompt."""
        self.prompt.input.focus()

    def action_restart(self) -> None:
        """The same prompt and seed."""
        self._begin(self.session.restart())

    def action_restart_next(self) -> None:
        """The same prompt, another text."""
        self._begin(self.session.restart(next_seed=True))

    def action_stop(self) -> None:
        """End the text."""
        self.session.stop()

    def action_interrupt(self) -> None:
        """Quit as after Ctrl-C."""
        self.exit(return_code=INTERRUPTED)

    # While it writes

    def action_toggle_cache(self) -> None:
        """The hero."""
        if self.session.ready.stream:
            self.notify(CACHE_IS_NOT_OURS, severity="warning")
            return
        self.session.toggle_cache()
        self._show_figures()

    def action_pause(self) -> None:
        """Pause, resume, or begin again after the end."""
        phase = self.session.figures.phase
        if phase == "writing":
            self.session.pause()
        elif phase == "paused":
            self.session.resume()
        else:
            self.action_restart()
        self._show_figures()

    def action_step(self) -> None:
        """One token."""
        if self.session.running:
            self.session.step()
            self._show_figures()

    def action_slower(self) -> None:
        """The pace before."""
        self._set_pace(slower(self.session.figures.pace))

    def action_faster(self) -> None:
        """The pace after."""
        self._set_pace(faster(self.session.figures.pace))

    def action_unlimited(self) -> None:
        """No pace, or the one before."""
        self._set_pace(None if self.session.figures.pace is not None else self._limited_pace)

    def _set_pace(self, pace: float | None) -> None:
        self._limited_pace = pace or self.session.figures.pace or self._limited_pace
        self.session.set_pace(pace)
        self._show_figures()

    # What is shown

    def action_previous_layer(self) -> None:
        """Attention."""
        self.attention.previous_layer()

    def action_next_layer(self) -> None:
        """Attention."""
        self.attention.next_layer()

    def action_previous_head(self) -> None:
        """Attention."""
        self.attention.previous_head()

    def action_next_head(self) -> None:
        """Attention."""
        self.attention.next_head()

    def action_heads(self) -> None:
        """One, all, mean."""
        self.attention.cycle_mode()

    def action_ramp(self) -> None:
        """ASCII or shades."""
        self.attention.cycle_ramp()

    def action_time_scale(self) -> None:
        """Logarithmic or linear."""
        self.timing.action_toggle_scale()

    def action_time_zoom(self) -> None:
        """Tokens in a bar."""
        self.timing.action_zoom(2)

    def action_colour(self) -> None:
        """Nothing, time, probability."""
        self.output.cycle_colouring()

    def action_theme(self) -> None:
        """Dark or light."""
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    def action_help(self) -> None:
        """Over everything."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every action, and Textual's own."""
        for action in ACTIONS:
            yield SystemCommand(
                f"{action.title}  ({action.shown})", action.help, getattr(self, f"action_{action.name}")
            )
        for command in super().get_system_commands(screen):
            if command.title not in ("Quit", "Keys"):
                yield command


def run_dashboard(settings: DashboardSettings) -> int:
    """Open the dashboard; the exit status.

    Raises:
        KvtuiError: there is no terminal, or the model cannot be loaded; before the terminal is touched.
        KeyboardInterrupt: the reader pressed Ctrl-C; the terminal is as it was.
    """
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        raise KvtuiError(
            "the dashboard needs a terminal, and standard input or output is not one: use 'kvtui generate PROMPT'"
        )
    link = WorkerLink(settings.model)
    try:
        link.start()
        return run_app(KvtuiApp(link, link.wait_ready(), settings))
    finally:
        link.close()


def run_app(app: KvtuiApp) -> int:
    """Give an app the terminal; its exit status.

    Raises:
        KeyboardInterrupt: the reader pressed Ctrl-C; the terminal is as it was.
    """
    app.run()
    if app.return_code == INTERRUPTED:
        raise KeyboardInterrupt
    return app.return_code or 0
