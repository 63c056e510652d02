"""Cache sizes as lines: this one, measured and by formula, and known models. Does not import Textual."""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.core.config import ModelConfig
from kvtui.core.measure.cache_size import KNOWN_MODELS, SERVED_ITEMSIZE, KnownModel, cache_bytes
from kvtui.tui.drawing.lines import Line
from kvtui.tui.drawing.words import size_words

CONTEXTS = (1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072)


@dataclass(frozen=True)
class Sizes:
    """What the size of the running model's cache depends on.

    Attributes:
        config: the model's shape.
        itemsize: bytes per number.
        cache: whether it is on.
        positions: number in it now.
        measured: bytes of its arrays in use.
        process: bytes of the generator process; None where the system does not report it or has not been asked yet.
        asked: whether the system has been asked.
        policy: what the cache keeps.
    """

    config: ModelConfig
    itemsize: int
    cache: bool
    positions: int
    measured: int
    process: int | None = None
    asked: bool = False
    policy: str = "full"

    def by_formula(self, positions: int) -> int:
        """Bytes of this many positions."""
        config = self.config
        return cache_bytes(config.num_layers, config.num_kv_heads, config.head_dim, positions, self.itemsize)


def sizes_lines(sizes: Sizes, width: int) -> list[Line]:
    """Bytes per token, now and at full context; the formula with its numbers; the memory of the process."""
    config = sizes.config
    full = sizes.by_formula(config.context_length)
    digits = len(f"{full:,}")
    rows = [
        ("per token", sizes.by_formula(1), "1 position"),
        ("now", sizes.measured, f"{sizes.positions:,} positions, measured" if sizes.cache else "the cache is off"),
        ("full", full, f"{config.context_length:,} positions{'' if sizes.policy == 'full' else ', all kept'}"),
    ]
    lines: list[Line] = [
        [(f"{name:10}", "lines--label"), (f"{count:{digits},} B", "lines--figure"), (f"  {words}", "lines--hint")]
        for name, count, words in rows
    ]
    return [*lines, _process_line(sizes, digits + 2), *_formula_lines(sizes, width)]


def _process_line(sizes: Sizes, width: int) -> Line:
    name = ("process   ", "lines--label")
    if sizes.process is not None:
        words = "  resident set, measured"
        return [name, (f"{size_words(sizes.process):>{width}}", "lines--figure"), (words, "lines--hint")]
    return [name, ("not available on this system" if sizes.asked else "will appear here with the text", "lines--hint")]


def _formula_lines(sizes: Sizes, width: int) -> list[Line]:
    """2 × layers × key/value heads × head_dim × positions × bytes with the numbers, broken where necessary.

    With a policy the measured bytes differ: codes and scales take less, what a policy records takes more.
    """
    config, positions = sizes.config, sizes.positions or 1
    expected = sizes.by_formula(positions)
    share = f", measured: {_difference(sizes.measured / expected - 1)}" if sizes.measured not in (0, expected) else ""
    factors = (
        "2",
        f"{config.num_layers} layers",
        f"{config.num_kv_heads} key/value heads",
        f"{config.head_dim} head_dim",
        f"{positions:{len(str(config.context_length))}} {'position ' if positions == 1 else 'positions'}",
        f"{sizes.itemsize} bytes = {expected:,} B{share}",
    )
    lines = [factors[0]]
    for factor in factors[1:]:
        if len(lines[-1]) + len(factor) + 3 <= width:
            lines[-1] += f" × {factor}"
        else:
            lines.append(f"× {factor}")
    return [[(line, "")] for line in lines]


def _difference(share: float) -> str:
    """How much more or less than the formula was measured."""
    return f"{share:.0%} more (overhead)" if share > 0 else f"{-share:.0%} less"


def context_words(positions: int) -> str:
    """A number of positions, in short: ``128k`` is 131,072."""
    return f"{positions // 1024}k" if positions % 1024 == 0 else str(positions)


def model_lines(positions: int, name: str, sizes: Sizes, width: int) -> list[Line]:
    """The same formula for known models, at ``positions``; the running one last, with its own bytes per number."""
    config = sizes.config
    running = KnownModel(
        name, config.num_layers, config.num_heads, config.num_kv_heads, config.head_dim, config.context_length, ""
    )
    columns = width >= 74
    shape = f" {'layers':>6} {'KV heads':>9} {'head_dim':>9}" if columns else ""
    lines: list[Line] = [[(f"{'':16}{shape} {'a token':>9} {f'at {context_words(positions)}':>9}", "lines--label")]]
    for model, itemsize in (*((model, SERVED_ITEMSIZE) for model in KNOWN_MODELS), (running, sizes.itemsize)):
        line = _model_line(model, itemsize, positions, columns)
        room = width - sum(len(text) for text, _ in line)
        lines.append([*line, (_beyond(model.context, room), "lines--cut")] if positions > model.context else line)
    return lines


def _beyond(context: int, room: int) -> str:
    """That a model's own ``context`` is shorter, as far as it fits."""
    choices = (f" beyond its {context_words(context)} context", f" (max {context_words(context)})")
    return next((words for words in choices if len(words) <= room), " >")


def _model_line(model: KnownModel, itemsize: int, positions: int, columns: bool) -> Line:
    def size(count: int) -> str:
        return size_words(cache_bytes(model.layers, model.kv_heads, model.head_dim, count, itemsize))

    shape = f" {model.layers:6} {f'{model.kv_heads} of {model.heads}':>9} {model.head_dim:9}" if columns else ""
    return [
        (f"{model.name[:16]:16}", "" if model.source else "lines--chosen"),
        (f"{shape} {size(1):>9}", "lines--hint"),
        (f" {size(positions):>9}", "lines--figure"),
    ]
