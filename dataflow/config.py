"""One TOML file and a few environment variables -> the frozen configuration of a deployment.

Owns reading, overriding and refusing. What can be configured about a line stands in `settings` and `sections`, about
brokers in `kafka_settings`. Everything is checked at start: an unknown field, a missing pattern, two keys for one
folder. Secrets are not part of it (see `kafka_settings`). `python -m dataflow.config` prints the result.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from dataflow.decoding import KEY_FORM
from dataflow.errors import ConfigError
from dataflow.kafka_settings import KafkaSettings, with_environment, with_folder
from dataflow.sections import Section, canonical, line_settings, over
from dataflow.settings import Limits, LineSettings

TOPICS = {
    "commands": "factory_commands",
    "datasets": "dataset_versions",
    "reports": "model_reports",
    "models": "model_versions",
    "acks": "assembly_reports",
    "dead_letters": "factory_dead_letters",
}
"""Logical name -> default name of the topic, or of its file without `.jsonl`."""

TOPIC_FORM = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,248}")
"""What Kafka allows, and no hidden file."""

OVERRIDES = {
    "FACTORY_CONNECTOR": "connector",
    "FACTORY_DATA_ROOT": "data_root",
    "FACTORY_DURABILITY": "durability",
    "FACTORY_LOG_LEVEL": "log_level",
}
"""Environment variable -> field that it overrides; `FACTORY_BROKERS` and `FACTORY_KAFKA_*` are in `kafka_settings`."""

_T = TypeVar("_T")


class JournalSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a line's history its journal keeps: the newest entries by number or by age, whichever are more."""

    entries: Annotated[int, Meta(ge=1)] = 10_000
    hours: Annotated[float, Meta(ge=0)] = 24.0


class MemorySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker holds in memory so as not to make it again; what was not used for the longest time goes first."""

    prepared_mib: Annotated[float, Meta(ge=0)] = 1024.0
    """Datasets prepared for training, all lines together."""
    symbols_mib: Annotated[float, Meta(ge=0)] = 256.0
    """Symbols of single buckets, for the next dataset that contains them."""


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration file as it is written."""

    connector: Literal["files", "kafka"] = "files"
    data_root: Annotated[str, Meta(min_length=1)] = "data"
    buckets: Annotated[str, Meta(min_length=1)] = "buckets"
    durability: Literal["full", "process"] = "full"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    predicates: tuple[str, ...] = ()
    topics: dict[str, str] = {}
    limits: Limits = Limits()
    journal: JournalSettings = JournalSettings()
    memory: MemorySettings = MemorySettings()
    kafka: KafkaSettings = KafkaSettings()
    defaults: Section = {}
    lines: dict[str, Section] = {}


@dataclass(frozen=True)
class Config:
    """Everything that a deployment decides.

    Attributes
    ----------
    connector : "files" or "kafka"
        Where messages come from and go to.
    data_root : Path
        The volume; lines, topics of the file connector and buckets are below it.
    buckets : Path
        The folder that paths in messages must lie in, below the root.
    durability : "full" or "process"
        "process" leaves out the fsyncs of journal entries that announce nothing.
    log_level : str
        Least severe level that is logged.
    predicates : tuple of str
        Modules that register predicates, imported at start.
    topics : Mapping of str to str
        Logical name -> name of the topic.
    limits, journal, memory, kafka
        See their classes.
    defaults : LineSettings
        The settings of every key without a section.
    lines : Mapping of str to LineSettings
        The settings of the keys that have one.
    """

    connector: Literal["files", "kafka"]
    data_root: Path
    buckets: Path
    durability: Literal["full", "process"]
    log_level: Literal["debug", "info", "warning", "error"]
    predicates: tuple[str, ...]
    topics: Mapping[str, str]
    limits: Limits
    journal: JournalSettings
    memory: MemorySettings
    kafka: KafkaSettings
    defaults: LineSettings
    lines: Mapping[str, LineSettings]

    def line(self, key: str) -> LineSettings:
        """Return the settings of a model line: its section's, or the defaults."""
        return self.lines.get(key, self.defaults)


