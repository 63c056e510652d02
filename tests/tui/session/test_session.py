"""What the dashboard shows of the generation: at once what the reader asked for, in the end what the process says."""

from __future__ import annotations

import pytest
from fake_link import MODEL, FakeLink, token
from racing import end, prefills, rounds

from kvtui.core.commands import Fork, Pause, SetCache, SetPace, SetVerify
from kvtui.core.events import Branch, End, State
from kvtui.tui.session.session import Session
from kvtui.tui.session.timeline import Mark
from kvtui.tui.settings import DashboardSettings


@pytest.fixture
def session() -> Session:
    """A text of three tokens."""
    session = Session(FakeLink(), MODEL, DashboardSettings())
    session.start("ROMEO:")
    session._link.write([token(step) for step in range(3)])  # type: ignore[attr-defined]
    session.collect(Mark())
    return session


def test_what_came_too_late_for_the_text_is_not_waited_for(session: Session) -> None:
    """The text ends while a switch is on its way; a fork is followed all the same."""
    session.toggle_cache()
    session._link.write([End("cancelled", 3, 0.003, 1000.0)])  # type: ignore[attr-defined]
    session.collect(Mark())
    assert session.state.phase == "ended"
    session.fork(7, (1,))
    session._link.write([Branch(1, 0, 7, 7, 7, 0, 0.0), token(1), State(False, False, 50.0)])  # type: ignore[attr-defined]
    session.collect(Mark())
    assert (session.state.phase, session.state.cache, session.state.pace) == ("writing", False, 50.0)


def test_after_the_end_the_process_is_told_for_a_fork(session: Session) -> None:
    session._link.write([End("cancelled", 3, 0.003, 1000.0)])  # type: ignore[attr-defined]
    session.collect(Mark())
    session.toggle_cache()
    session.toggle_verify()
    session.fork(7, (1,))
    sent = session._link.sent[-3:]  # type: ignore[attr-defined]
    assert sent == [SetCache(False), SetVerify(True), Fork(7, (1,))]
    assert session.state.phase == "ended"


def test_a_race_is_not_told_what_it_cannot_obey(session: Session) -> None:
    """It would give no answer to it, and the session would wait for one forever. The text before hears of it later."""
    session.start_race("JULIET:", seed=4)
    session.toggle_verify()
    session.toggle_cache()
    session.set_pace(50.0)
    session.pause()
    assert session._link.sent[-2:] == [SetPace(50.0), Pause()]  # type: ignore[attr-defined]
    states = [State(True, False, 50.0), State(True, True, 50.0)]
    session._link.write([*prefills(), *rounds("ab"), *states], session.run)  # type: ignore[attr-defined]
    session.collect(Mark())
    assert (session.state.phase, session.state.cache, session.racing) == ("paused", False, True)
    session._link.write([end(2)], session.run)  # type: ignore[attr-defined]
    session.collect(Mark())
    assert session.state.phase == "ended"
    assert session._link.sent[-3:] == [SetVerify(True), SetCache(False), SetPace(50.0)]  # type: ignore[attr-defined]

    session.fork(7, (1,))
    session._link.write([Branch(1, 0, 7, 7, 7, 0, 0.0), token(1), State(False, False, 50.0)], session.run)  # type: ignore[attr-defined]
    session.collect(Mark())
    assert session.state.phase == "writing"
    assert (session.prompt, session.state.seed) == ("ROMEO:", 0)  # those of the text that is forked
