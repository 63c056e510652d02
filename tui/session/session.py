"""What the dashboard knows about the generation, and the commands it can send. Does not import Textual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from kvtui.core import commands
from kvtui.core.cache import parse_policy
from kvtui.core.events import (
    Answer,
    Branch,
    End,
    Event,
    Evict,
    Prefill,
    RaceEnd,
    RaceEstimate,
    RaceEvent,
    State,
    Token,
    Unanswered,
)
from kvtui.core.race import LANES, Lane, RaceCommand
from kvtui.core.sampling import SamplingSettings
from kvtui.core.sequence import describe_cut
from kvtui.core.settings import GenerationSettings
from kvtui.tui.session.branches import Branches
from kvtui.tui.session.cursor import Cursor
from kvtui.tui.session.pending import Pending
from kvtui.tui.session.process import Process, ProcessReport
from kvtui.tui.session.race import RaceRecord
from kvtui.tui.session.runs import Origin, RunRecord, Runs
from kvtui.tui.session.state import Phase, RunState
from kvtui.tui.session.timeline import Mark, Timeline
from kvtui.tui.session.update import Update
from kvtui.tui.settings import DashboardSettings
from kvtui.tui.worker.link import Link
from kvtui.tui.worker.protocol import (
    Answering,
    Batch,
    Ended,
    Loading,
    ModelInfo,
    Notice,
    Ready,
    Refused,
    Report,
    Silent,
    Start,
    StartRace,
)


class Session:
    """Follows the runs of one generator process.

    The user's requests are shown at once, then corrected by the process's answers when all have arrived.

    Attributes:
        prompt: the text that the newest text or race continues; None before the first.
        run: number of the newest text or race.
        state: the state at the live end.
        timeline: the tokens of the text, and their cost.
        cursor: the token selected by the user.
        branches: the continuations of the text.
        runs: the texts so far, and race lanes.
        race: the newest race; ``racing`` while it is running.
        process: the generator process, which also loads other models.

    Args:
        link: connection to the process.
        model: its model.
        settings: initial settings of runs.
    """

    def __init__(self, link: Link, model: ModelInfo, settings: DashboardSettings) -> None:
        self.prompt: str | None = None
        self.run = 0
        self._text_run = 0  # the run that wrote the timeline's text
        begin = settings.generation
        policy = parse_policy(begin.policy).spec
        self.state = RunState(cache=begin.cache, seed=begin.seed, policy=policy).with_pace(begin.pace)
        self._settings = begin
        self.timeline = Timeline()
        self.cursor = Cursor(self.timeline)
        self.branches = Branches(self.timeline)
        self.runs = Runs(self.branches, self.sampling, Origin(model.name, "", begin.seed))
        self.race = RaceRecord()
        self.racing = False
        self.process = Process(link, model, settings.model)
        self._link = link
        self._pending = Pending()

    @property
    def model(self) -> ModelInfo:
        """The model in use."""
        return self.process.model

    @property
    def sampling(self) -> SamplingSettings:
        """How tokens are chosen."""
        return self._settings.sampling

    @property
    def running(self) -> bool:
        """Whether a text or a race is in progress, paused or not."""
        return self.state.phase in ("writing", "paused")

    @property
    def writing(self) -> bool:
        """Whether the timeline's text is in progress, paused or not."""
        return self.running and not self.racing

    @property
    def answering(self) -> bool:
        """Whether there is a text to ask questions about."""
        if not self.process.answers:
            return False
        return self.state.context > 0 and not self.model.stream and not self.racing

    # Texts and races

    def start(self, prompt: str, seed: int | None = None) -> bool:
        """Start a new text; False if there is no process to write it."""
        if not self.process.answers:
            return False
        self._leave_race()
        self._pending = Pending()
        seed = self.state.seed if seed is None else seed
        self._begin_text(prompt, seed)
        self.prompt = prompt
        self.run += 1
        self._text_run = self.run
        self.state = self.state.next_text(seed)
        settings = replace(self._run_settings(), verify=self.state.verification.on)
        self._link.send(Start(self.run, prompt, settings))
        return True

    def _begin_text(self, prompt: str, seed: int) -> None:
        self.runs.begin(Origin(self.model.name, prompt, seed), self.state.policy)
        self.timeline.start()
        self.branches.start()
        self.cursor.look_at(None)

    def all_runs(self) -> tuple[list[RunRecord], int | None]:
        """Every text that has tokens, and the index of the timeline's text among them (None if it has none)."""
        return self.runs.all(self.state.policy)

    def start_race(
        self,
        prompt: str,
        tokens: int | None = None,
        seed: int | None = None,
        lanes: tuple[Lane, ...] = LANES,
        confirmed: bool = False,
    ) -> bool:
        """Write a text in several lanes, replacing the one in progress; see :class:`StartRace`.

        Progress appears in ``race``; ``timeline`` keeps the previous text. False if there is no process to run it.
        """
        if not self.process.answers:
            return False
        self._leave_race()
        self.prompt = prompt
        self.run += 1
        self._pending.expect_nothing()
        self.racing = True
        self.cursor.look_at(None)
        self.race.start(lanes)
        now = self.state
        seed = now.seed if seed is None else seed
        self.state = replace(now, phase="writing", seed=seed, written=0, race=True)
        self._link.send(StartRace(self.run, prompt, self._run_settings(), lanes, tokens, confirmed))
        return True

    def _run_settings(self) -> GenerationSettings:
        """Settings of the next text: the user's choices since the dashboard was opened."""
        now = self.state
        return replace(self._settings, cache=now.cache, seed=now.seed, pace=now.pace, policy=now.policy)

    def _leave_race(self) -> None:
        """The race is over or abandoned: keep the results of its lanes."""
        if self.racing and self.prompt is not None:
            self.runs.add_race(self.race, Origin(self.model.name, self.prompt, self.state.seed))
        self.racing = False

    def _end_race(self) -> None:
        """The process has finished the race: return to the previous text."""
        self._leave_race()
        for command in self._pending.take_owed():
            self._link.send(command)
        self._pending.expect_nothing()
        self._set_phase("ended")

    # Commands to the text or the race

    def toggle_cache(self) -> None:
        """Switch the cache on or off, for this text and the next; the lanes of a race do not change."""
        self._tell(commands.SetCache(not self.state.cache), replace(self.state, cache=not self.state.cache))
        if not self.racing:
            self._count()

    def pause(self) -> None:
        """Wait before the next token."""
        self._tell(commands.Pause(), replace(self.state, phase="paused"))

    def resume(self) -> None:
        """Continue after a pause."""
        self._tell(commands.Resume(), replace(self.state, phase="writing"))

    def step(self) -> None:
        """Write one token and pause."""
        self._tell(commands.Step(), replace(self.state, phase="paused"))

    def set_pace(self, pace: float | None) -> None:
        """Set the pace in tokens per second, None for unlimited; for this text and the next."""
        self._tell(commands.SetPace(pace), self.state.with_pace(pace))

    def set_policy(self, policy: str) -> None:
        """Set the cache policy, for this text and the next; the lanes of a race do not change."""
        self._tell(commands.SetPolicy(policy), replace(self.state.verifying(self.state.verification.on), policy=policy))

    def set_heads(self, off: tuple[tuple[int, int], ...]) -> None:
        """Continue without these (layer, head) pairs; for this text only."""
        if self.writing:
            self._tell(commands.SetHeads(off), replace(self.state, heads_off=off))

    def toggle_verify(self) -> None:
        """Start or stop running every token without the cache as well; for this text and the next."""
        on = not self.state.verification.on
        self._tell(commands.SetVerify(on), self.state.verifying(on))

    def fork(self, position: int, tokens: tuple[int, ...] = (), text: str = "") -> None:
        """Continue with a replacement for a token; works after the end of the text too."""
        self._change_branch(commands.Fork(position, tokens, text))

    def revisit(self, branch: int) -> None:
        """Continue a branch left earlier."""
        self._change_branch(commands.Revisit(branch))

    def _change_branch(self, command: commands.Fork | commands.Revisit) -> None:
        if not self.process.alive:
            return
        if not self.running:  # a race may have run since, with another prompt and seed
            self.prompt = self.runs.text.prompt
            self.state = replace(self.state, seed=self.runs.text.seed)
        self._pending.sent()
        self._link.send(command)

    def stop(self) -> None:
        """End this text."""
        if self.running:
            self._link.send(commands.Stop())

    def load(self, path: str | None, name: str) -> bool:
        """Load another model and write the same prompt with it; False if one is already being loaded."""
        if self.process.loading:
            return False
        self._give_up_process("loading")
        self.race.start()  # it showed another model
        self.process.load(path, name)
        return True

    def put_question(self, question: commands.Question) -> None:
        """Send a question; the app does so for the visible view's (see ``View.questions``)."""
        self._link.send(question)

    def _tell(self, command: commands.Command, state: RunState) -> None:
        """Show the requested state at once.

        The command is sent after the end of a text too, as a fork may continue it.
        """
        if self.racing and not isinstance(command, commands.Pause | commands.Resume | commands.Step):
            self._pending.owe(command)  # a fork may continue the text before the race, too
        if self.racing and not isinstance(command, RaceCommand):
            pass  # the lanes do not change
        elif self.running or (self.process.alive and not self.model.stream):
            if self.running:
                self._pending.sent()
            self._link.send(command)
        self.state = state

    # Where the user is looking

    @property
    def shown(self) -> RunState:
        """The state at the cursor."""
        token = self.cursor.token
        return self.state if token is None else self.state.at(token)

    @property
    def window_start(self) -> int:
        """Index in the whole text of the first token in the model's window, unless a policy has dropped it earlier."""
        if self.model.stream or not self.timeline.tokens:
            return 0
        return self.timeline.tokens[-1].window_start

    @property
    def left_the_window(self) -> bool:
        """Whether the token at the cursor has left the model's window."""
        return self.cursor.position is not None and self.cursor.position < self.window_start

    # Reports of the process

    def collect(self, mark: Mark) -> Update:
        """Process all reports that have arrived, and return what is new after ``mark``."""
        update = Update()
        for report in self._link.drain():
            process = self.process.started
            self._take(report, update)
            if self.process.started != process:
                break  # the rest comes from a process that is gone
        self.cursor.stay()
        news = self.timeline.since(mark)
        update.reset, update.prefill, update.tokens = news.reset, news.prefill, news.tokens
        return update

    def _take(self, report: Report, update: Update) -> None:
        match report:
            case Batch(run, events) if run == self.run:
                for event in events:
                    self._event(event, update)
                if not any(isinstance(event, RaceEvent) for event in events):
                    self._count()
            case Batch(run, events) if run == self._text_run and self.racing:
                self._finish_text(events, update)
            case Notice(run, message, fatal) if run == self.run:
                update.note(message, "error" if fatal else "warning", holds=self._while_shown())
                if fatal:
                    self._end_race()
            case Loading() | Ready() | Refused() | Ended() | Silent() | Answering():
                self._follow_process(report, update)

    def revive(self) -> None:
        """Start another process in place of one that is dead or silent."""
        self._give_up_process("loading" if self.process.loading else "dead")
        self.process.revive()

    def _follow_process(self, report: ProcessReport, update: Update) -> None:
        """The process has reported on itself, or is gone."""
        switching = bool(self.process.loading)
        phase = self.process.take(report, update)
        if phase == "idle":
            self._set_phase(phase)
            if not switching:
                words = "The generator process is ready again: press r to write the same text, or p for a prompt."
                update.note(words, about="process", holds=lambda: self.state.phase == "idle")
            elif self.prompt is not None:
                self.start(self.prompt)
        elif phase is not None:
            self._give_up_process(phase)
        else:
            self.state = replace(self.state, loaded=self.process.loaded, silent=self.process.silent)

    def _give_up_process(self, phase: Phase) -> None:
        """Ignore whatever the old process still sends."""
        self.run += 1
        self._pending.expect_nothing()
        self._leave_race()
        self.state = self.state.gone(phase)

    def _event(self, event: object, update: Update) -> None:
        match event:
            case Token():
                self.timeline.add(event)
                self.state = self.state.verified(event)
            case Branch():
                self._turn_to(event, update)
            case Prefill():
                self._prefilled(event, update)
            case Evict(reason="context"):
                self.state = replace(self.state, evictions=self.state.evictions + 1)
            case State():
                if self._pending.answered():
                    self.state = self.state.obeyed(event, self.racing)
            case Unanswered(commands.SetPolicy(), reason):
                update.note(reason, "error", holds=self._while_shown())
            case End(reason):
                self._pending.expect_nothing()
                self._set_phase("ended")
                if reason == "stop":
                    update.note(
                        "The model has ended the text. r: write it again, R: with the next seed, p: new prompt.",
                        holds=lambda: self.state.phase == "ended",
                    )
            case _ if isinstance(event, RaceEvent):
                self._raced(event)
            case Unanswered(question, reason) if isinstance(question, commands.Fork | commands.Revisit):
                if not self.running:  # then no State follows
                    self._pending.answered()
                update.note(reason, "warning", holds=self._while_shown())
            case _ if isinstance(event, Answer):
                update.answers.append(event)

    def _finish_text(self, events: Sequence[Event], update: Update) -> None:
        """The last tokens of a text that a race has stopped: the process has them, and answers questions about them."""
        race = self.state
        for event in events:
            if isinstance(event, Token | Evict):
                self._event(event, update)
            elif isinstance(event, Prefill):
                self.timeline.prefill = event
        self._count()
        self.state = replace(self.state, written=race.written, race=race.race)

    def _prefilled(self, event: Prefill, update: Update) -> None:
        """The prompt has been run."""
        if self.timeline.prefill is not None:  # a stream may hold several texts
            self._begin_text(event.prompt, self.state.seed)
        self.timeline.prefill = event
        self.state = self.state.prefilled(event)
        if event.dropped:
            cut = describe_cut(event.dropped, event.tokens, event.room)
            update.note(cut, "warning", holds=self._while_shown())

    def _raced(self, event: RaceEvent) -> None:
        """Take in an event of the race."""
        self.race.take(event)
        self.state = replace(self.state, written=self.race.steps)
        if isinstance(event, RaceEstimate | RaceEnd):
            self._end_race()

    def _turn_to(self, branch: Branch, update: Update) -> None:
        """Switch to another continuation."""
        update.answers.clear()  # they are about the one before
        self.branches.turn_to(branch)
        self.cursor.look_at(None)
        run = f"{branch.computed:,} recomputed in {branch.seconds * 1e3:.2f} ms"
        words = f"Branch {branch.number}: {branch.reused:,} positions stay in the cache, {run}."
        update.note(words, about="branch", holds=self._while_shown())

    def _while_shown(self) -> Callable[[], bool]:
        """For a notice about this text or race: whether it is still the one that is shown."""
        run = self.run
        return lambda: self.run == run

    def _count(self) -> None:
        """Update the state from the newest token."""
        if self.timeline.tokens:
            self.state = self.state.with_newest(self.timeline.tokens[-1], self.window_start)

    def _set_phase(self, phase: Phase) -> None:
        self.state = replace(self.state, phase=phase)
