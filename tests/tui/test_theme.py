"""Colours of text can be read in both themes."""

from __future__ import annotations

import pytest
from bench import bench
from textual.color import Color

TEXT = ("foreground", "text-success", "text-warning", "text-error", "text-primary", "text-accent")
GROUNDS = ("background", "surface", "panel")
MUTED = ("success-muted", "primary-muted", "warning-muted", "error-muted", "accent-muted")
LEAST = 4.5  # WCAG 2.2, criterion 1.4.3


def luminance(color: Color) -> float:
    """Relative luminance as WCAG defines it."""
    parts = [channel / 255 for channel in color.rgb]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted(luminance(Color.parse(color)) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
async def test_text_stands_out_from_what_is_behind_it(theme: str) -> None:
    async with bench() as it:
        it.app.theme = theme
        colors = it.app.get_css_variables()
        pairs = [(text, ground) for text in TEXT for ground in GROUNDS]
        pairs += [("foreground", ground) for ground in MUTED]  # tinted tokens, parts of a token's time
        weak = {pair: value for pair in pairs if (value := contrast(colors[pair[0]], colors[pair[1]])) < LEAST}
        assert not weak
