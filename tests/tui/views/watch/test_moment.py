"""What Watch draws together is of one moment, or says of which."""

from __future__ import annotations

import pytest
from bench import Bench, bench
from fake_link import token
from racing import end, prefills, rounds

from kvtui.core.events import Branch, End, Evict
from kvtui.tui.panes.tabs import token_words
from kvtui.tui.views.watch.attention import AttentionPane
from kvtui.tui.views.watch.cache_bar import CachePane


def titles(it: Bench) -> str:
    """Of the pane that has to wait for an answer."""
    return str(it.app.query_one(AttentionPane).border_title)


async def written(it: Bench, text: str, first: int = 0) -> None:
    it.link.write([token(step, character) for step, character in enumerate(text, first)])
    await it.settle()


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_every_count_is_of_the_newest_token(size: tuple[int, int]) -> None:
    async with bench(size=size) as it:
        await written(it, "a" * 13)
        text = it.screen_text()
        assert "· 13 tokens written" in text or "· 13 written" in text
        assert "Attention of token 13" in text
        assert "keys 1–19 of 19" in text
        assert "19 of 32 positions" in text
        if size[0] > 80:
            assert "prompt 6 + 13 written" in text


async def test_attention_that_is_late_says_of_which_token_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench() as it:
        assert "Attention of the prompt" in titles(it)
        await written(it, "abcde")
        assert "Attention of token 5" in titles(it)
        with monkeypatch.context() as patch:
            patch.setattr(it.app.main.questions, "_send", lambda question: None)  # the answer is long in coming
            await written(it, "fgh", 5)
            assert "8 tokens written" in it.screen_text()
            assert "Attention of token 5" in titles(it)  # and not of one that it does not know
        await it.until(lambda: "Attention of token 8" in titles(it))


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_looking_back_every_pane_names_the_token(size: tuple[int, int]) -> None:
    async with bench(size=size) as it:
        await written(it, "abcdef")
        await it.press("left", "left")
        text = it.screen_text()
        assert "◀ token 4 of 6" in text
        assert "Attention of token 4" in text
        assert "Cache at token 4" in text
        assert "10 of 32 positions" in text
        await it.press("end")
        assert it.app.query_one(CachePane).border_title == "Cache"
        assert "Attention of token 6" in titles(it)


async def test_the_prompt_is_not_counted_where_positions_have_been_dropped() -> None:
    async with bench(size=(200, 60)) as it:
        it.link.write([token(0), Evict(3, 4, 3), token(1, context=5)])
        await it.settle()
        assert " 5 of 32 positions" in it.screen_text()
        assert "prompt 6 +" not in it.screen_text()


async def test_a_race_leaves_the_text_where_the_process_has_it() -> None:
    """Tokens that were under way when the race was started belong to the text, and questions are answered with them."""
    async with bench() as it:
        await written(it, "abc")
        run = it.app.session.run
        it.app.session.start_race("JULIET:")
        it.link.write([token(3, "d"), token(4, "e"), End("cancelled", 5, 0.005, 1000.0)], run)
        it.link.write([*prefills(), *rounds("xy")], it.app.session.run)
        await it.settle()
        session = it.app.session
        assert session.state.phase == "writing"  # the race goes on
        assert (session.state.written, session.state.race, session.state.context) == (2, True, 11)
        assert it.watch.output.transcript.text == "ROMEO:abcde"
        assert "Attention of" not in titles(it)  # of three tokens is too old, of five cannot be asked for
        assert "A race is running: the attention" in it.screen_text()
        it.link.write([end(2)], session.run)
        await it.settle()
        assert "Attention of token 5" in titles(it)


async def test_what_was_answered_before_a_fork_is_not_of_the_branch() -> None:
    async with bench() as it:
        await written(it, "abcdef")
        question = it.watch.attention.question
        it.link.send(question)  # answered with six tokens
        it.link.window = it.link.window[:7]
        it.link.write([Branch(1, 0, 7, 7, 7, 0, 0.0), token(1, "x")])
        it.app.main.tick()
        assert "Attention of token 6" not in titles(it)
        await it.settle()
        assert "Attention of token 2" in titles(it)


@pytest.mark.parametrize("size", [(64, 20), (80, 24), (100, 30), (120, 36)])
@pytest.mark.parametrize("number", [0, 1, 99, 999, 12_345])
async def test_the_title_is_not_cut(size: tuple[int, int], number: int) -> None:
    async with bench(size=size) as it:
        pane = it.watch.attention
        assert pane._event is not None
        pane.show(pane._event, token_words(number))
        await it.settle()
        line = next(line for line in it.screen_text().splitlines() if "Attention" in line)
        assert f"Attention of {token_words(number)} " in line
        assert "…" not in line


def test_tokens_are_numbered_from_one() -> None:
    assert [token_words(number) for number in (-3, 0, 1, 1234)] == [
        "the prompt",
        "the prompt",
        "token 1",
        "token 1,234",
    ]


async def test_the_tour_quotes_the_moment_that_the_panes_show() -> None:
    async with bench(tour=True) as it:
        for first, text in ((0, "abc"), (3, "d")):
            await written(it, text, first)
            count = first + len(text)
            assert f"{count} tokens so far" in " ".join(it.screen_text().replace("┃", " ").split())
            assert f"· {count} tokens written" in it.screen_text()
