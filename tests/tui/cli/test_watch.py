"""The dashboard on a stream of events: through its keys with a link on bytes, and as a program behind a real pipe."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from bench import settle
from pseudo_terminal import ENTRY, Terminal
from textual.pilot import Pilot

from kvtui.core.settings import GenerationSettings
from kvtui.tui.actions import ACTIONS
from kvtui.tui.app import KvtuiApp
from kvtui.tui.panes.notices import NoticesPane
from kvtui.tui.settings import DashboardSettings
from kvtui.tui.views.table import KEYS, VIEWS
from kvtui.tui.views.watch.view import WatchView
from kvtui.tui.worker.event_reader import EventReader
from kvtui.tui.worker.stream_link import StreamLink

MODEL = {"name": "gpt2", "parameters": 124_439_808, "num_layers": 12, "num_heads": 12, "context_length": 1024}


def recording(text: str, cache: bool = True, model: dict[str, Any] | None = None) -> bytes:
    """A text of a token a word."""
    pieces = text.split(" ")
    values: list[dict[str, Any]] = [
        {"event": "prefill", "tokens": 6, "seconds": 0.01, "cache_bytes": 6 * 100, "prompt": "ROMEO:", "model": model}
    ]
    for step, piece in enumerate(pieces):
        kept = step + 7 if cache else 0
        values.append(
            {
                "event": "token",
                "step": step,
                "position": step + 6,
                "id": 3,
                "text": f" {piece}",
                "logprob": -0.5,
                "seconds": 0.001,
                "cache": cache,
                "cached_positions": kept,
                "cache_bytes": 1000 * kept,
            }
        )
    count = len(pieces)
    values.append({"event": "end", "reason": "length", "tokens": count, "seconds": 0.001, "tokens_per_second": 1000})
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


class Watching:
    """An app under test that shows recorded bytes."""

    def __init__(self, data: bytes, pace: float | None = None) -> None:
        self.link = StreamLink(EventReader(io.BytesIO(data), "a pipe"))
        self.link.start()
        settings = DashboardSettings(prompt="ROMEO:", generation=GenerationSettings(pace=pace))
        self.app = KvtuiApp(self.link, self.link.wait_ready(), settings)
        self.pilot: Pilot[None] | None = None

    def text(self) -> str:
        """All that is on the screen."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    def notices(self) -> str:
        return "\n".join(notice.message for notice in self.app.query_one(NoticesPane).notices)

    async def until(self, pilot: Pilot[None], words: str) -> None:
        for _ in range(500):
            if words in self.text() + self.notices():
                return
            await settle(pilot)
            await asyncio.sleep(0.002)  # for the thread that reads
        raise AssertionError(f"{words!r} is not on the screen:\n{self.text()}")


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_a_stream_is_shown_and_what_it_cannot_answer_is_said(size: tuple[int, int]) -> None:
    watching = Watching(recording("what light through yonder window breaks"))
    async with watching.app.run_test(size=size) as pilot:
        await watching.until(pilot, "what light through yonder")
        await watching.until(pilot, "■ ended")
        text = watching.text()
        assert "a pipe · events of another program" in text
        assert "A stream of events" in text
        assert "seed" not in text
        assert "12 positions ·  12.0 kB · 1.0 kB per token" in text
        assert watching.app.session.state.cache
        await pilot.press("t")
        await watching.until(pilot, "switch it there")
        await settle(pilot)
        assert watching.app.session.state.cache


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_views_and_keys_that_ask_the_model_say_that_it_is_elsewhere(size: tuple[int, int]) -> None:
    watching = Watching(recording("what light"))
    async with watching.app.run_test(size=size) as pilot:
        await watching.until(pilot, "what light")
        keys = watching.text().splitlines()[-1]
        assert "Again" in keys
        assert not {"Cache", "Layer", "Head", "Prompt"} & set(keys.split())
        for key, view in zip(KEYS, VIEWS, strict=True):
            await pilot.press(key)
            await settle(pilot)
            if view.ASKS:
                assert f"{view.TITLE}: " in watching.text()
                assert "runs in another program" in watching.text()
        await pilot.press("1")
        await watching.until(pilot, "what light")
        assert "runs in another program" not in watching.text()


async def test_no_key_ends_the_watching() -> None:
    """All of them, those that ask the model as well, with a text on the screen and looking back at it."""
    watching = Watching(recording("what light through yonder window breaks"))
    async with watching.app.run_test(size=(100, 30)) as pilot:
        await watching.until(pilot, "■ ended")
        for _ in range(2):
            for action in (*ACTIONS, *WatchView.ACTIONS):
                if action.name != "quit":
                    await pilot.press(action.keys.split(",")[-1], "escape")
            await pilot.press("left", "left")
        await pilot.press("end")
        assert watching.app.return_code is None
        assert watching.app.is_running
        await watching.until(pilot, "breaks")


async def test_a_model_that_is_told_of_is_in_the_status_line() -> None:
    watching = Watching(recording("what light", model=MODEL))
    async with watching.app.run_test(size=(120, 36)) as pilot:
        await watching.until(pilot, "gpt2 · 124.4 M parameters · 12 layers × 12 heads · context 1024")
        await watching.until(pilot, "8 of 1024 positions ·   8.0 kB of 1.0 MB")


