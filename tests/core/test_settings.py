"""One list of settings: what ``generate`` takes as keywords is what ``GenerationSettings`` holds."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from kvtui.core import GenerationSettings, KvtuiError, SamplingSettings, generate
from kvtui.core.settings import check_pace


def test_generate_has_a_keyword_for_each_setting_with_the_same_default() -> None:
    keywords = {
        name: parameter.default
        for name, parameter in inspect.signature(generate).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name != "commands"
    }
    assert keywords.pop("sampling") is None  # stands for the default of SamplingSettings
    assert keywords == {
        field.name: getattr(GenerationSettings(), field.name)
        for field in fields(GenerationSettings)
        if field.name != "sampling"
    }
    assert GenerationSettings().sampling == SamplingSettings()


@pytest.mark.parametrize(
    ("settings", "words"),
    [(GenerationSettings(max_new_tokens=-1), "max_new_tokens is -1"), (GenerationSettings(pace=0.0), "pace is 0.0")],
)
def test_a_number_out_of_range_is_refused(settings: GenerationSettings, words: str) -> None:
    with pytest.raises(KvtuiError, match=words):
        settings.check()


@pytest.mark.parametrize("pace", [None, 0.01, 25.0, 1e6])
def test_a_pace_that_can_be_kept(pace: float | None) -> None:
    check_pace(pace)
