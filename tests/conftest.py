"""A tiny random model that every test can afford."""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import string
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from random_model import SMALL, random_parameters
from threadpoolctl import threadpool_limits

from kvtui.core.config import ModelConfig
from kvtui.core.formats.checkpoint import save_checkpoint
from kvtui.core.tokenizer import CharTokenizer

# The same inputs in every run, and no limit of time: a test that fails here fails everywhere.
settings.register_profile("kvtui", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kvtui")

VOCABULARY = "\n !',-.:;?" + string.ascii_letters


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """NumPy's products on one thread: the models are tiny, and threads that wait for each other on a busy machine are
    many times slower than one. ``OPENBLAS_NUM_THREADS`` asks for another number."""
    with threadpool_limits(int(os.environ.get("OPENBLAS_NUM_THREADS", 1)), user_api="blas"):
        yield


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A shell's background job ignores Ctrl-C, and so would every process that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    """2 layers of 2 heads, 16 wide, context 32."""
    return replace(SMALL, vocab_size=len(VOCABULARY), mlp_dim=64)


@pytest.fixture(scope="session")
def tiny_parameters(tiny_config: ModelConfig) -> dict[str, np.ndarray]:
    """Random weights, scaled so that the predictions differ from position to position."""
    return random_parameters(tiny_config)


@pytest.fixture(scope="session")
def tiny_model_file(
    tmp_path_factory: pytest.TempPathFactory, tiny_config: ModelConfig, tiny_parameters: dict[str, np.ndarray]
) -> Path:
    """A model file of :func:`tiny_config`, called ``tiny``. Read only: copy it to change it."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    record = {"steps": 3, "curve": [{"step": 3, "loss": 2.5, "validation_loss": 2.75}], "settings": {"seed": 5}}
    save_checkpoint(path, tiny_config, CharTokenizer(VOCABULARY), tiny_parameters, record)
    return path


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``forbid(path)``: from now on the system refuses what is at or below this path, to root as well.

    A folder that is ``searchable`` may only not be listed: what is in it is there for those who know its name.
    """

    def install(path: Path, searchable: bool = False) -> None:
        forbidden = os.path.abspath(path)

        def refused(place: object, listing: bool) -> bool:
            if not isinstance(place, str | os.PathLike):
                return False
            asked = os.path.abspath(place)
            if searchable:
                return listing and asked == forbidden
            inside = asked.startswith(forbidden + os.sep)
            return inside or (asked == forbidden and listing)

        for module, name, listing in (
            (os, "stat", False),
            (os, "lstat", False),
            (os, "open", True),
            (os, "listdir", True),
            (os, "scandir", True),
            (builtins, "open", True),
            (io, "open", True),
        ):
            original = getattr(module, name)

            def guarded(*args: Any, original: Any = original, listing: bool = listing, **named: Any) -> Any:
                if args and refused(args[0], listing):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(args[0]))
                return original(*args, **named)

            monkeypatch.setattr(module, name, guarded)

    return install
