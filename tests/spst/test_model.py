"""Models survive their file; damage, forgery and newer schemas are refused."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spst
from spst import container
from spst.errors import ModelFormatError, SpstError
from spst.model import MAX_HEADER_BYTES, SCHEMA, Model, load_model, model_from_bytes
from tests import golden_cases

HERE = Path(__file__).parent
SMALL = golden_cases.model("partition_order1")


def same(one: Model, other: Model) -> bool:
    arrays = [
        (one.alphabet.truth, other.alphabet.truth),
        (one.automaton.transitions, other.automaton.transitions),
        (one.automaton.finals, other.automaton.finals),
        (one.tree.parent, other.tree.parent),
        (one.tree.oldest, other.tree.oldest),
        (one.tree.distribution, other.tree.distribution),
    ]
    plain = [
        (one.pattern, other.pattern),
        (one.alphabet.sentences, other.alphabet.sentences),
        (one.alphabet.exclusives, other.alphabet.exclusives),
        (one.hyperparameters, other.hyperparameters),
        (one.provenance, other.provenance),
    ]
    return all(np.array_equal(a, b) for a, b in arrays) and all(a == b for a, b in plain)


def with_provenance(provenance: dict[str, Any]) -> Model:
    return Model(SMALL.pattern, SMALL.alphabet, SMALL.automaton, SMALL.tree, SMALL.hyperparameters, provenance)


# What goes in comes out


@pytest.mark.parametrize("name", golden_cases.NAMES)
def test_model_file_holds_everything(name: str, tmp_path: Path) -> None:
    trained = golden_cases.model(name)
    digest = trained.save(tmp_path / "model.spst")
    content = (tmp_path / "model.spst").read_bytes()
    assert digest == hashlib.sha256(content).hexdigest()
    loaded = load_model(tmp_path / "model.spst")
    assert same(loaded, trained)
    assert loaded.to_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["model.spst"]


def test_same_input_gives_same_bytes() -> None:
    golden = golden_cases.case("partition_order3")
    twice = [
        spst.TrainingSet.prepare(
            spst.read_events(golden.data),
            spst.parse_pattern(golden.meta["pattern"], golden.meta["declarations"]),
            order=3,
            k_max=5,
        ).fit(golden.hyperparameters, {"dataset": "letters"})
        for _ in range(2)
    ]
    assert twice[0].to_bytes() == twice[1].to_bytes()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(provenance=st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_provenance_of_plain_data_survives(provenance: dict[str, Any]) -> None:
    assert model_from_bytes(with_provenance(provenance).to_bytes()).provenance == provenance


@pytest.mark.parametrize("provenance", [{"when": object()}, {"deep": [[{2: b""}]]}, {"rate": float("nan")}])
def test_provenance_that_json_cannot_hold_is_refused(provenance: dict[str, Any]) -> None:
    with pytest.raises(SpstError, match="provenance must be plain data"):
        with_provenance(provenance)


def test_numpy_reads_the_arrays_and_anyone_the_header(tmp_path: Path) -> None:
    SMALL.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["tree_distribution"], SMALL.tree.distribution)
        assert np.array_equal(arrays["automaton_transitions"], SMALL.automaton.transitions)
    with zipfile.ZipFile(tmp_path / "model.npz") as archive:
        header = json.loads(archive.read("header.json"))
    assert (header["format"], header["schema"]) == ("spst-model", SCHEMA)
    assert header["pattern"] == str(SMALL.pattern)
    assert header["hyperparameters"]["k"] == 6


def test_save_leaves_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    target = tmp_path / "model.spst"
    target.mkdir()  # nothing can replace a folder
    with pytest.raises(OSError, match=r"model\.spst"):
        SMALL.save(target)
    assert [path.name for path in tmp_path.iterdir()] == ["model.spst"]


@pytest.mark.parametrize("schema", range(1, SCHEMA + 1))
def test_files_of_every_schema_still_load(schema: int) -> None:
    loaded = load_model(HERE / "data" / f"model_schema_{schema}.spst")
    assert str(loaded.pattern) == ";(IsEventTypePredicate(A),IsEventTypePredicate(B)){order:1}"
    assert loaded.provenance["dataset"] == "letters_tiny.csv"
    assert len(loaded.tree) == 4
    forecast = loaded.forecaster().update({"type": "A"})
    assert forecast is not None
    assert (forecast.positive, forecast.detection) == (True, False)


def test_parts_of_different_alphabets_make_no_model() -> None:
    other = golden_cases.model("seq3_order2")
    with pytest.raises(SpstError, match="same symbols"):
        Model(SMALL.pattern, SMALL.alphabet, SMALL.automaton, other.tree, SMALL.hyperparameters)


def test_provenance_that_no_reader_would_take_is_not_written() -> None:
    model = replace(SMALL, provenance={"log": "x" * MAX_HEADER_BYTES})
    with pytest.raises(SpstError, match="provenance"):
        model.to_bytes()


def test_tree_deeper_than_its_order_makes_no_model() -> None:
    deep = golden_cases.model("partition_order3")
    flat = golden_cases.case("partition_order1").hyperparameters
    with pytest.raises(SpstError, match="its order is 1"):
        Model(deep.pattern, deep.alphabet, deep.automaton, deep.tree, flat)


# What is damaged, foreign or malicious is refused

DATA = SMALL.to_bytes()


def test_truncated_files_are_refused() -> None:
    for length in range(len(DATA)):
        with pytest.raises(ModelFormatError, match="not a model file, or truncated or altered"):
            model_from_bytes(DATA[:length])


def test_every_flipped_bit_is_noticed() -> None:
    for bit in range(8 * len(DATA)):
        damaged = bytearray(DATA)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ModelFormatError):
            model_from_bytes(bytes(damaged))


def sealed(body: bytes) -> bytes:
    """Close a forged file with the digest that a forger would compute."""
    return body + hashlib.sha256(body).hexdigest().encode()


def test_mutated_files_whose_digest_is_forged_raise_nothing_else() -> None:
    random = Random(20260)
    body = DATA[:-64]
    refused = 0
    for _ in range(10_000):
        forged = bytearray(body)
        for _ in range(random.choice((1, 1, 2, 8))):
            place = random.randrange(len(forged))
            match random.randrange(4):
                case 0:
                    forged[place] = random.randrange(256)
                case 1:
                    del forged[place : place + random.randrange(1, 40)]
                case 2:
                    forged[place:place] = random.randbytes(random.randrange(1, 9))
                case _:
                    forged[place : place + 4] = random.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"))
        try:
            assert len(model_from_bytes(sealed(bytes(forged))).tree) == len(SMALL.tree)
        except ModelFormatError:
            refused += 1
    assert refused > 5_000  # most of the others changed a date, a text of the pattern or a digit of a probability


@given(st.binary(max_size=300))
def test_foreign_bytes_are_refused(content: bytes) -> None:
    for data in (content, sealed(content), sealed(DATA[:-64] + content), sealed(content + DATA[:-64])):
        if data != DATA and not data.startswith(DATA[:-64]):
            try:
                model_from_bytes(data)
            except ModelFormatError:
                continue
            assert data.endswith(DATA[-200:-64] + data[-64:])  # a ZIP may have other bytes before it


def test_foreign_zip_is_refused() -> None:
    stream = io.BytesIO()
    np.savez(stream, x=np.arange(3))
    with pytest.raises(ModelFormatError, match="not a model file"):
        model_from_bytes(stream.getvalue())


Header = dict[str, Any]
Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


def forged(change: Callable[[Header, Arrays], None]) -> bytes:
    """A well-formed container with other content."""
    text, members = container.unpack(DATA, 1 << 20)
    header = json.loads(text)
    arrays = {name: np.load(io.BytesIO(member)) for name, member in members.items()}
    change(header, arrays)
    return container.pack(json.dumps(header).encode(), arrays)


def test_forging_nothing_gives_a_model() -> None:
    assert same(model_from_bytes(forged(lambda header, arrays: None)), SMALL)


def put(name: str, place: Any, value: Any) -> Callable[[Header, Arrays], None]:
    def change(header: Header, arrays: Arrays) -> None:
        arrays[name][place] = value

    return change


def say(**entries: Any) -> Callable[[Header, Arrays], None]:
    return lambda header, arrays: header.update(entries)


def shape(name: str, make: Callable[[Any], Any]) -> Callable[[Header, Arrays], None]:
    def change(header: Header, arrays: Arrays) -> None:
        arrays[name] = make(arrays[name])

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (say(schema=SCHEMA + 1), "update this library"),
        (say(schema=0), "is not known here"),
        (say(format="other"), "the format is 'other'"),
        (say(surprise=1), "unknown field `surprise`"),
        (say(n_nodes=10**15), "'tree_parent' must be <i4 of shape"),
        (say(n_nodes=-1), "Expected `int` >= 1"),
        (say(n_symbols=10**300), "header cannot be read|must be"),
        (say(pattern="*(TruePredicate)"), "empty word"),
        (say(pattern=";(Nonsense(1),B)"), "unknown predicate"),
        (say(pattern="(" * 5000), "no model"),
        (say(pattern="-" * 50_000 + "TruePredicate"), "no model"),
        (say(sentences=["IsEventTypePredicate(A)"]), "shape"),
        (say(sentences=["IsEventTypePredicate(A)", "x)"]), "expected"),
        (say(sentences=["IsEventTypePredicate(B)", "IsEventTypePredicate(A)"]), "sorted"),
        (say(sentences=["IsEventTypePredicate(A)", "IsEventTypePredicate(B)),~(IsEventTypePredicate(A)"]), "form"),
        (say(hyperparameters={"order": 1}), "all hyperparameters"),
        (say(hyperparameters={**SMALL.hyperparameters.as_dict(), "k": 0}), "k must be"),
        (say(provenance=[]), "Expected `object`"),
        (put("automaton_transitions", (0, 0), 99), "transitions must lead to"),
        (put("automaton_transitions", (0, 0), -1), "transitions must lead to"),
        (put("tree_parent", 0, 1), "follow their parents"),
        (put("tree_parent", 2, 2), "follow their parents"),
        (put("tree_parent", 2, -5), "follow their parents"),
        (put("tree_oldest", 1, 3), "in the alphabet"),
        (put("tree_oldest", 2, 0), "same label"),
        (put("tree_distribution", (0, 0), -0.5), "must lie in 0..1"),
        (put("tree_distribution", (0, 0), np.nan), "must lie in 0..1"),
        (put("tree_distribution", (0, 0), np.inf), "must lie in 0..1"),
        (put("tree_distribution", (0, 0), 0.0), "sum to 1"),
        (put("alphabet_truth", (0, 0), True), "two symbols of the alphabet are equal"),
        (shape("alphabet_truth", lambda a: a.astype(np.uint8)), "must be |b1"),
        (shape("automaton_finals", lambda a: a[:-1]), "must be |b1 of shape"),
        (shape("tree_distribution", lambda a: a.astype(np.float32)), "must be <f8"),
        (shape("tree_parent", lambda a: a.astype(object)), "something else"),
        (lambda header, arrays: arrays.update(extra=np.zeros(3)), "expected the arrays"),
        (lambda header, arrays: arrays.__delitem__("tree_parent"), "expected the arrays"),
        (lambda header, arrays: arrays.update(tree_parent=arrays.pop("tree_parent")), "expected the arrays"),
    ],
)
def test_forged_content_is_refused(change: Callable[[Header, Arrays], None], problem: str) -> None:
    with pytest.raises(ModelFormatError, match=problem):
        model_from_bytes(forged(change))
