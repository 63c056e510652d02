"""Does a long run change anything? Millions of tokens under five policies, then the dashboard with a key monkey.

    python benchmarks/soak.py --tokens 2000000 --minutes 30 [--seed 1] [--report benchmarks/soak.md]

Tokens: each policy writes a fifth of them in this process. The slope of its memory is that of a line through the
resident set (``resident_bytes``) after the first tenth. Then the same prompt and seed are written once more by the same
model, and must give the same beginning; with the full cache, the last logits are compared with a pass without a cache.

Dashboard: ``kvtui`` in a pseudo-terminal at unlimited pace. A seeded monkey presses keys, clicks and changes the
terminal's size. Both processes must live to the end, no traceback may be drawn, and ``q`` must end them with status 0.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import pty
import random
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import monotonic

import numpy as np

from kvtui.core import Generation, GenerationSettings, Model, load
from kvtui.core.events import Token
from kvtui.core.machine import machine, resident_bytes

PROMPT = "ROMEO:"
POLICIES = ("full", "window:128", "sink:4+124", "heavy:64+64", "int8,window:128")
SAMPLES = 200  # of memory, in a run
SAME = 5_000  # tokens that are written again
ENTRY = "from kvtui.tui.cli.entry import main; main()"
SIZE = (120, 36)
SIZES = ((120, 36), (80, 24), (200, 60), (64, 20), (40, 10))
KEY_SECONDS = 0.1
SAMPLE_SECONDS = 2.0
SETTLED = 0.1  # share of a run after which its memory counts
KEYS = (
    *"tuvfbrRspMPd?.-+123456",  # what the dashboard obeys; q would end it
    *"ahnoxwcgjklmyz,;:!'",  # of single views, or letters of a prompt
    *(" ", "\r", "\t", "\x7f", "\x1b", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D"),
    *("\x1b[H", "\x1b[F", "\x1b[5~", "\x1b[6~", "\x1b[Z", "\x1bOQ", "\x1b[17~", "\x14"),
)


@dataclass(frozen=True)
class Written:
    """What one policy's run left behind."""

    policy: str
    tokens: int
    slope: float  # bytes a token
    most_bytes: int
    seconds: float  # model time
    digest: str
    same: bool  # whether the second run began alike
    difference: float | None  # of the last logits from a pass without a cache


@dataclass
class Watched:
    """What a run of the dashboard left behind."""

    seconds: float = 0.0
    keys: int = 0
    output: int = 0  # bytes drawn
    problems: list[str] = field(default_factory=list)
    status: int | None = None
    seen: list[tuple[float, int, int]] = field(default_factory=list)  # seconds, bytes of the dashboard, of the worker


def slope(places: list[float], sizes: list[int]) -> float:
    """Of the line through the sizes that fits best, once the run has settled."""
    first = int(len(places) * SETTLED)
    if len(places) - first < 2:
        return float("nan")
    return float(np.polyfit(places[first:], sizes[first:], 1)[0])


def tokens_of(generation: Generation) -> Iterator[Token]:
    """Prefill, then tokens without an end."""
    generation.prefill()
    while True:
        yield from (event for event in generation.write() if isinstance(event, Token))


