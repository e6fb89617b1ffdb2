"""Paths in messages lead below the bucket folder, or nothing is opened."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from dataflow import trust
from dataflow.assembly import assemble
from dataflow.errors import Code, FactoryFault, RequestRejected
from dataflow.trust import open_regular, resolve_below


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a bucket folder that has a secret beside it."""
    (tmp_path / "secret_1").write_text("timestamp\n1\n")
    path = tmp_path / "buckets"
    (path / "inner").mkdir(parents=True)
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names that were opened since."""
    names: list[str] = []
    really_open = os.open

    def record(path: str | Path, flags: int, mode: int = 0o777) -> int:
        names.append(str(path))
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", record)
    return names


MISSING = ("~/secret_", "", "loop_of_folders/x_")
"""Prefixes that lead nowhere rather than elsewhere."""


def refusal(folder: Path, prefix: str) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        assemble(folder, prefix, [1], None, _Nowhere())
    return caught.value


class _Nowhere:
    def write(self, content: memoryview) -> None:
        raise AssertionError("nothing may be read")


@pytest.mark.parametrize(
    "prefix",
    [
        "../secret_",
        "inner/../../secret_",
        "{tmp}/secret_",
        "/dev/fd/",
        "/etc/passwd_",
        "link_to_folder/secret_",
        "link_to_file_",
        "link_to_link_",
        "link_to_itself_",
        "loop_of_folders/x_",
        "parts_that_lead_out_",
        "~/secret_",
        "",
    ],
)
def test_prefix_that_leads_elsewhere_is_refused_and_nothing_is_opened(
    folder: Path, opened: list[str], prefix: str
) -> None:
    (folder / "link_to_folder").symlink_to(folder.parent)
    (folder / "link_to_file_1").symlink_to(folder.parent / "secret_1")
    (folder / "link_to_link_1").symlink_to(folder / "link_to_file_1")
    (folder / "link_to_itself_1").symlink_to("link_to_itself_1")
    (folder / "loop_of_folders").symlink_to("inner/loop")
    (folder / "inner" / "loop").symlink_to("../loop_of_folders")
    (folder / "parts_that_lead_out_1_part-1").symlink_to(folder.parent / "secret_1")
    code = refusal(folder, prefix.format(tmp=folder.parent)).code
    assert code == (Code.MISSING_BUCKET if prefix in MISSING else Code.UNTRUSTED_PATH)
    assert opened == []


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "part"])
def test_what_is_no_regular_file_is_refused_and_not_opened(folder: Path, opened: list[str], kind: str) -> None:
    path = folder / "x_1"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.close()
    elif kind == "device":
        try:
            os.mknod(path, 0o020600, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("making a device needs privileges")
    else:
        (path / "part-1").mkdir(parents=True)
    assert refusal(folder, "x_").code == Code.UNTRUSTED_PATH
    assert opened == []


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000, "inner/../../../../../../../../etc/passwd"])
def test_name_that_no_file_can_have_is_refused(folder: Path, name: str) -> None:
    assert refusal(folder, name).code in (Code.UNTRUSTED_PATH, Code.MISSING_BUCKET)


@pytest.mark.parametrize("stem", ["[xy]_", "*_", "?_", "x_.", "(x_", "\\_"])
def test_characters_of_globs_and_patterns_are_characters(folder: Path, stem: str) -> None:
    (folder / "x_1").write_text("timestamp\n1\n")
    (folder / "x_1_part-1").write_text("timestamp\n1\n")
    assert refusal(folder, stem).code == Code.MISSING_BUCKET
    (folder / f"{stem}1_part-1").touch()
    assert assemble(folder, stem, [1], None, _Nowhere()).rows == 0


def test_links_within_the_bucket_folder_are_followed(folder: Path) -> None:
    (folder / "real").write_text("timestamp\n1\n")
    (folder / "inner" / "x_1").symlink_to("../real")
    assert resolve_below(folder, "inner/x_1") == folder.resolve() / "real"
    assert resolve_below(folder, str(folder / "inner" / "x_1")) == folder.resolve() / "real"


def test_bucket_folder_may_itself_be_a_link(folder: Path) -> None:
    (folder / "x_1").touch()
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert resolve_below(link, f"{link}/x_1") == folder.resolve() / "x_1"


def test_file_swapped_for_a_link_after_the_check_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "x_1").symlink_to(folder.parent / "secret_1")
    regular = os.lstat(folder.parent / "secret_1")
    monkeypatch.setattr(os, "lstat", lambda path: regular)
    with pytest.raises(RequestRejected), open_regular(folder / "x_1"):
        pass


def test_file_swapped_for_a_pipe_after_the_check_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(folder / "x_1")
    regular = os.lstat(folder.parent / "secret_1")
    monkeypatch.setattr(os, "lstat", lambda path: regular)
    with pytest.raises(RequestRejected) as caught, open_regular(folder / "x_1"):
        pass
    assert caught.value.code == Code.UNTRUSTED_PATH


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_our_own_want_of_descriptors_is_not_the_peers_fault(number: int) -> None:
    with pytest.raises(FactoryFault), trust.their_file("x"):
        raise OSError(number, "no more")


def test_unreadable_bucket_is_refused() -> None:
    with pytest.raises(RequestRejected) as caught, trust.their_file("x"):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert (caught.value.code, "Permission denied" in caught.value.text) == (Code.MISSING_BUCKET, True)
