"""Wrapping, marks and the bound on memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kvtui.tui.drawing.transcript import LIMIT, PROMPT, Transcript
from kvtui.tui.views.watch.output import probability_level, time_level


def lines(transcript: Transcript) -> list[str]:
    return ["".join(piece for piece, _, _ in transcript.line(number, 0)) for number in range(len(transcript.lines))]


def filled(text: str, width: int) -> Transcript:
    transcript = Transcript(width)
    transcript.append(text)
    transcript.wrap()
    return transcript


def test_words_stay_whole_where_they_fit() -> None:
    assert lines(filled("to be or not\nto be, that", 8)) == ["to be or ", "not", "to be, ", "that"]
    assert lines(filled("incomprehensible", 6)) == ["incomp", "rehens", "ible"]
    assert lines(filled("a\n\nb\n", 6)) == ["a", "", "b", ""]


@given(st.text(st.sampled_from("ab \n漢\t"), max_size=80), st.integers(2, 20), st.integers(2, 20), st.integers(1, 7))
def test_growing_gives_the_same_lines_as_wrapping_at_once(text: str, width: int, other: int, step: int) -> None:
    growing = Transcript(other)
    for place in range(0, len(text), step):
        growing.append(text[place : place + step])
        growing.wrap()
    growing.resize(width)
    whole = filled(text, width)
    assert growing.lines == whole.lines
    assert "".join(lines(whole)) == text.replace("\n", "").replace("\t", "⇥")


def test_marks_split_a_line_into_pieces() -> None:
    transcript = Transcript(20)
    transcript.append("ab")
    transcript.append("cd", 1, 3)
    transcript.append("e", 2, 3)
    transcript.wrap()
    assert transcript.line(0, 0) == [("ab", PROMPT, 0), ("cd", 1, 2), ("e", 2, 4)]
    assert transcript.line(0, 1) == [("ab", PROMPT, 0), ("cde", 3, 2)]
    assert transcript.line(0, 1, (3, 4)) == [("ab", PROMPT, 0), ("c", 3, 2), ("d", 3, 3), ("e", 3, 4)]


def test_memory_is_bounded_and_dropped_lines_are_counted() -> None:
    transcript = Transcript(10)
    total = 0
    for _ in range(20):
        transcript.append("123456789\n" * 500)
        transcript.wrap()
        total += transcript.take_dropped()
    assert len(transcript) <= LIMIT + 10_000
    assert total + len(transcript.lines) == 20 * 500 + 1
    one_line = filled("x" * (LIMIT * 2), 10)
    assert len(one_line) <= LIMIT


def test_levels() -> None:
    assert [probability_level(math.log(p)) for p in (1.0, 0.3, 0.15, 0.05, 0.001)] == [0, 1, 2, 3, 4]
    assert [time_level(times * 0.001, 0.001) for times in (1.0, 2.1, 5, 9, 1000)] == [0, 1, 2, 3, 4]
    assert time_level(1.0, 0.0) == 0


@pytest.mark.parametrize("text", ["漢字" * 9, "❤\ufe0f" * 9, "e\u0301 " * 9, "🇩🇪 👍🏽" * 5, "a👩\u200d👩\u200d👧b" * 4])
def test_no_line_is_wider_than_the_screen(text: str) -> None:
    """As the terminal counts, which draws some marks and their character in two cells."""
    for width in range(2, 12):
        assert all(cell_len(line.rstrip()) <= width for line in lines(filled(text, width)))


def test_lines_of_wide_characters_break_anywhere() -> None:
    assert lines(filled("ab 漢字漢字漢", 8)) == ["ab 漢字", "漢字漢"]
    assert lines(filled("the cat sat", 8)) == ["the cat ", "sat"]


def test_a_mark_upon_a_character_keeps_its_colour() -> None:
    """The pieces of a line are drawn one by one: a mark alone would stand upon nothing."""
    transcript = Transcript(20)
    transcript.append("❤", 1, 1)
    transcript.append("\ufe0fx", 2, 2)
    transcript.wrap()
    assert transcript.line(0, 0) == [("❤\ufe0f", 1, 0), ("x", 2, 2)]
