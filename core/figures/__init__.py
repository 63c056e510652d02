"""Figures: attention heat maps, growth of the cache, time per token. They need Matplotlib (extra ``plot``).

Every function returns a Matplotlib ``Figure`` that belongs to no window (no pyplot, nothing global); those that draw a
single plot take ``ax=`` to draw into a figure of your own.
"""

from kvtui.core.figures.attention import attention_grid, attention_head, attention_rollout
from kvtui.core.figures.costs import cache_growth, time_per_token
from kvtui.core.figures.support import figure_format, save_figure

__all__ = [
    "attention_grid",
    "attention_head",
    "attention_rollout",
    "cache_growth",
    "figure_format",
    "save_figure",
    "time_per_token",
]
