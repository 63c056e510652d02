"""Files are written whole or not at all, with the modes that any other program would give them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvtui.core.errors import KvtuiError
from kvtui.core.files import write_whole


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path: Path, umask: None) -> None:
    write_whole(tmp_path / "f", [b"one, ", b"two"])
    assert (tmp_path / "f").read_bytes() == b"one, two"
    assert mode(tmp_path / "f") == 0o640


@pytest.mark.parametrize("kept", [0o600, 0o664, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, umask: None, kept: int) -> None:
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "f").chmod(kept)
    write_whole(tmp_path / "f", [b"new"])
    assert (tmp_path / "f").read_bytes() == b"new"
    assert mode(tmp_path / "f") == kept


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "f").symlink_to("there/target")
    for content in (b"first", b"second"):  # of a link to nothing yet, and to a file
        write_whole(tmp_path / "f", [content])
        assert (tmp_path / "f").is_symlink()
        assert (tmp_path / "there/target").read_bytes() == content
    assert os.listdir(tmp_path / "there") == ["target"]


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").symlink_to("g")
    (tmp_path / "g").symlink_to("f")
    with pytest.raises(KvtuiError, match="cannot write"):
        write_whole(tmp_path / "f", [b""])


def test_it_is_on_disk_before_it_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda *args: (done.append("fsync"), fsync(*args)))
    monkeypatch.setattr(os, "replace", lambda *args: (done.append("replace"), replace(*args)))
    write_whole(tmp_path / "f", [b"x"])
    assert done == ["fsync", "replace"]


@pytest.mark.parametrize("broken", ["fsync", "replace", "fchmod"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    (tmp_path / "f").write_bytes(b"old")

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(KvtuiError, match="No space left on device"):
        write_whole(tmp_path / "f", [b"new"])
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    write_whole(tmp_path / ("x" * 255), [b"x"])
    assert os.listdir(tmp_path) == ["x" * 255]
    with pytest.raises(KvtuiError, match="File name too long"):
        write_whole(tmp_path / ("x" * 256), [b"x"])
