"""What is asked and checked about topics before anything is consumed.

Owns the first contact: whether brokers answer, whether the topics are there, allow what the factory does with them and
keep outputs long enough. What can be refused is refused here, at once and by name. It reads and writes no message.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from confluent_kafka import KafkaError, TopicCollection
from confluent_kafka.admin import AclOperation, ConfigResource, NewTopic, ResourceType

from dataflow.connectors.kafka_client import TLS_ALERT, Clients, Link, is_refusal, kafka_error
from dataflow.connectors.kafka_tls import tls_complaint
from dataflow.errors import FactoryFault
from dataflow.kafka_settings import TopicSettings

log = logging.getLogger(__name__)

K = TypeVar("K")

UNREACHABLE = {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}

_NO_ID = "A" * 22
"""What a broker without topic ids says: sixteen zero bytes in base64."""

_LOOK_AGAIN = 0.1
"""Seconds between two looks at a connection that is being made, and at a topic that is."""


@dataclass(frozen=True)
class Topic:
    """One topic as its brokers describe it.

    Parameters
    ----------
    name : str
        Its name at the broker.
    partitions : int
        Their number.
    identity : str
        Another one once the topic was deleted and made again: its id, or its name where brokers give none.
    max_bytes : int
        The largest batch of messages that it takes.
    """

    name: str
    partitions: int
    identity: str
    max_bytes: int = 1_000_000


class TopicCheck:
    """The questions to the brokers about one deployment's topics.

    Parameters
    ----------
    clients : Clients
        How brokers are reached.
    names : Mapping of str to str
        The topics' names by their logical names.
    """

    def __init__(self, clients: Clients, names: Mapping[str, str]) -> None:
        self._settings, self._names = clients.settings, names
        self._link = Link("admin")
        self._admin = clients.admin(self._link)
        self._deadline = time.monotonic() + clients.settings.connect_timeout

    def run(self, outputs: Collection[str], keep_seconds: float) -> dict[str, Topic]:
        """Return every topic by its logical name, once all of them can be used.

        Parameters
        ----------
        outputs : Collection of str
            Logical names of the topics that the factory writes to.
        keep_seconds : float
            How long they must keep messages: as long as journals repeat them.

        Raises
        ------
        FactoryFault
            No broker answers within `connect_timeout`, credentials or certificates are refused, topics are missing or
            forbidden, or an output topic forgets too early.
        """
        descriptions = self._described()
        if missing := [name for name in self._names if name not in descriptions]:
            self._create(missing)
            while len(descriptions) < len(self._names):
                time.sleep(_LOOK_AGAIN)
                if time.monotonic() > self._deadline:
                    raise FactoryFault(f"topics that were just created do not show: {self._listed(missing)}")
                descriptions = self._described()
        self._check_rights(descriptions, outputs)
        topics = {name: _topic(self._names[name], description) for name, description in descriptions.items()}
        topics |= self._configured({name: topics[name] for name in outputs}, keep_seconds) if outputs else {}
        self._link.end()
        return topics

    def _described(self) -> dict[str, Any]:
        """Return descriptions of the topics that exist, by logical name."""
        futures = self._admin.describe_topics(
            TopicCollection(list(self._names.values())),
            include_authorized_operations=True,
            request_timeout=self._time_left(),
        )
        found, forbidden = {}, []
        answers = self._answers(futures)
        for name, topic in self._names.items():
            answer = answers[topic]
            if not isinstance(answer, KafkaError):
                found[name] = answer
            elif answer.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                forbidden.append(name)
            elif answer.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise FactoryFault(f"topic {topic} cannot be described: {answer.str()}")
        if forbidden:
            raise self._forbidden("DESCRIBE", forbidden)
        return found

    def _create(self, missing: list[str]) -> None:
        if not self._settings.create_topics:
            raise FactoryFault(
                f"topics are missing: {self._listed(missing)}; create them, or set create_topics = true in [kafka]"
            )
        new = []
        for name in missing:
            wish = self._settings.topics.get(name, TopicSettings())
            new.append(NewTopic(self._names[name], wish.partitions, wish.replication or -1, config=wish.config))
        futures = self._admin.create_topics(new, request_timeout=self._time_left())
        for topic, answer in self._answers(futures).items():
            if not isinstance(answer, KafkaError):
                log.warning("created topic %s", topic)
            elif answer.code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another process of the cluster was first
                raise FactoryFault(f"topic {topic} cannot be created: {answer.str()}")

    def _check_rights(self, descriptions: Mapping[str, Any], outputs: Collection[str]) -> None:
        for operation, names in (("READ", list(self._names)), ("WRITE", list(outputs))):
            lacking = [name for name in names if not _allows(descriptions[name], operation)]
            if lacking:
                raise self._forbidden(operation, lacking)

    def _configured(self, topics: Mapping[str, Topic], keep_seconds: float) -> dict[str, Topic]:
        """Return the output topics with their size limits, if they keep messages long enough."""
        resources = {name: ConfigResource(ResourceType.TOPIC, topic.name) for name, topic in topics.items()}
        futures = self._admin.describe_configs(list(resources.values()), request_timeout=self._time_left())
        answers = self._answers(futures)
        return {name: _checked(topic, answers[resources[name]], keep_seconds) for name, topic in topics.items()}

    def _answers(self, futures: Mapping[K, Future[Any]]) -> dict[K, Any]:
        """Wait for answers, for as long as there is a hope of one; a refusal is an answer."""
        while wait(futures.values(), timeout=_LOOK_AGAIN).not_done:
            self._admin.poll(0)  # serves the link
            if (reason := self._link.reason) and is_refusal(reason):
                raise self._refused(reason)
        return {asked: self._answer(future) for asked, future in futures.items()}

    def _answer(self, future: Future[Any]) -> Any:
        error = future.exception()
        if error is None:
            return future.result()
        refusal = kafka_error(error)
        if refusal.code() in UNREACHABLE:
            self._admin.poll(0)
            raise self._unreachable(self._link.reason or refusal) from error
        return refusal

    def _unreachable(self, reason: KafkaError) -> FactoryFault:
        return FactoryFault(
            f"no broker of {', '.join(self._settings.brokers)} answered within {self._settings.connect_timeout:g} s: "
            f"{reason.str()}; check brokers and security in [kafka], and whether the broker is up"
        )

    def _refused(self, reason: KafkaError) -> FactoryFault:
        story = reason.str()
        if reason.code() == KafkaError._SSL:
            story = tls_complaint(self._settings) or story
        elif TLS_ALERT in story:
            story = f"the broker does not accept this client's certificate: {story}"
        return FactoryFault(f"no connection to the brokers: {story}; check security in [kafka]")

    def _forbidden(self, operation: str, names: list[str]) -> FactoryFault:
        user = self._settings.security.username or "this client"
        return FactoryFault(f"{user} has no right to {operation} these topics: {self._listed(names)}; add the ACLs")

    def _listed(self, names: Iterable[str]) -> str:
        return ", ".join(f"{self._names[name]} ({name})" for name in names)

    def _time_left(self) -> float:
        return max(1.0, self._deadline - time.monotonic())


def _topic(name: str, description: Any) -> Topic:
    topic_id = str(description.topic_id)
    return Topic(name, len(description.partitions), name if topic_id == _NO_ID else topic_id)


def _allows(description: Any, operation: str) -> bool:
    """Tell whether the client may do it; brokers that do not say are found out by trying."""
    allowed = description.authorized_operations
    return not allowed or AclOperation[operation] in allowed


def _checked(topic: Topic, configuration: Any, keep_seconds: float) -> Topic:
    if isinstance(configuration, KafkaError):
        advice = f"see to it that its retention.ms is at least {keep_seconds * 1000:.0f}"
        log.warning("topic %s: its configuration may not be read (%s); %s", topic.name, configuration.str(), advice)
        return topic
    retention = int(configuration["retention.ms"].value)  # -1: for ever
    if 0 <= retention < keep_seconds * 1000:
        raise FactoryFault(
            f"topic {topic.name} keeps messages for {retention / 1000:g} s, but journals repeat outputs of the last "
            f"{keep_seconds:g} s: set its retention.ms to {keep_seconds * 1000:.0f} or more, or keep less in journals"
        )
    return replace(topic, max_bytes=int(configuration["max.message.bytes"].value))
