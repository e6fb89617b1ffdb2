"""What a deployment decides about limits and about one model line: plain frozen structs with their defaults.

Knows no file and no environment; `config` reads these from TOML. What is not written there is what stands here.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from spst.hyperparameters import MAX_HORIZON, MAX_ORDER, Hyperparameters

Positive: TypeAlias = Annotated[int, Meta(ge=1)]
Natural: TypeAlias = Annotated[int, Meta(ge=0)]


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a peer can make the factory hold; every limit is inclusive."""

    message_bytes: Positive = 262_144
    """One message; a dead letter repeats it (at most twice as long), and brokers take 1 MiB by default."""
    json_depth: Positive = 16
    id_chars: Positive = 256
    params_chars: Positive = 65_536
    """The text of `params`."""
    buckets: Positive = 1_000
    """Ids in one `buckets_range`; a line's state names every one."""
    sweep: Positive = 1_000
    """Sets of hyperparameters in one opt_sweep."""
    waiting: Positive = 100
    """Commands of one line that wait for a dataset."""


class LineSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is configured about one model line."""

    pattern: str | None = None
    """Path of the `.sre` file; a line without one refuses its commands."""
    declarations: str | None = None
    """Path of the declarations that belong to it."""
    columns: tuple[str, ...] | None = None
    """Names of the columns of buckets without a header line."""
    search_space: tuple[str, ...] = ("p_min", "gamma")
    """Hyperparameters in the order of a `params` list, by `Hyperparameters`' field names."""
    baseline: Hyperparameters = Hyperparameters(order=2)
    """Where a command does not name a hyperparameter, this is its value."""
    min_events: Natural = 50
    max_bad_rows: Annotated[float, Meta(ge=0, le=1)] = 0.01
    """Share of rows that may lack a needed value."""
    repeats: Literal["silent", "answer"] = "silent"
    keep_models: Positive = 20
    wait_for_dataset_seconds: Annotated[float, Meta(ge=0)] | None = None
    """A command newer than what the dataset covers by more than this waits; None: nothing waits. Stream time."""
    max_order: Annotated[int, Meta(ge=0, le=MAX_ORDER)] = 6
    """Datasets are prepared for contexts up to this length."""
    k_max: Annotated[int, Meta(ge=1, le=MAX_HORIZON)] = 20
    """Datasets are prepared for forecasts up to this many events."""
    evaluation: str = "in-sample"
    """What a step's score is measured on: `in-sample`, `holdout:SHARE` or `last-bucket`."""
    alphabet: Literal["declared", "satisfiable"] = "declared"
    policy: Literal["overlap", "nonoverlap"] = "overlap"
    limits: Limits = Limits()
