"""All views, in the order of their keys: a new one is a line here."""

from __future__ import annotations

from kvtui.tui.views.anatomy import AnatomyView
from kvtui.tui.views.cache import CacheView
from kvtui.tui.views.race import RaceView
from kvtui.tui.views.time import TimeView
from kvtui.tui.views.view import View
from kvtui.tui.views.watch import WatchView

VIEWS: tuple[type[View], ...] = (WatchView, RaceView, CacheView, AnatomyView, TimeView)