async def test_the_cache_is_off_when_the_stream_says_so() -> None:
    watching = Watching(recording("what light", cache=False))
    async with watching.app.run_test(size=(80, 24)) as pilot:
        await watching.until(pilot, "CACHE OFF")
        assert "all   8 positions are run" in watching.text() or "off: nothing is kept" in watching.text()


async def test_a_second_text_replaces_the_first_and_enter_shows_it_once_more() -> None:
    watching = Watching(recording("the first") + recording("the second", model=MODEL))
    async with watching.app.run_test(size=(120, 36)) as pilot:
        await watching.until(pilot, "the second")
        await watching.until(pilot, "The stream has ended: 8 lines.")
        assert "the first" not in watching.app.query_one(WatchView).output.transcript.text
        assert "124.4 M" in watching.text()
        watching.app.main.prompt.input.focus()
        await pilot.press("x", "enter")
        await watching.until(pilot, "shown again")
        await watching.until(pilot, "the second")


async def test_space_holds_the_screen_and_a_full_stop_shows_one_token() -> None:
    watching = Watching(recording(" ".join(["word"] * 50)), pace=1.0)
    async with watching.app.run_test(size=(120, 36)) as pilot:
        await pilot.press("space")
        await watching.until(pilot, "paused")
        await settle(pilot)
        before = watching.app.session.state.written
        assert before < 50
        await pilot.press("full_stop")
        await watching.until(pilot, f" · {before + 1:,} token{'s' if before else ''} written")
        await pilot.press("s")
        await watching.until(pilot, "stop it there")
        await pilot.press("space", "u")
        await watching.until(pilot, "■ ended")


async def test_hostile_names_and_texts_do_not_move_the_cursor() -> None:
    data = recording("evil\x1b[2J\ud800漢🙂", model=MODEL | {"name": "a\x1b[31m\nb"})
    watching = Watching(data)
    async with watching.app.run_test(size=(120, 36)) as pilot:
        await watching.until(pilot, "evil␛[2J·漢🙂")
        assert "a␛[31m↵b" in watching.text()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_behind_a_pipe_the_keys_come_from_the_terminal(tmp_path: Path) -> None:
    """The words of one token, as the terminal gets only what changes on the screen."""
    (tmp_path / "events.jsonl").write_bytes(recording("what-light-through-yonder-window"))
    terminal = Terminal(f"cat events.jsonl | {ENTRY} watch -", tmp_path)
    terminal.until("what-light-through-yonder-window")
    terminal.press("t")
    terminal.until("cache belongs")
    terminal.press("q")
    assert terminal.finish() == 0
    assert "\x1b[?1049l" in terminal.output  # the terminal is given back


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_gives_the_terminal_back(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "events.jsonl").write_bytes(recording("what-light-through-yonder-window"))
    terminal = Terminal(f"exec {ENTRY} watch events.jsonl", tmp_path)
    terminal.until("what-light-through-yonder-window")
    os.kill(terminal.pid, number)
    assert terminal.finish() == 128 + number
    assert "\x1b[?1049l" in terminal.output
    assert "Traceback" not in terminal.output


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("watch -", "no events on standard input"),
        ("watch missing.jsonl", "there is no file of events missing.jsonl"),
        ("watch .", "is a folder"),
        ("watch notes.txt", "line 1 of 2 was skipped: it is not JSON"),
        ("watch - < /dev/null", "it is empty"),
        ("watch notes.gz", "cannot be read: Not a gzipped file"),
        ("watch --follow notes.gz", "--follow takes a file that grows"),
    ],
)
def test_what_cannot_be_watched_is_refused_before_anything_is_drawn(tmp_path: Path, command: str, words: str) -> None:
    (tmp_path / "notes.txt").write_text("to be\nor not\n")
    (tmp_path / "notes.gz").write_text("to be\nor not\n")
    terminal = Terminal(f"{ENTRY} {command}", tmp_path)
    assert terminal.finish() == 2
    assert words in terminal.output
    assert terminal.output.count("\n") == 1
    assert "\x1b[?1049h" not in terminal.output


EXTREMES = (5e-324, 1e300, 0.0, 1e-12, 1.0, 1e15)


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_valid_but_extreme_numbers_end_no_chart(size: tuple[int, int]) -> None:
    """In every view, in bars of both scales, in the figures below them, and in the second text beside the first."""
    lines = [json.loads(line) for line in recording("what light through yonder window breaks").splitlines()]
    for number, line in enumerate(lines):
        line["seconds"] = EXTREMES[number % len(EXTREMES)]
        if line["event"] == "token":
            line |= {"logprob": -1e300 if number % 2 else -5e-324, "cache": bool(number % 3), "cache_bytes": 2**53}
        if line["event"] == "end":
            line["tokens_per_second"] = 1e300
    data = "".join(json.dumps(line) + "\n" for line in (*lines, *lines)).encode()
    watching = Watching(data)
    async with watching.app.run_test(size=size) as pilot:
        await watching.until(pilot, "■ ended")
        for key in ("l", "z", "c", "c", "left", "left", "end", "r", "2", "3", "4", "5", "1", "l", "home"):
            await pilot.press(key)
            await settle(pilot)
        assert "Traceback" not in watching.text()
