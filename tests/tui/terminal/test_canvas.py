"""The cells of the screen: only those that change are written, and what is written gives the same screen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvtui.tui.terminal.canvas import Canvas
from kvtui.tui.terminal.pace import Pace

WIDTH, HEIGHT = 12, 3
TEXTS = st.lists(st.sampled_from("ab 漢é█\u0301🙂"), min_size=1, max_size=10).map("".join)
STROKES = st.tuples(st.integers(1, HEIGHT), st.integers(1, WIDTH), st.sampled_from(["", "1", "38;2;1;2;3"]), TEXTS)
FRAMES = st.lists(STROKES, min_size=1, max_size=6).map(lambda strokes: "".join(map(stroke, strokes)))


def stroke(what: tuple[int, int, str, str]) -> str:
    line, column, style, text = what
    return f"\x1b[{line};{column}H" + (f"\x1b[{style}m{text}\x1b[0m" if style else text)


def blank() -> Canvas:
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.draw("".join(f"\x1b[{line + 1};1H{' ' * WIDTH}" for line in range(HEIGHT)))
    return canvas


@given(st.lists(FRAMES, min_size=1, max_size=5))
def test_what_is_written_shows_what_was_drawn(frames: list[str]) -> None:
    """The other canvas stands for the terminal; frames in between need not be written."""
    canvas, terminal = blank(), Canvas(WIDTH, HEIGHT)
    terminal.draw(canvas.changes())
    for number, frame in enumerate(frames):
        canvas.draw(frame)
        if number % 2 or number == len(frames) - 1:
            terminal.draw(canvas.changes())
    assert terminal._drawn == canvas._drawn


def test_only_what_changes_is_written() -> None:
    canvas = blank()
    canvas.changes()
    canvas.draw("\x1b[1;1H\x1b[1mab\x1b[0m  cd    ")
    assert canvas.changes() == "\x1b[1;1H\x1b[0;1mab\x1b[0m  cd\x1b[1;11H"  # a move would be longer than the gap
    canvas.draw("\x1b[1;1H\x1b[1mab\x1b[0m  cx    ")
    assert canvas.changes() == "\x1b[1;6Hx\x1b[1;11H"


def test_after_another_size_all_is_written_and_nothing_beside_it() -> None:
    canvas = blank()
    canvas.changes()
    canvas.resize(2, 1)
    canvas.draw("\x1b[1;1Habc\x1b[2;1Hd\x1b[1;2Hx")
    assert canvas.changes() == "\x1b[1;1Hax\x1b[1;3H"


def test_what_is_drawn_cannot_command_the_terminal() -> None:
    canvas = blank()
    canvas.changes()
    canvas.draw("\x1b[1;1Ha\x1b]2;title\x07\x1b[2J\x9b")
    written = canvas.changes()
    assert written.startswith("\x1b[1;1Ha·]2;title··")
    assert not set(written.replace("\x1b[", "")) & {"\x1b", "\x07", "\x9b"}


def test_a_terminal_that_holds_writes_up_is_drawn_on_less_often() -> None:
    pace = Pace()
    assert pace.after(20_000, 0.0) == 0.0
    assert pace.after(3_000, 0.1) == 0.1  # 30 kB/s: half of it is used
    assert 0.09 < pace.after(1_500, 0.0) < 0.1
    for _ in range(1_000):
        pace.after(1_500, 0.0)
    assert pace.after(1_500, 0.0) == 0.0


def test_frames_have_a_least_distance_if_one_is_asked_for() -> None:
    assert Pace(0.5).after(100, 0.25) == 0.25