def load_config(path: str | Path | None, environment: Mapping[str, str]) -> Config:
    """Read the configuration.

    Parameters
    ----------
    path : path or None
        The TOML file; None: the one that `FACTORY_CONFIG` names, and without one the defaults. Relative paths in the
        file start from its folder, those in the environment from the working directory.
    environment : Mapping of str to str
        What overrides the file.

    Raises
    ------
    ConfigError
        Naming the file, the field and what was expected.
    """
    named = path or environment.get("FACTORY_CONFIG") or None
    source = Path(named).absolute() if named else None
    folder = source.parent if source else Path.cwd()
    fields = _read(source) if source else {}
    overrides = {field: environment[name] for name, field in OVERRIDES.items() if environment.get(name)}
    if isinstance(fields.get("data_root"), str) and fields["data_root"]:
        fields["data_root"] = str(folder / fields["data_root"])
    where = str(source or "the configuration")
    file = _convert(fields | overrides, _File, f"{where} under {overrides}" if overrides else where)
    _check_keys(file.lines, where)
    defaults = canonical(file.defaults, folder, f"{where}: [defaults]")
    titles = {key: f"{where}: [lines.{key}]" for key in file.lines}
    sections = {key: canonical(section, folder, titles[key]) for key, section in file.lines.items()}
    root = Path(file.data_root).absolute()
    return Config(
        connector=file.connector,
        data_root=root,
        buckets=root / _below(file.buckets, where),
        durability=file.durability,
        log_level=file.log_level,
        predicates=file.predicates,
        topics=_topics(file.topics, where),
        limits=file.limits,
        journal=file.journal,
        memory=file.memory,
        kafka=with_environment(with_folder(file.kafka, folder), environment),
        defaults=line_settings(defaults, file.limits, f"{where}: [defaults]"),
        lines={
            key: line_settings(over(defaults, section), file.limits, titles[key]) for key, section in sections.items()
        },
    )


def effective(config: Config) -> str:
    """Return the configuration as indented JSON; it holds no secret."""
    return msgspec.json.format(msgspec.json.encode(config, enc_hook=str), indent=2).decode()


def _read(source: Path) -> Section:
    try:
        fields: Section = msgspec.toml.decode(source.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: {error}") from error
    return fields


def _convert(fields: Section, kind: type[_T], where: str) -> _T:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_keys(keys: Mapping[str, Section], where: str) -> None:
    """Refuse a key that cannot be a folder, and two that may share one: not every volume tells case apart."""
    folders: dict[str, str] = {}
    for key in keys:
        if not KEY_FORM.fullmatch(key):
            raise ConfigError(f"{where}: [lines.{key}]: expected a key of the form {KEY_FORM.pattern}")
        if (other := folders.setdefault(key.casefold(), key)) != key:
            raise ConfigError(f"{where}: [lines.{other}] and [lines.{key}] differ in case only and may share a folder")


def _below(folder: str, where: str) -> PurePath:
    path = PurePath(folder)
    if path.is_absolute() or ".." in path.parts:
        raise ConfigError(f"{where}: buckets: expected a folder below data_root, came {folder!r}")
    return path


def _topics(given: Mapping[str, str], where: str) -> Mapping[str, str]:
    """Return the name of every topic."""
    topics = TOPICS | dict(given)
    if unknown := sorted(given.keys() - TOPICS.keys()):
        raise ConfigError(f"{where}: [topics]: expected {', '.join(TOPICS)}, came {', '.join(unknown)}")
    if wrong := sorted(name for name in topics.values() if not TOPIC_FORM.fullmatch(name)):
        raise ConfigError(f"{where}: [topics]: expected names of the form {TOPIC_FORM.pattern}, came {wrong}")
    if len(set(topics.values())) < len(topics):
        raise ConfigError(f"{where}: [topics]: expected a name of its own for each, came {topics}")
    return topics


EXAMPLE = """\
connector = "files"                  # or "kafka"
data_root = "data"                   # relative to this file
[defaults]                           # settings of every model line
pattern = "arrival.sre"              # relative to this file
search_space = ["pMin", "gamma"]     # the order of an opt_step's parameters
baseline = { pMin = 0.001, order = 3 }
[lines.harbour]                      # settings of the line "harbour", over the defaults
min_events = 500
[limits]                             # how much a peer can make the factory hold
sweep = 500
"""

HELP = f"""\
Print the effective configuration of the factory as JSON, or the one line that says why it cannot be used.

The file is TOML. Every field may be left out, an unknown one is refused; the output names every field with its value:

{EXAMPLE}
Further tables are [topics], [journal], [memory] and [kafka].
"""


def main(arguments: list[str] | None = None) -> int:
    """Print the effective configuration; 0 if it can be used."""
    parser = argparse.ArgumentParser(
        prog="python -m dataflow.config", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.epilog = f"Environment: FACTORY_CONFIG, FACTORY_BROKERS, FACTORY_KAFKA_*, {', '.join(OVERRIDES)}."
    parser.add_argument("file", nargs="?", help="the TOML file (default: the one FACTORY_CONFIG names)")
    try:
        print(effective(load_config(parser.parse_args(arguments).file, os.environ)))
    except ConfigError as error:
        print(f"configuration: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
