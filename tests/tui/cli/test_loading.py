"""The bar that tells how far a model is loaded."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from kvtui.tui.cli import loading


def shown(monkeypatch: pytest.MonkeyPatch, patience: float, terminal: bool = True) -> str:
    out = io.StringIO()
    monkeypatch.setattr(loading, "PATIENCE", patience)
    monkeypatch.setattr(loading, "Console", lambda stderr: Console(file=out, force_terminal=terminal, width=80))
    with loading.loading_bar() as on_progress:
        on_progress(0, 4)
        if not patience:
            wait_for_bar()
        on_progress(1, 4)
    return out.getvalue()


def wait_for_bar() -> None:
    """Until the thread that shows the bar has done so."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()


def test_a_quick_load_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "loading" not in shown(monkeypatch, 60.0)


def test_a_slow_load_shows_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    output = shown(monkeypatch, 0.0)
    assert "loading the model" in output
    assert "25%" in output


def test_what_is_refused_before_it_is_loaded_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "PATIENCE", 0.0)
    out = io.StringIO()
    monkeypatch.setattr(loading, "Console", lambda stderr: Console(file=out, force_terminal=True, width=80))
    with loading.loading_bar():
        wait_for_bar()
    assert "loading" not in out.getvalue()


def test_elsewhere_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, 0.0, terminal=False) == ""
