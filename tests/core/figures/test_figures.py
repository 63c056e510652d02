"""Figures: what is in them, that they draw into given axes, and the files they become."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install 'kvtui[plot]'")

import itertools

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from kvtui.core import KvtuiError, Model, generate, load
from kvtui.core.events import End, Prefill, Token
from kvtui.core.figures import (
    attention_grid,
    attention_head,
    attention_rollout,
    cache_growth,
    save_figure,
    time_per_token,
)
from kvtui.core.figures.attention_maps import AttentionMaps, attention_maps, rollout
from kvtui.core.figures.support import COLOUR_MAP, symbols, wide_fonts

CACHED = [(16, 0.4e-3), (64, 0.5e-3), (256, 0.6e-3)]
UNCACHED = [(16, 2e-3), (64, 4e-3), (256, 15e-3)]


@pytest.fixture(scope="module")
def model(tiny_model_file: Path) -> Model:
    return load(tiny_model_file)


@pytest.fixture(scope="module")
def maps(model: Model) -> AttentionMaps:
    return attention_maps(model, "Now is", 10, seed=3)


def labels(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def many_tokens(count: int) -> AttentionMaps:
    weights = np.tril(np.ones((count, count), np.float32))
    weights /= weights.sum(axis=-1, keepdims=True)
    text = ("To be, or not to be:\n" * count)[:count]
    return AttentionMaps(weights[None, None], tuple(text), 20)


class TestMaps:
    def test_rows_of_prompt_and_generated_tokens_sum_to_one(self, model: Model, maps: AttentionMaps) -> None:
        assert maps.weights.shape == (2, 2, 16, 16)
        np.testing.assert_allclose(maps.weights.sum(axis=-1), 1.0, atol=1e-5)
        assert not np.triu(maps.weights[0, 0], 1).any()
        written = [e.text for e in generate(model, "Now is", max_new_tokens=10, seed=3) if isinstance(e, Token)]
        assert "".join(maps.tokens) == "Now is" + "".join(written)
        assert maps.prompt_tokens == 6

    def test_window_that_has_moved(self, model: Model) -> None:
        moved = attention_maps(model, "Now is", 40)  # the context is 32 and drops 16 when full
        assert len(moved.tokens) == 30
        assert moved.prompt_tokens == 0
        np.testing.assert_allclose(moved.weights.sum(axis=-1), 1.0, atol=1e-5)

    def test_too_many_weights_are_refused(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kvtui.core.figures.attention_maps.LARGEST_WEIGHTS", 1000)
        with pytest.raises(KvtuiError, match="use a shorter prompt or fewer tokens"):
            attention_maps(model, "Now is", 10)

    def test_rollout_is_the_product_of_half_attention_and_half_identity(self, maps: AttentionMaps) -> None:
        expected = np.eye(16)
        for layer in range(2):
            mean = sum(maps.weights[layer, head] for head in range(2)) / 2
            expected = (0.5 * mean + 0.5 * np.eye(16)) @ expected
        rolled = rollout(maps.weights)
        np.testing.assert_allclose(rolled, expected, atol=1e-6)
        np.testing.assert_allclose(rolled.sum(axis=-1), 1.0, atol=1e-5)


class TestAttention:
    def test_head_shows_its_weights_and_every_token(self, maps: AttentionMaps) -> None:
        figure = attention_head(maps, 1, 0)
        ax: Any = figure.axes[0]
        shown = ax.images[0].get_array()
        assert shown is not None
        np.testing.assert_array_equal(np.ma.filled(shown, 0.0), maps.weights[1, 0])
        assert labels(ax) == [symbols([token]) for token in maps.tokens]
        assert "layer 1, head 0" in ax.get_title()
        assert "prompt ends" in [text.get_text() for text in ax.texts]
        assert [line.get_xdata()[1] for line in ax.lines] == [5.5, 5.5]  # between the prompt's last token and the next
        assert "attention weight" in figure.axes[1].get_ylabel()

    def test_draws_into_given_axes(self, maps: AttentionMaps) -> None:
        figure = Figure(layout="constrained")
        axes: Any = figure.subplots(1, 2)
        left, right = axes
        assert attention_head(maps, 0, 0, ax=left) is figure
        assert attention_rollout(maps, ax=right) is figure
        halves: Any = Figure().subfigures(1, 2)
        nested = halves[0].subplots()
        assert isinstance(attention_head(maps, 0, 0, ax=nested), Figure)

    @pytest.mark.parametrize("count", [2, 40, 256, 512])
    def test_labels_do_not_touch_and_give_the_whole_text(self, count: int) -> None:
        maps = many_tokens(count)
        figure = attention_head(maps, 0, 0)
        figure.draw_without_rendering()
        ax = figure.axes[0]
        for tick_labels in (ax.get_yticklabels(), ax.get_xticklabels()):
            boxes = [label.get_window_extent() for label in tick_labels]
            assert not any(first.overlaps(second) for first, second in itertools.pairwise(boxes))
            assert min(float(label.get_fontsize()) for label in tick_labels) >= 6
        text = "".join(label.split(" ", 1)[-1] for label in labels(ax))
        assert text == symbols(maps.tokens)

    @pytest.mark.parametrize("count", [1, 2, 7, 20, 90])
    def test_labels_of_subwords_neither_touch_nor_leave_the_page(self, count: int) -> None:
        words = tuple(f" {word}" for word in ("the", "quick", "incomprehensibilities", "a", "漢字かな交じり文", "\n\n"))
        maps = replace(many_tokens(count), tokens=(words * count)[:count], prompt_tokens=1, model="m" * 200)
        figure = attention_head(maps, 0, 0)
        figure.draw_without_rendering()  # a layout that does not work would warn, and warnings are errors here
        ax = figure.axes[0]
        for tick_labels in (ax.get_yticklabels(), ax.get_xticklabels()):
            boxes = [label.get_window_extent() for label in tick_labels]
            assert not any(first.overlaps(second) for first, second in itertools.pairwise(boxes))
        for text in figure.findobj(match=Text):
            box = text.get_window_extent()
            assert not text.get_text() or (figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1), text.get_text()
            assert not text.get_text() or (figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1), text.get_text()
        assert ax.get_window_extent().width > figure.bbox.width / 3

    @pytest.mark.parametrize("name", ["a$\\frac$b", "$x_{", "漢\x07字"])
    def test_a_model_may_have_any_name(self, maps: AttentionMaps, tmp_path: Path, name: str) -> None:
        named = replace(maps, model=name)
        for figure in (attention_head(named, 0, 0), attention_grid(named), attention_rollout(named)):
            save_figure(figure, tmp_path / "a.png")
        times = [(10, 0.1), (20, 0.2)]
        save_figure(time_per_token(times, times, caption=name.replace("漢\x07字", "")), tmp_path / "b.png")

    def test_grid_of_all_and_of_some(self, maps: AttentionMaps) -> None:
        titles = [ax.get_title() for ax in attention_grid(maps).axes if ax.get_title()]
        assert titles == ["head 0", "head 1"]
        assert len([ax for ax in attention_grid(maps).axes if ax.images]) == 4
        some = attention_grid(maps, layers=[1])
        assert [ax.get_title() for ax in some.axes if ax.images] == ["layer 1, head 0", "layer 1, head 1"]

    def test_no_title_runs_over_the_edge(self, maps: AttentionMaps) -> None:
        for figure in (attention_grid(maps, heads=[1]), attention_grid(maps), attention_head(maps, 0, 0)):
            figure.draw_without_rendering()
            page = figure.bbox
            for text in figure.findobj(match=Text):
                box = text.get_window_extent()
                assert not text.get_text() or (page.x0 <= box.x0 and box.x1 <= page.x1), text.get_text()

    def test_grid_of_many_tokens_keeps_the_greatest_weight(self) -> None:
        maps = many_tokens(300)
        weights = maps.weights.copy()
        weights[0, 0, 200, 100] = 0.9
        figure = attention_grid(replace(maps, weights=weights))
        shown = figure.axes[0].images[0].get_array()
        assert shown is not None
        assert shown.shape == (100, 100)
        assert shown[66, 33] == np.float32(0.9)
        assert "3 × 3" in figure.get_suptitle()

    @pytest.mark.parametrize(
        ("layer", "head", "words"), [(2, 0, "no layer 2: the model has layers 0 to 1"), (0, -1, "no head -1")]
    )
    def test_what_does_not_exist(self, maps: AttentionMaps, layer: int, head: int, words: str) -> None:
        with pytest.raises(KvtuiError, match=words):
            attention_head(maps, layer, head)
        with pytest.raises(KvtuiError, match=words):
            attention_grid(maps, [layer], [head])

    def test_empty_grid(self, maps: AttentionMaps) -> None:
        with pytest.raises(KvtuiError, match="at least one layer"):
            attention_grid(maps, layers=[])

    def test_characters_that_would_be_mathematics_or_that_the_font_lacks(self, tmp_path: Path) -> None:
        maps = replace(many_tokens(6), tokens=("$", "x", "$", "\n", "漢", "\x07"), prompt_tokens=2)
        figure = attention_head(maps, 0, 0)
        assert labels(figure.axes[0]) == ["$", "x", "$", "↵", "漢" if wide_fonts() else "□", "□"]
        save_figure(figure, tmp_path / "a.png")  # a missing glyph would warn, and warnings are errors here

    def test_colour_map_rises_evenly_in_lightness(self) -> None:
        import matplotlib

        colours = matplotlib.colormaps[COLOUR_MAP](np.linspace(0, 1, 32))[:, :3]
        linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
        lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16  # CIE 1976
        steps = np.diff(lightness)
        assert (steps > 0.5 * steps.mean()).all()


class TestGrowth:
    def test_measured_lies_on_the_formula(self, model: Model) -> None:
        events = list(generate(model, "Now is", max_new_tokens=60))
        figure = cache_growth(model.config, events)
        drawn: Any = figure.axes[0].lines
        lines = {line.get_label().split(":")[0]: line for line in drawn}
        np.testing.assert_allclose(
            lines["measured"].get_ydata(), lines[next(n for n in lines if n.startswith("formula"))].get_ydata()
        )
        assert lines["measured"].get_ydata()[0] == 2 * 2 * 2 * 8 * 4 * 6 / 1e3  # kB of the prompt
        assert "256 bytes for each position" in next(
            line.get_label() for line in drawn if "formula" in line.get_label()
        )
        assert "prompt ends at 6" in lines
        assert figure.axes[0].get_ylabel().endswith("(kB)")

    def test_without_the_cache_nothing_is_held(self, model: Model) -> None:
        figure = cache_growth(model.config, generate(model, "Now is", max_new_tokens=5, cache=False))
        measured = next(line for line in figure.axes[0].lines if line.get_label() == "measured")
        assert not np.any(measured.get_ydata())

    def test_nothing_to_draw(self, model: Model) -> None:
        with pytest.raises(KvtuiError, match="no prefill or token events"):
            cache_growth(model.config, [End("length", 0, 0.0, 0.0)])

    def test_given_axes(self, model: Model) -> None:
        figure = Figure()
        assert cache_growth(model.config, [Prefill(3, 0.1, True, 768, "Now")], ax=figure.subplots()) is figure


class TestTiming:
    def test_cached_and_uncached_differ_by_more_than_colour(self) -> None:
        figure = time_per_token(CACHED, UNCACHED, floor_seconds=0.2e-3, caption="a machine")
        ax: Any = figure.axes[0]
        legend = {line.get_label().split(":")[0]: line for line in ax.lines if not line.get_label().startswith("_")}
        cached, uncached = legend["cached"], legend["uncached"]
        assert cached.get_marker() != uncached.get_marker()
        assert cached.get_linestyle() != uncached.get_linestyle()
        assert "fitted" in cached.get_label()
        assert "·n" in uncached.get_label()
        assert "a machine" in ax.get_title()
        assert "(ms)" in ax.get_ylabel()
        assert "25.0 × at 256" in [text.get_text() for text in ax.texts]
        assert any("floor" in name for name in legend)

    def test_the_ratio_is_of_the_same_lengths_on_both_sides(self) -> None:
        uncached = [(length, 8e-3) for length in range(91, 101)]
        figure = time_per_token([(95, 2e-3), (100, 2e-3)], [*uncached[:4], (95, 4e-3), (100, 4e-3)])
        assert "2.0 × at 95–100" in [text.get_text() for text in figure.axes[0].texts]

    def test_one_of_the_two_and_many_single_tokens(self, tmp_path: Path) -> None:
        figure = time_per_token([(n, 1e-3) for n in range(1, 200)], [])
        save_figure(figure, tmp_path / "a.png")
        assert time_per_token([], UNCACHED, ax=figure.subplots()) is figure

    def test_nothing_to_draw(self) -> None:
        with pytest.raises(KvtuiError, match="no times"):
            time_per_token([], [])


class TestFiles:
    @pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")])
    def test_formats_and_the_same_bytes_twice(self, tmp_path: Path, suffix: str, start: bytes) -> None:
        contents = []
        for name in ("a", "b"):
            path = tmp_path / (name + suffix)
            save_figure(time_per_token(CACHED, UNCACHED), path)
            contents.append(path.read_bytes())
        assert contents[0].startswith(start)
        assert contents[0] == contents[1]
        assert len(list(tmp_path.iterdir())) == 2

    def test_unknown_format(self, tmp_path: Path) -> None:
        with pytest.raises(KvtuiError, match=r"\.png, \.svg or \.pdf"):
            save_figure(Figure(), tmp_path / "a.bmp")

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(KvtuiError, match="cannot write"):
            save_figure(time_per_token(CACHED, []), tmp_path / "no" / "a.png")

    def test_without_matplotlib(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(KvtuiError, match=r"^figures need Matplotlib: pip install 'kvtui\[plot\]'$"):
            time_per_token(CACHED, UNCACHED)
