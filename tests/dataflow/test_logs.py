from __future__ import annotations

import logging
import sys

import msgspec
import pytest

from dataflow import logs
from dataflow.errors import ConfigError, FactoryFault


@pytest.fixture(autouse=True)
def _configured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    logs.configure("INFO")


def test_log_of_a_handled_message_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.handled("line-1", "opt_step", "success", {"fit": 0.0123456789}, id=7, dataset_version=3)
    content = msgspec.json.decode(capsys.readouterr().err)
    assert content.pop("time").endswith("+00:00")
    assert content == {
        "level": "INFO",
        "logger": "dataflow",
        "event": "handled",
        "key": "line-1",
        "message": "opt_step",
        "result": "success",
        "id": 7,
        "dataset_version": 3,
        "seconds": {"fit": 0.012346},
    }


def test_log_keeps_to_its_level(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("dataflow.any").debug("not shown")
    assert capsys.readouterr().err == ""


def test_log_of_an_exception_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("what was wrong")
    except ValueError:
        logging.getLogger("dataflow.any").exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "what was wrong" in msgspec.json.decode(line)["traceback"]


@pytest.mark.parametrize("fault", [FactoryFault("the disk is full"), ConfigError("no such section")])
def test_fault_behind_what_bytewax_raises_ends_as_one_line(
    fault: FactoryFault, capsys: pytest.CaptureFixture[str]
) -> None:
    error = RuntimeError("error calling next_batch")
    error.__cause__ = fault
    sys.excepthook(RuntimeError, error, None)
    (line,) = capsys.readouterr().err.splitlines()
    content = msgspec.json.decode(line)
    assert (content["level"], content["event"]) == ("CRITICAL", "stopped")
    assert (content["fault"], content["text"]) == (type(fault).__name__, str(fault))


def test_any_other_error_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    sys.excepthook(KeyError, KeyError("a bug"), None)
    assert capsys.readouterr().err == "KeyError: 'a bug'\n"