def write_tokens(model: Model, policy: str, count: int, seed: int) -> Written:
    """A long text, and its beginning again."""
    generation = Generation(model, PROMPT, GenerationSettings(policy=policy, seed=seed))
    digest, beginning = hashlib.sha256(), []
    places: list[float] = []
    sizes: list[int] = []
    every = max(1, count // SAMPLES)
    for number, token in enumerate(islice(tokens_of(generation), count)):
        digest.update(token.text.encode())
        if number < SAME:
            beginning.append(token.id)
        if number % every == 0:
            places.append(number)
            sizes.append(resident_bytes() or 0)
    difference = None
    if policy == "full":
        fresh = model.forward(generation.window, last=True)[0]
        difference = float(np.abs(fresh - generation.logits).max())
    again = Generation(model, PROMPT, GenerationSettings(policy=policy, seed=seed))
    same = [token.id for token in islice(tokens_of(again), len(beginning))] == beginning
    total = slope(places, sizes)
    return Written(policy, count, total, max(sizes), generation.seconds, digest.hexdigest()[:16], same, difference)


class Dashboard:
    """``kvtui`` in a pseudo-terminal, its output read as a terminal would."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.parent, child = pty.openpty()
        self.resize(*SIZE)
        command = [sys.executable, "-c", ENTRY, PROMPT, "--pace", "unlimited", "--seed", str(seed)]
        environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True
        )
        os.close(child)
        self.tail = b""
        self.result = Watched()

    def resize(self, columns: int, rows: int) -> None:
        self.size = (columns, rows)
        fcntl.ioctl(self.parent, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds: float) -> None:
        """Read what is drawn for so long, looking for a traceback."""
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            if not select.select([self.parent], [], [], left)[0]:
                return
            try:
                data = os.read(self.parent, 1 << 16)
            except OSError:  # the end of a pseudo-terminal
                return
            self.result.output += len(data)
            self.tail = (self.tail + data)[-4096:]
            if b"Traceback" in self.tail:
                self.result.problems.append("a traceback was drawn")
                self.tail = b""

    def press(self, keys: str) -> None:
        with suppress(OSError):
            os.write(self.parent, keys.encode())

    def monkey(self) -> None:
        """One key, click or new size."""
        draw = self.draw
        self.result.keys += 1
        chance = draw.random()
        if chance < 0.01:
            self.resize(*draw.choice(SIZES))
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGWINCH)
        elif chance < 0.06 and self.size[1] > 8:  # not on the key line, where quitting is a click
            place = f"{draw.randint(1, self.size[0])};{draw.randint(1, self.size[1] - 6)}"
            self.press(f"\x1b[<0;{place}M\x1b[<0;{place}m")
        else:
            self.press(draw.choice(KEYS))

    def worker(self) -> int | None:
        """Id of the dashboard's one child."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with suppress(OSError, IndexError, ValueError):
            return int(children.read_text().split()[0])
        return None

    def measure(self, elapsed: float) -> None:
        worker = self.worker()
        own = resident_bytes(Path(f"/proc/{self.process.pid}/statm"))
        theirs = resident_bytes(Path(f"/proc/{worker}/statm")) if worker else None
        if own and theirs:
            self.result.seen.append((elapsed, own, theirs))

    def run(self, minutes: float) -> Watched:
        started, next_look = monotonic(), 0.0
        self.read(5.0)
        while (elapsed := monotonic() - started) < minutes * 60 and self.process.poll() is None:
            self.monkey()
            self.read(KEY_SECONDS)
            if elapsed >= next_look:
                self.measure(elapsed)
                next_look = elapsed + SAMPLE_SECONDS
        self.result.seconds = monotonic() - started
        if self.process.poll() is not None:
            self.result.problems.append("it ended before its time")
        self.finish()
        return self.result

    def finish(self) -> None:
        """Out of any dialog, and out of the dashboard."""
        self.resize(*SIZE)
        for key in ("\x1b",) * 4:
            self.press(key)
            self.read(0.5)
        self.press("q")
        until = monotonic() + 10
        while self.process.poll() is None and monotonic() < until:
            self.read(0.1)
        if self.process.poll() is None:
            self.result.problems.append("q did not end it")
            self.process.kill()
        self.result.status = self.process.wait()
        os.close(self.parent)


def token_table(runs: list[Written]) -> list[str]:
    lines = [
        "| policy | tokens | bytes a token | most memory, MB | model time, s | written again | last logits | text |",
        "|---|---:|---:|---:|---:|---|---:|---|",
    ]
    for run in runs:
        exact = "—" if run.difference is None else f"{run.difference:.1e}"
        lines.append(
            f"| `{run.policy}` | {run.tokens:,} | {run.slope:.1f} | {run.most_bytes / 1e6:.0f} | {run.seconds:.0f} "
            f"| {'same' if run.same else '**different**'} | {exact} | `{run.digest}` |"
        )
    return lines


def dashboard_table(run: Watched) -> list[str]:
    times = [elapsed for elapsed, _, _ in run.seen]
    growth = [slope(times, [sizes[which] for sizes in run.seen]) for which in (1, 2)]
    most = [max((sizes[which] for sizes in run.seen), default=0) for which in (1, 2)]
    return [
        "| | |",
        "|---|---:|",
        f"| minutes | {run.seconds / 60:.1f} |",
        f"| keys, clicks and sizes | {run.keys:,} |",
        f"| MB drawn | {run.output / 1e6:.0f} |",
        f"| memory of the dashboard: most, MB | {most[0] / 1e6:.0f} |",
        f"| … slope, kB a minute | {growth[0] * 60 / 1e3:.0f} |",
        f"| memory of the worker: most, MB | {most[1] / 1e6:.0f} |",
        f"| … slope, kB a minute | {growth[1] * 60 / 1e3:.0f} |",
        f"| problems | {'; '.join(dict.fromkeys(run.problems)) or 'none'} |",
        f"| exit status | {run.status} |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2_000_000, help="of all policies together; 0 for none")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the dashboard; 0 for none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="file to write the tables to as well")
    options = parser.parse_args()
    lines = ["# Soak", "", f"`python benchmarks/soak.py {' '.join(sys.argv[1:])}` on {machine()}.", ""]

    def tell(*more: str) -> None:
        lines.extend(more)
        print(*more, sep="\n", flush=True)
        if options.report:
            options.report.write_text("\n".join(lines) + "\n")

    if options.tokens:
        model, runs = load(), []
        for policy in POLICIES:
            runs.append(write_tokens(model, policy, options.tokens // len(POLICIES), options.seed))
            print(token_table(runs)[-1], flush=True)
        tell("## Tokens", "", *token_table(runs), "")
    if options.minutes:
        tell("## Dashboard", "", *dashboard_table(Dashboard(options.seed).run(options.minutes)))


if __name__ == "__main__":
    main()
