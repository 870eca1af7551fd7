from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import NOON, candidate, digest, records
from rich.console import Console

from pipeline.domain.canonical import LARGEST, canonical_digest, canonical_json, parse_canonical
from pipeline.domain.gate import Finding, GateResult, Verdict
from pipeline.domain.record import (
    GateRecord,
    Record,
    SourceState,
    harmless,
    record_bytes,
    record_json,
    record_path,
)
from pipeline.domain.record_parser import parse_record
from pipeline.errors import LedgerError, NotFoundError, PipelineError, UsageError
from pipeline.render.log import log_json, log_row, show_log
from pipeline.verbs.log import log

steady = settings(derandomize=True, deadline=None, max_examples=200)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-LARGEST, LARGEST) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@steady
@given(values)
def test_canonical_json_reads_back_as_the_same_value(value: Any) -> None:
    data = canonical_json(value)
    assert parse_canonical(data) == value
    assert json.loads(data) == value


@steady
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(0, 9), min_size=2))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: dict[str, int]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert canonical_json(backwards) == canonical_json(value)


def test_the_canonical_bytes_are_these() -> None:
    assert canonical_json({"b": [1, None, True], "a": "é\n"}) == '{"a":"é\\n","b":[1,null,true]}\n'.encode()
    assert canonical_digest({}).value == (
        "sha256:ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
    )


@pytest.mark.parametrize("value", [1.0, {"a": 1.5}, b"x", {1: "a"}, {"a": {"b"}}])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


@pytest.mark.parametrize("value", [2**53, -(2**53), "\ud800", {"\udcff": 1}])
def test_a_value_no_reader_would_keep_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"too large|surrogate"):
        canonical_json(value)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"{} \n", b'{"a":1,"a":1}\n', b'{"b":1,"a":1}\n', b'{"a":1.0}\n', b'{"a":NaN}\n',
        b'{"a":1e3}\n', b"\xef\xbb\xbf{}\n", b'{"a":"\\u0041"}\n', b'{"a":"\\ud800"}\n', b"\xff\n", b"{}\r\n",
        b"[" * 100_000, b'{"a":99999999999999999}\n',
    ],
)  # fmt: skip
def test_bytes_that_are_not_canonical_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own words differ between Pythons
        parse_canonical(data)


@steady
@given(records)
def test_a_record_of_any_kind_reads_back_as_it_was_written(record: Record) -> None:
    data = record_bytes(record)
    back = parse_record(record_path(record), data)
    assert back == record
    assert back.id == record.id
    assert record_bytes(back) == data


@steady
@given(records, st.data())
def test_no_byte_of_a_record_can_be_changed_unnoticed(record: Record, data: st.DataObject) -> None:
    content = bytearray(record_bytes(record))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(LedgerError):
        parse_record(record_path(record), bytes(content))


@steady
@given(st.binary(max_size=200))
def test_garbage_is_a_ledger_error(data: bytes) -> None:
    with pytest.raises(LedgerError):
        parse_record(record_path(candidate()), data)


SPOILED: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("newer schema", lambda d: d.update(schema=2), "schema 2"),
    ("no schema", lambda d: d.pop("schema"), "no schema version"),
    ("true as schema", lambda d: d.update(schema=True), "no schema version"),
    ("unknown kind", lambda d: d.update(kind="blessing"), "unknown kind of record 'blessing'"),
    ("no kind", lambda d: d.pop("kind"), "unknown kind"),
    ("list as kind", lambda d: d.update(kind=["candidate"]), "unknown kind"),
    ("unknown key", lambda d: d.update(extra=1), "unknown key 'extra'"),
    ("unknown key inside", lambda d: d["builder"].update(extra=1), "forms"),
    ("missing key", lambda d: d.pop("tier"), "'tier' is missing"),
    ("unknown tier", lambda d: d.update(tier="middle"), "middle"),
    ("release tag", lambda d: d.update(tag="v1.0.0"), "release tag v1.0.0"),
    ("no digest", lambda d: d.update(digest="sha256:0"), "no digest"),
    ("number as digest", lambda d: d.update(digest=1), "no text"),
    ("number as author", lambda d: d.update(author=1), "no text"),
    ("escape in author", lambda d: d.update(author="\x1b[2J"), "the author cannot be recorded"),
    ("line break in gate", lambda d: d["gates"][0].update(summary="a\nb"), "summary cannot be recorded"),
    ("local time", lambda d: d.update(time="2026-11-21T12:00:01+01:00"), "no time in UTC"),
    ("no such day", lambda d: d.update(time="2026-02-30T12:00:01Z"), "day"),
    ("text as gates", lambda d: d.update(gates="all fine"), "no list"),
    ("text as clean", lambda d: d["source"].update(clean="yes"), "neither true, false nor null"),
    ("list as parent", lambda d: d.update(parent=[]), "no object"),
    ("list as modules", lambda d: d["pins"].update(modules=[]), "no object"),
]


