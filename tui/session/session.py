"""What the dashboard knows of the generation, and what it can tell it to do. Nothing of Textual."""

from __future__ import annotations

from dataclasses import replace

from kvtui.core import commands
from kvtui.core.cache import parse_policy
from kvtui.core.events import (
    Answer,
    Branch,
    End,
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
from kvtui.core.settings import GenerationSettings
from kvtui.tui.session.branches import Branches
from kvtui.tui.session.cursor import Cursor
from kvtui.tui.session.pending import Pending
from kvtui.tui.session.process import Process
from kvtui.tui.session.race import RaceRecord
from kvtui.tui.session.runs import Origin, RunRecord, Runs
from kvtui.tui.session.state import Phase, RunState
from kvtui.tui.session.timeline import Mark, Timeline
from kvtui.tui.session.update import Update
from kvtui.tui.settings import DashboardSettings
from kvtui.tui.worker.link import Link
from kvtui.tui.worker.protocol import (
    Batch,
    Ended,
    Loading,
    ModelInfo,
    Notice,
    Ready,
    Refused,
    Report,
    Start,
    StartRace,
)


class Session:
    """Follows the runs of one generator process.

    What the user has asked for is shown at once, and corrected by the process's answers when all have come.

    Attributes:
        prompt: what the newest text or race goes on from; None before the first.
        run: number of the newest text or race.
        state: how things stand at the live end.
        timeline: the tokens of the text, and what they cost.
        cursor: the token that the user looks at.
        branches: the continuations of the text.
        runs: the texts so far, and the lanes of races.
        race: the newest race; ``racing`` while it is being run.
        process: that writes, and loads another model.

    Args:
        link: the process.
        model: its model.
        settings: how runs begin.
    """

    def __init__(self, link: Link, model: ModelInfo, settings: DashboardSettings) -> None:
        self.prompt: str | None = None
        self.run = 0
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
        """The one that writes."""
        return self.process.model

    @property
    def sampling(self) -> SamplingSettings:
        """How tokens are chosen."""
        return self._settings.sampling

    @property
    def running(self) -> bool:
        """Whether a text is being written or a race is being run, paused or not."""
        return self.state.phase in ("writing", "paused")

    @property
    def writing(self) -> bool:
        """Whether it is the timeline's text that is being written, paused or not."""
        return self.running and not self.racing

    @property
    def answering(self) -> bool:
        """Whether there is a text about which questions can be asked."""
        return self.process.alive and self.state.context > 0 and not self.model.stream and not self.racing

    # Texts and races

    def start(self, prompt: str, seed: int | None = None) -> bool:
        """Write a new text; False if there is no process to do it."""
        if not self.process.alive:
            return False
        self._leave_race()
        self._pending = Pending()
        seed = self.state.seed if seed is None else seed
        self._begin_text(prompt, seed)
        self.prompt = prompt
        self.run += 1
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
        """Every text that has tokens; and the place of the timeline's among them, None if it has none."""
        return self.runs.all(self.state.policy)

    def start_race(
        self,
        prompt: str,
        tokens: int | None = None,
        seed: int | None = None,
        lanes: tuple[Lane, ...] = LANES,
        confirmed: bool = False,
    ) -> bool:
        """Write a text in several lanes, in place of the one that is being written; see :class:`StartRace`.

        It is told of in ``race``, and ``timeline`` keeps the text before. False if there is no process to do it.
        """
        if not self.process.alive:
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
        """How the next text is written: what the user has chosen since the dashboard was opened."""
        now = self.state
        return replace(self._settings, cache=now.cache, seed=now.seed, pace=now.pace, policy=now.policy)

    def _leave_race(self) -> None:
        """It is over, or given up: what its lanes have come to stays."""
        if self.racing and self.prompt is not None:
            self.runs.add_race(self.race, Origin(self.model.name, self.prompt, self.state.seed))
        self.racing = False

    def _end_race(self) -> None:
        """The process has done with it: back to the text before."""
        self._leave_race()
        for command in self._pending.take_owed():
            self._link.send(command)
        self._pending.expect_nothing()
        self._set_phase("ended")

    # What the text, or the race, is told

    def toggle_cache(self) -> None:
        """Cache on or off, for this text or the next; the lanes of a race are what they are."""
        self._tell(commands.SetCache(not self.state.cache), replace(self.state, cache=not self.state.cache))
        if not self.racing:
            self._count()

    def pause(self) -> None:
        """Wait before the next token."""
        self._tell(commands.Pause(), replace(self.state, phase="paused"))

    def resume(self) -> None:
        """Go on."""
        self._tell(commands.Resume(), replace(self.state, phase="writing"))

    def step(self) -> None:
        """Write one token and pause."""
        self._tell(commands.Step(), replace(self.state, phase="paused"))

    def set_pace(self, pace: float | None) -> None:
        """Tokens a second, None for unlimited; for this text and the next."""
        self._tell(commands.SetPace(pace), self.state.with_pace(pace))

    def set_policy(self, policy: str) -> None:
        """What the cache keeps, for this text and the next; the lanes of a race are what they are."""
        self._tell(commands.SetPolicy(policy), replace(self.state.verifying(self.state.verification.on), policy=policy))

    def set_heads(self, off: tuple[tuple[int, int], ...]) -> None:
        """Write on without these (layer, head) pairs; for this text only."""
        if self.writing:
            self._tell(commands.SetHeads(off), replace(self.state, heads_off=off))

    def toggle_verify(self) -> None:
        """Run every token without the cache as well, or no longer; for this text and the next."""
        on = not self.state.verification.on
        self._tell(commands.SetVerify(on), self.state.verifying(on))

    def fork(self, position: int, tokens: tuple[int, ...] = (), text: str = "") -> None:
        """Go on with something else in a token's place; after the end of the text too."""
        self._change_branch(commands.Fork(position, tokens, text))

    def revisit(self, branch: int) -> None:
        """Go on with a branch that was left."""
        self._change_branch(commands.Revisit(branch))

    def _change_branch(self, command: commands.Fork | commands.Revisit) -> None:
        if not self.process.alive:
            return
        if not self.running:  # a race may have been run since, with another prompt and seed
            self.prompt = self.runs.text.prompt
            self.state = replace(self.state, seed=self.runs.text.seed)
        self._pending.sent()
        self._link.send(command)

    def stop(self) -> None:
        """End this text."""
        if self.running:
            self._link.send(commands.Stop())

    def load(self, path: str | None, name: str) -> bool:
        """Take another model, and write the same prompt with it; False while one is being loaded already."""
        if self.process.loading:
            return False
        self._give_up_process("loading")
        self.race.start()  # what it showed was of another model
        self.process.load(path, name)
        return True

    def put_question(self, question: commands.Question) -> None:
        """Pass a question on; the app does so for the visible view's (see ``View.questions``)."""
        self._link.send(question)

    def _tell(self, command: commands.Command, state: RunState) -> None:
        """Show at once the state that is asked for.

        The process is told after the end too, as the text may be gone on with from a fork.
        """
        if self.racing and not isinstance(command, commands.Pause | commands.Resume | commands.Step):
            self._pending.owe(command)  # the text before the race may be gone on with, too
        if self.racing and not isinstance(command, RaceCommand):
            pass  # its lanes are what they are
        elif self.running or (self.process.alive and not self.model.stream):
            if self.running:
                self._pending.sent()
            self._link.send(command)
        self.state = state

    # What the user looks at

    @property
    def shown(self) -> RunState:
        """The state at the cursor."""
        token = self.cursor.token
        return self.state if token is None else self.state.at(token)

    @property
    def window_start(self) -> int:
        """Place in the whole text of the first token in the model's window, if a policy has not dropped it already."""
        if self.model.stream or not self.timeline.tokens:
            return 0
        return self.timeline.tokens[-1].window_start

    @property
    def left_the_window(self) -> bool:
        """Whether the token at the cursor has."""
        return self.cursor.position is not None and self.cursor.position < self.window_start

    # What the process tells

    def collect(self, mark: Mark) -> Update:
        """Take in all reports that have come, and say what is new to someone who has read as far as ``mark``."""
        update = Update()
        for report in self._link.drain():
            process = self.process.started
            self._take(report, update)
            if self.process.started != process:
                break  # the rest is of a process that is gone
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
            case Notice(run, message, fatal) if run == self.run:
                update.note(message, "error" if fatal else "warning")
                if fatal:
                    self._end_race()
            case Loading() | Ready() | Refused() | Ended():
                self._follow_process(report, update)

    def _follow_process(self, report: Loading | Ready | Refused | Ended, update: Update) -> None:
        """It has told something of itself, or is gone."""
        switching = bool(self.process.loading)
        phase = self.process.take(report, update)
        if phase == "idle":
            self._set_phase(phase)
            if switching and self.prompt is not None:
                self.start(self.prompt)
        elif phase is not None:
            self._give_up_process(phase)
        else:
            self.state = replace(self.state, loaded=self.process.loaded)

    def _give_up_process(self, phase: Phase) -> None:
        """Whatever still comes is of a process that is gone."""
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
                update.note(reason, "error")
            case End(reason):
                self._pending.expect_nothing()
                self._set_phase("ended")
                if reason == "stop":
                    update.note(
                        "The model has ended the text. r: write it again, R: with the next seed, p: new prompt."
                    )
            case _ if isinstance(event, RaceEvent):
                self._raced(event)
            case Unanswered(question, reason) if isinstance(question, commands.Fork | commands.Revisit):
                if not self.running:  # then no State comes
                    self._pending.answered()
                update.note(reason, "warning")
            case _ if isinstance(event, Answer):
                update.answers.append(event)

    def _prefilled(self, event: Prefill, update: Update) -> None:
        """The prompt was run."""
        if self.timeline.prefill is not None:  # a stream may hold several texts
            self._begin_text(event.prompt, self.state.seed)
        self.timeline.prefill = event
        self.state = self.state.prefilled(event)
        if event.dropped:
            update.note(
                f"the prompt is longer than the context: its last {event.tokens:,} tokens are used, "
                f"{event.dropped:,} dropped",
                "warning",
            )

    def _raced(self, event: RaceEvent) -> None:
        """The race has told something."""
        self.race.take(event)
        self.state = replace(self.state, written=self.race.steps)
        if isinstance(event, RaceEstimate | RaceEnd):
            self._end_race()

    def _turn_to(self, branch: Branch, update: Update) -> None:
        """Another continuation is being written from now on."""
        self.branches.turn_to(branch)
        self.cursor.look_at(None)
        run = f"{branch.computed:,} recomputed in {branch.seconds * 1e3:.2f} ms"
        update.note(f"Branch {branch.number}: {branch.reused:,} positions stay in the cache, {run}.")

    def _count(self) -> None:
        """Take the figures of the newest token."""
        if self.timeline.tokens:
            self.state = self.state.with_newest(self.timeline.tokens[-1], self.window_start)

    def _set_phase(self, phase: Phase) -> None:
        self.state = replace(self.state, phase=phase)
