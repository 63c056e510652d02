"""Looking back: every token that was written can be looked at again, while the text goes on."""

from __future__ import annotations

from bench import Bench, bench
from fake_link import CONFIG, token
from textual.geometry import Offset

from kvtui.core.commands import ShowAttention
from kvtui.tui.drawing.transcript import Transcript
from kvtui.tui.panes.tabs import cursor_words
from kvtui.tui.views.watch.cache_bar import CachePane


async def written(it: Bench, text: str, first: int = 0) -> None:
    it.link.write([token(step, character, seconds=0.001 * (step + 1)) for step, character in enumerate(text, first)])
    await it.until(lambda: it.app.session.state.written == first + len(text))


def asked(it: Bench) -> ShowAttention:
    last = it.link.commands(ShowAttention)[-1]
    assert isinstance(last, ShowAttention)
    return last


async def test_arrow_keys_look_back_and_return_to_the_live_end() -> None:
    async with bench() as it:
        await written(it, "abcdef")
        await it.press("left", "left")
        assert it.app.session.cursor.token == it.app.session.timeline.tokens[3]
        text = it.screen_text()
        assert "◀ token 4 of 6 · End follows again" in text
        assert "then 4.00 ms" in text
        assert "10 of 32 positions" in text
        await it.press("right", "right")
        assert it.app.session.cursor.position is None
        assert "◀" not in it.screen_text()
        await it.press("home")
        assert "token 1 of 6" in it.screen_text()
        await it.press("end")
        assert it.app.session.cursor.position is None


async def test_the_meaning_of_the_colours_stays_while_looking_back() -> None:
    async with bench() as it:
        await written(it, "abcdef")
        await it.press("left")
        assert "looking back: End follows again" in it.screen_text()
        await it.press("c", "c")
        assert "probability ≥50%" in it.screen_text()
        assert "◀ token 5 of 6" in it.screen_text()


async def test_the_text_goes_on_while_the_reader_looks_at_the_past() -> None:
    async with bench() as it:
        await written(it, "abcdef")
        await it.press("left")
        await written(it, "ghi", 6)
        assert it.app.session.cursor.token.step == 4
        assert "token 5 of 9" in it.screen_text()
        assert it.watch.output.transcript.text == "ROMEO:abcdefghi"


async def test_attention_is_asked_for_up_to_the_token_that_is_looked_at() -> None:
    async with bench() as it:
        await written(it, "abcdef")
        await it.press("left", "left")
        await it.until(lambda: asked(it).position == 9)
        count = len(it.link.commands(ShowAttention))
        await written(it, "ghi", 6)
        assert len(it.link.commands(ShowAttention)) == count
        await it.press("end")
        await it.until(lambda: asked(it).position is None)


async def test_a_click_on_the_text_looks_at_that_token() -> None:
    async with bench() as it:
        await written(it, "ab\ncdef")
        output = it.watch.output
        x, y = output.content_region.offset
        await it.click(offset=Offset(x + 2, y + 1))
        assert it.app.session.cursor.token.text == "e"
        await it.click(offset=Offset(x + 7, y))
        assert it.app.session.cursor.token.text == "b"
        await it.click(offset=Offset(x + 2, y))  # the prompt
        assert it.app.session.cursor.token.text == "a"
        await it.click(offset=Offset(x + 20, y + 1))  # beside the text
        assert it.app.session.cursor.token.text == "a"
        await it.press("left", "right", "right", "right")
        assert it.app.session.cursor.token.text == "c"


async def test_the_arrow_keys_are_the_prompt_s_own_while_typing() -> None:
    async with bench() as it:
        await written(it, "abc")
        await it.press("p", "home", "x", "left")
        assert it.app.main.prompt.input.value == "xROMEO:"
        assert it.app.session.cursor.position is None
        await it.press("escape", "question_mark", "left", "home")
        assert it.app.session.cursor.position is None


async def test_arrow_keys_look_back_from_every_view_and_pane() -> None:
    async with bench() as it:
        await written(it, "abcdef")
        for pane in (it.watch.attention, it.watch.timing, it.watch.output):
            pane.focus()
            await it.press("end", "left")
            assert it.app.session.cursor.token.step == 4
        for key in "2345":
            await it.press(key, "end", "left")
            assert it.app.session.cursor.token.step == 4


async def test_a_new_text_is_looked_at_live() -> None:
    async with bench() as it:
        await written(it, "abcdef")
        await it.press("left", "r")
        assert it.app.session.cursor.position is None


async def test_nothing_to_look_back_at_is_no_error() -> None:
    async with bench(None) as it:
        await it.press("escape", "left", "home", "right", "end")
        assert it.app.session.cursor.position is None


async def test_a_token_that_has_left_the_window_says_so() -> None:
    async with bench() as it:
        context = CONFIG.context_length
        await written(it, "a" * 40)
        it.link.write([token(40, "b", context=16)])
        await it.until(lambda: it.app.session.state.written == 41)
        assert it.app.session.window_start == 46 - 15 > context // 2
        await it.press("home")
        text = it.screen_text()
        assert "left the window" in text
        assert "This token has left the model's window" in text


async def test_the_token_that_is_looked_at_is_brought_into_sight() -> None:
    async with bench(size=(80, 24)) as it:
        await written(it, "a\n" * 60)
        await it.press("home")
        assert it.watch.output.scroll_y == 0
        await written(it, "b\n", 120)
        assert it.watch.output.scroll_y == 0
        await it.press("end")
        await it.until(lambda: it.watch.output.scroll_y == it.watch.output.max_scroll_y)


async def test_in_a_small_terminal_the_words_take_the_place_of_the_prompt() -> None:
    async with bench(size=(80, 24)) as it:
        await written(it, "abcdef")
        assert "Prompt ROMEO:" in it.screen_text()
        await it.press("left")
        assert "Prompt ROMEO:" not in it.screen_text()
        await it.until(lambda: "◀ token 5 of 6 · End: live" in it.screen_text())
        await it.press("p")
        assert "Prompt ROMEO:" in it.screen_text()


async def test_the_cache_pane_shows_the_cache_of_that_moment() -> None:
    async with bench() as it:
        it.link.write([token(0), token(1, cache=False), token(2)])
        await it.until(lambda: it.app.session.state.written == 3)
        await it.press("left")
        assert not it.app.query_one(CachePane)._state.cache
        assert it.app.session.state.cache


def test_the_words_of_the_cursor_get_shorter() -> None:
    words = cursor_words(token(56), 214, True)
    assert words[0] == "◀ token 57 of 214 · left the window · End follows again"
    assert [len(choice) for choice in words] == sorted((len(choice) for choice in words), reverse=True)
    assert cursor_words(None, 214, False) == ()


def test_places_in_a_wrapped_text() -> None:
    transcript = Transcript(6)
    transcript.append("abcd efgh\ni")
    transcript.wrap()
    lines = ["".join(piece for piece, _, _ in transcript.line(number, 0)) for number in range(len(transcript.lines))]
    assert lines == ["abcd ", "efgh", "i"]
    assert [transcript.place_at(x, 1) for x in range(5)] == [5, 6, 7, 8, None]
    assert transcript.place_at(0, 3) is None
    assert [transcript.line_of(place) for place in (0, 4, 5, 9, 10)] == [0, 0, 1, 1, 2]
