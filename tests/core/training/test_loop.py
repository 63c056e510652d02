"""The training run: it learns, it is the same every time, and it goes on exactly where it stopped."""

import dataclasses
import itertools
import json
import math
import os
import struct
from types import SimpleNamespace

import numpy as np
import pytest

from kvtui.core.errors import KvtuiError
from kvtui.core.formats.checkpoint import load_checkpoint, write_safetensors
from kvtui.core.model import Model
from kvtui.core.tokenizer import CharTokenizer
from kvtui.core.training import loop
from kvtui.core.training import run as run_module
from kvtui.core.training.loop import learning_rate, train
from kvtui.core.training.run import initial_parameters, new_run, resume_run, save_run, state_path
from kvtui.core.training.settings import TrainingSettings

TEXT = "".join(f"{number} little ducks went out one day,\nover the hills and far away.\n" for number in range(12))
TINY = TrainingSettings(
    steps=6,
    context_length=8,
    num_layers=1,
    num_heads=2,
    embed_dim=8,
    batch_windows=5,  # not a multiple of the four shards
    dropout=0.1,
    warmup_steps=2,
    validate_every=2,
)


def settings(**changes):
    return dataclasses.replace(TINY, **changes)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Every look at the clock is an eighth of a second after the last: nothing depends on the machine."""
    ticks = itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: next(ticks) / 8))


def after(steps):
    """A ``should_stop`` that says so after this many steps."""
    asked = itertools.count()
    return lambda: next(asked) >= steps


def trained(path, text=TEXT, **changes):
    run = new_run(text, settings(**changes))
    train(run, text, path)
    return run


def assert_same_run(first, second):
    assert (first.step, first.seconds, first.best, first.curve) == (
        second.step,
        second.seconds,
        second.best,
        second.curve,
    )
    for these, those in ((first.parameters, second.parameters), (first.optimizer.state, second.optimizer.state)):
        assert set(these) == set(those)
        for name, value in these.items():
            assert value.tobytes() == those[name].tobytes(), name


# --- learning ---


def test_a_tiny_run_lowers_the_loss(tmp_path):
    steps = []
    run = new_run(TEXT, settings(steps=120, embed_dim=16, dropout=0.0, validate_every=60))
    train(run, TEXT, tmp_path / "m", steps.append)
    assert steps[0].loss == pytest.approx(math.log(run.config.vocab_size), rel=0.02)  # it begins knowing nothing
    assert np.mean([progress.loss for progress in steps[-5:]]) < steps[0].loss - 0.8
    assert run.curve[-1]["validation_loss"] < steps[0].loss - 0.5


def test_progress_is_reported_after_every_step(tmp_path):
    steps = []
    run = new_run(TEXT, TINY)
    train(run, TEXT, tmp_path / "m", steps.append)
    assert [progress.step for progress in steps] == [1, 2, 3, 4, 5, 6]
    assert [progress.done for progress in steps] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert [progress.validation_loss is not None for progress in steps] == [False, True] * 3
    for progress in steps:
        assert math.isfinite(progress.loss)
        assert progress.validation_loss is None or math.isfinite(progress.validation_loss)
        assert progress.tokens_per_second == 5 * 8 / 0.125
        assert progress.seconds_left == pytest.approx(0.125 * (6 - progress.step))


def test_the_last_step_is_validated_even_off_the_beat(tmp_path):
    run = trained(tmp_path / "m", steps=5, validate_every=3)
    assert [point["step"] for point in run.curve] == [3, 5]
    assert all(math.isfinite(value) for point in run.curve for value in point.values())


def test_the_validation_loss_is_the_model_s_over_the_last_tenth(tmp_path):
    run = new_run(TEXT, settings(steps=2, dropout=0.5))
    found = []
    train(run, TEXT, tmp_path / "m", lambda progress: found.append(progress.validation_loss))
    ids = np.array(run.tokenizer.encode(TEXT))
    held_out = ids[len(ids) - int(len(ids) * 0.1) :]
    model = Model(run.config, run.tokenizer, run.parameters)
    losses = []
    for start in range(0, len(held_out) - 8, 8):
        logits = model.forward(held_out[start : start + 8]).astype(np.float64)
        logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        losses.extend(-logits[np.arange(8), held_out[start + 1 : start + 9]])
    assert len(losses) > len(held_out) - 2 * 8
    assert found[-1] == pytest.approx(np.mean(losses), rel=1e-5)


def test_training_never_reads_the_last_tenth(tmp_path, monkeypatch):
    """Another ending with the same characters gives the same weights."""
    length = len(TEXT)
    cut = length - int(length * run_module.VALIDATION_SHARE)
    other = TEXT[:cut] + TEXT[cut:][::-1]
    assert other != TEXT
    first, second = trained(tmp_path / "a"), trained(tmp_path / "b", other)
    for name, value in first.parameters.items():
        np.testing.assert_array_equal(value, second.parameters[name])
    assert first.curve != second.curve


def test_the_model_file_holds_the_best_weights_and_the_record(tmp_path):
    path = tmp_path / "m"
    run = trained(path)
    found = load_checkpoint(path)
    assert found.config == run.config == TINY.model_config(len(set(TEXT)))
    assert isinstance(found.tokenizer, CharTokenizer)
    assert found.tokenizer.vocabulary == run.tokenizer.vocabulary
    assert found.training["text_sha256"] == run.text_sha256
    assert found.training["settings"] == json.loads(json.dumps(dataclasses.asdict(TINY)))
    best = min(point["validation_loss"] for point in run.curve)
    assert found.training["curve"][-1]["validation_loss"] == best
    assert found.training["steps"] == found.training["curve"][-1]["step"]
    assert found.training["tokens"] == found.training["steps"] * 5 * 8


def test_a_worse_validation_keeps_the_better_file(tmp_path):
    path = tmp_path / "m"
    run = new_run(TEXT, TINY)
    run.best = 0.0  # nothing can be better
    train(run, TEXT, path)
    assert not path.exists()
    assert run.best == 0.0


def test_a_run_by_the_clock_ends(tmp_path):
    """A step takes an eighth of a second here, and a little over half a second is given."""
    run = trained(tmp_path / "m", steps=None, minutes=0.55 / 60, validate_every=100)
    assert run.step == 5
    assert run.done() == 1.0
    assert [point["step"] for point in run.curve] == [5]
    assert not state_path(tmp_path / "m").exists()


# --- the same every time ---


def test_the_same_seed_gives_the_same_bits(tmp_path):
    first, second = trained(tmp_path / "a"), trained(tmp_path / "b")
    assert_same_run(first, second)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_another_seed_gives_another_run(tmp_path):
    first, second = trained(tmp_path / "a"), trained(tmp_path / "b", seed=2)
    assert first.curve != second.curve


@pytest.mark.parametrize("cores", [1, 3, 64, None])
def test_the_number_of_threads_does_not_matter(tmp_path, monkeypatch, cores):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    first = trained(tmp_path / "a")
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    second = trained(tmp_path / "b")
    assert_same_run(first, second)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("stops", [(0,), (1,), (2,), (3,), (5,), (1, 1, 1), (2, 3)])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, stops):
    whole = trained(tmp_path / "whole")
    path = tmp_path / "parts"
    run = new_run(TEXT, TINY)
    for steps in stops:
        train(run, TEXT, path, should_stop=after(steps))
        run = resume_run(TEXT, state_path(path))
    assert run.step == sum(stops)
    train(run, TEXT, path)
    assert_same_run(run, whole)
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["parts", "whole"]


# --- stopping and the state ---


def test_stopping_saves_a_model_and_the_state(tmp_path):
    path = tmp_path / "m"
    run = new_run(TEXT, TINY)
    train(run, TEXT, path, should_stop=after(1))  # before the first validation
    assert run.step == 1
    assert load_checkpoint(path).training["steps"] == 1
    assert_same_run(resume_run(TEXT, state_path(path)), run)
    assert sorted(os.listdir(tmp_path)) == ["m", "m.resume"]


def test_stopping_later_keeps_the_best_model(tmp_path):
    path = tmp_path / "m"
    run = new_run(TEXT, TINY)
    train(run, TEXT, path, should_stop=after(3))
    assert load_checkpoint(path).training["steps"] == 2
    assert resume_run(TEXT, state_path(path)).step == 3


def test_the_state_is_there_during_the_run_and_gone_at_its_end(tmp_path):
    path = tmp_path / "m"
    there = []
    train(new_run(TEXT, TINY), TEXT, path, lambda progress: there.append(state_path(path).exists()))
    assert there == [False, True, True, True, True, True]
    assert os.listdir(tmp_path) == ["m"]


def test_a_run_that_is_killed_can_go_on_from_its_last_validation(tmp_path):
    path = tmp_path / "m"

    def kill(progress):
        if progress.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(new_run(TEXT, TINY), TEXT, path, kill)
    run = resume_run(TEXT, state_path(path))
    assert run.step == 4
    train(run, TEXT, path)
    whole = trained(tmp_path / "whole")
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()
    assert run.curve == whole.curve


def test_the_state_comes_back(tmp_path):
    run = new_run(TEXT, TINY)
    assert run.best == math.inf
    save_run(run, tmp_path / "s")
    assert_same_run(resume_run(TEXT, tmp_path / "s"), run)
    assert resume_run(TEXT, tmp_path / "s").settings == TINY


def test_the_state_stands_beside_the_model(tmp_path):
    assert state_path(tmp_path / "my.safetensors") == tmp_path / "my.safetensors.resume"


# --- bad input ---


@pytest.fixture
def state(tmp_path):
    run = new_run(TEXT, TINY)
    train(run, TEXT, tmp_path / "m", should_stop=after(1))
    return state_path(tmp_path / "m")


def rewrite(path, tensors=None, **metadata):
    """The state with other metadata or arrays; a None removes one."""
    run = resume_run(TEXT, path)
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    found = json.loads(content[8 : 8 + length])["__metadata__"] | metadata
    arrays = {f"parameter.{name}": value for name, value in run.parameters.items()}
    arrays |= {f"optimizer.{name}": value for name, value in run.optimizer.state.items()}
    arrays |= tensors or {}
    write_safetensors(
        path,
        {name: value for name, value in arrays.items() if value is not None},
        {name: value for name, value in found.items() if value is not None},
    )


def refused(path, reason, text=TEXT):
    with pytest.raises(KvtuiError) as caught:
        resume_run(text, path)
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_to_resume(tmp_path):
    refused(tmp_path / "none", "nothing to resume: there is no")
    refused(tmp_path, "nothing to resume: there is no")
    refused(tmp_path / ("x" * 300), "File name too long")


def test_another_text_is_refused(state):
    refused(state, "belongs to a run on another text", TEXT + " ")


def test_a_model_file_is_no_state(tmp_path, state):
    refused(tmp_path / "m", "is not the state of a training run")


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"PK\x03\x04" + bytes(64), b"\xff" * 64, b"some text, no state"])
def test_a_foreign_state_is_refused(state, content):
    state.write_bytes(content)
    refused(state, "is damaged")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_state_is_refused(state, share):
    content = state.read_bytes()
    state.write_bytes(content[: int(len(content) * share)])
    refused(state, "is damaged")


@pytest.mark.parametrize("name", ["settings", "progress", "text_sha256"])
def test_a_state_without_its_metadata_is_refused(state, name):
    rewrite(state, **{name: None})
    refused(state, "is damaged")


@pytest.mark.parametrize("name", ["settings", "progress"])
@pytest.mark.parametrize("value", ["", "{", "null", "[]", "3", '"text"', "[" * 100_000, '{"nonsense": 1}'])
def test_a_state_with_damaged_metadata_is_refused(state, name, value):
    rewrite(state, **{name: value})
    if (name, value) == ("settings", '{"nonsense": 1}'):
        refused(state, "is damaged: TrainingSettings.__init__() got an unexpected keyword argument")
    else:
        refused(state, "is damaged")


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1},
        {"step": None},
        {"step": "x"},
        {"step": math.inf},
        {"seconds": -1.0},
        {"seconds": math.nan},
        {"seconds": math.inf},
        {"best": math.nan},
        {"best": []},
        {"curve": None},
        {"curve": 3},
        {"step": 7},  # of 6
        {"step": 1.5},
        {"step": True},
        {"best": "low"},
        {"curve": [{"step": 1, "loss": 2.0, "validation_loss": 2.0}] * 2},
        {"curve": [{"step": 1, "loss": 2.0}]},
        {"curve": [{"step": 1, "loss": 2.0, "validation_loss": None}]},
        {"curve": ["x"]},
        {"curve": [None]},
    ],
    ids=str,
)
def test_impossible_progress_is_refused(state, change):
    progress = {"step": 1, "seconds": 0.1, "best": math.inf, "curve": []}
    rewrite(state, progress=json.dumps(progress))
    assert resume_run(TEXT, state).step == 1
    rewrite(state, progress=json.dumps(progress | change))
    refused(state, "is damaged")


def test_impossible_settings_are_refused(state):
    rewrite(state, settings=json.dumps(dataclasses.asdict(TINY) | {"dropout": 1.5}))
    refused(state, "is damaged: dropout is 1.5")


@pytest.mark.parametrize(
    "change",
    [
        {"num_layers": 4096, "embed_dim": 2048},
        {"num_layers": 200, "num_heads": 1, "embed_dim": 280},  # allowed, and 750 MB
        {"batch_windows": 2**24},
        {"context_length": 2**30},
        {"validate_every": 0},
        {"warmup_steps": -1},
        {"clip_norm": 1e-400},
        {"embed_dim": "8"},
        {"seed": 2**80},
        {"steps": 1e308},
        {"minutes": 5},
    ],
    ids=str,
)
def test_settings_that_the_file_cannot_hold_take_no_memory(state, change, monkeypatch):
    monkeypatch.setattr(run_module, "initial_parameters", lambda *_: pytest.fail("memory was taken"))
    state.write_bytes(with_metadata(state.read_bytes(), settings=dataclasses.asdict(TINY) | change))
    refused(state, "is damaged: ")


def with_metadata(content, **values):
    """A safetensors file with other metadata and the same tensors."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] |= {name: json.dumps(value) for name, value in values.items()}
    changed = json.dumps(header).encode()
    return struct.pack("<Q", len(changed)) + changed + content[8 + length :]


