"""The dashboard: views around a session, drawn at most twelve times a second."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import events, on
from textual.app import App, ComposeResult, SystemCommand
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Input, Static

from kvtui.core.cache import parse_policy
from kvtui.core.errors import KvtuiError
from kvtui.core.loading.library import LibraryModel
from kvtui.tui.actions import ACTIONS, ALWAYS, PAST, TOUR
from kvtui.tui.cli.terminal import LEAST_HEIGHT, LEAST_WIDTH
from kvtui.tui.drawing.words import size_words
from kvtui.tui.messages import PromptLeft, PromptSubmitted, QuestionChanged, TokenPicked
from kvtui.tui.panes.keys import KeysPane
from kvtui.tui.panes.prompt import PromptPane
from kvtui.tui.panes.status import StatusPane
from kvtui.tui.panes.tabs import TabsPane, cursor_words
from kvtui.tui.screens.branches import BranchesScreen
from kvtui.tui.screens.fork import fork_screen
from kvtui.tui.screens.help import HelpScreen
from kvtui.tui.screens.models import ModelsScreen
from kvtui.tui.screens.overlay import Overlay
from kvtui.tui.screens.palette import Palette
from kvtui.tui.screens.policy import CHOICES, PolicyScreen, meaning
from kvtui.tui.session.figures import faster, slower
from kvtui.tui.session.questions import Questions
from kvtui.tui.session.session import Session
from kvtui.tui.settings import DashboardSettings
from kvtui.tui.theme import LIGHT
from kvtui.tui.tour.card import TourCard
from kvtui.tui.tour.guide import Guide
from kvtui.tui.views.stream import StreamView
from kvtui.tui.views.table import KEYS, OWN_KEYS, VIEWS
from kvtui.tui.views.view import View
from kvtui.tui.worker.link import Link
from kvtui.tui.worker.protocol import Ready
from kvtui.tui.worker.stream_link import CACHE_IS_NOT_OURS, TEXT_IS_NOT_OURS

TICK_SECONDS = 1 / 12
NOTICE_SECONDS = 8.0
CRAMPED_HEIGHT = 24  # below it the tour leaves out panes that it does not speak of
INTERRUPTED = 130


class KvtuiApp(App[None]):
    """Watches a model write.

    Args:
        link: the generator process, started.
        ready: its model.
        settings: how to begin.
    """

    TITLE = "kvtui"
    CSS_PATH = Path(__file__).with_name("kvtui.tcss")  # not a relative one: subclasses stand elsewhere
    AUTO_FOCUS = None  # on_mount decides: keys pressed early must not end up in a prompt that is running
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall"), (50, "-very-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(action.keys, action.name, action.title, show=False, priority=action in PAST) for action in ACTIONS),
        *(Binding(key, f"view({number})", show=False) for number, key in enumerate(KEYS)),
        *(Binding(key, f"in_view('{key}')", show=False) for key in OWN_KEYS),
        *(Binding(keys, name, title, show=False, priority=True) for keys, name, title in (*ALWAYS, *TOUR)),
    ]

    def __init__(self, link: Link, ready: Ready, settings: DashboardSettings) -> None:
        super().__init__()
        self.register_theme(LIGHT)
        self.session = Session(link, ready, settings)
        self._first_prompt = settings.prompt or ""
        self.questions = Questions(self.session.put_question)
        self._limited_pace = settings.pace or 25.0
        self._models_dir = settings.models_dir
        self._opens_tour = settings.tour
        self._guide = Guide(lambda: self._main, self.session, self._show_view)

    # Views

    def compose(self) -> ComposeResult:
        """Top to bottom as a reader meets them."""
        session = self.session
        views = [view() for view in VIEWS]
        yield Static(id="too-small")
        with Vertical(id="main"):
            yield StatusPane(session.ready, session.figures, id="status")
            with Container(id="top"):
                yield PromptPane(self._first_prompt, id="prompt")
                yield TabsPane([(key, view.TITLE) for key, view in zip(KEYS, VIEWS, strict=True)], id="tabs")
            with ContentSwitcher(id="views", initial=views[0].id):
                yield from views
                yield StreamView()
            yield TourCard(id="tour")
            yield KeysPane(views[0].ACTIONS, id="keys")

    def on_mount(self) -> None:
        """Start at once if there is a prompt, else wait for one."""
        self.prompt.stream = self.session.ready.stream
        self._tick()
        self.set_interval(TICK_SECONDS, self._tick)
        if self._first_prompt or self.session.ready.stream:
            self.prompt.input.remember(self.prompt.input.value)
            self.view.focus_first()
            self._start(self._first_prompt)
        else:
            self.prompt.input.focus()
        if self._opens_tour:
            self.action_tour()

    @property
    def view(self) -> View:
        """The one that is visible."""
        view = self._main.query_one(ContentSwitcher).visible_content
        assert isinstance(view, View)
        return view

    @property
    def views(self) -> list[View]:
        """All, in the order of their keys."""
        return [view for view in self._main.query(View) if not isinstance(view, StreamView)]

    @property
    def prompt(self) -> PromptPane:
        """What the model goes on from."""
        return self._main.query_one(PromptPane)

    @property
    def tour(self) -> TourCard:
        """The card below the view."""
        return self._main.query_one(TourCard)

    @property
    def _main(self) -> Screen[object]:
        """The screen of the panes, also while another one is above it."""
        return self.screen_stack[0]

    def on_resize(self, event: events.Resize) -> None:
        """Say what size is needed if this one will not do."""
        small = event.size.width < LEAST_WIDTH or event.size.height < LEAST_HEIGHT
        self._main.set_class(small, "-too-small")
        self._main.set_class(event.size.height < CRAMPED_HEIGHT, "-cramped")
        if small:
            self._main.query_one("#too-small", Static).update(
                f"kvtui needs {LEAST_WIDTH} × {LEAST_HEIGHT} cells; here are {event.size.width} × {event.size.height}"
            )

    def action_view(self, number: int) -> None:
        """Show another view."""
        switcher, view = self._main.query_one(ContentSwitcher), self.views[number]
        if self.session.ready.stream and view.ASKS:
            instead = self._main.query_one(StreamView)
            instead.explain(view)
            view = instead
        elif view is self.view:
            return
        self.view.hide()
        switcher.current = view.id
        self._main.query_one(TabsPane).selected = number
        self._main.query_one(KeysPane).of_view = view.ACTIONS
        self.questions.forget()
        self._tick()
        if self._main.focused is not self.prompt.input:
            view.focus_first()

    def _show_view(self, title: str) -> None:
        self.action_view([view.TITLE for view in VIEWS].index(title))

    def action_in_view(self, key: str) -> None:
        """A key that is the visible view's own."""
        for action in self.view.ACTIONS:
            if key in action.keys.split(","):
                getattr(self.view, f"action_{action.name}")()

    # What the generator process tells

    def _tick(self) -> None:
        """Hand what has come since the last tick to the visible view, all at once."""
        if not self.screen_stack or not self.is_running:
            return
        view, session = self.view, self.session
        update = session.collect(view.mark)
        view.mark = session.timeline.mark
        view.show(update, session)
        if isinstance(self.screen, Overlay):
            self.screen.show(update, session)
        if update.ready is not None:
            self.prompt.stream = update.ready.stream
            self.questions.forget()
        for message, severity in update.notices:
            self.notify(message, severity=severity, timeout=NOTICE_SECONDS, markup=False)
        self._show_figures()
        self.questions.take(update.answers)
        self._ask(update.news)
        self._guide.show(update, view)

    def _show_figures(self) -> None:
        session = self.session
        self._main.query_one(StatusPane).show(session.ready, session.figures)
        keys = self._main.query_one(KeysPane)
        keys.phase = session.figures.phase
        keys.stream = session.ready.stream
        keys.touring = self.tour.display
        keys.typing = self._main.focused is self.prompt.input
        keys.looking_back = session.cursor is not None
        gone = session.cursor is not None and session.cursor < session.window_start
        tokens = session.timeline.tokens
        written = tokens[-1].step + 1 if tokens else 0
        self._main.query_one(TabsPane).words = cursor_words(session.looking, written, gone)
        self._main.set_class(session.cursor is not None and not keys.typing, "-past")

    def _ask(self, news: bool) -> None:
        """Ask for what the visible view shows, or the screen above it, when it is its turn."""
        if self.session.answering:
            asker = self.screen if isinstance(self.screen, Overlay) else self.view
            self.questions.ask(asker.questions(self.session), news)

    @on(QuestionChanged)
    def _question_changed(self) -> None:
        self._ask(news=False)

    # Starting and stopping

    def _start(self, prompt: str, seed: int | None = None) -> None:
        self._begin(self.view.start(self.session, prompt, seed))

    def _begin(self, started: bool) -> None:
        """Clear the panes for a new text."""
        if not started:
            if self.session.loading:
                self.notify(f"Wait: {self.session.loading} is being loaded.", severity="warning", markup=False)
            elif self.session.figures.phase == "dead":
                self.session.revive()
            else:
                self.notify("Write a prompt first: press p.", severity="warning")
            return
        self.questions.forget()
        self._tick()

    @on(PromptSubmitted)
    def _prompt_submitted(self, message: PromptSubmitted) -> None:
        self.view.focus_first()
        self._start(message.text)

    @on(PromptLeft)
    def action_leave_prompt(self) -> None:
        """Give the keys to the dashboard."""
        self.view.focus_first()

    async def action_submit_prompt(self) -> None:
        """As Enter in the prompt."""
        await self.prompt.input.action_submit()

    def action_prompt(self) -> None:
        """Focus the prompt."""
        self.prompt.input.focus()

    def action_restart(self) -> None:
        """The same prompt and seed."""
        self._restart(self.session.figures.seed)

    def action_restart_next(self) -> None:
        """The same prompt, another text."""
        self._restart(self.session.figures.seed + 1)

    def _restart(self, seed: int) -> None:
        prompt = self.session.prompt
        self._begin(prompt is not None and self.view.start(self.session, prompt, seed))

    def action_stop(self) -> None:
        """End the text."""
        self.session.stop()

    def action_interrupt(self) -> None:
        """Quit as after Ctrl-C."""
        self.exit(return_code=INTERRUPTED)

    def action_models(self) -> None:
        """Choose another model."""
        if self.session.ready.stream:
            self.notify(TEXT_IS_NOT_OURS, severity="warning")
        elif not isinstance(self.screen, ModelsScreen):
            self.push_screen(ModelsScreen(self._models_dir, self.session.model), self._load)

    def _load(self, chosen: LibraryModel | None) -> None:
        """The reader has chosen a model, or none."""
        if chosen is None:
            return
        if self.session.load(chosen.model, chosen.name):
            self.notify(f"Loading {chosen.name} ({size_words(chosen.file_bytes)}) …", markup=False)
            self._tick()
        else:
            self.notify(f"Wait: {self.session.loading} is still being loaded.", severity="warning", markup=False)

    # While it writes

    def action_toggle_cache(self) -> None:
        """The hero."""
        if self.session.ready.stream:
            self.notify(CACHE_IS_NOT_OURS, severity="warning")
            return
        self.session.toggle_cache()
        if self.session.racing:
            how = "with" if self.session.figures.cache else "without"
            self.notify(f"A race keeps its lanes. The next text will be written {how} the cache.")
        self._tick()

    def action_pause(self) -> None:
        """Pause, resume, or begin again after the end."""
        phase = self.session.figures.phase
        if phase == "writing":
            self.session.pause()
        elif phase == "paused":
            self.session.resume()
        else:
            self.action_restart()
        self._tick()

    def action_step(self) -> None:
        """One token."""
        if self.session.running:
            self.session.step()
            self._tick()

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
        self._tick()

    # What is looked at

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of the past and of the tour's card go through every pane, but not through a text field or another
        screen."""
        past, tour = any(action == entry.name for entry in PAST), any(action == name for _, name, _ in TOUR)
        if past or tour:
            free = len(self.screen_stack) == 1 and not isinstance(self.focused, Input)
            return free and (past or self.tour.display)
        return True

    def action_earlier(self) -> None:
        """One token back."""
        self._move_cursor(-1)

    def action_later(self) -> None:
        """One token on."""
        self._move_cursor(1)

    def _move_cursor(self, tokens: int) -> None:
        self.session.move_cursor(tokens)
        self._tick()

    def action_first_token(self) -> None:
        """The oldest token that is kept."""
        self.session.look_at(0)
        self._tick()

    def action_live(self) -> None:
        """The newest token."""
        self.session.look_at(None)
        self._tick()
        self.view.follow()

    @on(TokenPicked)
    def _token_picked(self, message: TokenPicked) -> None:
        self.session.look_at(message.position)
        self._tick()

    # Tour

    def action_tour(self) -> None:
        """Open its card, or away with it."""
        if self.session.ready.stream:
            self.notify("The tour needs a model that writes here: start kvtui without a stream.", severity="warning")
        elif self.tour.display:
            self.action_tour_leave()
        else:
            self._guide.open()
            self._tick()

    def action_tour_on(self) -> None:
        """The next chapter; after the last one, the end."""
        self._guide.turn(1)
        self._tick()

    def action_tour_back(self) -> None:
        """The chapter before."""
        self._guide.turn(-1)
        self._tick()

    def action_tour_leave(self) -> None:
        """The dashboard stays as it is."""
        self._guide.leave()
        self._show_figures()

    # Other texts, and whether the cache is right

    def action_fork(self) -> None:
        """Something else in the place of the token that is looked at."""
        try:
            self.push_screen(fork_screen(self.session))
        except KvtuiError as error:
            self.notify(str(error), severity="warning", markup=False)

    def action_branches(self) -> None:
        """All continuations."""
        if len(self.session.branches) == 1:
            self.notify("There is one text so far: press f to fork it.", severity="warning")
        else:
            self.push_screen(BranchesScreen(self.session))

    def action_verify(self) -> None:
        """Against a run without the cache."""
        if self.session.ready.stream:
            self.notify(CACHE_IS_NOT_OURS, severity="warning")
            return
        if self.session.racing:
            self.notify("A race compares its lanes at every token as it is. Verifying is for the next text.")
        self.session.toggle_verify()
        self._tick()

    # The rest

    def action_theme(self) -> None:
        """Dark or light."""
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    def action_policy(self) -> None:
        """Choose what the cache keeps."""
        if isinstance(self.screen, PolicyScreen):
            return
        if self.session.ready.stream:
            self.notify("This is another program's text: its cache cannot be changed from here.", severity="warning")
            return
        self.push_screen(PolicyScreen(self.session.figures.policy, self.session.ready.config), self._set_policy)

    def _set_policy(self, policy: str | None) -> None:
        """What the policy screen hands back."""
        if policy is not None and policy != self.session.figures.policy:
            try:
                parse_policy(policy).check(self.session.ready.config)
            except KvtuiError as error:
                self.notify(str(error), severity="error", markup=False)
                return
            self.session.set_policy(policy)
            if self.session.racing:
                self.notify(f"The lanes of this race stay as they are: {policy} is for the next text.")
            elif not self.session.figures.cache:
                self.notify("The cache is off: press t to turn it on under this policy.", severity="warning")
            self._tick()

    def action_help(self) -> None:
        """Over everything."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(type(self.view)))

    def pop_screen(self) -> AwaitComplete:
        """Close what is over the dashboard. A key that is pressed twice closes it once: the second comes too late."""
        return super().pop_screen() if len(self.screen_stack) > 1 else AwaitComplete()

    def action_command_palette(self) -> None:
        """Every action by name."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every action, and Textual's own."""
        for action in ACTIONS:
            yield SystemCommand(
                f"{action.title}  ({action.shown})", action.help, getattr(self, f"action_{action.name}")
            )
        if not self.session.ready.stream:
            for choice in CHOICES:
                yield SystemCommand(f"Cache policy {choice}", meaning(choice), partial(self._set_policy, choice))
        for number, view in enumerate(VIEWS):
            yield SystemCommand(f"View {view.TITLE}  ({KEYS[number]})", view.SUMMARY, partial(self.action_view, number))
            for action in view.ACTIONS:
                act = partial(self._act_in_view, number, action.first_key)
                yield SystemCommand(f"{action.title}  ({action.shown} in {view.TITLE})", action.help, act)
        for command in super().get_system_commands(screen):
            if command.title not in ("Quit", "Keys"):
                yield command

    def _act_in_view(self, number: int, key: str) -> None:
        """What the palette does with a view's own action: show the view first."""
        self.action_view(number)
        self.action_in_view(key)
