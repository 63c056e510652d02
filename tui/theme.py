"""The light theme: Textual's own, with orange and green dark enough to read on its greys."""

from __future__ import annotations

from dataclasses import replace

from textual.theme import BUILTIN_THEMES

_BUILTIN = BUILTIN_THEMES["textual-light"]
# Contrast of at least 4.5 on background, surface and panel (WCAG 2.2, criterion 1.4.3); Textual's have 2.8 to 3.8.
_TEXT = {"text-success": "#1D6535", "text-warning": "#854A00", "text-accent": "#854A00"}

LIGHT = replace(_BUILTIN, variables={**_BUILTIN.variables, **_TEXT})
