"""All views, in the order of their keys: a new one takes a line here, and its import."""

from __future__ import annotations

from kvtui.tui.actions import number_keys
from kvtui.tui.views.anatomy.view import AnatomyView
from kvtui.tui.views.cache.view import CacheView
from kvtui.tui.views.race.view import RaceView
from kvtui.tui.views.time.view import TimeView
from kvtui.tui.views.view import View
from kvtui.tui.views.watch.view import WatchView

VIEWS: tuple[type[View], ...] = (
    WatchView,
    RaceView,
    CacheView,
    AnatomyView,
    TimeView,
)
KEYS = number_keys(len(VIEWS))
OWN_KEYS = tuple(
    dict.fromkeys(key for view in VIEWS for action in view.ACTIONS for key in action.keys.split(","))
)  # keys that only work in a view
