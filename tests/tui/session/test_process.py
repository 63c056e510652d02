"""The process that writes: another model, one that cannot be loaded, and a death."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_link import MODEL, FakeLink

from kvtui.tui.session.process import Process
from kvtui.tui.session.update import Update
from kvtui.tui.worker.protocol import Answering, Ended, Loading, Ready, Refused, Silent

OTHER = replace(MODEL, name="other", parameters=99)


class Stage:
    """A process on a fake link, and what has been said of it."""

    def __init__(self) -> None:
        self.link, self.update = FakeLink(), Update()
        self.process = Process(self.link, MODEL, "small.safetensors")

    def take(self, report: Loading | Ready | Refused | Ended) -> str | None:
        return self.process.take(report, self.update)

    @property
    def notes(self) -> list[str]:
        return [notice.message for notice in self.update.notices]


@pytest.fixture
def it() -> Stage:
    return Stage()


@pytest.fixture
def loading(it: Stage) -> Stage:
    """While another model is being loaded."""
    it.process.load("other.gguf", "other")
    return it


def test_at_first_it_lives_and_nothing_is_being_loaded(it: Stage) -> None:
    assert (it.process.alive, it.process.loading, it.process.started) == (True, "", 1)


def test_while_another_model_is_loaded_nothing_can_be_written(loading: Stage) -> None:
    process = loading.process
    assert (process.alive, process.loading, process.started) == (False, "other", 2)
    assert loading.link.loads == ["other.gguf"]
    assert (process.model, process.path) == (MODEL, "small.safetensors")  # until it is there


def test_the_share_that_is_loaded_is_never_more_than_all(loading: Stage) -> None:
    shares = []
    for report in (Loading(0, 0), Loading(1, 4), Loading(9, 4)):
        assert loading.take(report) is None
        shares.append(loading.process.loaded)
    assert shares == [0.0, 0.25, 1.0]


def test_the_first_model_s_own_loading_is_not_that_of_another(it: Stage) -> None:
    it.take(Loading(1, 2))
    assert it.process.loaded == 0.0


def test_a_model_that_is_there_is_the_one_that_writes(loading: Stage) -> None:
    assert loading.take(Ready(OTHER)) == "idle"
    process = loading.process
    assert (process.alive, process.loading, process.model, process.path) == (True, "", OTHER, "other.gguf")
    assert loading.update.model is OTHER
    assert loading.notes == ["other is loaded."]


@pytest.mark.parametrize("report", [Refused("no such file"), Ended("exit status 1")])
def test_after_a_refusal_or_a_death_while_loading_the_model_before_is_loaded(
    loading: Stage, report: Refused | Ended
) -> None:
    assert loading.take(report) == "loading"
    process = loading.process
    assert loading.link.loads == ["other.gguf", "small.safetensors"]
    assert (process.alive, process.loading, process.started) == (False, MODEL.name, 3)
    assert loading.take(Ready(MODEL)) == "idle"
    assert (process.alive, process.path) == (True, "small.safetensors")


@pytest.mark.parametrize("report", [Refused("no such file"), Ended("exit status 1")])
def test_if_the_model_before_cannot_be_loaded_either_that_is_the_end_of_it(
    loading: Stage, report: Refused | Ended
) -> None:
    loading.take(Refused("no such file"))
    assert loading.take(report) == "dead"
    assert (loading.process.alive, loading.process.loading) == (False, "")
    assert len(loading.link.loads) == 2
    assert loading.link.restarts == 0
    assert "could not be loaded again" in loading.notes[-1]


def test_after_a_death_one_other_process_is_started_and_no_third(it: Stage) -> None:
    assert it.take(Ended("signal SIGKILL")) == "dead"
    assert (it.process.alive, it.link.restarts) == (False, 1)
    assert it.take(Ended("exit status 1")) == "dead"
    assert (it.process.alive, it.link.restarts) == (False, 1)
    assert "SIGKILL" in it.notes[0]
    assert "died again (exit status 1)" in it.notes[1]
    it.process.revive()
    assert it.link.restarts == 2


def test_a_process_that_came_back_may_die_once_more(it: Stage) -> None:
    it.take(Ended("signal SIGKILL"))
    assert it.take(Ready(MODEL)) == "idle"
    assert it.process.alive
    it.take(Ended("signal SIGKILL"))
    assert it.link.restarts == 2


def test_a_new_process_that_cannot_load_the_same_model_says_so(it: Stage) -> None:
    it.take(Ended("signal SIGKILL"))
    assert it.take(Refused("no such file")) is None
    assert not it.process.alive
    assert it.notes[-1] == "The model could not be loaded again: no such file"


def test_another_text_of_a_stream_changes_only_what_is_known_of_its_model(it: Stage) -> None:
    stream = replace(OTHER, stream=True)
    assert it.take(Ready(stream)) is None
    assert (it.process.model, it.update.model, it.notes) == (stream, stream, [])


def test_a_silent_process_is_named_and_can_be_replaced_or_answer_again(it: Stage) -> None:
    assert it.process.take(Silent(5.0), it.update) is None
    assert it.process.silent
    assert it.process.alive  # what it is told waits for it
    assert "has not answered for 5 s" in it.notes[-1]
    it.process.take(Answering(), it.update)
    assert not it.process.silent
    it.process.take(Silent(5.0), it.update)
    it.process.revive()
    assert (it.process.alive, it.process.silent, it.link.restarts) == (False, False, 1)
    assert it.take(Ready(MODEL)) == "idle"
