"""The demo's neighbours without their processes: each meets a stand-in for the factory that acts whenever they rest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflow.config import load_config
from dataflow.connectors import kafka_reader
from dataflow.demo import broker, collector, topics
from dataflow.demo.__main__ import main
from dataflow.demo.board import Board
from dataflow.demo.collector import WEEK, Collector, days_of
from dataflow.demo.controller import SEARCH_SPACE, Controller, Refused
from dataflow.demo.engine import count_announced
from dataflow.demo.processes import DemoFailed, Process
from dataflow.demo.timetable import DAYS, WINDOW, answers_before, newest_due
from dataflow.demo.topics import ACKS, COMMANDS, DATASETS, REPORTS, FileTopic, Message, topics_at
from dataflow.errors import FactoryFault
from dataflow.params import field_of
from tests.brokers import HOST, NoidaDb, free_port

DEMO = WEEK.parents[1]
Answer = Callable[[Message], dict[str, Any]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("topics", "buckets"):
        (tmp_path / folder).mkdir()
    return tmp_path


def test_search_space_is_the_configured_one() -> None:
    settings = load_config(DEMO / "factory.toml", {}).defaults
    assert settings.search_space == tuple(field_of(name) for name in SEARCH_SPACE)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 12, 30])
def test_timetable_brings_two_days_into_the_search_and_the_last_one_after_it(steps: int) -> None:
    after = [answers_before(version, steps) for version in range(DAYS)]
    assert after == sorted(after)
    assert after[:WINDOW] == [0] * WINDOW
    assert all(1 < answers <= 1 + steps for answers in after[WINDOW:-1])
    assert after[-1] == 1 + steps + 1
    assert [newest_due(answers, steps) for answers in (0, 1, 1 + steps, 2 + steps)] == [3, 3, 5, 6]


def test_days_of_cuts_the_week_into_days_that_hold_every_row_once() -> None:
    days = dict(days_of(WEEK))
    begin = min(days)
    assert sorted(days) == [begin + number * 86_400 for number in range(DAYS)]
    assert sum(len(lines) - 1 for lines in days.values()) == 172_679
    for day, (header, *lines) in days.items():
        assert header.startswith("timestamp,")
        assert all(day <= int(line.partition(",")[0]) < day + 86_400 for line in (lines[0], lines[-1]))


@pytest.mark.parametrize(
    ("vessels", "positive", "detection", "announced"),
    [
        ("aaa", "010", "001", 1),
        ("aaa", "001", "001", 0),  # a forecast at the arrival itself is about the next one
        ("aaaa", "1000", "0001", 0),  # too early: two events are looked ahead
        ("aba", "010", "001", 0),  # of another vessel
        ("abaab", "10000", "00011", 1),
        ("", "", "", 0),
    ],
)
def test_count_announced(vessels: str, positive: str, detection: str, announced: int) -> None:
    def flags(text: str) -> list[bool]:
        return [letter == "1" for letter in text]

    assert count_announced(vessels, flags(positive), flags(detection), horizon=2) == announced


def test_topic_hands_out_no_line_before_its_newline(root: Path) -> None:
    topic, path = FileTopic(root, "reports"), root / "topics" / "reports.jsonl"
    assert topic.new() == []
    path.write_text('{"a": 1}\n{"a"')
    assert topic.new() == [{"a": 1}]
    with path.open("a") as file:
        file.write(": 2}\n")
    assert topic.new() == [{"a": 2}]


def test_collector_deletes_a_bucket_only_when_a_later_range_is_acknowledged(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices, acks, reports = (FileTopic(root, name) for name in (DATASETS, ACKS, REPORTS))
    pending: list[Message] = []
    seen: list[int] = []

    def on_disk() -> set[int]:
        return {int(path.name.removeprefix("day_")) for path in (root / "buckets").iterdir()}

    def factory() -> None:
        pending.extend(notices.new())
        oldest = min(notice["buckets_range"][0] for notice in pending) if pending else max(seen)
        assert {day for day in on_disk() if day >= oldest} >= set(pending[0]["buckets_range"] if pending else ())
        if pending:
            notice = pending.pop(0)
            assert set(notice["buckets_range"]) <= on_disk()
            seen.append(notice["buckets_range"][0])
            acks.send({"version": notice["version"], "buckets_range": notice["buckets_range"]})
        reports.send({"status": "success"})

    monkeypatch.setattr(collector, "rest", factory)
    Collector(root, steps=3, speed=1e9).run()
    days = sorted(dict(days_of(WEEK)))
    assert sorted(on_disk()) == days[-WINDOW:]
    assert seen == [days[max(0, version - WINDOW + 1)] for version in range(DAYS)]


def conversation(root: Path, monkeypatch: pytest.MonkeyPatch, steps: int, answer: Answer) -> list[Message]:
    """Let the controller talk to a stand-in that answers every command; return the commands."""
    commands, reports, acks, notices = (FileTopic(root, name) for name in (COMMANDS, REPORTS, ACKS, DATASETS))
    heard: list[Message] = []
    answers, announced = 0, 0

    def factory() -> None:
        nonlocal answers, announced
        for command in commands.new():
            heard.append(command)
            if command["type"] != "opt_initialise":
                reports.send({"reply_id": command["id"], "status": "success"} | answer(command))
                answers += 1
        while announced <= newest_due(answers, steps):
            notices.send({"version": announced, "timestamp": 1000 + announced})
            acks.send({"version": announced})
            announced += 1

    monkeypatch.setattr(topics, "rest", factory)
    Controller(root, steps=steps).run()
    factory()
    return heard


def params_of(command: Message) -> Any:
    return json.loads(command["params"])["params"]


def test_controller_searches_and_trains_with_what_was_best(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(command: Message) -> dict[str, Any]:
        if command["type"] != "opt_step":
            return {"metrics": ""}
        return {"metrics": json.dumps({"f_val": abs(params_of(command)[3] - 0.3)})}

    heard = conversation(root, monkeypatch, 6, answer)
    assert [command["type"] for command in heard] == (
        ["train", "opt_initialise", *["opt_step"] * 6, "opt_finalise", "train"]
    )
    session = heard[1:9]
    assert {command["timestamp"] for command in session} == {1003}
    assert heard[-1]["timestamp"] == 1006
    assert len({command["id"] for command in heard}) == len(heard)
    thresholds = [abs(params_of(step)[3] - 0.3) for step in session[1:7]]
    best = thresholds.index(min(thresholds))
    assert session[-1]["best_i"] == best
    assert list(params_of(heard[-1]).values()) == params_of(session[1 + best])


def test_controller_goes_on_after_a_failed_step(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = iter([True, False, True])

    def answer(command: Message) -> dict[str, Any]:
        if command["type"] == "opt_step" and next(failing):
            return {"status": "error", "error": "too smooth", "error_code": "bad_params"}
        return {"metrics": json.dumps({"f_val": 0.5})}

    heard = conversation(root, monkeypatch, 3, answer)
    assert heard[-2]["type"] == "opt_finalise"
    assert heard[-2]["best_i"] == 1


@pytest.mark.parametrize("refused", ["train", "opt_step", "opt_finalise"])
def test_controller_gives_up_when_the_factory_refuses_what_it_needs(
    root: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def answer(command: Message) -> dict[str, Any]:
        failed = {"status": "error", "error": "no such luck"}
        return failed if command["type"] == refused else {"metrics": json.dumps({"f_val": 0.5})}

    with pytest.raises(Refused, match="no such luck"):
        conversation(root, monkeypatch, 2, answer)


def test_controller_notices_that_its_session_was_not_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(command: Message) -> dict[str, Any]:
        return {"reply_id": "cmd-1", "status": "error", "error": "no dataset"} if command["type"] == "opt_step" else {}

    with pytest.raises(Refused, match="expected the answer to opt_step"):
        conversation(root, monkeypatch, 2, answer)


def test_board_tells_the_story_and_finds_the_best_step() -> None:
    board = Board()
    told: list[str] = []
    for number, mcc in enumerate([0.2, 0.5, None, 0.5]):
        command = {"id": f"cmd-{number}", "type": "opt_step", "params": '{"params": [0.001, 0.0005, 2, 0.3]}'}
        report: Message = {"reply_id": f"cmd-{number}", "status": "success", "metrics": json.dumps({"mcc": mcc})}
        if mcc is None:
            report = {"reply_id": f"cmd-{number}", "status": "error", "error": "gamma is too large"}
        told += [*board.take(COMMANDS, command), *board.take(REPORTS, report)]
    assert board.best is board.steps[1]
    assert "search begins" in told.pop(0)
    assert [line.endswith("best so far") for line in told] == [True, True, False, False]
    assert "gamma is too large" in told[2]


def test_demo_refuses_an_occupied_data_root_and_touches_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["--data-root", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"demo: {tmp_path} is occupied: choose an empty or new folder with --data-root\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_demo_does_not_begin_without_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=6_500_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert main(["--data-root", str(tmp_path / "root")]) == 1
    assert capsys.readouterr().err == f"demo: no space: 100 MB needed in {tmp_path}/root, 6 MB free\n"


def test_demo_says_where_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["--data-root", str(tmp_path / "file" / "root")]) == 1
    assert capsys.readouterr().err == f"demo: {tmp_path}/file/root/buckets: Not a directory\n"


@pytest.mark.parametrize("options", [["--steps", "0"], ["--speed", "0"], ["--speed", "nan"], ["--speed", "fast"]])
def test_demo_refuses_options_out_of_range(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(options)
    assert exit_.value.code == 2
    assert options[0] in capsys.readouterr().err


@pytest.mark.parametrize("address", ["localhost", ":9092", "localhost:", "localhost:kafka", "localhost:65536", ""])
def test_demo_refuses_what_is_no_address_of_a_broker(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--bootstrap", address])
    assert exit_.value.code == 2
    assert f"--bootstrap must be HOST:PORT, not {address!r}" in capsys.readouterr().err


def test_demo_refuses_two_brokers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--kafka", "--bootstrap", "localhost:9092"])
    assert exit_.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_demo_says_that_nobody_listens_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"{HOST}:{free_port()}"
    assert main(["--data-root", str(tmp_path / "root"), "--bootstrap", address]) == 1
    assert capsys.readouterr().err == f"demo: no broker at {address}: Connection refused\n"
    assert not (tmp_path / "root").exists()


def test_demo_says_what_its_broker_says_when_it_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "noida_command", lambda folder, port: ["sh", "-c", "echo no luck today; exit 3"])
    assert main(["--data-root", str(tmp_path), "--plain", "--kafka"]) == 1
    log = tmp_path / "logs" / "broker.log"
    assert capsys.readouterr().err == f"demo: the broker ended with status 3: no luck today ({log})\n"


def test_own_broker_that_ends_by_itself_is_the_reason_for_what_fails_then(tmp_path: Path) -> None:
    def lose_it() -> None:
        with broker.own_broker(tmp_path) as (process, address):
            assert topics_at(tmp_path, address)(REPORTS).is_empty()
            os.kill(process.pid, signal.SIGKILL)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            raise FactoryFault("its offsets cannot be had")

    (tmp_path / "logs").mkdir()
    with pytest.raises(DemoFailed, match="the broker ended with status -9: "):
        lose_it()


def test_demo_without_its_broker_installed_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "noida_db", None)
    assert main(["--data-root", str(tmp_path), "--plain", "--kafka"]) == 1
    assert capsys.readouterr().err == (
        "demo: noida-db is not installed: ./run.sh demo --kafka does it, or pip install '.[broker]'\n"
    )


def test_demo_does_not_mix_with_an_earlier_run_at_a_broker(
    own_noida: NoidaDb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_noida.make_topic(3, REPORTS)
    own_noida.send(REPORTS, b"not even JSON", partition=2)
    assert main(["--data-root", str(tmp_path), "--plain", "--bootstrap", own_noida.address]) == 1
    assert capsys.readouterr().err == (
        f"demo: topics at {own_noida.address} hold messages of an earlier run: model_reports; "
        "delete them, or let the demo start a broker of its own with --kafka\n"
    )


@pytest.mark.parametrize("partitions", [1, 3])
def test_topic_at_a_broker_hands_out_everything_once_as_a_topic_file_does(
    own_noida: NoidaDb, root: Path, partitions: int
) -> None:
    own_noida.make_topic(partitions, REPORTS)
    for topics_of in (topics_at(root, None), topics_at(root, own_noida.address)):
        writer, reader = topics_of(REPORTS), topics_of(REPORTS)
        assert reader.is_empty()
        assert reader.new() == []
        messages: list[Message] = [{"number": number} for number in range(20)]
        for message in messages[:10]:
            writer.send(message)
        assert not reader.is_empty()
        assert reader.new() == messages[:10]
        assert reader.new() == []
        for message in messages[10:]:
            writer.send(message)
        followed = reader.follow()
        assert [next(followed) for _ in range(10)] == messages[10:]


def test_topic_at_a_broker_repeats_no_message_that_came_while_it_looked(
    own_noida: NoidaDb, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = topics_at(root, own_noida.address)(REPORTS)
    messages: list[Message] = [{"number": number} for number in range(20)]
    for message in messages:
        topic.send(message)
    with monkeypatch.context() as patch:
        patch.setattr(kafka_reader, "watermarks", lambda *_: (0, 1))  # as they were before the others came
        found = topic.new()
    assert found + topic.new() == messages


def test_topic_at_a_broker_says_that_it_takes_no_message(own_noida: NoidaDb, root: Path) -> None:
    own_noida.make_topic(1, REPORTS, max_message_bytes="1000")
    topic = topics_at(root, own_noida.address)(REPORTS)
    with pytest.raises(FactoryFault, match="model_reports takes no message: Broker: Message size too large"):
        topic.send({"story": "long" * 1000})


def test_process_is_not_asked_to_end_before_it_can_hear_it(tmp_path: Path) -> None:
    """Imports take a second: SIGTERM before the handler is there would simply end the process."""
    program = (
        "import signal, sys, time; time.sleep(1); signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); signal.pause()"
    )
    (tmp_path / "logs").mkdir()
    process = Process("slow", [sys.executable, "-c", program], tmp_path, {})
    process.await_handler()  # not started: nothing to wait for
    process.start()
    process.await_handler()
    assert process.stop() == 7
    process.await_handler()  # ended: nothing to wait for
