"""What caches weigh, as lines: figures against independent arithmetic, and nothing wider than its pane."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kvtui.core.config import ModelConfig
from kvtui.tui.drawing.lines import Line
from kvtui.tui.views.cache.draw_sizes import CONTEXTS, Sizes, model_lines, sizes_lines

CONFIG = ModelConfig(65, 512, 6, 6, 6, 32, 192, 768)
SIZES = Sizes(CONFIG, 4, True, 206, 206 * 9216, 143_200_000, True)


def text(lines: list[Line]) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in lines]


def test_sizes_and_formula() -> None:
    lines = text(sizes_lines(SIZES, 100))
    assert lines == [
        "per token     9,216 B  1 position",
        "now       1,898,496 B  206 positions, measured",
        "full      4,718,592 B  512 positions",
        "process      143.2 MB  resident set, measured",
        "2 × 6 layers × 6 key/value heads × 32 head_dim × 206 positions × 4 bytes = 1,898,496 B",
    ]
    assert 2 * 6 * 6 * 32 * 206 * 4 == 1_898_496


@pytest.mark.parametrize("width", [36, 56])
def test_a_narrow_formula_is_broken_between_factors(width: int) -> None:
    lines = text(sizes_lines(SIZES, width))[4:]
    assert len(lines) > 1
    assert all(len(line) <= width for line in lines)
    assert all(line.startswith("× ") for line in lines[1:])


def test_off_and_unknown() -> None:
    off = replace(SIZES, cache=False, positions=0, measured=0, process=None)
    lines = text(sizes_lines(off, 100))
    assert lines[1].endswith("0 B  the cache is off")
    assert lines[3] == "process   not available on this system"
    assert "1 position  × 4 bytes = 9,216 B" in lines[4]
    assert "will appear here" in text(sizes_lines(replace(off, asked=False), 100))[3]


def test_known_models_at_a_context() -> None:
    lines = {line[:16].strip(): line for line in text(model_lines(8192, "shakespeare", SIZES, 80))}
    assert "at 8k" in lines[""]
    # Llama-3.1 8B: 32 layers of 8 key/value heads of 128, two bytes: 131,072 bytes a token, 1 GiB at 8,192.
    assert lines["Llama-3.1 8B"].split()[2:] == ["32", "8", "of", "32", "128", "131.1", "kB", "1.1", "GB"]
    assert lines["GPT-2 124M"].endswith("302.0 MB (max 1k)")
    assert lines["shakespeare"].split()[1:] == ["6", "6", "of", "6", "32", "9.2", "kB", "75.5", "MB", "(max", "512)"]


@pytest.mark.parametrize("width", [37, 50, 66, 74, 100])
@pytest.mark.parametrize("context", CONTEXTS)
def test_nothing_is_wider_than_its_pane(width: int, context: int) -> None:
    assert max(map(len, text(model_lines(context, "a model with a very long name", SIZES, width)))) <= max(width, 38)


def test_a_policy_is_held_against_the_formula() -> None:
    lines = text(sizes_lines(replace(SIZES, positions=128, measured=331_776, policy="int8,window:128"), 120))
    assert lines[1:3] == [
        "now         331,776 B  128 positions, measured",
        "full      4,718,592 B  512 positions, all kept",
    ]
    assert lines[4].endswith("× 128 positions × 4 bytes = 1,179,648 B, measured: 72% less")
