"""The attention pane and its layout, with made-up weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hf_folder import LLAMA, TOKENS, llama_config, llama_tensors, random_parameters, tokenizer_spec, write_folder
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual import events
from textual.app import App, ComposeResult
from textual.geometry import Offset

from kvtui.core import load
from kvtui.core.config import ModelConfig
from kvtui.core.events import Attention
from kvtui.core.generation import Generation
from kvtui.core.inspection import answer
from kvtui.core.settings import GenerationSettings
from kvtui.tui.drawing.grid import RAMPS, arrange, levels, paint, tabs, window
from kvtui.tui.drawing.labels import piece, upright
from kvtui.tui.views.watch.attention import AttentionPane
from kvtui.tui.views.watch.draw_attention import EMPTY, AttentionLayout, draw, key_range, pointed

CONFIG = ModelConfig(65, 512, 6, 4, 4, 32, 128, 512)
TEXT = "ROMEO:\nWhat light is this?\n"


def attention(layer: int = 0, heads: tuple[int, ...] = (0,), rows: int = 5, keys: int = 20) -> Attention:
    """Every query of head h attends to itself and to the key h + 1 places before, 3 to 1."""
    weights = np.zeros((len(heads), rows, keys), dtype=np.float32)
    for number, head in enumerate(heads):
        for row in range(rows):
            query = keys - rows + row
            weights[number, row, query] += 0.75
            weights[number, row, max(query - head - 1, 0)] += 0.25
    text = (TEXT * (keys // len(TEXT) + 1))[:keys]
    return Attention(layer, heads, keys - rows, weights, tuple(text), 0)


class Stage(App[None]):
    """An app with nothing but the pane, which writes down what it asks for."""

    CSS = "AttentionPane { border: round white; height: 100%; }"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, tuple[int, ...] | None, int]] = []

    def compose(self) -> ComposeResult:
        yield AttentionPane()

    def on_question_changed(self) -> None:
        question = self.pane.question
        self.asked.append((question.layer, question.heads, -question.first_row))

    @property
    def pane(self) -> AttentionPane:
        return self.query_one(AttentionPane)

    def lines(self) -> list[str]:
        """What stands inside of the border."""
        pane = self.pane
        strips = pane.render_lines(pane.size.region.grow((1, 1, 1, 1)).translate((1, 1)))
        return [strip.text[1:-1] for strip in strips[1:-1]]


async def test_empty_pane_says_what_will_appear() -> None:
    app = Stage()
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.pause()
        assert EMPTY[0] in "\n".join(app.lines())


async def test_one_head_shows_labels_and_weights() -> None:
    app = Stage()
    async with app.run_test(size=(80, 20)) as pilot:
        app.pane.configure(CONFIG)
        app.pane.show(attention())
        await pilot.pause()
        lines = app.lines()
        assert "[L1]" in lines[0]
        assert "[H1]" in lines[1]
        assert lines[2].endswith("ROMEO:↵What␣light␣is".ljust(len(lines[2]) - 7))
        newest = lines[7]
        assert newest.startswith("s")
        assert newest[7 + 19] == "%"  # √0.75 of the way up the ramp
        assert newest[7 + 18] == "="
        assert "keys 1–20 of 20" in (app.pane.border_subtitle or "")
        assert "layer 1/6" in (app.pane.border_title or "")
        app.pane.cycle_ramp()
        await pilot.pause()
        assert app.lines()[7][7 + 19] == "▓"


async def test_what_is_wanted_follows_the_choice() -> None:
    app = Stage()
    async with app.run_test(size=(80, 20)) as pilot:
        app.pane.configure(CONFIG)
        await pilot.pause()
        rows = -app.pane.question.first_row
        assert rows == 15
        assert set(app.asked) == {(0, (0,), rows)}
        app.asked.clear()
        app.pane.next_layer()
        await pilot.pause()
        app.pane.previous_head()
        await pilot.pause()
        assert app.asked == [(1, (0,), rows), (1, (3,), rows)]
        app.pane.cycle_mode()
        await pilot.pause()
        assert app.asked[-1][:2] == (1, None)
        assert app.asked[-1][2] < rows
        app.pane.cycle_mode()
        await pilot.pause()
        assert (app.pane.mode, app.pane.head_index) == ("mean", None)
        assert app.asked[-1] == (1, None, rows)
        app.pane.next_head()
        await pilot.pause()
        assert (app.pane.mode, app.pane.head_index) == ("one", 3)
        assert app.asked[-1] == (1, (3,), rows)
        await pilot.resize_terminal(80, 30)
        await pilot.pause()
        assert app.asked[-1] == (1, (3,), rows + 10)


async def test_choices_go_round_and_stay_in_the_model() -> None:
    app = Stage()
    async with app.run_test(size=(80, 20)):
        app.pane.configure(CONFIG)
        app.pane.previous_layer()
        assert app.pane.layer_index == 5
        app.pane.next_layer()
        assert app.pane.layer_index == 0
        app.pane.layer_index = 99
        app.pane.head_index = 99
        assert (app.pane.layer_index, app.pane.head_index) == (5, 3)
        app.pane.configure(ModelConfig(65, 64, 2, 2, 2, 32, 64, 128))
        assert (app.pane.layer_index, app.pane.head_index) == (1, 1)


async def test_weights_of_another_layer_are_not_passed_off_as_these() -> None:
    app = Stage()
    async with app.run_test(size=(80, 20)) as pilot:
        app.pane.configure(CONFIG)
        app.pane.show(attention(layer=0))
        app.pane.next_layer()
        await pilot.pause()
        assert "waiting for layer 2" in app.lines()[2]
        app.pane.show(attention(layer=1))
        await pilot.pause()
        assert "%" in app.lines()[7]


async def test_all_heads_stand_side_by_side_and_can_be_chosen() -> None:
    app = Stage()
    async with app.run_test(size=(82, 20)) as pilot:
        app.pane.configure(CONFIG)
        app.pane.mode = "all"
        app.pane.show(attention(heads=(0, 1, 2, 3)))
        await pilot.pause()
        lines = app.lines()
        assert "[H1]" in lines[2]
        assert " H2 " in lines[2]
        assert any(" H3 " in line and " H4 " in line for line in lines)
        tile = next(target for target in reversed(app.pane._drawing.targets) if target.head == 3)
        spot = (tile.start + 2, tile.y + 1)
        await pilot.click(AttentionPane, offset=spot)
        assert (app.pane.mode, app.pane.head_index) == ("all", 3)
        await pilot.click(AttentionPane, offset=spot)
        assert (app.pane.mode, app.pane.head_index) == ("one", 3)


async def test_tabs_are_clickable_and_the_wheel_pages() -> None:
    app = Stage()
    async with app.run_test(size=(80, 20)) as pilot:
        app.pane.configure(CONFIG)
        await pilot.pause()
        await pilot.click(AttentionPane, offset=(app.lines()[0].index("L4") + 1, 1))
        assert app.pane.layer_index == 3
        await pilot.click(AttentionPane, offset=(app.lines()[1].index("mean") + 2, 2))
        assert app.pane.mode == "mean"
        await pilot.click(AttentionPane, offset=(app.lines()[1].index("H3") + 1, 2))
        assert (app.pane.mode, app.pane.head_index) == ("one", 2)
        await pilot._post_mouse_events([events.MouseScrollDown], widget=AttentionPane, offset=(5, 1))
        assert app.pane.layer_index == 4
        await pilot._post_mouse_events([events.MouseScrollUp], widget=AttentionPane, offset=(5, 2))
        assert app.pane.head_index == 1


async def test_older_keys_are_scrolled_to_and_stay_in_place() -> None:
    app = Stage()
    async with app.run_test(size=(60, 20)) as pilot:
        app.pane.configure(CONFIG)
        app.pane.show(attention(keys=200))
        await pilot.pause()
        assert "150–200 of 200" in (app.pane.border_subtitle or "")
        app.pane.focus()
        await pilot.press("shift+left")
        assert "142–192 of 200" in (app.pane.border_subtitle or "")
        app.pane.show(attention(keys=203))
        assert "142–192 of 203" in (app.pane.border_subtitle or "")
        await pilot.press("shift+home")
        assert "1–51 of 203" in (app.pane.border_subtitle or "")
        await pilot.press("shift+end")
        assert "153–203 of 203" in (app.pane.border_subtitle or "")
        await pilot.pause()
        assert app.lines()[3][1:7] == "   0%‹"


async def test_pointing_tells_the_weight() -> None:
    app = Stage()
    async with app.run_test(size=(80, 20)) as pilot:
        app.pane.configure(CONFIG)
        app.pane.show(attention())
        await pilot.pause()
        await pilot.hover(AttentionPane, offset=Offset(1 + 7 + 19, 1 + 7))
        assert "query s 20 → key s 20: 0.750" in (app.pane.border_subtitle or "")


@pytest.mark.parametrize("mode", ["one", "all", "mean"])
async def test_any_size_is_drawn(mode: str) -> None:
    app = Stage()
    async with app.run_test(size=(80, 24)) as pilot:
        app.pane.configure(CONFIG)
        app.pane.set_reactive(AttentionPane.mode, mode)
        for size in ((36, 8), (1, 1), (10, 3), (200, 60), (5, 30)):
            await pilot.resize_terminal(*size)
            event = attention(heads=(0, 1, 2, 3), rows=60, keys=300)
            for shown in (event, replace(event, dropped=event.weights == 0)):
                app.pane.show(shown)
                await pilot.pause()
                assert all(len(line) == app.pane.size.width for line in app.lines())


async def test_the_smallest_pane_still_shows_weights() -> None:
    app = Stage()
    async with app.run_test(size=(36, 8)) as pilot:
        app.pane.configure(CONFIG)
        app.pane.show(attention(rows=60, keys=300))
        await pilot.pause()
        lines = app.lines()
        assert "[L1]" in lines[0]
        assert "[H1]" in lines[0]
        assert all("%" in line for line in lines[2:])


def test_wide_and_odd_characters_do_not_break_the_grid() -> None:
    event = attention(keys=20)
    odd = Attention(0, (0,), event.first_row, event.weights, ("漢", "\x00", "\u0301", " the", *event.keys[4:]), 0)
    drawing = draw(AttentionLayout(60, 12, 6, 4, 0, 0, "one", event=odd))
    assert "".join(text for text, _ in drawing.lines[2])[7:11] == "□␀·t"


@given(st.integers(1, 40), st.integers(1, 200), st.integers(1, 60))
def test_tiles_fit(count: int, width: int, height: int) -> None:
    tiling = arrange(count, width, height)
    assert tiling.columns * (tiling.width + 1) - 1 <= width
    assert tiling.rows * tiling.height <= height


@given(st.integers(1, 40), st.integers(0, 39), st.integers(8, 100))
def test_tabs_fit_and_keep_the_selected_one(count: int, selected: int, width: int) -> None:
    selected %= count
    result = tabs([f"L{index + 1}" for index in range(count)], selected, width)
    assert result[-1].end <= width
    assert any(tab.index == selected and tab.text.startswith("[") for tab in result)


def test_ramp_shows_small_weights_and_is_absolute() -> None:
    weights = np.array([[0.0, 0.001, 0.005, 0.25, 1.0]], dtype=np.float32)
    assert levels(weights, 10).tolist() == [[0, 0, 1, 4, 9]]
    assert paint(weights, RAMPS[0])[0] == ["  .=@"]
    assert paint(np.zeros((2, 0), dtype=np.float32), RAMPS[0])[0] == ["", ""]


def test_window_of_keys() -> None:
    assert window(10, 20, None) == (0, 10)
    assert window(30, 20, None) == (10, 30)
    assert window(30, 20, -5) == (0, 20)
    assert window(30, 20, 25) == (10, 30)


def of_pieces(*texts: str, heads: int = 1) -> Attention:
    """Every key looked at alike, by the five newest queries."""
    weights = np.full((heads, 5, len(texts)), 1 / len(texts), np.float32)
    return Attention(0, tuple(range(heads)), len(texts) - 5, weights, texts, 0)


async def test_tokens_longer_than_a_character_are_written_out() -> None:
    """Rows from left to right with their spaces, keys from top to bottom without."""
    app = Stage()
    async with app.run_test(size=(80, 20)) as pilot:
        app.pane.configure(CONFIG)
        app.pane.show(of_pieces("<s>", "Once", " upon", " a", " time", ",\n", " unbelievably"))
        await pilot.pause()
        lines = app.lines()
        keys = [line.split("│")[1] for line in lines[2:7]]
        assert ["".join(column).strip() for column in zip(*keys, strict=True)][1:8] == [
            "<s>",
            "Once",
            "upon",
            "a",
            "time",
            ",",
            "unbel",
        ]
        assert [line[:8].strip() for line in lines[7:12]] == ["␣upon", "␣a", "␣time", ",↵", "␣unbeli…"]
        assert -app.pane.question.first_row == 11
        offset = Offset(15 + 3, 1 + 7)
        await pilot.hover(AttentionPane, offset=offset)
        assert "query ␣upon 3 → key ␣a 4: 0.143" in str(app.pane.border_subtitle)
        await pilot.resize_terminal(40, 9)
        await pilot.pause()
        assert all(len(line) == 38 for line in app.lines())


async def test_wide_characters_get_two_cells_a_key() -> None:
    app = Stage()
    async with app.run_test(size=(80, 20)) as pilot:
        app.pane.configure(CONFIG)
        app.pane.show(of_pieces("漢字", "🙂", " a", "b", "漢", "e\u0301", "\u0301"))
        await pilot.pause()
        strips = app.pane.render_lines(app.pane.size.region)
        lines = [strip.text for strip in strips]
        assert {cell_len(line) for line in lines} == {app.pane.size.width}
        last = next(line for line in lines if "query" in line)
        assert "字🙂a b 漢e\u0301 · " in last
        assert [line[1:4].strip() for line in lines if line[1:3] in ("␣a", "b ", "漢 ", "e\u0301", "· ")]
        app.pane.mode = "all"
        app.pane.show(of_pieces("漢字", "🙂", " a", "b", "漢", heads=4))
        await pilot.pause()
        assert {cell_len(strip.text) for strip in app.pane.render_lines(app.pane.size.region)} == {78}


@given(st.text(max_size=12), st.integers(2, 9))
def test_labels_take_exactly_their_cells(text: str, cells: int) -> None:
    assert cell_len(piece(text, cells)) == cells
    for line in upright([text, "ab"], 3, 2):
        assert cell_len(line) == 4
    assert "\n" not in piece(text, cells)


def test_dropped_positions_are_empty_columns() -> None:
    event = attention(heads=(0, 1), rows=4, keys=12)
    dropped = np.zeros((2, 4, 12), bool)
    dropped[0, 1:, 2:5] = True  # the first head dropped them before the second row's query
    dropped[1, :, 3] = True
    view = AttentionLayout(60, 20, 6, 2, 0, 0, "one", event=replace(event, dropped=dropped))
    drawing = draw(view)
    rows = ["".join(piece for piece, _ in line)[view.gutter :] for line in drawing.lines[3:7]]
    assert [row[2:5] for row in rows] == ["   ", "╱╱╱", "╱╱╱", "╱╱╱"]
    assert "╱ dropped" in key_range(drawing)
    assert pointed(view, drawing, view.gutter + 3, 5).endswith(": dropped")
    assert not pointed(view, drawing, view.gutter + 3, 3).endswith(": dropped")
    mean = draw(replace(view, mode="mean", head=None))
    assert ["".join(piece for piece, _ in line)[view.gutter + 2 :][:3] for line in mean.lines[4:5]] == [" ╱ "]
    assert "dropped" not in key_range(draw(replace(view, event=event)))


async def test_only_what_has_room_is_asked_for() -> None:
    """Of 32 heads those whose tiles fit, the chosen one among them; of the mean one grid."""
    app = Stage()
    async with app.run_test(size=(40, 10)) as pilot:
        app.pane.configure(ModelConfig(65, 512, 6, 32, 32, 4, 128, 512))
        app.pane.mode = "all"
        app.pane.head_index = 20
        await pilot.pause()
        question = app.pane.question
        assert question.heads is not None
        assert 20 in question.heads
        assert 1 < len(question.heads) < 32
        app.pane.show(attention(heads=question.heads, rows=-question.first_row))
        await pilot.pause()
        assert any("[H21]" in line for line in app.lines()[2:])
        app.pane.mode = "mean"
        await pilot.pause()
        assert (app.pane.question.heads, app.pane.question.mean) == (None, True)
        assert any("waiting for layer" in line for line in app.lines())
        mean = replace(attention(rows=-app.pane.question.first_row), heads=tuple(range(32)), mean=True)
        app.pane.show(mean)
        await pilot.pause()
        assert "%" in "".join(app.lines()[2:])
        app.pane.next_head()
        await pilot.pause()
        assert any("waiting for layer" in line for line in app.lines())  # the mean is not passed off as a head


@pytest.fixture
def subwords(tmp_path: Path) -> Generation:
    """A text by a random model with tokens of several characters, such as ``▁believe``."""
    merges = [("▁", "b"), ("l", "i"), ("e", "v"), ("▁b", "e"), ("▁be", "li"), ("ev", "e"), ("▁beli", "eve")]
    spec = tokenizer_spec([*TOKENS, *("".join(pair) for pair in merges)])
    spec["model"]["merges"] = [" ".join(pair) for pair in merges]
    config = llama_config()
    folder = write_folder(tmp_path / "model", LLAMA, llama_tensors(config, random_parameters(config)))
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    generation = Generation(load(str(folder)), "we believe you", GenerationSettings(observe=True))
    generation.prefill()
    return generation


async def test_the_keys_of_a_subword_model_can_be_read(subwords: Generation) -> None:
    """At any height: the one that counts most is spelled out below the grid, and each one that is pointed at."""
    app = Stage()
    async with app.run_test(size=(64, 11)) as pilot:
        app.pane.configure(subwords.model.config)
        await pilot.pause()
        event = answer(subwords, app.pane.question)
        assert isinstance(event, Attention)
        assert " believe" in event.keys
        app.pane.show(event)
        await pilot.pause()
        newest = event.weights[0, -1]
        strongest = event.keys[int(newest.argmax())].replace(" ", "␣")
        assert f"most on {strongest} {newest.max():.2f}" in str(app.pane.border_subtitle)
        place = app.pane._drawing.places[0]
        x = place.x + event.keys.index(" believe") - place.key
        await pilot.hover(AttentionPane, offset=Offset(1 + x, 1 + place.y + len(place.weights) - 1))
        assert "→ key ␣believe " in str(app.pane.border_subtitle)


def test_what_is_most_attended_to_is_spelled_out_if_it_fits() -> None:
    event = of_pieces("<s>", "Once", " upon", " internationalization", ",", " a", "\n\n", " time")
    event.weights[0, -1] = [0.1, 0.0, 0.0, 0.6, 0.0, 0.1, 0.1, 0.1]
    drawing = draw(AttentionLayout(20, 12, 6, 1, 0, 0, "one", event=event, pieces=True))
    whole = "keys 1–8 of 8 · most on ␣internationalization 0.60"
    assert key_range(drawing) == key_range(drawing, len(whole)) == whole
    assert key_range(drawing, len(whole) - 1) == "keys 1–8 of 8"
    long = draw(AttentionLayout(60, 12, 6, 1, 0, 0, "one", event=of_pieces(*["a" * 30] * 5), pieces=True))
    assert f"most on {'a' * 23}… " in key_range(long)


def test_of_all_heads_the_chosen_one_tells_what_it_attends_to_most() -> None:
    event = of_pieces("<s>", "Once", " upon", ",", " a", heads=2)
    event.weights[1, -1] = [0.1, 0.1, 0.6, 0.1, 0.1]
    view = AttentionLayout(60, 20, 6, 2, 0, 1, "all", event=event, pieces=True)
    assert "most on ␣upon 0.60" in key_range(draw(view))


@pytest.mark.parametrize(("height", "shown"), [(16, "inter"), (20, "internat"), (30, "internationa")])
def test_the_more_lines_there_are_the_longer_the_labels(height: int, shown: str) -> None:
    event = of_pieces("<s>", "Once", " upon", " a", " internationalization")
    drawing = draw(AttentionLayout(60, height, 6, 1, 0, 0, "one", event=event, pieces=True))
    labels = ["".join(text for text, _ in line).split("│")[1] for line in drawing.lines[2 : 2 + len(shown)]]
    assert "".join(line.rstrip()[-1] for line in labels) == shown
