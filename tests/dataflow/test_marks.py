"""What a sink knows to have written, per owner."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dataflow.connectors.marks import Marks
from tests.dataflow.connector_contract import line

OWNERS = ("a", "b", "commands", "@commands/0", "@commands/1")


@given(st.lists(st.tuples(st.sampled_from(OWNERS), st.integers(0, 20), st.integers(0, 3))))
def test_marks_pass_what_is_beyond_all_that_its_owner_wrote(outputs: list[tuple[str, int, int]]) -> None:
    marks = Marks()
    highest: dict[str, tuple[int, ...]] = {}
    for owner, seq, number in outputs:
        undecoded = owner.startswith("@")
        rank = (seq,) if undecoded else (seq, number)
        source_id = f"{owner}/{seq}" if undecoded else f"{owner}/{seq}/{number}"
        fresh = marks.fresh([line(source_id)])
        assert fresh == ([line(source_id)] if rank > highest.get(owner, ()) else [])
        highest[owner] = max(rank, highest.get(owner, ()))
    assert marks.snapshot() == highest


def test_marks_snapshot_is_a_copy() -> None:
    marks = Marks({"a": (1, 0)})
    snapshot = marks.snapshot()
    marks.advance("a/2/0")
    assert snapshot == {"a": (1, 0)}
    assert not Marks(snapshot).advance("a/1/0")
