"""The tour: one idea per chapter, from tokens to cache policies. Texts quote the user's own session."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from kvtui.core.commands import Inspect, ShowAttention, ShowCache
from kvtui.core.events import Limits
from kvtui.tui.drawing.labels import label
from kvtui.tui.drawing.words import size_words
from kvtui.tui.tour.scene import Scene

Words = Callable[[Scene], str]


@dataclass(frozen=True)
class Chapter:
    """One idea.

    Attributes:
        title: name of the chapter.
        view: title of the view that it is about.
        pane: selector of the pane that it is about, which is outlined.
        look: the pane's name, for the card.
        text: the text of the card; quotes what is measured. It fits the card with the task, which a test holds.
        task: what to try.
        done: whether it has been done, from the scenes at the start of the chapter and now.
        writing: whether the text is written meanwhile, or pauses.
    """

    title: str
    view: str
    pane: str
    look: str
    text: Words
    task: str
    done: Callable[[Scene, Scene], bool]
    writing: bool = True


def milliseconds(seconds: float) -> str:
    """A time in milliseconds."""
    return f"{seconds * 1e3:.2f} ms"


def written(began: Scene, now: Scene) -> bool:
    """A token was written in single steps."""
    return now.state.phase == "paused" and now.run == began.run and now.state.written > began.state.written


def other_layer_or_head(began: Scene, now: Scene) -> bool:
    """Another token was selected."""
    before, after = began.question(ShowAttention), now.question(ShowAttention)
    return bool(before and after and (before.layer, before.heads) != (after.layer, after.heads))


def other_heads_off(began: Scene, now: Scene) -> bool:
    """A head was switched off or on."""
    before, after = began.question(Inspect), now.question(Inspect)
    return bool(before and after and before.heads_off != after.heads_off)


def other_quantity(began: Scene, now: Scene) -> bool:
    """The map shows another quantity."""
    before, after = began.question(ShowCache), now.question(ShowCache)
    return bool(before and after and before.quantity != after.quantity)


def on_again(began: Scene, now: Scene) -> bool:
    """The cache works, and did not at the start."""
    return now.uncached is not None and now.token is not None and now.token.cache and now.token.computed == 1


def answered(kind: type) -> Callable[[Scene, Scene], bool]:
    """The worker has answered a question of this kind."""
    return lambda began, now: any(isinstance(answer, kind) for answer in now.answers)


def tokens_text(scene: Scene) -> str:
    """Text of chapter 1."""
    return (
        "A language model reads tokens: pieces of text, each with a number. This model knows "
        f"{scene.config.vocab_size:,}. It reads the text so far, adds one token, and starts over: "
        f"{scene.state.written:,} tokens so far."
    )


def path_text(scene: Scene) -> str:
    """Text of chapter 2."""
    config = scene.config
    return (
        f"A token's number selects a row of {config.embed_dim} numbers, its embedding. Each of the {config.num_layers} "
        "layers adds its result, and the sum gives the prediction. The lens reads it after every layer: at first a "
        "guess, then usually better."
    )


def attention_text(scene: Scene) -> str:
    """Text of chapter 3."""
    return (
        "In each layer a token attends to the tokens before it. The lowest row is the newest token: the denser the "
        f"mark, the more it copies from there. A row's weights add up to 1, over {scene.state.context} tokens now."
    )


def heads_text(scene: Scene) -> str:
    """Text of chapter 4."""
    return (
        f"Each layer has {scene.config.num_heads} heads, each looking for something different. The figure is the "
        "entropy of a head's attention: 0 means a single token, large values mean many. Switch a head off to see what "
        "it does."
    )


def candidates_text(scene: Scene) -> str:
    """Text of chapter 5."""
    token = scene.token
    last = f": the last, {label(token.text)}, had {100 * math.exp(token.logprob):.1f} %" if token else ""
    return (
        f"Every token gets a probability, and one is picked at random{last}. The temperature sharpens or flattens the "
        "distribution, top-k and top-p cut off its tail: the columns show before and after."
    )


def uncached_text(scene: Scene) -> str:
    """Text of chapter 6."""
    time = f" With the cache it takes {milliseconds(scene.cached)}." if scene.cached else ""
    return (
        "A token attends to a key and a value of every earlier token, in every layer. Without a cache all of them are "
        f"recomputed for each new token: {scene.state.context} positions to write one.{time}"
    )


def cached_text(scene: Scene) -> str:
    """Text of chapter 7."""
    saving = ""
    if found := scene.comparison:
        with_it, without = (milliseconds(time / 1e3) for time in (found.cached, found.uncached))
        saving = f" At {found.lengths} positions it takes {with_it} instead of {without}: {found.times:.1f} × faster."
    return (
        "Keys and values never change: the KV cache keeps them, and only the new token is computed."
        f"{saving} Filling it takes one long bar."
    )


def size_text(scene: Scene) -> str:
    """Text of chapter 8."""
    config, size = scene.config, scene.itemsize
    return (
        f"The cost is memory: 2 (key and value) × {config.num_layers} layers × {config.num_kv_heads} heads × "
        f"{config.head_dim} numbers × {size} bytes = {config.cache_bytes_per_token(size):,} bytes for every token of "
        f"the text, {scene.state.cache_bytes:,} bytes now. With long texts it can outgrow the weights."
    )


def time_text(scene: Scene) -> str:
    """Text of chapter 9."""
    parameters = size_words(scene.parameters * scene.itemsize)
    return (
        f"Writing a token (decode) reads all {parameters} of weights for one position: it is memory-bound. A prompt "
        "(prefill) runs all of its positions with the same reads: it is compute-bound."
    )


def verify_text(scene: Scene) -> str:
    """Text of chapter 10."""
    verification = scene.state.verification
    found = ""
    if verification.checked:
        why = "more than rounding" if verification.failed else "rounding only"
        found = f" So far they differ by at most {verification.worst:.0e}: {why}."
    return (
        "A cache must not change what the model predicts. Verifying also runs every token without it and compares "
        f"all {scene.config.vocab_size:,} logits, outside the measured time.{found}"
    )


def past_text(scene: Scene) -> str:
    """Text of chapter 11."""
    return (
        f"You can look at each of the {scene.state.written:,} tokens again, in every view. The text can also "
        "continue from there with another token: the cache drops what came after it, and keeps the rest."
    )


def policies_text(scene: Scene) -> str:
    """Text of the last chapter."""
    return (
        "A cache can keep less: only the newest positions (window), the first ones too (sink), those attended to "
        f"most (heavy), or fewer bits. Now it is {scene.state.policy}. Dropped positions are marked ×, and the text "
        "changes."
    )


CHAPTERS: tuple[Chapter, ...] = (
    Chapter("Tokens", "Watch", "#output", "Output", tokens_text, "Press . a few times: one token each.", written),
    Chapter(
        "The path of a token",
        "Anatomy",
        "#lens",
        "Logit lens",
        path_text,
        "Press ] for the next layer.",
        other_layer_or_head,
        writing=False,
    ),
    Chapter(
        "Attention",
        "Watch",
        "#attention",
        "Attention",
        attention_text,
        "Press ] for the next layer, > for the next head.",
        other_layer_or_head,
    ),
    Chapter(
        "Heads",
        "Anatomy",
        "#heads",
        "Heads",
        heads_text,
        "Press x to switch the chosen head off: Without heads shows what changes.",
        other_heads_off,
        writing=False,
    ),
    Chapter(
        "Choosing a token",
        "Anatomy",
        "#candidates",
        "Candidates",
        candidates_text,
        "Press R: other random picks, another text. Then . to see a token.",
        lambda began, now: now.state.seed != began.state.seed and now.token is not None,
        writing=False,
    ),
    Chapter(
        "Without a cache",
        "Watch",
        "#timing",
        "Time per token",
        uncached_text,
        "Press t until it says CACHE OFF, and watch the bars.",
        lambda began, now: now.token is not None and not now.token.cache,
    ),
    Chapter(
        "The KV cache",
        "Watch",
        "#timing",
        "Time per token",
        cached_text,
        "Press t until it says CACHE ON: one long bar, then short ones.",
        on_again,
    ),
    Chapter(
        "Cache size",
        "Cache",
        "#cache-sizes",
        "Cache size",
        size_text,
        "Press k: the map shows values, keys, or attention.",
        other_quantity,
    ),
    Chapter(
        "Prefill and decode",
        "Time",
        "#parts",
        "Where a token's time goes",
        time_text,
        "Press m to measure a token both ways, and this machine's limits.",
        answered(Limits),
    ),
    Chapter(
        "The same numbers",
        "Watch",
        "#status",
        "Status line",
        verify_text,
        "Press v, and watch the line at the top.",
        lambda began, now: now.state.verification.checked > 0,
    ),
    Chapter(
        "Going back and branching off",
        "Watch",
        "#output",
        "Output",
        past_text,
        "Press ← a few times, then f; choose with ↓ and press Enter.",
        lambda began, now: now.branches > began.branches,
    ),
    Chapter(
        "Cache policies",
        "Cache",
        "#cache-map",
        "Cache map",
        policies_text,
        "Press P, choose a policy with ↓, and press Enter.",
        lambda began, now: now.state.policy != began.state.policy,
    ),
)
