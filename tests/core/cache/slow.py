"""Cache policies written again the obvious way: every head's entries in a list, one query at a time, in Python floats.

Nothing is shared with the library but the names of the parameters and the rule that quantises a group.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from random_model import odd_model

from kvtui.core import Model
from kvtui.core.cache.quantised import quantise


def build(position="rotary", kv_heads=2, context=48, dtype=np.float64, layers=2, **options) -> Model:
    """A small model with random weights."""
    sizes = {"context_length": context, "num_layers": layers, "num_kv_heads": kv_heads}
    return odd_model(position=position, bias=True, dtype=dtype, **sizes, **options)


def rounded(x: np.ndarray, bits: int, axis: int) -> np.ndarray:
    """What is left of numbers in so many bits."""
    codes, scale, zero = quantise(x, bits, axis)
    return codes * scale + (0.0 if zero is None else zero)


@dataclass
class Entry:
    position: int  # in the text
    key: np.ndarray  # not rotated
    value: np.ndarray
    attention: float = 0.0


@dataclass
class Slow:
    """A decoder with a cache policy. ``rule`` is ("rolling", S, N), ("heavy", H, N) or ("snap", C, W)."""

    model: Model
    rule: tuple[str, int, int]
    bits: int | None = None
    length: int = 0
    entries: list[list[list[Entry]]] = field(default_factory=list)  # layer, key/value head

    def __post_init__(self) -> None:
        config = self.model.config
        heads, layers = range(config.num_kv_heads), range(config.num_layers)
        self.entries = [[[] for _ in heads] for _ in layers]
        self.past = [[{} for _ in heads] for _ in layers]  # by position, dropped or not: a group is quantised whole
        self.groups = {}  # by layer, head and first position: the entries of a quantised group, made once

    def run(self, ids) -> np.ndarray:
        """Logits of each token; a rolling policy takes one after the other once it is full."""
        kind, first, last = self.rule
        logits, done = [], 0
        while done < len(ids):
            count = max(1, first + last - self.length) if kind == "rolling" else len(ids)
            logits.append(self.block(ids[done : done + count]))
            done += count
        return np.concatenate(logits)

    def block(self, ids) -> np.ndarray:
        model, config = self.model, self.model.config
        weights = model.parameters
        x = weights["token_embedding"][np.asarray(ids)]
        if config.position == "learned":
            x = x + weights["position_embedding"][self.length : self.length + len(ids)]
        for layer in range(config.num_layers):
            name = f"blocks.{layer}"
            normed = model._norm(f"{name}.attention_norm", x)
            query, key, value = (
                model._linear(f"{name}.attention.{part}", normed).reshape(len(ids), -1, config.head_dim)
                for part in ("query", "key", "value")
            )
            mixed = np.zeros_like(query)
            for kv_head in range(config.num_kv_heads):
                self.attend(layer, kv_head, query, key[:, kv_head], value[:, kv_head], mixed)
            x = x + model._linear(f"{name}.attention.output", mixed.reshape(len(ids), -1))
            x = x + model._mlp(layer, model._norm(f"{name}.mlp_norm", x))
        self.length += len(ids)
        return model.unembed(x)

    def attend(self, layer, kv_head, query, key, value, mixed) -> None:
        kind, first, last = self.rule
        held = self.entries[layer][kv_head]
        new = [Entry(self.length + row, key[row], value[row]) for row in range(len(key))]
        newest = new[-1].position
        if len(new) == 1:
            if kind == "rolling" and len(held) == first + last:
                del held[first]
            if kind == "heavy" and len(held) == first + last:
                held.remove(min((e for e in held if e.position <= newest - last), key=lambda e: e.attention))
        group = query.shape[1] // len(self.entries[layer])
        self.past[layer][kv_head].update({entry.position: entry for entry in new})
        if len(new) == 1:
            read = self.packed(layer, kv_head, held + new, newest)
        else:
            read = [*self.packed(layer, kv_head, held, newest - len(new)), *new]
        for row in range(len(new)):
            seen = read[: len(held) + row + 1]
            for head in range(kv_head * group, kv_head * group + group):
                scores = np.array([self.score(query[row, head], place, seen) for place in range(len(seen))])
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                mixed[row, head] = sum(w * e.value for w, e in zip(weights, seen, strict=True))
                for w, entry in zip(weights, held + new, strict=False):
                    if kind == "heavy" or (kind == "snap" and len(new) > 1 and row >= len(new) - last):
                        entry.attention += w
        held += new
        if len(new) > 1 and len(held) > first + last and kind in ("heavy", "snap"):
            self.entries[layer][kv_head] = self.compressed(held)

    def compressed(self, held):
        kind, first, last = self.rule
        old, recent = held[:-last], held[-last:]
        worth = [e.attention for e in old]
        if kind == "snap":
            worth = [max(worth[max(0, place - 3) : place + 4]) for place in range(len(old))]
        best = sorted(range(len(old)), key=lambda place: -worth[place])[:first]
        return [old[place] for place in sorted(best)] + recent

    def score(self, query, place, seen) -> float:
        """Rolling policies count positions within the cache, the others in the text."""
        entry, newest = seen[place], seen[-1]
        distance = len(seen) - 1 - place if self.rule[0] == "rolling" else newest.position - entry.position
        if self.model.config.position == "learned":
            return query @ entry.key / np.sqrt(len(query))
        return self.rotated(query, distance) @ entry.key / np.sqrt(len(query))

    def rotated(self, x, distance):
        angles = distance * self.model.config.rotary_base ** (-np.arange(0, len(x), 2) / len(x))
        pairs = (x[0::2] + 1j * x[1::2]) * np.exp(1j * angles)
        return np.stack([pairs.real, pairs.imag], axis=1).reshape(-1)

    def packed(self, layer, kv_head, seen, newest):
        """The entries as a quantised cache reads them: whole groups of 32 after the sinks, but for the newest group."""
        if self.bits is None:
            return seen
        sinks, after = self.rule[1], newest + 1 - self.rule[1]
        whole = (after - 1) // 32 * 32 if after > 0 else 0
        result = []
        for entry in seen:
            if sinks <= entry.position < sinks + whole:
                place = (entry.position - sinks) % 32
                entry = self.group(layer, kv_head, entry.position - place)[place]
            result.append(entry)
        return result

    def group(self, layer, kv_head, first):
        """The 32 entries from a position on, in few bits."""
        assert self.bits is not None
        if (layer, kv_head, first) not in self.groups:
            rotary = self.model.config.position == "rotary"
            entries = [self.past[layer][kv_head][first + place] for place in range(32)]
            keys = np.array([self.rotated(e.key, e.position) if rotary else e.key for e in entries])
            keys, values = rounded(keys, self.bits, 0), rounded(np.array([e.value for e in entries]), self.bits, 1)
            self.groups[layer, kv_head, first] = [
                Entry(e.position, self.rotated(key, -e.position) if rotary else key, value)
                for e, key, value in zip(entries, keys, values, strict=True)
            ]
        return self.groups[layer, kv_head, first]
