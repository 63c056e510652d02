"""The themes, dark and light: Textual's own with colours that can be read, also where a terminal has only sixteen."""

from __future__ import annotations

from dataclasses import replace

from textual.theme import BUILTIN_THEMES, Theme

_DARK, _LIGHT = BUILTIN_THEMES["textual-dark"], BUILTIN_THEMES["textual-light"]

# Contrast of at least 4.5 on background, surface and panel (WCAG 2.2, criterion 1.4.3); Textual's have 2.8 to 3.8.
_TEXT = {"text-success": "#1D6535", "text-warning": "#854A00", "text-accent": "#854A00"}
LIGHT = replace(_LIGHT, variables={**_LIGHT.variables, **_TEXT})

# Sixteen colours, as Rich has them: it replaces every other colour by the nearest of these. That made text and its
# ground the same grey, so here everything stands on plain black or white, in colours that need no replacement.
_BLACK, _GREY, _WHITE = "#000000", "#AAAAAA", "#FFFFFF"
_RED, _BLUE, _MAGENTA = "#AA0000", "#0000AA", "#AA00AA"
_BRIGHT_RED, _BRIGHT_GREEN, _BRIGHT_YELLOW = "#FF5555", "#55FF55", "#FFFF55"
_BRIGHT_MAGENTA, _BRIGHT_CYAN = "#FF55FF", "#55FFFF"


def _plain(theme: Theme, text: dict[str, str], tints: dict[str, str]) -> Theme:
    """The theme in sixteen colours: those of ``text``, and of the tinted grounds behind plain text."""
    ground, front = (_BLACK, _WHITE) if theme.dark else (_WHITE, _BLACK)
    variables = {
        **theme.variables,
        **{f"text-{name}": color for name, color in text.items()},
        **{f"{name}-muted": color for name, color in tints.items()},
    }
    return replace(
        theme,
        primary=text["primary"],
        secondary=text["secondary"],
        success=text["success"],
        warning=text["warning"],
        error=text["error"],
        accent=text["accent"],
        foreground=front,
        background=ground,
        surface=ground,
        panel=ground,
        variables=variables,
    )


_PLAIN = (
    _plain(
        _DARK,
        text={
            "primary": _BRIGHT_CYAN,
            "secondary": _BRIGHT_CYAN,
            "success": _BRIGHT_GREEN,
            "warning": _BRIGHT_YELLOW,
            "error": _BRIGHT_RED,
            "accent": _BRIGHT_MAGENTA,
            "muted": _GREY,
        },
        tints={"primary": _BLUE, "success": _BLUE, "warning": _MAGENTA, "error": _RED, "accent": _MAGENTA},
    ),
    _plain(
        _LIGHT,
        text={
            "primary": _BLACK,
            "secondary": _BLACK,
            "success": _BLUE,
            "warning": _RED,
            "error": _MAGENTA,
            "accent": _RED,
            "muted": _BLACK,
        },
        tints={
            "primary": _BRIGHT_CYAN,
            "success": _BRIGHT_GREEN,
            "warning": _BRIGHT_YELLOW,
            "error": _BRIGHT_RED,
            "accent": _BRIGHT_MAGENTA,
        },
    ),
)


def themes(color_system: str | None) -> tuple[Theme, Theme]:
    """The dark and the light theme for a terminal whose colours Rich calls ``color_system``."""
    return _PLAIN if color_system in ("standard", "windows") else (_DARK, LIGHT)
