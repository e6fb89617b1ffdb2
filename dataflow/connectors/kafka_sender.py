"""Sending lines to one partition of a topic, in transactions, from a thread of its own.

A transaction takes milliseconds, whatever is in it. So lines that come while one is being committed wait for the next:
the slower the broker, the larger the transactions, and a flood of dead letters holds up no command. Every delivery is
checked. The first failure is final: it is raised in the worker's thread, and what was not committed is sent again after
a restart. It knows nothing of marks and snapshots.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message

from dataflow import metrics, shutdown
from dataflow.connectors import Line
from dataflow.connectors.kafka_admin import Topic
from dataflow.connectors.kafka_client import SLICE, Clients, Link, kafka_error
from dataflow.errors import FactoryFault
from dataflow.messages import split_source_id

log = logging.getLogger(__name__)

SOURCE_ID = "source-id"
"""The header that carries an output's identity."""

WAITING = 1000
"""Lines that may wait for a transaction before the worker waits too, and the most that one transaction takes."""

CLOSING = 5.0
"""Seconds that a thread gets to end, and outputs to leave after SIGTERM: a flow that ends must not hang."""

INITIALISE = "initialise transactions"

LARGEST_BYTES = 1_000_000_000
"""librdkafka's own upper limit for one message: whether a message is too large is for the broker to say."""


class Sender:
    """Sends lines to one partition, every one once and in order.

    Parameters
    ----------
    clients : Clients
        How brokers are reached.
    topic : Topic
        Where lines go.
    number : int
        Its partition.

    Raises
    ------
    FactoryFault
        If transactions cannot be initialised: no right to the transactional id, no coordinator within `outage_timeout`.
    """

    def __init__(self, clients: Clients, topic: Topic, number: int) -> None:
        self._topic, self._number, self._timeout = topic, number, clients.settings.outage_timeout
        self._id = f"{clients.settings.transactional_id}-{topic.name}-{number}"
        self._link = Link(f"{topic.name}/{number}")
        self._producer = clients.producer(
            self._link,
            transactional_id=self._id,
            transaction_timeout_ms=int(self._timeout * 1000),
            message_timeout_ms=int(self._timeout * 1000),
            batch_size=min(1_000_000, topic.max_bytes),
            message_max_bytes=LARGEST_BYTES,
            linger_ms=0,
        )
        self._changed = threading.Condition()
        self._waiting: list[Line] = []
        self._busy = self._closing = False
        self._fault: Exception | None = None
        self._refusal: str | None = None
        self._end = 0
        self._insist(self._producer.init_transactions, INITIALISE)
        self._thread = threading.Thread(target=self._run, name=self._id, daemon=True)

    def start(self, end: int) -> None:
        """Begin to send.

        Parameters
        ----------
        end : int
            The offset at which the partition ends before.
        """
        self._end = end
        self._thread.start()

    def send(self, lines: Sequence[Line]) -> None:
        """Take lines to be sent; raise what became of earlier ones.

        Raises
        ------
        FactoryFault
            If an earlier line could not be delivered.
        """
        with self._changed:
            self._await(lambda: len(self._waiting) < WAITING)
            self._waiting.extend(lines)
            self._changed.notify_all()

    def flush(self) -> int:
        """Wait until every line is committed; return the offset at which the partition ends.

        Raises
        ------
        FactoryFault
            If a line could not be delivered.
        """
        with self._changed:
            self._await(lambda: not (self._waiting or self._busy))
            return self._end

    def close(self) -> None:
        """Send what is left and end the thread; one that waits for a broker is left to end with the process."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSING)

    def _await(self, done: Callable[[], bool]) -> None:
        """Wait for the thread, which `_changed` guards; one who was asked to end does not wait for a broker."""
        asked = None
        while not (done() or self._fault):
            self._changed.wait(SLICE)
            asked = asked or (time.monotonic() if shutdown.requested() else None)
            if asked and time.monotonic() > asked + CLOSING:
                self._fault = FactoryFault(
                    f"{self._topic.name}[{self._number}]: asked to end while outputs wait for the broker "
                    f"({self._link.explanation()}); the journals have them, the next start sends them"
                )
        if self._fault:
            raise self._fault

    def _run(self) -> None:
        try:
            while self._next_transaction():
                pass
        except Exception as error:  # whatever it is, it is raised where the flow sees it
            log.error("%s", error)
            with self._changed:
                self._fault = error
                self._changed.notify_all()

    def _next_transaction(self) -> bool:
        """Send lines that wait; False once there are none and never will be."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing, timeout=SLICE)
            if self._closing and not self._waiting:
                return False
            lines, self._waiting = self._waiting[:WAITING], self._waiting[WAITING:]
            self._busy = True
        if lines:
            self._transact(lines)
        self._producer.poll(0)  # serves the link
        with self._changed:
            self._busy = False
            self._changed.notify_all()
        return True

    def _transact(self, lines: Sequence[Line]) -> None:
        try:
            self._producer.begin_transaction()
            for source_id, text in lines:
                self._producer.produce(
                    self._topic.name,
                    text,
                    key=split_source_id(source_id)[0],
                    partition=self._number,
                    headers=[(SOURCE_ID, source_id.encode())],
                    on_delivery=partial(self._delivered, source_id, len(text)),
                )
        except KafkaException as error:
            raise self._failure(kafka_error(error), "begin a transaction") from error
        self._insist(self._producer.commit_transaction, "commit a transaction")
        self._link.connected()

    def _delivered(self, source_id: str, size: int, error: KafkaError | None, message: Message) -> None:
        offset = message.offset()
        if error is None and offset is not None:
            self._end = offset + 1
        elif error is not None and self._refusal is None:
            metrics.delivery_failure(self._topic.name)
            self._refusal = f"output {source_id} of {size} bytes was not taken: {error.str()}"
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                limit = f"the topic takes {self._topic.max_bytes}: raise its max.message.bytes, or lower [limits]"
                self._refusal += f"; {limit}; once that is done nothing is lost"

    def _insist(self, call: Callable[[float], None], doing: str) -> None:
        """Call until it is done; how long a broker may stay away is bounded."""
        deadline, told = time.monotonic() + self._timeout, False
        while True:
            try:
                call(SLICE)
            except KafkaException as error:
                reason = kafka_error(error)
                if reason.retriable() and time.monotonic() < deadline:
                    if not told:
                        log.warning("%s[%d]: cannot %s yet: %s", self._topic.name, self._number, doing, reason.str())
                    told = True
                    continue
                raise self._failure(reason, doing) from error
            return

    def _failure(self, reason: KafkaError, doing: str) -> FactoryFault:
        if reason.code() == KafkaError._FENCED:
            why = f"another process has taken over the transactional id {self._id}; this one must not write any more"
        elif reason.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            why = f"no right to WRITE and DESCRIBE the transactional id {self._id}: add the ACLs"
        else:
            why = self._refusal or f"{reason.str()} ({self._link.explanation()})"
            if doing == INITIALISE:
                why += "; does transaction.state.log.replication.factor ask for more brokers than there are?"
        return FactoryFault(f"{self._topic.name}[{self._number}]: cannot {doing}: {why}")
