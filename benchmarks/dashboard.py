"""Does the dashboard disturb what it measures? Generation speed with and without it, and its response time to keys.

    python benchmarks/dashboard.py [--rounds 5] [--seconds 6] [--view watch | race | cache | anatomy | time]

Alternating: the generator process alone, its events read and discarded ("headless"), and the whole dashboard at
unlimited pace in a pseudo-terminal of 120 × 36 whose output is read as a terminal would. Tokens per second are those
written in the given seconds of wall time, after one second of warm-up. A key is sent to the app every 50 ms; its time
is from being queued, as the terminal's input thread does it, to the run of the app's handler. The race view starts a
race, and is compared with a race alone."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from time import perf_counter, sleep

from textual import events

from kvtui.core import GenerationSettings
from kvtui.core.events import Event, RaceToken, Token
from kvtui.core.machine import machine
from kvtui.tui.app import KvtuiApp
from kvtui.tui.settings import DashboardSettings
from kvtui.tui.views.table import VIEWS
from kvtui.tui.worker.link import WorkerLink
from kvtui.tui.worker.protocol import Batch, Start, StartRace

WARM_UP_SECONDS = 1.0
KEY_SECONDS = 0.05
UNUSED_KEY = "f12"
NAMES = [view.TITLE.lower() for view in VIEWS]


@dataclass(frozen=True)
class Setup:
    """What is measured: seconds of which view, after which keys, on which model and prompt."""

    seconds: float
    view: str
    press: tuple[str, ...] = ()
    model: str | None = None
    prompt: str = "ROMEO:"


def headless(setup: Setup) -> float:
    """Tokens per second without an app; for a race, those of its first lane."""
    link = WorkerLink(setup.model)
    link.start()
    link.wait_ready()
    start = StartRace if setup.view == "race" else Start
    link.send(start(1, setup.prompt, GenerationSettings(pace=None)))
    count, started = 0, inf
    while (now := perf_counter()) < started + setup.seconds:
        for report in link.drain():
            written = sum(map(is_written, report.events)) if isinstance(report, Batch) else 0
            if written:
                started = min(started, now + WARM_UP_SECONDS)
            if now >= started:
                count += written
        sleep(0.01)
    link.close()
    return count / setup.seconds


def is_written(event: Event) -> bool:
    """Whether this event reports one more token, in the only or the first lane."""
    return isinstance(event, Token) or (isinstance(event, RaceToken) and event.lane == 0)


class MeasuredApp(KvtuiApp):
    """The dashboard, sending itself keys."""

    def __init__(self, link: WorkerLink, setup: Setup) -> None:
        super().__init__(
            link, link.wait_ready(), DashboardSettings(setup.prompt, setup.model, GenerationSettings(pace=None))
        )
        self.setup = setup
        self.sent = 0.0
        self.answers: list[float] = []
        self.written = 0
        self.rate = 0.0

    def on_mount(self) -> None:  # besides the dashboard's own: Textual calls both
        self.main.action_view(NAMES.index(self.setup.view))
        for key in self.setup.press:
            self.post_message(events.Key(key, key if len(key) == 1 else None))
        self.waiting = self.set_interval(0.02, self.wait_for_tokens)

    def wait_for_tokens(self) -> None:
        if self.session.state.written:
            self.waiting.stop()
            self.set_timer(WARM_UP_SECONDS, self.begin)

    def begin(self) -> None:
        self.written, self.answers = self.session.state.written, []
        self.started = perf_counter()
        self.set_interval(KEY_SECONDS, self.press)
        self.set_timer(self.setup.seconds, self.finish)

    def press(self) -> None:
        self.sent = perf_counter()
        self.post_message(events.Key(UNUSED_KEY, None))

    def key_f12(self) -> None:
        self.answers.append(perf_counter() - self.sent)

    def finish(self) -> None:
        self.rate = (self.session.state.written - self.written) / (perf_counter() - self.started)
        self.exit()


def inside(setup: Setup, out: Path) -> None:
    """Run the dashboard; this is what the pseudo-terminal executes."""
    link = WorkerLink(setup.model)
    link.start()
    app = MeasuredApp(link, setup)
    app.run()
    link.close()
    out.write_text(json.dumps({"rate": app.rate, "answers": app.answers}))


def in_terminal(setup: Setup) -> tuple[float, list[float]]:
    """Tokens per second with the app, and seconds until each key was handled."""
    out = Path(tempfile.mkdtemp()) / "result.json"
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--inside",
        str(out),
        "--setup",
        json.dumps(asdict(setup)),
    ]
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    process = subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True
    )
    os.close(child)
    try:
        while os.read(parent, 1 << 16):
            pass
    except OSError:  # the end of a pseudo-terminal
        pass
    process.wait()
    os.close(parent)
    result = json.loads(out.read_text())
    return result["rate"], result["answers"]


def compare(setup: Setup, rounds: int) -> None:
    """Run both alternately, and print the result."""
    ratios, answers = [], []
    for _ in range(rounds):
        alone = headless(setup)
        watched, times = in_terminal(setup)
        ratios.append(watched / alone)
        answers += times
        print(f"headless {alone:7,.1f} tokens/s   with the dashboard {watched:7,.1f} tokens/s   {watched / alone:6.1%}")
    answers.sort()
    late = answers[int(len(answers) * 0.95)]
    print(f"median {statistics.median(ratios):.1%} of headless speed")
    print(
        f"{len(answers)} keys answered in {statistics.median(answers) * 1e3:.1f} ms (median), {late * 1e3:.1f} ms (p95)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--view", choices=NAMES, default=NAMES[0])
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--setup", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        inside(Setup(**json.loads(options.setup)), options.inside)
        return
    print(machine(), f"view {options.view}", sep="\n")
    compare(Setup(options.seconds, options.view), options.rounds)


if __name__ == "__main__":
    main()
