"""Files of a line: complete under their names, with their modes, and noticed when somebody swaps them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from dataflow import storage
from dataflow.errors import FactoryFault
from dataflow.storage import LineFiles, draft, write_file
from tests.dataflow.workshop import rewrite
from tests.e2e.volumes import fill, small_volume


@pytest.fixture(params=[0o022, 0o077, 0o000])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def files(tmp_path: Path) -> LineFiles:
    line = LineFiles(tmp_path, "k")
    line.prepare()
    return line


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


@pytest.mark.usefixtures("umask")
def test_files_and_folders_have_their_modes_whatever_the_umask(tmp_path: Path) -> None:
    line = LineFiles(tmp_path, "k")
    line.prepare()
    line.write("models/m", b"x")
    modes = {path.relative_to(tmp_path): stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "lines").rglob("*")}
    assert modes == {
        Path("lines/k"): 0o750,
        Path("lines/k/datasets"): 0o750,
        Path("lines/k/models"): 0o750,
        Path("lines/k/models/m"): 0o640,
    }


@pytest.mark.parametrize("key", ["../x", "", ".hidden", "a/b", "a\0b", "x" * 65, "a\n"])
def test_key_that_is_none_never_becomes_a_path(tmp_path: Path, key: str) -> None:
    with pytest.raises(FactoryFault):
        LineFiles(tmp_path, key)


def test_draft_that_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with draft(tmp_path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    (tmp_path / "x").write_bytes(b"before")
    with pytest.raises(ZeroDivisionError):
        write_half()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"before"}


def test_kept_draft_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"before")
    write_file(tmp_path / "x", b"after")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"after"}


@pytest.mark.parametrize(("durable", "expected"), [(True, ["file", "rename", "folder"]), (False, ["rename"])])
def test_content_is_flushed_before_the_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool, expected: list[str]
) -> None:
    deeds: list[str] = []
    fsync, replace = os.fsync, os.replace

    def fsynced(fd: int) -> None:
        deeds.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        fsync(fd)

    def replaced(source: Path, target: Path) -> None:
        deeds.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsynced)
    monkeypatch.setattr(os, "replace", replaced)
    write_file(tmp_path / "x", b"content", durable=durable)
    assert deeds == expected


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_refused_write_is_our_fault_and_leaves_what_was_there(
    files: LineFiles, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    files.write("models/m", b"before")

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(FactoryFault, match=os.strerror(number)):
            files.write("models/m", b"after")
    assert {path.name: path.read_bytes() for path in files.path("models").iterdir()} == {"m": b"before"}


def test_full_volume_is_our_fault_and_leaves_what_was_there(tmp_path: Path) -> None:
    root = tmp_path / "volume"
    with small_volume(root):
        write_file(root / "x", b"before")
        filler = fill(root)
        with pytest.raises(FactoryFault, match="No space left"):
            write_file(root / "x", bytes(100_000))
        filler.unlink()
        assert {path.name: path.read_bytes() for path in root.iterdir()} == {"x": b"before"}


def test_prepare_sweeps_the_drafts_of_a_crash(files: LineFiles) -> None:
    for folder in ("", "datasets", "models"):
        (files.path(folder) / ".draft").write_bytes(b"half")
    LineFiles(files.folder.parents[1], "k").prepare()
    assert [path for path in files.folder.rglob("*") if path.is_file()] == []


def test_root_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FactoryFault, match="No such file"):
        LineFiles(tmp_path / "not mounted", "k").prepare()


def test_written_file_is_intact_until_it_changes(files: LineFiles) -> None:
    files.write("models/m", b"content")
    assert files.is_intact("models/m", digest(b"content"))
    assert not files.is_intact("models/m", digest(b"other"))
    assert not files.is_intact("models/missing", digest(b"content"))


def test_change_is_noticed_though_size_and_time_are_as_before(files: LineFiles) -> None:
    path = files.path("models/m")
    files.write("models/m", b"content")
    assert files.is_intact("models/m", digest(b"content"))
    times = path.stat()
    rewrite(path, b"CONTENT")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not files.is_intact("models/m", digest(b"content"))


@pytest.mark.parametrize("swap", ["file", "link", "folder"])
def test_file_swapped_for_another_is_noticed(files: LineFiles, tmp_path: Path, swap: str) -> None:
    path = files.path("models/m")
    files.write("models/m", b"content")
    files.trust("models/m", digest(b"content"))
    (tmp_path / "copy").write_bytes(b"content" if swap == "link" else b"forgery")
    path.unlink()
    if swap == "file":
        (tmp_path / "copy").rename(path)
    elif swap == "link":
        path.symlink_to(tmp_path / "copy")
    else:
        path.mkdir()
    assert not files.is_intact("models/m", digest(b"content"))


def test_unchanged_file_is_read_once(files: LineFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    really_read = storage._sha256_of

    def record(path: Path) -> str:
        read.append(path)
        return really_read(path)

    monkeypatch.setattr(storage, "_sha256_of", record)
    files.write("models/m", b"content")
    assert files.is_intact("models/m", digest(b"content"))
    assert files.is_intact("models/m", digest(b"content"))
    assert read == [files.path("models/m")]
    files.write("models/n", b"content")
    files.trust("models/n", digest(b"content"))
    assert files.is_intact("models/n", digest(b"content"))
    assert len(read) == 1


def test_delete_tolerates_what_is_gone(files: LineFiles) -> None:
    files.write("models/m", b"x")
    files.delete(["models/m", "models/never"])
    files.delete(["models/m"])
    assert not files.hold_anything()


def test_line_holds_something_once_it_has_a_file(files: LineFiles, tmp_path: Path) -> None:
    assert not LineFiles(tmp_path, "new").hold_anything()
    assert not files.hold_anything()
    files.write("datasets/d", b"")
    assert files.hold_anything()
    assert files.written_at("datasets/d") is not None
    assert files.written_at("datasets/other") is None
