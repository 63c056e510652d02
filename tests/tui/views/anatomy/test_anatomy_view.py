"""The anatomy of a token as lines of text."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from kvtui.core.events import Candidate, Inspection, LensLayer, WithoutHeads
from kvtui.core.sampling import SamplingSettings
from kvtui.tui.drawing.labels import label
from kvtui.tui.drawing.lines import Line, bar
from kvtui.tui.drawing.words import settings_words
from kvtui.tui.session.state import RunState
from kvtui.tui.views.anatomy import draw as view


def candidate(rank: int, text: str, probability: float, **other) -> Candidate:
    values = {"sampled": probability, "cut_by": None, "chosen": False} | other
    return Candidate(rank=rank, id=rank, text=text, probability=probability, **values)


CANDIDATES = (
    candidate(0, "t", 0.5, sampled=0.625),
    candidate(1, " ", 0.3, sampled=0.375, chosen=True),
    candidate(2, "s", 0.1, sampled=0.0, cut_by="top-p"),
    *(candidate(rank, "abcdefg"[rank - 3], 0.01, sampled=0.0, cut_by="top-k") for rank in range(3, 10)),
)
INSPECTION = Inspection(
    position=51,
    id=1,
    text=" ",
    written=True,
    context=50,
    before="the night ",
    candidates=CANDIDATES,
    lens=(LensLayer(7, "e", 0.25, 0.0004), LensLayer(1, " ", 0.5, 0.5), LensLayer(0, "t", 0.5, 0.3)),
    entropy=np.array([[0.0, 1.25], [math.log(50), 2.0]]),
    without=None,
    seconds=0.001,
)
WITHOUT = WithoutHeads(
    heads=((0, 1),),
    kl=0.1234,
    candidates=(candidate(1, " ", 0.7, chosen=True), candidate(0, "t", 0.2), candidate(2, "s", 0.1)),
    continuation=" the\n",
    continuation_with="to be",
)


def text(lines: list[Line]) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in lines]


def test_a_bar_is_as_long_as_its_fraction_and_nothing_for_next_to_nothing() -> None:
    assert [bar(fraction, 4) for fraction in (0.0, 0.001, 0.125, 0.5, 0.53, 1.0, 7.0)] == [
        "",
        "",
        "▌",
        "██",
        "██▏",
        "████",
        "████",
    ]
    assert bar(0.5, -3) == ""


def test_a_label_is_one_cell_a_character_and_no_longer_than_asked() -> None:
    assert label(" the\n", 12) == "␣the↵"
    assert label("abcdef", 4) == "abc…"
    assert label("日本", 4) == "□□"
    assert label("", 4) == "∅"


def test_candidates_tell_what_was_cut_and_by_what() -> None:
    lines = text(view.candidate_lines(INSPECTION, 40, 11))
    assert lines[0].split() == ["model", "sampled"]
    assert lines[1].split() == ["t", "50.0", "%", "█" * 9 + "▌", "62.5", "%"]
    assert lines[2].startswith("▶ ␣  30.0 %")
    assert lines[3].endswith("✂ top-p")
    assert lines[4].endswith("✂ top-k")
    assert len(lines) == 11
    assert max(map(len, lines)) <= 40


def test_the_chosen_candidate_is_shown_however_few_lines_there_are() -> None:
    unlikely = replace(
        INSPECTION, candidates=(CANDIDATES[0], *CANDIDATES[2:], candidate(200, "Z", 0.0001, chosen=True))
    )
    lines = text(view.candidate_lines(unlikely, 40, 5))
    assert lines[-1].startswith("▶ Z  0.01 %")
    assert len(lines) == 5


def test_the_lens_marks_where_the_written_token_leads() -> None:
    lines = text(view.lens_lines(INSPECTION, 0, 48, 10))
    assert lines[0].endswith("␣")
    assert lines[1].startswith("embedding   e  25.0 %")
    assert lines[1].endswith("0.04 %")
    assert lines[2].startswith("layer 1   ▶ ␣  50.0 %")
    assert lines[3].startswith("layer 2     t  50.0 %")
    assert view.settled(INSPECTION) == "t leads from layer 2 on"
    assert view.settled(replace(INSPECTION, lens=INSPECTION.lens[-1:])) == "t leads from the embedding on"


def test_the_titles_name_the_position_that_made_the_prediction() -> None:
    of = replace(INSPECTION, query="poorest", text=" gentlemen")
    assert view.query_title(("Heads · query",), of, 60) == "Heads · query “poorest”, predicting “␣gentlemen”"
    assert view.query_title(("Heads · query",), of, 46) == "Heads · query “poorest” → “␣gentlemen”"
    assert (
        view.query_title(("Heads · nats · query", "Heads · query"), of, 46) == "Heads · query “poorest” → “␣gentlemen”"
    )
    assert view.query_title(("Heads · query",), of, 9) == "Heads · query “poorest”"


def test_more_layers_than_lines_are_shown_around_the_chosen_one() -> None:
    deep = replace(INSPECTION, lens=tuple(LensLayer(7, "e", 0.25, 0.1) for _ in range(25)))
    lines = text(view.lens_lines(deep, 11, 48, 6))
    assert [line.split()[1] for line in lines[1:]] == ["10", "11", "12", "13", "14"]
    assert text(view.lens_lines(deep, 23, 48, 6))[-1].startswith("layer 24")
    assert text(view.lens_lines(deep, 0, 48, 6))[1].startswith("embedding")


def test_the_grid_shows_entropies_the_choice_and_what_is_off() -> None:
    lines = text(view.head_lines(INSPECTION, (1, 0), [(0, 1)], 60, 9))
    assert lines == [
        "      H1    H2  ",
        "L1   0.00▁ off  ",
        "L2  [3.91] 2.00▅",
        "L2 H1 attends to ≈50 of 50 keys · x switches it off",
    ]
    lines = text(view.head_lines(INSPECTION, (0, 1), [(0, 1)], 60, 9))
    assert lines[1:] == [
        "L1   0.00▁[off ]",
        "L2   3.91█ 2.00▅",
        "L1 H2 (off) attended to ≈3 of 50 keys · x switches it on",
    ]


def test_a_cell_of_the_grid_is_found_again_also_where_it_is_scrolled() -> None:
    grid = view.grid_of(INSPECTION, (0, 0), 50, 9)
    assert grid.at(5, 1) == (0, 0)
    assert grid.at(10, 2) == (1, 1)
    for outside in ((3, 1), (5, 0), (16, 1), (5, 3)):
        assert grid.at(*outside) is None
    large = replace(INSPECTION, entropy=np.zeros((48, 25)))
    grid = view.grid_of(large, (30, 20), 40, 10)
    cells = [grid.at(4 + 6 * x, 1 + y) for y in range(8) for x in range(6)]
    assert (30, 20) in cells
    assert len(set(cells)) == 48


def test_without_heads_the_change_is_told_in_nats_and_in_words() -> None:
    lines = text(view.without_lines(replace(INSPECTION, without=WITHOUT), True, 60, 8))
    assert lines[0].startswith("KL 0.1234 nats")
    assert lines[1] == "now likeliest: ␣ 70.0 %  (was t 50.0 %)"
    assert lines[2].split() == ["▶", "␣", "30.0", "%", "→", "70.0", "%", "+40.00", "points"]
    assert lines[3].split() == ["t", "50.0", "%", "→", "20.0", "%", "-30.00", "points"]
    assert lines[-2:] == ["with    to␣be", "without ␣the↵"]
    assert "x switches" in "\n".join(text(view.without_lines(INSPECTION, True, 60, 8)))


def test_what_would_follow_is_told_when_it_was_asked_for() -> None:
    silent = replace(INSPECTION, without=replace(WITHOUT, continuation="", continuation_with=""))
    assert "pause" in text(view.without_lines(silent, False, 60, 8))[-1]
    assert "context is full" in text(view.without_lines(silent, True, 60, 8))[-1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (SamplingSettings(0.0, 5), "greedy"),
        (SamplingSettings(0.8), "temperature 0.8"),
        (SamplingSettings(1.0, 40, 0.95), "temperature 1 · top-k 40 · top-p 0.95"),
    ],
)
def test_the_settings_are_told(settings: SamplingSettings, words: str) -> None:
    assert settings_words(settings) == words


def test_it_is_told_when_the_text_is_not_written_by_the_model_that_is_shown() -> None:
    def words(**figures) -> str:
        return view.candidates_subtitle(INSPECTION, SamplingSettings(), RunState(**figures))

    assert words() == "temperature 0.8 · after 50 tokens"
    assert words(policy="window:8") == "temperature 0.8 · with the full cache, not window:8"
    assert words(heads_off=((0, 1),)) == "temperature 0.8 · with all heads on"
    given = replace(INSPECTION, written=False)
    assert "given by the prompt" in view.candidates_subtitle(given, SamplingSettings(), RunState())


@pytest.mark.parametrize("width", [0, 1, 12, 20, 36, 60, 200])
@pytest.mark.parametrize("height", [0, 1, 2, 9])
def test_every_size_is_drawn(width: int, height: int) -> None:
    full = replace(INSPECTION, without=WITHOUT)
    view.candidate_lines(full, width, height)
    view.lens_lines(full, 1, width, height)
    view.head_lines(full, (1, 1), (), width, height)
    view.without_lines(full, True, width, height)
