"""What the figures of :mod:`kvtui.core.figures` share: Matplotlib on demand, token labels, marks, files.

The colour map, viridis, increases evenly in lightness, so it works in greyscale and with colour blindness.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kvtui.core.errors import KvtuiError
from kvtui.core.files import write_whole
from kvtui.core.layers import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

FORMATS = ("png", "svg", "pdf")
DOTS_PER_INCH = 150
COLOUR_MAP = "viridis"
HIDDEN = "0.93"  # grey of what the causal mask excludes
CACHED = {"color": "#00509e", "marker": "o", "linestyle": "-"}
UNCACHED = {"color": "#c1440e", "marker": "s", "linestyle": "--"}

_SYMBOLS = {"\n": "↵", " ": "␣", "\t": "⇥", "\r": "␍"}
_LABEL_POINTS = 7.0  # font size of the labels where there are many tokens
_LABEL_ROOM = 8.6  # points from one label to the next
_CHARACTER_ROOM = 7.5  # the same where every label is a single token
_LONGEST_LABEL = 16  # characters of text in a label
_LONGEST_NAME = 30  # characters of a model's name in a title
PLAIN: dict[str, Any] = {"parse_math": False}  # for texts with names from elsewhere: a $ in them is no formula
# Monospaced or not: fonts with the characters of Chinese, Japanese and Korean, where one is installed.
_WIDE_FONTS = (
    "Noto Sans Mono CJK SC",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "IPAGothic",
)
_STRIDES = (1, 2, 4, 5, 8, 10, 16, 20, 32, 40, 50, 64, 100, 128, 200, 256, 512, 1024)


def require_matplotlib() -> None:
    """Raise KvtuiError unless Matplotlib can be imported."""
    try:
        import matplotlib.figure  # noqa: F401 - Agg and the file formats come with it
    except ImportError:
        raise KvtuiError("figures need Matplotlib: pip install 'kvtui[plot]'") from None


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained")


def axes_or_new(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the caller's axes, or those of a new figure."""
    return new_figure(width, height).subplots() if ax is None else ax


def figure_of(ax: Axes) -> Figure:
    """Return the figure that axes belong to, also if they are in a subfigure of it."""
    figure: Any = ax.figure
    return figure.figure  # a figure's own ``figure`` is itself


