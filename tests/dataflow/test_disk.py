"""Our own disk: its faults stop the flow, its lease keeps a second factory out."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dataflow.disk import check_volume
from dataflow.errors import FactoryFault


def test_volume_that_works_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "lines").mkdir()
    check_volume(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lines"]


def test_volume_that_is_missing_is_made(tmp_path: Path) -> None:
    check_volume(tmp_path / "new" / "root")
    assert list((tmp_path / "new" / "root").iterdir()) == []


def test_volume_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FactoryFault, match=f"^{tmp_path}/file/root: cannot make and write it: Not a directory$"):
        check_volume(tmp_path / "file" / "root")


@pytest.mark.parametrize(
    ("function", "failure"),
    [("open", errno.EROFS), ("write", errno.ENOSPC), ("fsync", errno.EIO), ("replace", errno.EPERM)],
)
def test_volume_that_refuses_is_named_and_left_as_it_was(
    function: str, failure: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(FactoryFault) as caught:
        check_volume(tmp_path)
    monkeypatch.undo()
    assert str(caught.value) == f"{tmp_path}: cannot make and write it: {os.strerror(failure)}"
    assert list(tmp_path.iterdir()) == []


def test_volume_that_does_not_replace_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", lambda _old, _new: None)
    with pytest.raises(FactoryFault, match="does not replace files as POSIX has it"):
        check_volume(tmp_path)