def test_a_long_reason_is_cut(state):
    rewrite(state, settings=json.dumps({"x" * 5000: 1}))
    with pytest.raises(KvtuiError) as caught:
        resume_run(TEXT, state)
    assert len(str(caught.value)) < 300 + len(str(state))


@pytest.mark.parametrize("name", ["parameter.final_norm.gain", "optimizer.adam.first.final_norm.gain"])
@pytest.mark.parametrize(
    "array",
    [
        None,
        np.ones(1, np.float32),  # would broadcast
        np.ones((1, 8), np.float32),
        np.ones(9, np.float32),
        np.ones(8, np.float64),
        np.ones(8, np.int32),
        np.full(8, np.nan, np.float32),
        np.full(8, np.inf, np.float32),
    ],
    ids=["missing", "one", "row", "long", "float64", "int32", "nan", "inf"],
)
def test_a_state_with_a_wrong_array_is_refused(state, name, array):
    rewrite(state, {name: array})
    refused(state, "is damaged")


def test_a_text_too_short_is_refused_and_the_message_says_how_long_is_enough(tmp_path):
    with pytest.raises(KvtuiError, match="the text has 79 characters; context 8 needs at least ") as caught:
        new_run(TEXT[:79], TINY)
    enough = int(str(caught.value).split("at least ")[1].split(":")[0])
    train(new_run(TEXT[:enough], TINY), TEXT[:enough], tmp_path / "m")
    assert (tmp_path / "m").exists()


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path):
    with pytest.raises(KvtuiError, match="cannot write"):
        trained(tmp_path / "missing" / "m")