@pytest.mark.parametrize(("spoil", "words"), [row[1:] for row in SPOILED], ids=[row[0] for row in SPOILED])
def test_a_spoiled_record_is_refused_with_its_reason(
    spoil: Callable[[dict[str, Any]], Any], words: str
) -> None:
    document = json.loads(record_bytes(candidate()))
    spoil(document)
    body = {key: value for key, value in document.items() if key != "id"}
    document["id"] = canonical_digest(body).hex
    with pytest.raises(LedgerError, match=words) as caught:
        parse_record(f"records/2026/11/{document['id']}.json", canonical_json(document))
    assert caught.value.hint


def test_a_record_has_one_place() -> None:
    data = record_bytes(candidate())
    for path in (
        f"records/2026/12/{candidate().id}.json",
        f"records/2026/11/{candidate(2).id}.json",
        f"records/2026/11/../11/{candidate().id}.json",
        "README.md",
    ):
        with pytest.raises(LedgerError, match=r"belongs at|no place"):
            parse_record(path, data)


def test_the_id_names_the_content() -> None:
    assert candidate().id == candidate().id
    assert candidate(evidence={"sbom": digest(1)}).id != candidate().id


@pytest.mark.parametrize(
    "changes",
    [
        {"time": NOON.replace(tzinfo=None)},
        {"time": NOON.replace(microsecond=1)},
        {"time": NOON.astimezone(dt.timezone(dt.timedelta(hours=1)))},
        {"author": ""},
        {"author": "a\nb"},
        {"run": "x" * 1001},
        {"image": "Base"},
        {"line": "../debian"},
        {"tag": "latest"},
        {"tag": "a b"},
        {"evidence": {"": digest(1)}},
    ],
)
def test_a_candidate_that_cannot_be_recorded_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        candidate(**changes)


def test_a_clean_source_names_no_changed_path() -> None:
    with pytest.raises(UsageError):
        SourceState(commit="a" * 40, clean=True, dirty=("x",))


@steady
@given(st.text())
def test_a_hostile_gate_summary_can_always_be_recorded(text: str) -> None:
    finding = Finding(verdict=Verdict.FAIL, summary=text + "\udc80\x1b[2J\u202e" * 300)
    record = candidate(gates=(GateRecord.of(GateResult(gate="g", finding=finding)),))
    assert parse_record(record_path(record), record_bytes(record)) == record
    assert harmless(harmless(text)) == harmless(text)


class Shelf:
    """A ledger in memory."""

    def __init__(self, *records: Record) -> None:
        self.records = records

    def read(self, *, offline: bool = False) -> tuple[Record, ...]:
        return self.records


def test_log_chooses_by_name_with_or_without_the_line() -> None:
    base, host = candidate(1), candidate(2, image="host-a", line="centos-stream10")
    shelf = Shelf(base, host)
    assert log(shelf) == (base, host)
    assert log(shelf, image="base") == (base,)
    assert log(shelf, image="centos-stream10/host-a") == (host,)


@pytest.mark.parametrize(
    ("image", "hint"), [("bose", "debian/base"), ("debian/bas", "debian/base"), ("qqqq", "known are")]
)
def test_log_of_an_unknown_image_names_the_nearest(image: str, hint: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        log(Shelf(candidate()), image=image)
    assert hint in caught.value.hint


def test_log_of_an_empty_ledger_says_what_to_do() -> None:
    assert log(Shelf()) == ()
    with pytest.raises(PipelineError) as caught:
        log(Shelf(), image="base")
    assert "pipeline build" in caught.value.hint


def shown(*records: Record, as_json: bool = False) -> str:
    stream = io.StringIO()
    show_log(records, console=Console(file=stream, width=200), as_json=as_json)
    return stream.getvalue()


def test_the_table_has_a_line_for_each_record() -> None:
    failing = GateRecord(gate="policy", verdict=Verdict.UNCHECKED, summary="no policy")
    dirty = SourceState(commit="c" * 40, clean=False, dirty=("images/x",))
    text = shown(candidate(1), candidate(2, gates=(failing,), source=dirty, pins=None))
    lines = text.splitlines()
    assert any(
        "debian/base" in line and "1 gate passed" in line and "6.12.94+deb13-amd64" in line for line in lines
    )
    assert any("FAILED gates: policy" in line and "cccccccccc+" in line for line in lines)


def test_the_table_prints_markup_literally() -> None:
    gate = GateRecord(gate="[red]x[/red]", verdict=Verdict.FAIL, summary="")
    assert "FAILED gates: [red]x[/red]" in shown(candidate(gates=(gate,)))


def test_rows_tell_unknown_from_clean() -> None:
    assert log_row(candidate(source=SourceState(commit="d" * 40)))[-1].endswith("commit dddddddddd?")
    assert log_row(candidate(source=SourceState()))[-1].endswith("no commit")
    assert "no gate ran" in log_row(candidate(gates=()))[-1]


def test_json_is_the_records_as_they_are_written() -> None:
    records = (candidate(1), candidate(2))
    assert json.loads(shown(*records, as_json=True)) == {"records": [record_json(r) for r in records]}
    assert json.loads(log_json(()))["records"] == []
    assert "empty" in shown()
