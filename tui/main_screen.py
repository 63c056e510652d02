"""The main screen: views of a session, drawn at most twelve times per second."""

from __future__ import annotations

from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.screen import Screen
from textual.widgets import Static

from kvtui.core.cache import parse_policy
from kvtui.core.errors import KvtuiError
from kvtui.core.loading.library import LibraryModel
from kvtui.tui.actions import ACTIONS, MODEL_IS_ELSEWHERE, PAST, TOUR, Action
from kvtui.tui.drawing.words import size_words
from kvtui.tui.messages import PromptLeft, PromptSubmitted, QuestionChanged, Tell, TokenPicked
from kvtui.tui.notices import Notice
from kvtui.tui.panes.keys import KeysPane
from kvtui.tui.panes.notices import NoticesPane
from kvtui.tui.panes.policy_screen import PolicyScreen
from kvtui.tui.panes.prompt import PromptPane
from kvtui.tui.panes.status import StatusPane
from kvtui.tui.panes.tabs import TabsPane, cursor_words
from kvtui.tui.screens.branches import BranchesScreen
from kvtui.tui.screens.fork import fork_screen, unforkable
from kvtui.tui.screens.help import HelpScreen
from kvtui.tui.screens.models import ModelsScreen
from kvtui.tui.screens.overlay import Overlay
from kvtui.tui.session.questions import Questions
from kvtui.tui.session.session import Session
from kvtui.tui.session.state import faster, slower
from kvtui.tui.settings import LEAST_HEIGHT, LEAST_WIDTH, DashboardSettings
from kvtui.tui.tour.card import TourCard
from kvtui.tui.tour.guide import Guide
from kvtui.tui.views.switcher import ViewSwitcher
from kvtui.tui.views.table import KEYS, OWN_KEYS, VIEWS
from kvtui.tui.views.view import View

TICK_SECONDS = 1 / 12
SMALL_WIDTH, SMALL_HEIGHT = 80, 24  # cells; in a terminal below either, the tour's card has no frame
_BY_NAME = {action.name: action for action in ACTIONS}
_PAST = frozenset(action.name for action in PAST)
_TOUR = frozenset(name for _, name, _ in TOUR)