def test_a_loss_that_explodes_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "window_loss", lambda *arguments: float("nan"))
    with pytest.raises(KvtuiError, match="the loss became nan at step 1; lower the learning rates"):
        trained(tmp_path / "m")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"steps": None}, "give one of them"),
        ({"minutes": 1.0}, "give one of them"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": -5}, "steps is -5"),
        *[({"steps": None, "minutes": value}, f"minutes is {value}") for value in (0.0, -1.0, math.inf, math.nan, 1e9)],
        *[
            ({name: value}, f"{name} is {value}; it must be a whole number from 1 to ")
            for name in ("context_length", "num_layers", "num_heads", "batch_windows", "validate_every")
            for value in (0, -3)
        ],
        *[({"dropout": value}, f"dropout is {value}") for value in (-0.1, 1.0, 2.0, math.nan)],
        *[
            ({name: value}, f"{name} is {value}; it must be a")
            for name in ("seed", "warmup_steps", "decay_from", "muon_rate", "adam_rate", "weight_decay")
            for value in (-1, math.nan, math.inf)
        ],
        *[({"clip_norm": value}, f"clip_norm is {value}") for value in (0, -1, math.nan, math.inf)],
        ({"embed_dim": 0}, "embed_dim is 0; it must be a whole number from 2 to 16,384"),
        ({"batch_windows": 2**24}, "batch_windows is 16777216; it must be a whole number from 1 to 4,096"),
        ({"steps": 6.5}, "steps is 6.5; it must be a whole number"),
        ({"dropout": "none"}, "dropout is 'none'; it must be a number of at least 0 and below 1"),
        ({"num_layers": True}, "num_layers is True"),
        ({"num_layers": 256, "num_heads": 256, "embed_dim": 1 << 14}, "these settings make a model of "),
        ({"embed_dim": 9}, "embed_dim 9 does not split over 2 heads"),
        ({"embed_dim": 6}, "embed_dim 6 does not split over 2 heads into even widths"),
    ],
    ids=str,
)
def test_absurd_settings_are_refused(change, reason):
    with pytest.raises(KvtuiError) as caught:
        settings(**change).model_config(30)
    assert reason in str(caught.value)


