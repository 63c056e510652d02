"""The line at the top: what it says, in which order, and that its fields stand apart evenly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench import bench
from fake_link import MODEL, token

from kvtui.tui.panes.status import StatusPane, fit
from kvtui.tui.session.state import PACES, RunState, Verification

WIDTHS = [(80, 24), (100, 30), (120, 36), (200, 60)]
STATES = {
    "ready": RunState(),
    "writing": RunState("writing", written=1234, seed=12345),
    "unlimited": RunState("ended", pace=None, written=7),
    "policy": RunState("paused", policy="sink:4+124", written=99, heads_off=((0, 1),)),
    "verified": RunState("writing", written=80, verification=Verification(True, 79, 8e-6)),
    "differs": RunState("writing", policy="window:64", verification=Verification(True, 1, 1.8, 1)),
    "wrong": RunState("writing", written=3, verification=Verification(True, 79, 8.0, 2, 1)),
    "loading": RunState("loading", loaded=0.07),
    "racing": RunState("writing", race=True, written=12),
}


@pytest.mark.parametrize("size", WIDTHS)
async def test_fields_stand_apart_evenly(size: tuple[int, int]) -> None:
    """One dot between each two, no padding within; and what has no room is left out as a whole."""
    async with bench(size=size) as it:
        pane = it.app.query_one(StatusPane)
        for state in [*STATES.values(), *(replace(STATES["writing"], pace=pace) for pace in PACES)]:
            pane.show(MODEL, state)
            for y in range(pane.size.height):
                line = pane.render_line(y).text
                assert len(line) == size[0]
                fields = line[1:].split("   ")[0]  # up to the state of the cache
                assert "  " not in fields
                assert all(field == field.strip() != "" for field in fields.split(" · "))
                assert line[0] == " "


@pytest.mark.parametrize("size", WIDTHS)
async def test_it_counts_what_has_been_written(size: tuple[int, int]) -> None:
    async with bench(size=size) as it:
        it.link.write([token(step) for step in range(13)])
        await it.settle()
        top = "\n".join(it.screen_text().splitlines()[:2])
        assert "seed 0 · 13 written" in top or "seed 0 · 13 tokens written" in top


def test_of_a_field_without_room_the_first_pieces_are_kept() -> None:
    fields = [[("a", "")], [("bcd", "x"), (", efg", "")], [("h", "")]]
    assert "".join(text for text, _ in fit(fields, 99)) == " a · bcd, efg · h"
    assert "".join(text for text, _ in fit(fields, 9)) == " a · bcd"
    assert "".join(text for text, _ in fit(fields, 7)) == " a"
