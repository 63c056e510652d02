"""The tour: a chapter an idea, from tokens to cache policies. Texts quote the reader's own session as it stands."""

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
        title: of the chapter.
        view: title of the view that it is about.
        pane: selector of the pane that it is about, which is outlined.
        look: the pane's name, for the card.
        text: of the card; quotes what is measured.
        task: what to try.
        done: whether it has happened, from the moments when the chapter began and now.
        writing: whether the text goes on meanwhile, or waits.
    """

    title: str
    view: str
    pane: str
    look: str
    text: Words
    task: str
    done: Callable[[Scene, Scene], bool]
    writing: bool = True


def milliseconds(seconds: float | None) -> str:
    """A time, or what to do about there being none."""
    return "a time not measured yet" if seconds is None else f"{seconds * 1e3:.2f} ms"


def written(began: Scene, now: Scene) -> bool:
    """A token was written one by one."""
    return now.state.phase == "paused" and now.run == began.run and now.state.written > began.state.written


def other_layer_or_head(began: Scene, now: Scene) -> bool:
    """Another one is chosen."""
    before, after = began.question(ShowAttention), now.question(ShowAttention)
    return bool(before and after and (before.layer, before.heads) != (after.layer, after.heads))


def other_heads_off(began: Scene, now: Scene) -> bool:
    """A head was switched."""
    before, after = began.question(Inspect), now.question(Inspect)
    return bool(before and after and before.heads_off != after.heads_off)


def other_shade(began: Scene, now: Scene) -> bool:
    """The map shows something else."""
    before, after = began.question(ShowCache), now.question(ShowCache)
    return bool(before and after and before.shade != after.shade)


def on_again(began: Scene, now: Scene) -> bool:
    """The cache works, and lately did not."""
    return now.uncached is not None and now.token is not None and now.token.cache and now.token.computed == 1


def answered(kind: type) -> Callable[[Scene, Scene], bool]:
    """The worker has answered a question of this kind."""
    return lambda began, now: any(isinstance(answer, kind) for answer in now.answers)


def tokens_text(scene: Scene) -> str:
    """Chapter 1."""
    return (
        "A language model reads neither letters nor words but tokens: pieces of text, each with a number. This one "
        f"knows {scene.config.vocab_size:,}. It reads all that is there, chooses one token more, and begins again: "
        f"{scene.state.written:,} so far."
    )


def path_text(scene: Scene) -> str:
    """Chapter 2."""
    config = scene.config
    return (
        f"A token's number picks a row of {config.embed_dim} numbers, its embedding. Each of the {config.num_layers} "
        "layers adds what it works out; the sum at the end is the prediction. The lens reads it after every layer: "
        "early on it is a guess, and with each layer it gets better."
    )


def attention_text(scene: Scene) -> str:
    """Chapter 3."""
    return (
        "In each layer a token looks back at the tokens before it. The lowest row is the newest token: the denser the "
        f"mark, the more it takes along from there. The weights of a row add up to 1, over {scene.state.context} "
        "tokens now."
    )


def heads_text(scene: Scene) -> str:
    """Chapter 4."""
    return (
        f"{scene.config.num_heads} heads a layer look at the text, each for something of its own. The figure is the "
        "entropy of a head's weights: 0 looks at a single token, large ones spread over many. What a head is good for "
        "shows when it is off."
    )


def candidates_text(scene: Scene) -> str:
    """Chapter 5."""
    token = scene.token
    last = f" The last one, {label(token.text)}, had {100 * math.exp(token.logprob):.1f}%." if token else ""
    return (
        f"The model ends with a probability for every token, and one is drawn by lot.{last} The temperature sharpens "
        "or flattens the lottery, top-k and top-p cut off its tail: both columns show it."
    )


def uncached_text(scene: Scene) -> str:
    """Chapter 6."""
    return (
        "A token looks back at keys and values, a pair for every earlier token in every layer. Without a cache all of "
        f"them are worked out again for each new token: {scene.state.context} positions are run to write a single "
        f"one. With the cache it takes {milliseconds(scene.cached)}."
    )


def cached_text(scene: Scene) -> str:
    """Chapter 7."""
    saving = ""
    if scene.cached and scene.uncached:
        saving = f" Here {milliseconds(scene.uncached)} become {milliseconds(scene.cached)}."
    return (
        "The keys and values of earlier tokens never change, so they are kept: the KV cache. Then only the new token "
        f"is run.{saving} Turned on, it is filled once: one long bar. The text does not change."
    )


def size_text(scene: Scene) -> str:
    """Chapter 8."""
    config, size = scene.config, scene.itemsize
    return (
        f"The price is memory: 2 (key and value) × {config.num_layers} layers × {config.num_kv_heads} heads × "
        f"{config.head_dim} numbers × {size} bytes = {config.cache_bytes_per_token(size):,} bytes for every token of "
        f"the text, {scene.state.cache_bytes:,} now. Over long texts it can outgrow the weights."
    )


def time_text(scene: Scene) -> str:
    """Chapter 9."""
    parameters = size_words(scene.parameters * scene.itemsize)
    return (
        f"To write one token, all {parameters} of weights are read for a single position: the memory sets the pace "
        "(decode, memory-bound). A prompt runs all of its positions at once with the same reading: arithmetic sets it "
        "(prefill, compute-bound)."
    )


def verify_text(scene: Scene) -> str:
    """Chapter 10."""
    verification = scene.state.verification
    found = ""
    if verification.checked:
        why = "more than rounding" if verification.failed else "rounding, no more"
        found = f" So far they differ by {verification.worst:.0e} at most: {why}."
    return (
        "A cache must not change what the model says. Verifying runs every token without it as well and compares all "
        f"{scene.config.vocab_size:,} logits, beside the measured time.{found}"
    )


def past_text(scene: Scene) -> str:
    """Chapter 11."""
    return (
        f"Each of the {scene.state.written:,} tokens can be looked at again, in every view. And the text can go on "
        "from there with another one in its place: the cache forgets what came after it, and keeps the rest."
    )


def policies_text(scene: Scene) -> str:
    """The last chapter."""
    return (
        "A cache can keep less: a window of the newest positions, the first ones too (sink), those looked at most "
        f"(heavy), or fewer bits of each. The policy is now {scene.state.policy!r}; what another one drops turns "
        "into ×, and the text into another."
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
        "Press x: the chosen head is off. Without heads tells what changes.",
        other_heads_off,
        writing=False,
    ),
    Chapter(
        "Choosing a token",
        "Anatomy",
        "#candidates",
        "Candidates",
        candidates_text,
        "Press R: the same prompt, other lots drawn, another text. Then . to look at a token.",
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
        "What the cache weighs",
        "Cache",
        "#cache-sizes",
        "What it weighs",
        size_text,
        "Press k: the map shows values, keys, or what is read of them.",
        other_shade,
    ),
    Chapter(
        "Prefill and decode",
        "Time",
        "#parts",
        "Where the time of a token goes",
        time_text,
        "Press m: one token both ways, and what this machine can do at most.",
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
        "Back, and another way",
        "Watch",
        "#output",
        "Output",
        past_text,
        "Press ← some times, then f; choose another token with ↓ and press Enter.",
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
