"""The models of a folder: what is found, what is said of it, and that no weights are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hf_folder import LLAMA, llama_config, llama_tensors, random_parameters, write_folder
from test_llama2c import write_model, write_tokenizer

from kvtui.core import load
from kvtui.core.config import parameter_count
from kvtui.core.errors import KvtuiError
from kvtui.core.loading.hub import find_snapshot, repositories
from kvtui.core.loading.library import LibraryModel, find_models


def found(folder: Path) -> dict[str, LibraryModel]:
    """What is not bundled, by name."""
    models = find_models(folder)
    assert models[0].bundled
    assert models[0].name == "shakespeare"
    return {model.name: model for model in models if not model.bundled}


def llama_folder(path: Path, shards: int = 1) -> Path:
    path.mkdir(parents=True)
    config = llama_config()
    return write_folder(path, LLAMA, llama_tensors(config, random_parameters(config)), shards)


@pytest.fixture
def shelf(tmp_path: Path, tiny_model_file: Path) -> Path:
    """One of each kind, at several depths."""
    shutil.copy(tiny_model_file, tmp_path / "tiny.safetensors")
    llama_folder(tmp_path / "maker" / "llama", shards=2)
    (tmp_path / "stories").mkdir()
    write_model(tmp_path / "stories" / "small.bin", 0, True)
    write_tokenizer(tmp_path / "stories" / "tokenizer.bin")
    return tmp_path


def test_every_kind_is_found_and_can_be_loaded_from_the_path_that_is_told(shelf: Path) -> None:
    models = found(shelf)
    if find_spec("tokenizers") is None:
        assert models.pop("maker/llama").problem == "this model needs the package 'tokenizers'"
    kinds = {
        "maker/llama": "Hugging Face LlamaForCausalLM, F32",
        "stories/small": "llama2.c version 0, float32",
        "tiny": "kvtui, F16",
    }
    assert {name: model.kind for name, model in models.items()} == {name: kinds[name] for name in models}
    for model in models.values():
        assert model.problem == ""
        loaded = load(model.path)
        assert loaded.source == model.kind or "kvtui" in model.kind
        assert model.parameters == parameter_count(loaded.config)
    sizes = [file.stat().st_size for file in (shelf / "maker" / "llama").glob("*.safetensors")]
    assert found(shelf)["maker/llama"].file_bytes == sum(sizes)
    assert models["tiny"].file_bytes == (shelf / "tiny.safetensors").stat().st_size


def test_a_folder_that_is_a_model_is_found_itself(shelf: Path) -> None:
    assert list(found(shelf / "maker" / "llama")) == ["llama"]
    assert list(found(shelf / "maker")) == ["llama"]


def test_no_weights_are_read(shelf: Path) -> None:
    """Files whose weights are cut out but whose length is right: holes, in which any number would be zero."""
    model = found(shelf)["stories/small"]
    data = model.path.read_bytes()
    with model.path.open("wb") as file:
        file.write(data[:28])
        file.truncate(len(data))
    assert found(shelf)["stories/small"] == model


def test_models_of_the_hugging_face_cache_have_the_names_of_their_repositories(tmp_path: Path) -> None:
    """Snapshots of links to blobs, one or two revisions, and repositories without a model."""
    hub = tmp_path / "hub"
    blob = llama_folder(tmp_path / "blobs") / "model.safetensors"
    for repository, revision in (("one--llama", "a" * 40), ("two--llama", "b" * 40), ("two--llama", "c" * 40)):
        snapshot = hub / f"models--{repository}" / "snapshots" / revision
        snapshot.mkdir(parents=True)
        shutil.copy(tmp_path / "blobs" / "config.json", snapshot)
        (snapshot / "model.safetensors").symlink_to(blob)
        shutil.copy(tmp_path / "blobs" / "tokenizer.json", snapshot)
    (hub / "models--three--words" / "snapshots" / "d").mkdir(parents=True)
    (hub / "models--three--words" / "snapshots" / "d" / "words.gguf").write_bytes(b"GGUF")
    (hub / "datasets--x--y" / "snapshots" / "e").mkdir(parents=True)
    models = found(hub)
    assert list(models) == ["one/llama", "three/words/words", "two/llama (bbbbbbb)", "two/llama (ccccccc)"]
    assert models["one/llama"].file_bytes == blob.stat().st_size
    if find_spec("tokenizers") is not None:
        assert models["one/llama"].parameters == parameter_count(llama_config())
        assert load(models["one/llama"].path).name == "llama"  # not the revision


def test_what_cannot_be_used_is_listed_with_the_reason(shelf: Path) -> None:
    (shelf / "bert").mkdir()
    (shelf / "bert" / "config.json").write_text(json.dumps({"architectures": ["BertForMaskedLM"]}))
    (shelf / "pickled").mkdir()
    (shelf / "pickled" / "config.json").write_text(json.dumps(LLAMA))
    (shelf / "pickled" / "pytorch_model.bin").write_bytes(b"PK\x03\x04" + bytes(100))
    (shelf / "cut.safetensors").write_bytes((shelf / "tiny.safetensors").read_bytes()[:-1])
    (shelf / "empty.bin").write_bytes(b"")
    (shelf / "old.pt").write_bytes(b"\x80\x02" + bytes(100))
    (shelf / "broken").mkdir()
    (shelf / "broken" / "config.json").write_text("{")
    (shelf / "alone.bin").write_bytes((shelf / "stories" / "small.bin").read_bytes())
    models = found(shelf)
    assert models["bert"].problem == "the architecture is 'BertForMaskedLM'"
    assert "PyTorch pickle" in models["pickled"].problem
    assert "not a whole safetensors file" in models["cut"].problem
    assert "not a llama2.c model" in models["empty"].problem
    assert "PyTorch pickle" in models["old"].problem
    assert "needs its tokenizer" in models["alone"].problem
    assert models["broken"].problem
    for name in ("bert", "pickled", "cut", "empty", "old", "broken", "alone"):
        assert str(shelf) not in models[name].problem
        assert len(models[name].problem) < 80
        assert (models[name].kind, models[name].parameters) == ("", 0)
        with pytest.raises(KvtuiError):
            load(models[name].path)


def test_links_in_circles_and_deep_folders_end(shelf: Path) -> None:
    (shelf / "maker" / "again").symlink_to(shelf)
    deep = shelf.joinpath(*"abcdefgh")
    deep.mkdir(parents=True)
    shutil.copy(shelf / "tiny.safetensors", deep)
    assert len(found(shelf)) == 3


def test_hidden_and_other_files_are_passed_over(shelf: Path) -> None:
    (shelf / ".trash").mkdir()
    shutil.copy(shelf / "tiny.safetensors", shelf / ".trash")
    (shelf / "notes.txt").write_text("hello")
    assert len(found(shelf)) == 3


def test_shards_beside_a_whole_file_do_not_count(tmp_path: Path) -> None:
    folder = llama_folder(tmp_path / "m", shards=2)
    config = llama_config()
    write_folder(folder, LLAMA, llama_tensors(config, random_parameters(config)))
    [model] = found(tmp_path).values()
    assert model.file_bytes == (folder / "model.safetensors").stat().st_size


def test_an_output_of_its_own_counts_whatever_the_config_says(tmp_path: Path) -> None:
    folder = llama_folder(tmp_path / "m")
    (folder / "config.json").write_text(json.dumps(LLAMA | {"tie_word_embeddings": True}))
    [model] = found(tmp_path).values()
    assert model.parameters == parameter_count(llama_config())


SPOILED: dict[str, tuple[dict[str, Any], str]] = {
    "a rotary scaling": ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_type is 'yarn'"),
    "an activation": ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
    "layers": ({"num_hidden_layers": 3}, "the weights lack model.layers.2.input_layernorm.weight"),
    "fewer layers": ({"num_hidden_layers": 1}, "the config has no place for the tensor model.layers.1."),
    "a width": ({"intermediate_size": 20}, "mlp.gate_proj.weight has shape (28, 18)"),
    "a tokenizer": ({"vocab_size": 20}, "tokenizer.json has ids up to 29"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_the_feature_in_the_way_is_named(tmp_path: Path, name: str) -> None:
    changes, reason = SPOILED[name]
    folder = llama_folder(tmp_path / "m")
    (folder / "config.json").write_text(json.dumps(LLAMA | changes))
    [model] = found(tmp_path).values()
    assert reason in model.problem
    with pytest.raises(KvtuiError) as caught:
        load(folder)
    assert model.problem in str(caught.value)


def test_a_tokenizer_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    folder = llama_folder(tmp_path / "m")
    spec = json.loads((folder / "tokenizer.json").read_text())
    decoder = {"type": "CTC", "pad_token": "a", "word_delimiter_token": "|", "cleanup": True}
    (folder / "tokenizer.json").write_text(json.dumps(spec | {"decoder": decoder}))
    [model] = found(tmp_path).values()
    assert model.problem == "tokens are joined by 'CTC'"
    (folder / "tokenizer.json").unlink()
    [model] = found(tmp_path).values()
    assert model.problem == "has no tokenizer.json"


@pytest.mark.parametrize("searchable", [False, True], ids=["may not be entered", "may not be listed"])
def test_folders_that_cannot_be_read_are_passed_over(
    shelf: Path, forbid: Callable[..., None], searchable: bool
) -> None:
    forbid(shelf / "stories", searchable=searchable)
    assert set(found(shelf)) == {"maker/llama", "tiny"}


def test_a_file_that_cannot_be_read_says_so(shelf: Path, forbid: Callable[..., None]) -> None:
    forbid(shelf / "maker" / "llama" / "config.json")
    assert found(shelf)["maker/llama"].problem == "cannot be read: Permission denied"


def test_a_hugging_face_cache_that_cannot_be_read_is_empty(
    shelf: Path, forbid: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(shelf / "maker"))
    forbid(shelf / "maker")
    assert [model.name for model in find_models()] == ["shakespeare"]
    assert repositories() == []
    assert find_snapshot("maker/llama") is None


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KvtuiError, match="there is no folder"):
        find_models(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(KvtuiError, match="there is no folder"):
        find_models(tmp_path / "file")


def test_without_a_folder_the_hugging_face_cache_is_searched(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(shelf))
    assert len(find_models()) == 4
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "nowhere"))
    assert [model.name for model in find_models()] == ["shakespeare"]
