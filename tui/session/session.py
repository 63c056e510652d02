"""What the dashboard knows of the generation, and what it can tell it to do. Nothing of Textual."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kvtui.core import commands as ask
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
from kvtui.tui.session.branches import Continuation
from kvtui.tui.session.race import RaceRecord
from kvtui.tui.session.runs import RunRecord, lane_records, record
from kvtui.tui.session.state import Figures, Phase, Verification
from kvtui.tui.session.timeline import Mark, Timeline
from kvtui.tui.session.timings import TimingHistory
from kvtui.tui.session.update import Update
from kvtui.tui.settings import DashboardSettings
from kvtui.tui.worker.link import Link
from kvtui.tui.worker.protocol import (
    Batch,
    Ended,
    Loading,
    Notice,
    Ready,
    Refused,
    Report,
    RunSettings,
    Start,
    StartRace,
)

RUNS_KEPT = 200


@dataclass(frozen=True)
class Switch:
    """Another model is being loaded.

    Attributes:
        name: for the user.
        model: what ``--model`` would say.
        before: the name of the model to go back to if it cannot be loaded; None on the way back.
    """

    name: str
    model: str | None
    before: str | None


class Session:
    """Follows the runs of one generator process.

    What the user has asked for is shown at once, and corrected by the process's answers when all have come.

    Attributes:
        cursor: place in the whole text of the token that the user looks at; None follows the newest.
        timeline: the tokens of the text.
        figures: the state at the live end.
        branches: the continuations of the text, by number; of the one that is being written, the timeline has the
            tokens (see :meth:`tokens_of`).
        branch: the one that is being written.
        history: times of the tokens of all branches.
        previous: those of the text before, None if there was none.
        runs: the texts before, and the lanes of races, the newest last.

    Args:
        link: the process.
        ready: its model.
        settings: how runs begin.
    """

    def __init__(self, link: Link, ready: Ready, settings: DashboardSettings) -> None:
        self.ready = ready
        self.prompt: str | None = None
        self.run = 0
        self.figures = Figures(cache=settings.cache, seed=settings.seed, pace=settings.pace, policy=settings.policy)
        self.timeline = Timeline()
        self.cursor: int | None = None
        self.race = RaceRecord()
        self.racing = False
        self.branches = [Continuation(None, [], 0)]
        self.branch = 0
        self.history = TimingHistory()
        self.previous: TimingHistory | None = None
        self.runs: list[RunRecord] = []
        self._place = 0  # of the timeline's text among them; races may have been run since
        self._about = (ready.name, "", settings.seed)  # model, prompt and seed of the text in the timeline
        self._link = link
        self._owed: dict[type, ask.Command] = {}  # what the text was not told during a race
        self._sampling = settings.sampling
        self._unanswered = 0
        self._alive = True
        self.model = settings.model  # as --model says it
        self._loading: Switch | None = None

    @property
    def sampling(self) -> SamplingSettings:
        """How tokens are chosen."""
        return self._sampling

    @property
    def running(self) -> bool:
        """Whether a text is being written or a race is being run, paused or not."""
        return self.figures.phase in ("writing", "paused")

    @property
    def writing(self) -> bool:
        """Whether it is the timeline's text that is being written, paused or not."""
        return self.running and not self.racing

    # What the user can do

    def start(self, prompt: str, seed: int | None = None) -> bool:
        """Write a new text; False if there is no process to do it."""
        if not self._alive:
            return False
        self._leave_race()
        self.prompt = prompt
        self.run += 1
        self._unanswered = 0
        self._owed.clear()
        self._begin_text(prompt, self.figures.seed if seed is None else seed)
        now = self.figures
        verify = Verification(now.verification.on)
        self.figures = Figures(
            "writing",
            now.cache,
            now.seed if seed is None else seed,
            now.pace,
            policy=now.policy,
            verification=verify,
        )
        settings = RunSettings(
            now.cache, self.figures.seed, self._sampling, self.figures.pace, verify=verify.on, policy=now.policy
        )
        self._link.send(Start(self.run, prompt, settings))
        return True

    def all_runs(self) -> tuple[list[RunRecord], int | None]:
        """Every text that has tokens; and the place of the timeline's among them, None if it has none."""
        if not self.history.total:
            return self.runs, None
        text = record(self.history, *self._about, self._sampling, self.figures.policy)
        return [*self.runs[: self._place], text, *self.runs[self._place :]], self._place

    def _begin_text(self, prompt: str, seed: int) -> None:
        runs, finished = self.all_runs()
        self.runs = runs[-RUNS_KEPT:]
        self._place = len(self.runs)
        if finished is not None:
            self.previous, self.history = self.history, TimingHistory()
        self._about = (self.ready.name, prompt, seed)
        self.timeline.start()
        self.cursor = None
        self.branches, self.branch = [Continuation(None, [], 0)], 0

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
        if not self._alive:
            return False
        self._leave_race()
        self.prompt = prompt
        self.run += 1
        self._unanswered = 0
        self.racing = True
        self.cursor = None
        self.race.start(lanes)
        now = self.figures
        seed = now.seed if seed is None else seed
        self.figures = replace(now, phase="writing", seed=seed, written=0, race=True)
        settings = RunSettings(now.cache, seed, self._sampling, now.pace)
        self._link.send(StartRace(self.run, prompt, settings, lanes, tokens, confirmed))
        return True

    def _leave_race(self) -> None:
        """It is over, or given up: what its lanes have come to stays."""
        if self.racing and self.prompt is not None:
            lanes = lane_records(self.race, self.ready.name, self.prompt, self.figures.seed, self._sampling)
            self.runs = [*self.runs, *lanes]
        self.racing = False

    def _end_race(self) -> None:
        """The process has done with it: back to the text before."""
        self._leave_race()
        for command in self._owed.values():
            self._link.send(command)
        self._owed.clear()
        self._unanswered = 0  # what came too late gets no answer
        self._set_phase("ended")

    def toggle_cache(self) -> None:
        """Cache on or off, for this text or the next; the lanes of a race are what they are."""
        self._tell(ask.SetCache(not self.figures.cache), cache=not self.figures.cache)
        if not self.racing:
            self._count()

    def pause(self) -> None:
        """Wait before the next token."""
        self._tell(ask.Pause(), phase="paused")

    def resume(self) -> None:
        """Go on."""
        self._tell(ask.Resume(), phase="writing")

    def step(self) -> None:
        """Write one token and pause."""
        self._tell(ask.Step(), phase="paused")

    def set_pace(self, pace: float | None) -> None:
        """Tokens a second, None for unlimited; for this text and the next."""
        self._tell(ask.SetPace(pace), pace=pace)

    def set_policy(self, policy: str) -> None:
        """What the cache keeps, for this text and the next; the lanes of a race are what they are."""
        self._tell(ask.SetPolicy(policy), policy=policy, verification=Verification(self.figures.verification.on))

    def set_heads(self, off: tuple[tuple[int, int], ...]) -> None:
        """Write on without these (layer, head) pairs; for this text only."""
        if self.writing:
            self._tell(ask.SetHeads(off), heads_off=off)

    def toggle_verify(self) -> None:
        """Run every token without the cache as well, or no longer; for this text and the next."""
        on = not self.figures.verification.on
        self._tell(ask.SetVerify(on), verification=Verification(on))

    def fork(self, position: int, tokens: tuple[int, ...] = (), text: str = "") -> None:
        """Go on with something else in a token's place; after the end of the text too."""
        self._change_branch(ask.Fork(position, tokens, text))

    def revisit(self, branch: int) -> None:
        """Go on with a branch that was left."""
        self._change_branch(ask.Revisit(branch))

    def _change_branch(self, command: ask.Fork | ask.Revisit) -> None:
        if not self._alive:
            return
        if not self.running:  # a race may have been run since, with another prompt and seed
            _, self.prompt, seed = self._about
            self.figures = replace(self.figures, seed=seed)
        self._unanswered += 1
        self._link.send(command)

    def stop(self) -> None:
        """End this text."""
        if self.running:
            self._link.send(ask.Stop())

    @property
    def answering(self) -> bool:
        """Whether there is a text about which questions can be asked."""
        return self._alive and self.figures.context > 0 and not self.ready.stream and not self.racing

    def put_question(self, question: ask.Question) -> None:
        """Pass a question on; the app does so for the visible view's (see ``View.questions``)."""
        self._link.send(question)

    def revive(self) -> None:
        """Start another process after one that would not."""
        self._link.restart()

    @property
    def loading(self) -> str:
        """The name of the model that is being loaded, empty if none is."""
        return self._loading.name if self._loading else ""

    def load(self, model: str | None, name: str) -> bool:
        """Take another model, and write the same prompt with it; False while one is being loaded already."""
        if self._loading:
            return False
        self._load(Switch(name, model, self.ready.name))
        return True

    def _load(self, loading: Switch) -> None:
        """End this process and start one with another model."""
        self._loading, self._alive, self._unanswered = loading, False, 0
        self._leave_race()
        self.race.start()  # what it showed was of another model
        self.run += 1  # whatever still comes is of a process that is gone
        self.figures = replace(self.figures, phase="loading", context=0, cached_positions=0, cache_bytes=0, loaded=0)
        self._link.load(loading.model)

    def _tell(self, command: ask.Command, **changes: object) -> None:
        """Show changes at once. The process is told after the end too, as the text may be gone on with from a fork."""
        if self.racing and not isinstance(command, ask.Pause | ask.Resume | ask.Step):
            self._owed[type(command)] = command  # the text before the race may be gone on with, too
        if self.racing and not isinstance(command, RaceCommand):
            pass  # its lanes are what they are
        elif self.running or (self._alive and not self.ready.stream):
            self._unanswered += self.running
            self._link.send(command)
        self.figures = replace(self.figures, **changes)  # type: ignore[arg-type]

    # What the user looks at

    @property
    def looking(self) -> Token | None:
        """The token at the cursor; None at the live end."""
        return None if self.cursor is None else self.timeline.at(self.cursor)

    @property
    def shown(self) -> Figures:
        """The figures at the cursor."""
        token = self.looking
        if token is None:
            return self.figures
        return replace(
            self.figures,
            cache=token.cache,
            written=token.step + 1,
            context=token.context,
            cached_positions=token.cached_positions,
            cache_bytes=token.cache_bytes,
        )

    @property
    def window_start(self) -> int:
        """Place in the whole text of the oldest token in the model's window; a policy may have dropped it all the same.

        A full window keeps half of itself (:meth:`kvtui.core.generation.Generation.write`), whatever the policy.
        """
        last, prefill = self.timeline.tokens[-1] if self.timeline.tokens else None, self.timeline.prefill
        if last is None or self.ready.stream:
            return 0
        if self.figures.policy == "full" or not last.cache or prefill is None:
            return last.position - last.context + 1
        context = self.ready.config.context_length
        half = max(1, context - max(1, context // 2))
        moves = max(0, -(-(last.position + 1 - prefill.dropped - context) // half))
        return prefill.dropped + moves * half

    def tokens_of(self, branch: int) -> list[Token]:
        """The tokens of a branch that are kept."""
        return self.timeline.tokens if branch == self.branch else self.branches[branch].tokens

    def look_at(self, position: int | None) -> None:
        """Move the cursor to the nearest token that is kept; None, or the newest, is the live end."""
        tokens = self.timeline.tokens
        if position is None or not tokens or position >= tokens[-1].position:
            self.cursor = None
        else:
            self.cursor = self.timeline.nearest(position)

    def move_cursor(self, tokens: int) -> None:
        """So many tokens on, or back if negative."""
        if self.timeline.tokens:
            here = self.timeline.tokens[-1].position if self.cursor is None else self.cursor
            self.look_at(here + tokens)

    # What the process tells

    def collect(self, mark: Mark) -> Update:
        """Take in all reports that have come, and say what is new to someone who has read as far as ``mark``."""
        update = Update()
        for report in self._link.drain():
            was_loading = self._loading
            self._take(report, update)
            if self._loading is not was_loading and self._loading is not None:
                break  # the rest is of a process that is gone
        if self.cursor is not None and self.looking is None and self.timeline.tokens:  # let go meanwhile
            self.cursor = self.timeline.nearest(self.cursor)
        news = self.timeline.since(mark)
        update.reset, update.prefill, update.tokens = news.reset, news.prefill, news.tokens
        return update

    def _take(self, report: Report, update: Update) -> None:
        match report:
            case Batch(run, events) if run == self.run:
                for event in events:
                    self._event(event, update)
                self.history.add([event for event in events if isinstance(event, Token)])
                if not any(isinstance(event, RaceEvent) for event in events):
                    self._count()
            case Notice(run, message, fatal) if run == self.run:
                update.note(message, "error" if fatal else "warning")
                if fatal:
                    self._end_race()
            case Ready(stream=True):  # another text of a stream, by another model
                self.ready = update.model = report
            case Loading(done, total) if self._loading and total:
                self.figures = replace(self.figures, loaded=min(done / total, 1.0))
            case Ready() if self._loading:
                self._loaded(report, update)
            case Refused(message) | Ended(message) if self._loading:
                self._not_loaded(message, update)
            case Ready():
                self._alive, self.ready, update.model = True, report, report
                self._set_phase("idle")
                update.note("The generator process is ready again: press r to write the same text, or p for a prompt.")
            case Refused(message):
                update.note(f"The model could not be loaded again: {message}", "error")
            case Ended(reason):
                self._lost(reason, update)

    def _loaded(self, ready: Ready, update: Update) -> None:
        """Another model is there: write the same prompt with it."""
        assert self._loading is not None
        self.model, self._loading = self._loading.model, None
        self._alive, self.ready, update.model = True, ready, ready
        self._set_phase("idle")
        update.note(f"{ready.name} is loaded.")
        if self.prompt is not None:
            self.start(self.prompt)

    def _not_loaded(self, reason: str, update: Update) -> None:
        """Back to the model before, but not again and again."""
        assert self._loading is not None
        loading, self._loading = self._loading, None
        if loading.before is None:
            self._set_phase("dead")
            update.note(f"{loading.name} could not be loaded again: {reason}. Press r to try once more.", "error")
        else:
            update.note(f"{loading.name} could not be loaded: {reason}. Back to {loading.before}.", "error")
            self._load(Switch(loading.before, self.model, None))

    def _lost(self, reason: str, update: Update) -> None:
        """The process has died: start another, but only once in a row."""
        self._unanswered = 0
        self.run += 1  # whatever still comes is of a process that is gone
        self._leave_race()
        was_alive, self._alive = self._alive, False
        self.figures = replace(self.figures, phase="dead", context=0, cached_positions=0, cache_bytes=0)
        if was_alive:
            update.note(f"The generator process died ({reason}). A new one is being started.", "error")
            self._link.restart()
        else:
            update.note(f"The generator process died again ({reason}). Press r to try once more, q to quit.", "error")

    def _event(self, event: object, update: Update) -> None:
        match event:
            case Token():
                self.timeline.add(event)
                if event.max_logit_error is not None:
                    self.figures = replace(self.figures, verification=self.figures.verification.after(event))
            case Branch():
                self._turn_to(event, update)
            case Prefill():
                self._prefilled(event, update)
            case Evict(reason="context"):
                self.figures = replace(self.figures, evictions=self.figures.evictions + 1)
            case State():
                self._obeyed(event)
            case Unanswered(ask.SetPolicy(), reason):
                update.note(reason, "error")
            case End(reason):
                self._unanswered = 0  # what came too late gets no answer
                self._set_phase("ended")
                if reason == "stop":
                    update.note("The model has ended the text. r writes it again, R with the next seed, p asks anew.")
            case _ if isinstance(event, RaceEvent):
                self._raced(event)
            case Unanswered(question, reason) if isinstance(question, ask.Fork | ask.Revisit):
                self._unanswered = max(0, self._unanswered - (not self.running))  # no State comes after the end
                update.note(reason, "warning")
            case _ if isinstance(event, Answer):
                update.answers.append(event)

    def _prefilled(self, event: Prefill, update: Update) -> None:
        """The prompt was run."""
        if self.timeline.prefill is not None:  # a stream may hold several texts
            self._begin_text(event.prompt, self.figures.seed)
        self.timeline.prefill = event
        self.figures = replace(
            self.figures,
            phase="paused" if self.figures.phase == "paused" else "writing",
            written=0,
            evictions=0,
            context=event.tokens,
            cached_positions=event.cached_positions or (event.tokens if event.cache else 0),
            cache_bytes=event.cache_bytes,
        )
        if event.dropped:
            update.note(
                f"the prompt is longer than the context: its last {event.tokens:,} tokens are used, "
                f"{event.dropped:,} dropped",
                "warning",
            )

    def _obeyed(self, event: State) -> None:
        """A command has been carried out: once all have, the figures are what the process says."""
        self._unanswered = max(0, self._unanswered - 1)
        if not self._unanswered:
            phase: Phase = "paused" if event.paused else "writing"
            self.figures = replace(self.figures, phase=phase, pace=event.pace)
            if not self.racing:  # its lanes are what they are; the rest is what the user wants of the next text
                now = replace(self.figures, cache=event.cache, heads_off=event.heads_off, policy=event.policy)
                self.figures = now

    def _raced(self, event: RaceEvent) -> None:
        """The race has told something."""
        self.race.take(event)
        self.figures = replace(self.figures, written=self.race.steps)
        if isinstance(event, RaceEstimate | RaceEnd):
            self._end_race()

    def _turn_to(self, branch: Branch, update: Update) -> None:
        """Another continuation is being written from now on."""
        left = self.branches[self.branch]
        left.tokens, left.first = self.timeline.tokens, self.timeline.first
        if branch.number == len(self.branches):
            stays = [token for token in left.tokens if token.position < branch.length]
            self.branches.append(Continuation(branch, stays, left.first))
        self.branch = branch.number
        now = self.branches[self.branch]
        self.timeline.rewind(now.tokens, now.first)
        self.cursor = None
        run = f"{branch.computed:,} run again in {branch.seconds * 1e3:.2f} ms"
        update.note(f"Branch {branch.number}: {branch.reused:,} positions stay in the cache, {run}.")

    def _count(self) -> None:
        """Take the figures of the newest token."""
        if self.timeline.tokens:
            last, context = self.timeline.tokens[-1], self.timeline.tokens[-1].context
            if last.cache and not self.figures.cache:  # under a policy it saw fewer than are run without the cache
                context = last.position + 1 - self.window_start
            self.figures = replace(
                self.figures,
                written=last.step + 1,
                context=context,
                cached_positions=last.cached_positions,
                cache_bytes=last.cache_bytes,
                race=False,
            )

    def _set_phase(self, phase: Phase) -> None:
        self.figures = replace(self.figures, phase=phase)
