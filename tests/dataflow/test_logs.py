"""One canonical line for every message, and one for the fault that stops the flow."""

from __future__ import annotations

import logging
import sys

import msgspec
import pytest

from dataflow import logs
from dataflow.errors import ConfigError, FactoryFault


class Log:
    """What comes out after `configure`, undone at the end of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def configure(self, level: str) -> None:
        self._monkeypatch.setattr(logging.root, "handlers", [])
        self._monkeypatch.setattr(logging.root, "level", logging.WARNING)
        self._monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        logs.configure(level)

    def lines(self) -> list[str]:
        return self._capsys.readouterr().err.splitlines()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Log:
    return Log(monkeypatch, capsys)


def test_log_of_a_handled_message_is_one_line_of_json(log: Log) -> None:
    log.configure("INFO")
    logs.handled("line-1", "opt_step", "success", {"fit": 0.0123456789}, id=7, dataset_version=3)
    (line,) = log.lines()
    content = msgspec.json.decode(line)
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


def test_log_tells_what_a_start_found(log: Log) -> None:
    log.configure("debug")
    logs.opened("line-1", 7, 3)
    logs.known("line-1", "train", "commands", "0", 120)
    shown = [msgspec.json.decode(line) for line in log.lines()]
    assert [(each["event"], each["key"]) for each in shown] == [("opened", "line-1"), ("known", "line-1")]
    assert (shown[0]["seq"], shown[0]["backlog"], shown[1]["offset"]) == (7, 3, 120)


def test_log_keeps_to_its_level(log: Log) -> None:
    log.configure("INFO")
    logging.getLogger("dataflow.any").debug("not shown")
    assert log.lines() == []


def test_log_of_an_exception_stays_one_line(log: Log) -> None:
    log.configure("INFO")
    try:
        raise ValueError("what was wrong")
    except ValueError:
        logging.getLogger("dataflow.any").exception("failed")
    (line,) = log.lines()
    assert "what was wrong" in msgspec.json.decode(line)["traceback"]


@pytest.mark.parametrize("fault", [FactoryFault("the disk is full"), ConfigError("no such section")])
def test_fault_behind_what_bytewax_raises_ends_as_one_line(fault: FactoryFault, log: Log) -> None:
    log.configure("INFO")
    error = RuntimeError("error calling next_batch")
    error.__cause__ = fault
    sys.excepthook(RuntimeError, error, None)
    (line,) = log.lines()
    content = msgspec.json.decode(line)
    assert (content["level"], content["event"]) == ("CRITICAL", "stopped")
    assert (content["fault"], content["text"]) == (type(fault).__name__, str(fault))


def test_any_other_error_keeps_its_traceback(log: Log) -> None:
    log.configure("INFO")
    sys.excepthook(KeyError, KeyError("a bug"), None)
    assert log.lines() == ["KeyError: 'a bug'"]
