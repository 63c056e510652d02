"""A tiny random model that every test can afford."""

from __future__ import annotations

import os
import signal
import string
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

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
