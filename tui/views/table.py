"""All views, in the order of their keys: a new one is a line here."""

from __future__ import annotations

from kvtui.tui.views.anatomy.view import AnatomyView
from kvtui.tui.views.cache.view import CacheView
from kvtui.tui.views.race.view import RaceView
from kvtui.tui.views.time.view import TimeView
from kvtui.tui.views.view import View
from kvtui.tui.views.watch.view import WatchView

VIEWS: tuple[type[View], ...] = (WatchView, RaceView, CacheView, AnatomyView, TimeView)
