"""Reads the ledger's records back, strictly: what is not understood in full is refused, never skipped.

Rules: an unknown kind and a schema newer than ours are errors that say so; a record must be the one byte form
of what it says, lie at the path that its content names, and hold no key more or less than its kind has.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pipeline.domain.canonical import canonical_digest, parse_canonical
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Digest, Repository, Tier
from pipeline.domain.record import (
    SCHEMA,
    Builder,
    Candidate,
    GateRecord,
    Kind,
    Origin,
    Parent,
    Record,
    RecordedPins,
    SourceState,
    record_bytes,
    record_json,
    record_path,
)
from pipeline.domain.text import plain
from pipeline.errors import LedgerError, UsageError

_T = TypeVar("_T")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_PATH = re.compile(r"records/\d{4}/\d\d/[0-9a-f]{64}\.json")


def parse_record(path: str, data: bytes) -> Record:
    """Return the record that a file of the ledger holds.

    Raises:
        LedgerError: It is no record, of an unknown kind or newer schema, has other keys than its kind has, or
            is not the file that its content names.
    """
    if not _PATH.fullmatch(path):
        raise _broken(f"{plain(path)} is no place for a record")
    try:
        document = parse_canonical(data)
    except ValueError as error:
        raise _broken(f"{path}: {plain(str(error))}") from error
    if not isinstance(document, dict):
        raise _broken(f"{path}: a record is a JSON object")
    parser = _parser(path, document)
    try:
        record = parser(document)
    except KeyError as error:
        raise _broken(f"{path}: the key {error} is missing") from error
    except UsageError as error:
        raise _broken(f"{path}: {plain(error.message)}") from error
    except (TypeError, ValueError) as error:
        raise _broken(f"{path}: {plain(str(error))}") from error
    return _exactly(record, path, data, document)


def _parser(path: str, document: dict[str, Any]) -> Callable[[dict[str, Any]], Record]:
    schema, kind = document.get("schema"), document.get("kind")
    if type(schema) is not int or schema < 1:
        raise _broken(f"{path}: {plain(repr(schema))} is no schema version")
    if schema > SCHEMA:
        raise LedgerError(
            f"{path}: the record has schema {schema}; this version understands {SCHEMA} at most",
            hint="update pipeline to the version that wrote the record",
        )
    if not isinstance(kind, str) or kind not in _PARSERS:
        raise LedgerError(
            f"{path}: unknown kind of record {plain(repr(kind))}; known are {', '.join(sorted(_PARSERS))}",
            hint="update pipeline to the version that wrote the record, or find out who wrote it",
        )
    return _PARSERS[kind]


def _exactly(record: Record, path: str, data: bytes, document: dict[str, Any]) -> Record:
    if record_bytes(record) == data and record_path(record) == path:
        return record
    unknown = sorted(document.keys() - record_json(record).keys())
    if unknown:
        raise _broken(f"{path}: unknown key {plain(unknown[0])!r}")
    said = {key: value for key, value in document.items() if key != "id"}
    if document.get("id") != canonical_digest(said).hex:
        raise _broken(f"{path}: the content was changed, its id does not fit it")
    if record_bytes(record) != data:
        raise _broken(f"{path}: it holds keys or forms that a {record.kind} does not have")
    raise _broken(f"{path}: the record belongs at {record_path(record)}")


def _candidate(document: dict[str, Any]) -> Candidate:
    source, builder = _table(document["source"]), _table(document["builder"])
    return Candidate(
        time=_parse_time(document["time"]),
        author=document["author"],
        run=document["run"],
        line=_string(document["line"]),
        image=_string(document["image"]),
        tier=Tier(document["tier"]),
        repository=_repository(_string(document["repository"])),
        digest=_digest(document["digest"]),
        tag=_string(document["tag"]),
        parent=_optional(document["parent"], _parent),
        origin=_optional(document["origin"], _origin),
        pins=_optional(document["pins"], _pins),
        source=SourceState(
            commit=None if source["commit"] is None else _string(source["commit"]),
            clean=_flag(source["clean"]),
            dirty=tuple(_list(source["dirty"])),
        ),
        gates=tuple(_gate(gate) for gate in _list(document["gates"])),
        builder=Builder(identity=builder["identity"], host=builder["host"]),
        started=_parse_time(document["started"]),
        finished=_parse_time(document["finished"]),
        packages=None if document["packages"] is None else _digest(document["packages"]),
        evidence={name: _digest(value) for name, value in _table(document["evidence"]).items()},
    )


_PARSERS: Mapping[str, Callable[[dict[str, Any]], Record]] = {Kind.CANDIDATE.value: _candidate}


def _optional(value: object, parse: Callable[[dict[str, Any]], _T]) -> _T | None:
    return None if value is None else parse(_table(value))


def _parent(table: dict[str, Any]) -> Parent:
    return Parent(image=table["image"], digest=_digest(table["digest"]))


def _origin(table: dict[str, Any]) -> Origin:
    return Origin(reference=table["reference"], digest=_digest(table["digest"]))


def _pins(table: dict[str, Any]) -> RecordedPins:
    return RecordedPins(
        kernel=table["kernel"], kernel_devel=table["kernel_devel"], modules=_table(table["modules"])
    )


def _gate(value: object) -> GateRecord:
    table = _table(value)
    return GateRecord(gate=table["gate"], verdict=Verdict(table["verdict"]), summary=table["summary"])


def _table(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no object")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return value


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _flag(value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true, false nor null")
    return value


def _digest(value: object) -> Digest:
    return Digest(_string(value))


def _repository(text: str) -> Repository:
    registry, _, path = text.partition("/")
    return Repository(registry=registry, path=path)


def _parse_time(value: object) -> dt.datetime:
    if not _TIME.fullmatch(_string(value)):
        raise ValueError(f"{value!r} is no time in UTC such as 2026-01-31T12:00:00Z")
    return dt.datetime.fromisoformat(_string(value))


def _broken(message: str) -> LedgerError:
    return LedgerError(
        f"the ledger holds a record that is not understood: {message}",
        hint="compare with another clone's ledger; `git log -p` on the ledger's branch names the commit",
    )
