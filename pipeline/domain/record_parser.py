"""Reads the ledger's records back, strictly: what is not understood in full is refused, never skipped.

Rules: an unknown kind and a schema newer than ours are errors that say so; a record must be the one byte form
of what it says, lie at the path that its content names, and hold no key more or less than its kind has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.domain.canonical import canonical_digest, parse_canonical
from pipeline.domain.decision import Approval, Rejection, Withdrawal
from pipeline.domain.record import SCHEMA, Candidate, Record, record_bytes, record_json, record_path
from pipeline.domain.record_codec import from_json
from pipeline.domain.release import Deployment, Reservation, Retention, Seal, Yank
from pipeline.domain.text import plain
from pipeline.errors import LedgerError, UsageError

_PATH = re.compile(r"records/\d{4}/\d\d/[0-9a-f]{64}\.json")


KINDS: tuple[type[Record], ...] = (
    Candidate, Approval, Rejection, Withdrawal, Reservation, Seal, Yank, Deployment, Retention,
)  # fmt: skip
"""Every kind of record this version reads and writes."""

_KINDS: Mapping[str, type[Record]] = {kind.kind.value: kind for kind in KINDS}


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
    kind = _kind(path, document)
    try:
        record = from_json(_fields(document), kind)
    except KeyError as error:
        raise _broken(f"{path}: the key {error} is missing") from error
    except UsageError as error:
        raise _broken(f"{path}: {plain(error.message)}") from error
    except (TypeError, ValueError) as error:
        raise _broken(f"{path}: {plain(str(error))}") from error
    return _exactly(record, path, data, document)


def _kind(path: str, document: dict[str, Any]) -> type[Record]:
    schema, kind = document.get("schema"), document.get("kind")
    if type(schema) is not int or schema < 1:
        raise _broken(f"{path}: {plain(repr(schema))} is no schema version")
    if schema > SCHEMA:
        raise LedgerError(
            f"{path}: the record has schema {schema}; this version understands {SCHEMA} at most",
            hint="update pipeline to the version that wrote the record",
        )
    if not isinstance(kind, str) or kind not in _KINDS:
        raise LedgerError(
            f"{path}: unknown kind of record {plain(repr(kind))}; known are {', '.join(sorted(_KINDS))}",
            hint="update pipeline to the version that wrote the record, or find out who wrote it",
        )
    return _KINDS[kind]


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


def _fields(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in ("schema", "kind", "id")}


def _broken(message: str) -> LedgerError:
    return LedgerError(
        f"the ledger holds a record that is not understood: {message}",
        hint="compare with another clone's ledger; `git log -p` on the ledger's branch names the commit",
    )
