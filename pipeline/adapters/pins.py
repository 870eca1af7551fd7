"""Reads and writes `images/<line>/pins.toml`, a file for people and for reviews.

Rules: written whole and atomically; parsed strictly, since a person may have edited it; the same pins give
the same bytes.
"""

from __future__ import annotations

import datetime as dt
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tomlkit
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from pipeline.domain.image import Digest
from pipeline.domain.pin import Failure, PassedOver, Pin, PinFile
from pipeline.errors import DefinitionError, StateError, UsageError
from pipeline.problem import Problem

_HEAD = """\
Which kernel each base is built for, with the module versions proved together with it, and the failures
that were met on the way. Written by `pipeline pin`; a kernel that failed is not compiled again until the
kernel, the module or the module's version changes.
"""


def _digest(value: object) -> Digest:
    try:
        return Digest(str(value))
    except UsageError as error:
        raise ValueError(error.message) from error


def _utc(value: dt.datetime) -> dt.datetime:
    if value.tzinfo is None:
        raise ValueError("the time has no zone: write it as 2026-01-31T12:00:00Z")
    return value.astimezone(dt.UTC)


_Digest = Annotated[Digest, BeforeValidator(_digest)]
_Time = Annotated[dt.datetime, AfterValidator(_utc)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)


class _PassedOver(_Table):
    kernel: str
    reason: str


class _Pin(_Table):
    kernel: str
    kernel_devel: tuple[str, ...]
    kernel_packages: tuple[str, ...]
    modules: dict[str, str]
    userspace: dict[str, str]
    upstream: str
    upstream_digest: _Digest
    reason: str
    time: _Time
    evidence: dict[str, _Digest] = {}
    passed_over: tuple[_PassedOver, ...] = ()
    expires: dt.date | None = None


class _Failure(_Table):
    kernel: str
    module: str
    version: str
    error: str
    log: _Digest
    time: _Time


class _File(_Table):
    pins: dict[str, _Pin] = {}
    failures: tuple[_Failure, ...] = ()


class Pins:
    """The pins of one line.

    Args:
        path: The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> PinFile:
        """Return what the file says; an empty value when there is none.

        Raises:
            DefinitionError: The file is damaged.
            StateError: It cannot be read.
        """
        try:
            data = tomllib.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return PinFile()
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise self._problem("", str(error)) from error
        except OSError as error:
            raise _state(self._path, "read", error) from error
        try:
            parsed = _File.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            raise self._problem(".".join(str(part) for part in first["loc"]), str(first["msg"])) from error
        return PinFile(
            pins={name: _pin(table) for name, table in parsed.pins.items()},
            failures=tuple(Failure(**dict(table)) for table in parsed.failures),
        )

    def write(self, pins: PinFile) -> None:
        """Replace the file.

        Raises:
            StateError: It cannot be written; what was there is unchanged.
        """
        text = _text(pins)
        temporary = self._path.with_name(f".{self._path.name}.new")
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, self._path)  # noqa: PTH105 - atomic, also over an existing file
        except OSError as error:
            raise _state(self._path, "written", error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _problem(self, key: str, message: str) -> DefinitionError:
        return DefinitionError(
            (
                Problem(
                    file=str(self._path),
                    line=None,
                    key=key,
                    message=message,
                    hint="mend it, or remove the file and run `pipeline pin`",
                ),
            )
        )


def _state(path: Path, what: str, error: OSError) -> StateError:
    return StateError(
        f"{path} cannot be {what}: {error.strerror or error}", hint="mend the file's owner, mode or place"
    )


def _pin(table: _Pin) -> Pin:
    fields = dict(table)
    fields["passed_over"] = tuple(PassedOver(**dict(one)) for one in table.passed_over)
    return Pin(**fields)


def _text(pins: PinFile) -> str:
    document = tomlkit.document()
    for line in _HEAD.splitlines():
        document.add(tomlkit.comment(line))
    tables = tomlkit.table(is_super_table=True)
    for name in sorted(pins.pins):
        tables.add(name, _pin_table(pins.pins[name]))
    if pins.pins:
        document.add("pins", tables)
    if pins.failures:
        document.add("failures", _array(_failure_row(one) for one in pins.failures))
    return tomlkit.dumps(document)


def _pin_table(pin: Pin) -> Any:
    table = tomlkit.table()
    for name in ("kernel", "kernel_devel", "kernel_packages", "upstream", "reason", "time"):
        value = getattr(pin, name)
        table.add(name, list(value) if isinstance(value, tuple) else value)
    table.add("upstream_digest", str(pin.upstream_digest))
    if pin.expires is not None:
        table.add("expires", pin.expires)
    for name in ("modules", "userspace"):
        table.add(name, _words(getattr(pin, name)))
    if pin.evidence:
        table.add("evidence", _words({key: str(value) for key, value in pin.evidence.items()}))
    if pin.passed_over:
        table.add(
            "passed_over", _array({"kernel": one.kernel, "reason": one.reason} for one in pin.passed_over)
        )
    return table


def _failure_row(one: Failure) -> Mapping[str, object]:
    return {
        "kernel": one.kernel,
        "module": one.module,
        "version": one.version,
        "error": one.error,
        "log": str(one.log),
        "time": one.time,
    }


def _words(values: Mapping[str, str]) -> Any:
    table = tomlkit.table()
    for key in sorted(values):
        table.add(key, values[key])
    return table


def _array(rows: Any) -> Any:
    array = tomlkit.aot()
    for row in rows:
        table = tomlkit.table()
        for key, value in row.items():
            table.add(key, value)
        array.append(table)
    return array