def heat_map(ax: Axes, weights: Array, largest: float = 1.0, pool: int = 1) -> AxesImage:
    """Draw weights from 0 to ``largest``, later keys left grey. Colours scale with the square root, as small weights
    would all be dark beside one near 1. With ``pool``, a cell is the largest of that many rows and columns, for maps
    with more tokens than points on the page. weights: (S, S)."""
    import matplotlib
    from matplotlib.colors import PowerNorm

    cells = -(-len(weights) // pool)
    padded = np.pad(weights, (0, cells * pool - len(weights)))
    shown = padded.reshape(cells, pool, cells, pool).max(axis=(1, 3))
    ax.set_facecolor(HIDDEN)
    edge = cells * pool - 0.5
    image = ax.imshow(
        np.ma.masked_where(np.triu(np.ones(shown.shape, dtype=bool), 1), shown),
        cmap=matplotlib.colormaps[COLOUR_MAP],
        norm=PowerNorm(0.5, 0, largest),
        extent=(-0.5, edge, edge, -0.5),  # coordinates stay those of the tokens
    )
    ax.set(xlim=(-0.5, len(weights) - 0.5), ylim=(len(weights) - 0.5, -0.5))
    return image


def label_tokens(ax: Axes, tokens: Sequence[str]) -> bool:
    """Put the tokens along both axes.

    If not all fit, every n-th token gets a label with its position and the text from there to the next label: read one
    after the other they still give the whole text.

    Returns:
        Whether some did not fit.
    """
    box = ax.get_window_extent()
    points = min(box.width, box.height) / figure_of(ax).dpi * 72
    spacing = points / len(tokens)
    stride = next((stride for stride in _STRIDES if stride * spacing >= _LABEL_ROOM), _STRIDES[-1])
    stride = 1 if spacing >= _CHARACTER_ROOM else stride
    texts = [symbols(tokens[start : start + stride]) for start in range(0, len(tokens), stride)]
    labels = [text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…" for text in texts]
    if stride > 1:
        labels = [f"{index * stride} {label}" for index, label in enumerate(labels)]
    size = min(10.0, 0.8 * spacing) if stride == 1 else _LABEL_POINTS
    font: dict[str, Any] = {"fontsize": size, "family": ["DejaVu Sans Mono", *wide_fonts()], **PLAIN}
    places = range(0, len(tokens), stride)
    upright = all(len(label) == 1 for label in labels)
    ax.set_xticks(places, labels, rotation=0 if upright else 90, **font)
    ax.set_yticks(places, labels, **font)
    ax.tick_params(length=2, pad=2)
    return stride > 1


def symbols(tokens: Sequence[str]) -> str:
    """Text of tokens with white space made visible, and a box for characters missing from the font."""
    text = "".join(tokens)
    return "".join(_SYMBOLS.get(c, c) if _SYMBOLS.get(c) or ord(c) in _drawable() else "□" for c in text)


def short_name(name: str) -> str:
    """A model's name for a title: cut if it is long, characters missing from the font replaced."""
    text = "".join(c if c == " " else symbols([c]) for c in name)
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


@lru_cache(maxsize=1)
def wide_fonts() -> tuple[str, ...]:
    """The first font of :data:`_WIDE_FONTS` that is installed; none if none is."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return next(((name,) for name in _WIDE_FONTS if name in installed), ())


@lru_cache(maxsize=1)
def _drawable() -> frozenset[int]:
    """The characters in Matplotlib's own monospaced font, and in the wide one if there is one."""
    from matplotlib.font_manager import findfont, get_font

    fonts = [get_font(findfont(name)) for name in ("DejaVu Sans Mono", *wide_fonts())]
    return frozenset(code for font in fonts for code in font.get_charmap() if code > 32)


def mark_prompt_on_map(ax: Axes, prompt_tokens: int, tokens: int, labelled: bool = False) -> None:
    """Lines through a heat map where the prompt ends, if anything was generated after it.

    White dashes on black: visible on every colour of the map.
    """
    if not 0 < prompt_tokens < tokens:
        return
    edge = prompt_tokens - 0.5
    width = 2.0 if labelled else 1.2
    corner = ([-0.5, edge, edge], [edge, edge, tokens - 0.5])
    ax.plot(*corner, color="black", linewidth=width)
    ax.plot(*corner, color="white", linewidth=0.6 * width, linestyle=(0, (4, 2)))
    if labelled:
        ax.annotate(
            "prompt ends",
            (edge, edge),
            (16, 0),
            textcoords="offset points",
            fontsize=8,
            color="0.1",
            arrowprops={"arrowstyle": "-", "color": "0.1", "linewidth": 0.8},
            va="center",
        )


def mark_prompt(ax: Axes, position: int) -> None:
    """A vertical line where the prompt ends."""
    ax.axvline(position, color="0.4", linewidth=1.0, linestyle="-.", label=f"prompt ends at {position:,}")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the suffix names, completely or not at all.

    The same figure gives the same bytes: no dates, no random names.

    Raises:
        KvtuiError: the suffix names no format, or the file cannot be written.
    """
    kind = figure_format(path)
    import matplotlib

    content = io.BytesIO()
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context({"svg.hashsalt": "kvtui"}):
        figure.savefig(content, format=kind, dpi=DOTS_PER_INCH, metadata=dates.get(kind))
    write_whole(path, [content.getvalue()])


def figure_format(path: Path) -> str:
    """The format that a file's suffix names, one of :data:`FORMATS`.

    Raises:
        KvtuiError: it names none.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise KvtuiError(f"{path}: the file name has to end in .png, .svg or .pdf, which chooses the format")
    return kind
