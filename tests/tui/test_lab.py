"""Forks, branches and verification, through the keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench import Bench, bench
from fake_link import token
from textual.widgets import Input, OptionList

from kvtui.core.commands import Fork, Inspect, Revisit, SetVerify
from kvtui.core.events import Branch, End, State, Token, Unanswered
from kvtui.tui.screens.branches import BranchesScreen
from kvtui.tui.screens.fork import ForkScreen
from kvtui.tui.session.state import Verification


def tokens(text: str, first: int = 0, ids: bool = True, **changes: Any) -> list[Token]:
    return [replace(token(step, character), id=ord(character), **changes) for step, character in enumerate(text, first)]


async def written(it: Bench, text: str, first: int = 0) -> None:
    it.link.write(tokens(text, first))
    await it.until(lambda: it.app.session.state.written == first + len(text))


async def forked(it: Bench, step: int, text: str, number: int = 1, parent: int = 0) -> None:
    """The fake process tells of a fork."""
    place = step + 6
    it.link.write([Branch(number, parent, place, place, place - 1, 1, 0.001), *tokens(text, step)])
    it.link.write([State(True, False, 25.0)])
    await it.until(lambda: it.app.session.branches.current == number)


async def test_f_shows_candidates_and_enter_goes_on_from_one() -> None:
    async with bench() as it:
        await written(it, "abcdef")
        await it.press("left", "left", "f")
        assert isinstance(it.app.screen, ForkScreen)
        await it.until(lambda: it.app.screen.query_one(OptionList).option_count > 1)
        assert it.link.commands(Inspect)[-1] == Inspect(9)
        text = it.screen_text()
        assert "Fork at token 4" in text
        assert "ROMEO:abc▌" in text
        await it.press("down", "enter")
        (fork,) = it.link.commands(Fork)
        assert isinstance(fork, Fork)
        assert (fork.position, len(fork.tokens), fork.text) == (9, 1, "")
        assert not isinstance(it.app.screen, ForkScreen)


async def test_what_is_typed_goes_on_too() -> None:
    async with bench(size=(80, 24)) as it:
        await written(it, "abcdef")
        await it.press("f")
        await it.until(lambda: it.app.screen.query_one(OptionList).option_count > 1)
        await it.press("Z", "o", "space", "t", "enter")
        assert it.link.commands(Fork) == [Fork(11, (), "Zo t")]
        await it.press("f")
        await it.until(lambda: isinstance(it.app.screen, ForkScreen))
        it.app.screen.query_one(Input).value = "a↵b"
        await it.press("tab", "enter")
        assert it.link.commands(Fork)[-1] == Fork(11, (), "a\nb")


async def test_a_fork_shows_the_new_text_and_what_the_cache_kept() -> None:
    async with bench() as it:
        await written(it, "abcdef")
        await forked(it, 3, "xyz")
        assert it.watch.output.transcript.text == "ROMEO:abcxyz"
        assert len(it.watch.timing.history) == 6
        assert "Branch 1: 8 positions stay in the cache, 1 recomputed" in it.notices()
        assert [token.step for token in it.app.session.timeline.tokens] == list(range(6))


async def test_branches_are_listed_compared_and_returned_to() -> None:
    async with bench() as it:
        await it.press("b")
        assert "press f to fork" in it.notices()
        await written(it, "abcdef")
        await forked(it, 3, "xyz")
        await it.press("b")
        assert isinstance(it.app.screen, BranchesScreen)
        text = it.screen_text()
        assert "original text" in text
        assert "from 0 at token 4: x · 8 positions reused" in text
        assert "The first 3 tokens are the same: …abc" in text
        assert "def" in text
        it.link.write(tokens("!", 6))
        await it.until(lambda: "xyz!" in it.screen_text())
        await it.press("enter")
        assert it.link.commands(Revisit) == [Revisit(0)]
        it.link.write([Branch(0, 1, 9, 12, 9, 3, 0.001), *tokens("gh", 6)])
        await it.until(lambda: it.watch.output.transcript.text == "ROMEO:abcdefgh")
        assert "".join(token.text for token in it.app.session.branches.tokens(1)) == "abcxyz!"


async def test_a_fork_after_the_end_and_a_refusal() -> None:
    async with bench() as it:
        await written(it, "abc")
        it.link.write([End("cancelled", 3, 0.003, 1000.0)])
        await it.until(lambda: it.app.session.state.phase == "ended")
        it.app.session.fork(99, text="x")
        it.link.write([Unanswered(Fork(99, text="x"), "no fork at position 99")])
        await it.until(lambda: "no fork at position 99" in it.notices())
        assert it.app.session.state.phase == "ended"
        it.app.session.fork(7, text="é")
        await forked(it, 1, "x")
        assert it.app.session.state.phase == "writing"


async def test_what_has_left_the_window_cannot_be_forked() -> None:
    async with bench() as it:
        await it.press("f")
        assert "nothing to fork yet" in it.notices()
        await written(it, "a" * 40)
        it.link.write([token(40, "b", context=16)])
        await it.until(lambda: it.app.session.state.written == 41)
        await it.press("home", "f")
        assert "Token 1 has left the model's window: the first that can be replaced is 27" in it.notices()
        assert not isinstance(it.app.screen, ForkScreen)


async def test_a_new_text_forgets_the_branches() -> None:
    async with bench() as it:
        await written(it, "abcdef")
        await forked(it, 3, "xyz")
        await it.press("r")
        assert (len(it.app.session.branches), it.app.session.branches.current) == (1, 0)


async def test_v_verifies_and_says_so_in_a_word() -> None:
    async with bench(size=(80, 24)) as it:
        await it.press("v")
        assert it.link.commands(SetVerify) == [SetVerify(True)]
        assert "verifying" in it.screen_text()
        it.link.write([State(True, False, 25.0, (), True), *tokens("ab", max_logit_error=2e-6, argmax_agrees=True)])
        await it.until(lambda: "✓ verified to 2e-06 over 2 tokens" in it.screen_text())
        it.link.write(tokens("c", 2, max_logit_error=0.5, argmax_agrees=True))
        await it.until(lambda: "✖ CACHE WRONG by 0.5 over 3 tokens" in it.screen_text())
        assert it.app.query_one("#status").has_class("-wrong")
        it.link.write(tokens("d", 3, max_logit_error=1e-6, argmax_agrees=True))
        await it.until(lambda: "over 4 tokens" in it.screen_text())
        assert "CACHE WRONG" in it.screen_text()
        await it.press("r")
        assert it.link.starts[-1].settings.verify
        assert "verifying" in it.screen_text()
        await it.press("v")
        assert "verif" not in it.screen_text()


async def test_another_likeliest_token_is_wrong_however_small_the_difference() -> None:
    async with bench() as it:
        await it.press("v")
        it.link.write(tokens("a", max_logit_error=1e-6, argmax_agrees=False))
        await it.until(lambda: "CACHE WRONG by 1e-06 over 1 token" in it.screen_text())


async def test_the_rounding_of_a_large_model_is_not_wrong() -> None:
    """Measured: 24 layers with logits of 90 differ by 3e-3."""
    async with bench() as it:
        await it.press("v")
        it.link.write(tokens("a", max_logit_error=3e-3, argmax_agrees=True))
        await it.until(lambda: "✓ verified: 1 token, largest difference 3e-03" in it.screen_text())


def test_what_rounding_may_explain_grows_with_the_logits() -> None:
    """A model with logits of a hundred rounds more than one with logits of one."""

    def failed(**fields: Any) -> bool:
        return Verification(True).after(tokens("a", argmax_agrees=True, **fields)[0]).failed

    assert not failed(max_logit_error=5e-3, logit_tolerance=1e-2)
    assert failed(max_logit_error=5e-4, logit_tolerance=1e-4)
    assert failed(max_logit_error=2e-2)  # of a stream that does not tell
    assert not failed(max_logit_error=5e-3)


async def test_a_policy_that_drops_differs_and_is_not_wrong() -> None:
    async with bench(policy="window:8") as it:
        await it.press("v")
        it.link.write([State(True, False, 25.0, (), True, "window:8")])
        it.link.write(tokens("a", max_logit_error=0.5, argmax_agrees=False))
        await it.until(lambda: "logits differ by up to 0.5" in it.screen_text())
        assert not it.app.query_one("#status").has_class("-wrong")
