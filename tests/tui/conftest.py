"""Tests of the dashboard wait as :mod:`quiet` says. mypy skips this file: there is another conftest.py above."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import textual.app
import textual.pilot
from quiet import until_quiet


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_processor() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (textual.app, textual.pilot):
            patch.setattr(module, "wait_for_idle", until_quiet)
        yield
