"""Why each position is kept."""

from __future__ import annotations

import numpy as np
import pytest

from kvtui.core import GenerationLoop, GenerationSettings, Model, load
from kvtui.core.cache import Entries, Eviction, KeptBecause
from kvtui.core.commands import ShowCache
from kvtui.core.events import CacheContents
from kvtui.core.inspection.cache_contents import cache_contents

R, S, C, Q, ROOM = KeptBecause.RECENT, KeptBecause.SINK, KeptBecause.CHOSEN, KeptBecause.PACKED, KeptBecause.ROOM


@pytest.fixture(scope="module")
def model() -> Model:
    return load()


def contents(model: Model, policy: str | Eviction, count: int, prompt: str = "ROMEO:") -> tuple[np.ndarray, np.ndarray]:
    """(layers, G, K) positions and codes after ``count`` tokens."""
    event = told(model, policy, count, prompt)
    return event.kept, event.numbers


def told(model: Model, policy: str | Eviction, count: int, prompt: str = "ROMEO:") -> CacheContents:
    """Why each position is kept after ``count`` tokens."""
    loop = GenerationLoop(model, prompt, GenerationSettings(policy=policy, max_new_tokens=count, seed=3))
    for _ in loop.run():
        pass
    return cache_contents(loop.generation, ShowCache("reason"))


@pytest.mark.parametrize(
    ("policy", "kept", "codes"),
    [
        ("full", range(16), [ROOM] * 16),
        ("window:5", range(11, 16), [R] * 5),
        ("sink:2+4", [0, 1, *range(12, 16)], [S, S, R, R, R, R]),
        ("sink:2+40", range(16), [S, S, *[R] * 14]),
        ("heavy:40+4", range(16), [ROOM] * 16),
    ],
)
def test_policies_that_keep_the_same_in_every_head(
    model: Model, policy: str, kept: list[int], codes: list[KeptBecause]
) -> None:
    positions, found = contents(model, policy, 10)
    assert (positions == np.array(kept)).all()
    assert (found == np.array(codes)).all()


def test_heavy_hitters_are_those_before_the_last(model: Model) -> None:
    positions, codes = contents(model, "heavy:3+4", 20)
    assert positions.shape == (6, 6, 7)
    np.testing.assert_array_equal(codes == R, positions >= 22)
    np.testing.assert_array_equal(codes == C, positions < 22)


def test_snap_chose_from_the_prompt_and_has_room_since(model: Model) -> None:
    positions, codes = contents(model, "snap:3+4", 6, prompt="But soft, what light through")
    np.testing.assert_array_equal(codes == ROOM, positions >= 28)
    np.testing.assert_array_equal(codes == R, (positions >= 24) & (positions < 28))
    assert ((codes == C).sum(axis=2) == 3).all()


def test_packed_positions_are_between_the_sinks_and_the_newest(model: Model) -> None:
    _, codes = contents(model, "int4,sink:2+60", 94)  # 100 run: 2 sinks, then 98 of which 2 are not in a group of 32
    assert codes.shape == (6, 6, 62)
    assert (codes == np.array([S] * 2 + [Q] * 58 + [R] * 2)).all()


class Oldest(Eviction):
    """A policy with a word of its own."""

    kept_for = "older than the others"

    def keeps(self, held: int, new: int) -> int:
        return min(held + new, 4)

    def importance(self, entries: Entries) -> np.ndarray:
        return np.where(entries.positions == entries.newest, np.inf, -entries.positions)


@pytest.mark.parametrize(
    ("policy", "word"),
    [
        ("heavy:3+4", "heavy hitter"),
        ("snap:3+2", "chosen by the prompt's end"),
        (Oldest(), "older than the others"),
    ],
)
def test_what_a_policy_keeps_positions_for_is_its_own_word(model: Model, policy: str | Eviction, word: str) -> None:
    event = told(model, policy, 10)
    assert event.reasons == ("cache not full", "sink", "recent window", word, "quantised")
    assert word in {event.reasons[int(code)] for code in np.unique(event.numbers)}


def test_words_are_told_for_reasons_only(model: Model) -> None:
    loop = GenerationLoop(model, "ROMEO:", GenerationSettings(max_new_tokens=1, seed=3))
    list(loop.run())
    generation = loop.generation
    assert cache_contents(generation, ShowCache("value")).reasons == ()
