"""The Hugging Face cache: where it is, and which folder a repository's name stands for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hf_folder import LLAMA, llama_config, llama_tensors, random_parameters, write_folder

from kvtui.core import KvtuiError, load
from kvtui.core.loading.hub import find_snapshot, hub_folder, repositories


def test_where_the_cache_is() -> None:
    assert hub_folder({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}) == Path("/a")
    assert hub_folder({"HUGGINGFACE_HUB_CACHE": "/a", "HF_HOME": "/b"}) == Path("/a")
    assert hub_folder({"HF_HOME": "/b"}) == Path("/b/hub")
    assert hub_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/hub")
    assert hub_folder({}) == Path.home() / ".cache" / "huggingface" / "hub"
    assert hub_folder({"HF_HOME": "~nobody-of-this-name/x"}) == Path("~nobody-of-this-name/x/hub")


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Two revisions of one repository, the newer one ``b``, and a repository without an owner."""
    for place, age in (("models--one--llama/snapshots/a", 2), ("models--one--llama/snapshots/b", 1)):
        (tmp_path / place).mkdir(parents=True)
        os.utime(tmp_path / place, (1e9 - age, 1e9 - age))
    (tmp_path / "models--gpt2" / "snapshots" / "c").mkdir(parents=True)
    (tmp_path / "datasets--one--text" / "snapshots" / "d").mkdir(parents=True)
    return tmp_path


def test_the_revision_of_main_else_the_newest(hub: Path) -> None:
    environment = {"HF_HUB_CACHE": str(hub)}
    snapshots = hub / "models--one--llama" / "snapshots"
    assert find_snapshot("one/llama", environment) == snapshots / "b"
    refs = hub / "models--one--llama" / "refs"
    refs.mkdir()
    for revision, expected in (("a\n", "a"), ("gone", "b"), ("../../models--gpt2/snapshots/c", "b"), ("", "b")):
        (refs / "main").write_text(revision)
        assert find_snapshot("one/llama", environment) == snapshots / expected
    (refs / "main").write_bytes(b"\xff")
    assert find_snapshot("one/llama", environment) == snapshots / "b"
    assert find_snapshot("gpt2", environment) == hub / "models--gpt2" / "snapshots" / "c"
    assert repositories(environment) == ["gpt2", "one/llama"]


@pytest.mark.parametrize(
    "name", ["two/llama", "one", "", "/", "one/llama/a", "one\0llama", "x" * 300, "../hub", "one/text"]
)
def test_what_is_no_repository_of_the_cache(hub: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_snapshot(name, {"HF_HUB_CACHE": str(hub)}) is None
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    monkeypatch.chdir(hub)
    with pytest.raises(KvtuiError, match=r"there is no model|is neither|nor a config\.json"):
        load(name)


def test_a_model_is_loaded_by_the_name_of_its_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots are folders of links to blobs."""
    pytest.importorskip("tokenizers", reason="needs the package tokenizers: pip install 'kvtui[hf]'")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    config = llama_config()
    blobs = write_folder(tmp_path / "blobs", LLAMA, llama_tensors(config, random_parameters(config)), shards=2)
    snapshot = tmp_path / "hub" / "models--one--llama" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(os.path.relpath(file, snapshot))
    model = load("one/llama")
    assert (model.name, model.path, model.config) == ("llama", snapshot, config)
    (blobs / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(KvtuiError, match=r"model-00002-of-00002\.safetensors, which is missing"):
        load("one/llama")
    with pytest.raises(KvtuiError, match="repository in the Hugging Face cache"):
        load("one/other")
