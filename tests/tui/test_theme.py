"""Colours of text can be read in both themes, in a terminal with sixteen colours and without any as well."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from bench import Bench, bench
from fake_link import token
from rich.color import ColorSystem
from rich.segment import Segment
from textual.color import Color
from textual.widget import Widget

from kvtui.tui.app import KvtuiApp
from kvtui.tui.panes.keys import KeysPane
from kvtui.tui.panes.status import StatusPane

TEXT = ("foreground", "text-success", "text-warning", "text-error", "text-primary", "text-accent")
GROUNDS = ("background", "surface", "panel")
MUTED = ("success-muted", "primary-muted", "warning-muted", "error-muted", "accent-muted")
LEAST = 4.5  # WCAG 2.2, criterion 1.4.3
THEMES = ("textual-dark", "textual-light")
# The sixteen colours as Rich has them, and as xterm shows them.
VGA = "000000 AA0000 00AA00 AA5500 0000AA AA00AA 00AAAA AAAAAA 555555 FF5555 55FF55 FFFF55 5555FF FF55FF 55FFFF FFFFFF"
XTERM = (
    "000000 CD0000 00CD00 CDCD00 0000EE CD00CD 00CDCD E5E5E5 7F7F7F FF0000 00FF00 FFFF00 5C5CFF FF00FF 00FFFF FFFFFF"
)


def luminance(color: Color) -> float:
    """Relative luminance as WCAG defines it."""
    parts = [channel / 255 for channel in color.rgb]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted(luminance(Color.parse(color)) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that has no more than sixteen colours."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLORTERM", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)


def shown(color: str, palette: str) -> str:
    """What such a terminal, with its own idea of the sixteen, makes of a colour."""
    number = Color.parse(color).rich_color.downgrade(ColorSystem.STANDARD).number
    assert number is not None
    return f"#{palette.split()[number]}"


def written(it: Bench, *panes: type[Widget]) -> Iterator[Segment]:
    """What stands in the lines of some panes, in the colours that go to the terminal."""
    strips = it.app.screen._compositor.render_strips()
    for pane in panes:
        region = it.app.query_one(pane).region
        for strip in strips[region.y : region.bottom]:
            yield from (segment for segment in strip if segment.text.strip())


@pytest.mark.parametrize("theme", THEMES)
async def test_text_stands_out_from_what_is_behind_it(theme: str) -> None:
    async with bench() as it:
        it.app.theme = theme
        colors = it.app.get_css_variables()
        pairs = [(text, ground) for text in TEXT for ground in GROUNDS]
        pairs += [("foreground", ground) for ground in MUTED]  # tinted tokens, parts of a token's time
        weak = {pair: value for pair in pairs if (value := contrast(colors[pair[0]], colors[pair[1]])) < LEAST}
        assert not weak


@pytest.mark.usefixtures("sixteen")
@pytest.mark.parametrize("theme", THEMES)
async def test_sixteen_colours_are_enough(theme: str) -> None:
    """No colour is replaced by another one, and so text cannot become the same grey as what is behind it."""
    async with bench() as it:
        it.app.theme = theme
        colors = it.app.get_css_variables()
        pairs = [(text, ground) for text in (*TEXT, "text-muted") for ground in GROUNDS]
        pairs += [("foreground", ground) for ground in MUTED]
        for name in {name for pair in pairs for name in pair}:
            assert shown(colors[name], VGA) == colors[name].upper()
        for palette in (VGA, XTERM):
            shades = {pair: [shown(colors[name], palette) for name in pair] for pair in pairs}
            assert not {pair for pair, (text, ground) in shades.items() if contrast(text, ground) < LEAST}


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("plain", [False, True])
async def test_the_state_of_the_cache_can_be_read_with_sixteen_colours_or_none(
    theme: str, size: tuple[int, int], plain: bool, sixteen: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    async with bench(size=size) as it:
        it.app.theme = theme
        it.link.write([token(step) for step in range(4)])
        await it.settle()
        for _ in ("on", "off"):
            for segment in written(it, StatusPane, KeysPane):
                assert segment.style is not None
                colors = [segment.style.color, segment.style.bgcolor]
                names = [color.get_truecolor().hex for color in colors if color is not None]
                for palette in (VGA, XTERM):
                    assert contrast(*(shown(name, palette) for name in names)) >= LEAST, segment
            await it.press("t")


# What runs with the cache or is in it; what runs without. Every other meaning has another colour.
CACHED = {"status--on", "status--badge-on", "timing--cached", "timing--saving", "cache--used", "score--cached"}
CACHED |= {"chart--first", "cache-map--faint", "cache-map--middling"}
UNCACHED = {"status--off", "timing--uncached", "cache--off", "score--uncached", "chart--second", "cache-map--off"}


@pytest.mark.parametrize(("color", "classes"), [("success", CACHED), ("warning", UNCACHED)])
def test_one_colour_for_each_meaning(color: str, classes: set[str]) -> None:
    styles = KvtuiApp.CSS_PATH.read_text()
    used = re.findall(rf"^\.([\w-]+) \{{[^}}]*\$(?:text-)?{color}\b", styles, re.MULTILINE)
    assert set(used) == classes
    assert len(re.findall(rf"\${color}|\$text-{color}", styles)) == len(used)  # nothing else has it
    root = KvtuiApp.CSS_PATH.parent
    assert not [file for file in root.rglob("*.py") if f"${color}" in file.read_text()]