class MainScreen(Screen[None]):
    """Prompt, views, tour and keys; updates the visible view and turns the user's actions into calls of the session.

    Args:
        session: the session shown.
        settings: how the dashboard starts.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(a.keys, f"act('{a.name}')", a.title, show=False, priority=a in PAST) for a in ACTIONS),
        *(Binding(keys, f"act('{name}')", title, show=False, priority=True) for keys, name, title in TOUR),
        *(Binding(key, f"view({number})", show=False) for number, key in enumerate(KEYS)),
        *(Binding(key, f"in_view('{key}')", show=False) for key in OWN_KEYS),
    ]

    def __init__(self, session: Session, settings: DashboardSettings) -> None:
        super().__init__()
        self.session = session
        self.questions = Questions(session.put_question)
        self._first_prompt = settings.prompt or ""
        self._settings = settings
        self._guide = Guide(self, session, self._show_view)

    # Views

    def compose(self) -> ComposeResult:
        """Compose the widgets from top to bottom."""
        session = self.session
        yield Static(id="too-small")
        with Vertical(id="main"):
            yield StatusPane(session.model, session.state, id="status")
            with Container(id="top"):
                yield PromptPane(self._first_prompt, id="prompt")
                yield TabsPane([(key, view.TITLE) for key, view in zip(KEYS, VIEWS, strict=True)], id="tabs")
            yield ViewSwitcher(id="views")
            yield TourCard(id="tour")
            yield KeysPane(VIEWS[0].ACTIONS, id="keys")
        yield NoticesPane(id="notices")

    def on_mount(self) -> None:
        """Start at once if there is a prompt, otherwise wait for one."""
        self.prompt.stream = self.session.model.stream
        self.tick()
        self.set_interval(max(TICK_SECONDS, self._settings.least_frame_seconds), self.tick)
        if self._first_prompt or self.session.model.stream:
            self.prompt.input.remember(self.prompt.input.value)
            self.view.focus_first()
            self._start(self._first_prompt)
        else:
            self.prompt.input.focus()
        if self._settings.tour:
            self.action_tour()

    @property
    def view(self) -> View:
        """The visible view."""
        return self.query_one(ViewSwitcher).view

    @property
    def prompt(self) -> PromptPane:
        """The pane where the prompt is typed."""
        return self.query_one(PromptPane)

    @property
    def typing(self) -> bool:
        """Whether keys go to the prompt."""
        return self.focused is self.prompt.input

    @property
    def tour(self) -> TourCard:
        """The card below the view."""
        return self.query_one(TourCard)

    @property
    def _above(self) -> Overlay | None:
        """The screen on top of this one, if it shows something of the text and is ready for it."""
        top = self.app.screen
        return top if isinstance(top, Overlay) and top.is_mounted else None

    def on_resize(self, event: events.Resize) -> None:
        """Show the required size if the terminal is too small."""
        small = event.size.width < LEAST_WIDTH or event.size.height < LEAST_HEIGHT
        self.set_class(small, "-too-small")
        self.set_class(event.size.width < SMALL_WIDTH or event.size.height < SMALL_HEIGHT, "-small")
        if small:
            self.query_one("#too-small", Static).update(
                f"kvtui needs {LEAST_WIDTH} × {LEAST_HEIGHT} cells; "
                f"this terminal has {event.size.width} × {event.size.height}"
            )

    def action_view(self, number: int) -> None:
        """Show another view."""
        if not self.query_one(ViewSwitcher).show(number, self.session.model.stream):
            return
        self.query_one(TabsPane).selected = number
        self.query_one(KeysPane).of_view = self.view.ACTIONS
        self.questions.forget()
        self.tick()
        if not self.typing:
            self.view.focus_first()

    def _show_view(self, title: str) -> None:
        self.action_view([view.TITLE for view in VIEWS].index(title))

    # Reports of the generator process

    def tick(self) -> None:
        """Pass everything that has arrived since the last tick to the visible view at once."""
        if not self.app.is_running:
            return
        view, session, above = self.view, self.session, self._above
        update = session.collect(view.mark)
        view.mark = session.timeline.mark
        view.show(update, session)
        if above is not None:
            above.show(update, session)
        if update.model is not None:
            self.prompt.stream = update.model.stream
            self.questions.forget()
        for notice in update.notices:
            self.tell(notice)
        self.query_one(NoticesPane).check(covered=self.app.screen is not self)
        self._show_state()
        self.questions.take(update.answers)
        self._ask(update.news)
        self._guide.show(update, view, self.typing)

    def _show_state(self) -> None:
        session = self.session
        self.query_one(StatusPane).show(session.model, session.state)
        keys = self.query_one(KeysPane)
        keys.phase = session.state.phase
        keys.stream = session.model.stream
        keys.touring = self.tour.display
        keys.typing = self.typing
        keys.looking_back = session.cursor.position is not None
        newest = session.timeline.newest
        written = newest.step + 1 if newest else 0
        self.query_one(TabsPane).words = cursor_words(session.cursor.token, written, session.left_the_window)
        self.set_class(keys.looking_back and not keys.typing, "-past")

    def _ask(self, news: bool) -> None:
        """Ask what the visible view, or the screen on top of it, needs to know, when it is due."""
        if self.session.answering:
            asker = self._above or self.view
            self.questions.ask(asker.questions(self.session), news)
        elif news:  # what was answered is older than the text, which can be asked about after the race
            self.questions.forget()

    def tell(self, notice: Notice) -> None:
        """Show a notice."""
        self.query_one(NoticesPane).tell(notice)

    @on(Tell)
    def _told(self, message: Tell) -> None:
        self.tell(message.notice)

    @on(QuestionChanged)
    def _question_changed(self) -> None:
        self._ask(news=False)

    # Keys

    async def action_act(self, name: str) -> None:
        """Carry out an action, or explain why it is unavailable while another program writes."""
        if not self._elsewhere(_BY_NAME.get(name)):
            await self.run_action(name if hasattr(self, f"action_{name}") else f"app.{name}")
            self.tick()

    def _elsewhere(self, action: Action | None) -> bool:
        """Whether an action needs the model while another program has it; says so."""
        if action is None or not action.asks or not self.session.model.stream:
            return False
        words = action.elsewhere or f"{action.title}: {MODEL_IS_ELSEWHERE}"
        self.tell(Notice(words, "warning", "stream", lambda: self.session.model.stream))
        return True

    def action_in_view(self, key: str) -> None:
        """Handle a key of the visible view."""
        for action in self.view.ACTIONS:
            if key in action.keys.split(",") and not self._elsewhere(action):
                getattr(self.view, f"action_{action.name}")()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that move among earlier tokens, and those of the tour, work in every pane but not in a text field."""
        name = parameters[0] if action == "act" else action
        if name in _PAST or name in _TOUR:
            return not self.typing and (name in _PAST or self.tour.display)
        return True

    # Starting and stopping

    def _start(self, prompt: str | None, seed: int | None = None) -> None:
        """Start what the view shows, a text or a race; or explain why that is impossible."""
        process = self.session.process
        if prompt is not None and self.view.start(self.session, prompt, seed):
            self.questions.forget()
            self.tick()
        elif process.silent or self.session.state.phase == "dead":
            self.session.revive()
            self.tick()
        elif process.loading:
            self._say_loading()
        else:
            words = "Enter a prompt first: press p."
            self.tell(Notice(words, "warning", "prompt", lambda: not (self.session.running or self.typing)))

    @on(PromptSubmitted)
    def _prompt_submitted(self, message: PromptSubmitted) -> None:
        self.view.focus_first()
        self._start(message.text)

    @on(PromptLeft)
    def action_leave_prompt(self) -> None:
        """Leave the prompt: keys are actions again."""
        self.view.focus_first()

    async def action_submit_prompt(self) -> None:
        """Same as Enter in the prompt."""
        await self.prompt.input.action_submit()

    def action_prompt(self) -> None:
        """Focus the prompt."""
        self.prompt.input.focus()

    def action_restart(self) -> None:
        """Restart with the same prompt and seed."""
        self._start(self.session.prompt, self.session.state.seed)

    def action_restart_next(self) -> None:
        """Restart with the same prompt and the next seed."""
        self._start(self.session.prompt, self.session.state.seed + 1)

    def action_stop(self) -> None:
        """End the text."""
        self.session.stop()

    def action_models(self) -> None:
        """Choose another model."""
        self.app.push_screen(ModelsScreen(self._settings.models_dir, self.session.process.path), self._load)

    def _load(self, chosen: LibraryModel | None) -> None:
        """The user has chosen a model, or cancelled."""
        if chosen is None:
            return
        if self.session.load(chosen.model, chosen.name):
            words = f"Loading {chosen.name} ({size_words(chosen.file_bytes)}) …"
            self.tell(Notice(words, about="model", holds=lambda: bool(self.session.process.loading)))
            self.tick()
        else:
            self._say_loading()

    def _say_loading(self) -> None:
        process = self.session.process
        self.tell(Notice(f"{process.loading} is still loading.", "warning", "model", lambda: bool(process.loading)))

    # While a text is being written

    def action_toggle_cache(self) -> None:
        """Switch the cache, for this text or, during a race, for the next."""
        self.session.toggle_cache()
        if self.session.racing:
            how = "with" if self.session.state.cache else "without"
            self._say_racing(f"A race keeps its lanes. The next text will be written {how} the cache.")

    def _say_racing(self, words: str) -> None:
        self.tell(Notice(words, about="race", holds=lambda: self.session.racing))

    def action_pause(self) -> None:
        """Pause, resume, or start again after the end."""
        phase = self.session.state.phase
        if phase == "writing":
            self.session.pause()
        elif phase == "paused":
            self.session.resume()
        else:
            self.action_restart()

    def action_step(self) -> None:
        """Write one token."""
        if self.session.running:
            self.session.step()

    def action_slower(self) -> None:
        """Choose the next slower pace."""
        self.session.set_pace(slower(self.session.state.pace))

    def action_faster(self) -> None:
        """Choose the next faster pace."""
        self.session.set_pace(faster(self.session.state.pace))

    def action_unlimited(self) -> None:
        """Remove the pace limit, or return to the previous pace."""
        state = self.session.state
        self.session.set_pace(None if state.pace is not None else state.last_pace)

    def action_policy(self) -> None:
        """Choose the cache policy."""
        screen = PolicyScreen(self.session.state.policy, self.session.model.config)
        self.app.push_screen(screen, self.set_policy)

    def set_policy(self, policy: str | None) -> None:
        """Set the cache policy; None changes nothing."""
        if policy is None or policy == self.session.state.policy:
            return
        try:
            parse_policy(policy).check(self.session.model.config)
        except KvtuiError as error:
            self.tell(Notice(str(error), "error", "policy"))
            return
        self.session.set_policy(policy)
        if self.session.racing:
            self._say_racing(f"A race keeps its lanes. {policy} applies to the next text.")
        elif not self.session.state.cache:
            words = "The cache is off: press t to switch it on with this policy."
            self.tell(Notice(words, "warning", "policy", lambda: not self.session.state.cache))
        self.tick()

    def action_verify(self) -> None:
        """Compare every token with a run without the cache, or stop doing so."""
        if self.session.racing:
            self._say_racing("A race compares its lanes at every token anyway. Verifying applies to the next text.")
        self.session.toggle_verify()

    # Selecting tokens

    def action_earlier(self) -> None:
        """Select the previous token."""
        self.session.cursor.move(-1)

    def action_later(self) -> None:
        """Select the next token."""
        self.session.cursor.move(1)

    def action_first_token(self) -> None:
        """Select the oldest token still kept."""
        self.session.cursor.look_at(0)

    def action_live(self) -> None:
        """Return to the newest token."""
        self.session.cursor.look_at(None)
        self.tick()
        self.view.follow()

    @on(TokenPicked)
    def _token_picked(self, message: TokenPicked) -> None:
        self.session.cursor.look_at(message.position)
        self.tick()

    # Tour and other screens

    def action_tour(self) -> None:
        """Open the tour, or close it."""
        if self.tour.display:
            self.action_tour_leave()
        else:
            self._guide.open()

    def action_tour_on(self) -> None:
        """Go to the next chapter; after the last one, close the tour."""
        self._guide.turn(1)

    def action_tour_back(self) -> None:
        """Go to the previous chapter."""
        self._guide.turn(-1)

    def action_tour_leave(self) -> None:
        """Close the tour; the dashboard stays as it is."""
        self._guide.leave()

    def action_fork(self) -> None:
        """Replace the selected token."""
        if reason := unforkable(self.session):
            self.tell(Notice(reason, "warning", "fork", lambda: unforkable(self.session) == reason))
        else:
            self.app.push_screen(fork_screen(self.session))

    def action_branches(self) -> None:
        """List the branches."""
        if len(self.session.branches) == 1:
            words = "There is only one text so far: press f to fork it."
            self.tell(Notice(words, "warning", holds=lambda: len(self.session.branches) == 1))
        else:
            self.app.push_screen(BranchesScreen(self.session))

    def action_help(self) -> None:
        """Over everything."""
        view = self.view
        others = [(key, other.TITLE, other.SUMMARY) for key, other in zip(KEYS, VIEWS, strict=True)]
        self.app.push_screen(HelpScreen(view.TITLE, view.ACTIONS, view.PARAGRAPHS, others))
