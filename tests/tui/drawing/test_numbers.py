"""A number just below a change of unit or digits reads as the one just above: sums differ in their last digit from one
processor and one Python to the next."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvtui.tui.drawing.words import count_words, duration, size_words, three_digits
from kvtui.tui.panes import chart
from kvtui.tui.views.time.costs import billions, milliseconds


@pytest.mark.parametrize(
    ("words", "number", "text"),
    [
        (milliseconds, 0.01, "10.0"),
        (billions, 100e9, "100"),
        (duration, 1.0, "1.00 s"),
        (duration, 10.0, "10.0 s"),
        (duration, 100.0, "1 min 40 s"),
        (chart._words, 1000.0, "1,000"),
        (size_words, 1e6, "1.0 MB"),
        (count_words, 1e9, "1.0 G"),
        (three_digits, 1e3, "1 k"),
    ],
)
def test_the_last_digit_of_a_sum_does_not_show(words: Callable[..., str], number: float, text: str) -> None:
    assert [words(number * (1 + relative)) for relative in (-1e-12, 0, 1e-12)] == [text] * 3