# --- where a run starts, and its pace ---


def test_the_first_weights_come_from_the_seed():
    config = TINY.model_config(30)
    first, same, other = (initial_parameters(config, seed) for seed in (1, 1, 2))
    for name, value in first.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, same[name])
    assert (first["token_embedding"] != other["token_embedding"]).any()


def test_every_block_begins_as_the_identity():
    config = dataclasses.replace(TINY.model_config(300), bias=True, mlp="swiglu", num_layers=2)
    for name, value in initial_parameters(config, 1).items():
        if name.endswith(".gain"):
            assert (value == 1).all()
        elif name.endswith((".bias", "attention.output.weight", "mlp.down.weight")):
            assert (value == 0).all()
        elif name.startswith("blocks."):
            assert value.std() == pytest.approx(0.5 / math.sqrt(value.shape[0]), rel=0.3)
        else:
            assert value.std() == pytest.approx(0.02, rel=0.1)


def rates(**changes):
    run = new_run(TEXT, settings(**changes))
    found = []
    assert run.settings.steps is not None
    for step in range(run.settings.steps):
        run.step = step
        found.append(learning_rate(run))
    return np.array(found)


def test_the_rate_warms_up_stays_and_falls_to_nothing():
    found = rates(steps=100, warmup_steps=10, decay_from=0.4)
    np.testing.assert_allclose(found[:10], np.arange(1, 11) / 10)
    np.testing.assert_allclose(found[9:41], 1.0)
    np.testing.assert_allclose(found[40:], (100 - np.arange(40, 100)) / 60)
    assert found[-1] == pytest.approx(1 / 60)
    assert (found > 0).all()


def test_the_rate_without_warm_up_or_decay():
    np.testing.assert_array_equal(rates(steps=10, warmup_steps=0, decay_from=1.0), np.ones(10))
    np.testing.assert_allclose(rates(steps=10, warmup_steps=0, decay_from=0.0), np.arange(10, 0, -1) / 10)


def test_a_warm_up_longer_than_the_decay_s_start():
    found = rates(steps=10, warmup_steps=10, decay_from=0.5)
    expected = [(step + 1) / 10 * min(1, (10 - step) / 5) for step in range(10)]
    np.testing.assert_allclose(found, expected)


def test_the_rate_of_a_run_by_the_clock_follows_the_clock():
    run = new_run(TEXT, settings(steps=None, minutes=10.0, warmup_steps=0, decay_from=0.5))
    for minutes, rate in ((0, 1.0), (5, 1.0), (7.5, 0.5), (10, 0.0), (11, 0.0)):
        run.seconds = minutes * 60
        assert learning_rate(run) == pytest.approx(rate)
