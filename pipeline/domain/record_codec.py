"""One way between the values of a record and their JSON form, by the fields' types (cattrs).

Rules: a field's JSON key is its name; digests, repositories and times are text; nothing is converted on the
way in but what that text stands for. What slips through here is still refused: the parser compares every
record, written again, with the bytes it was read from.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from cattrs import BaseConverter, Converter
from cattrs.gen import make_dict_structure_fn

from pipeline.domain.canonical import Json
from pipeline.domain.image import Digest, Repository
from pipeline.errors import UsageError

_T = TypeVar("_T")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def to_json(value: object) -> dict[str, Json]:
    """Return a dataclass's fields as JSON values."""
    plain: dict[str, Json] = _CONVERTER.unstructure(value)
    return plain


def from_json(document: Mapping[str, Any], kind: type[_T]) -> _T:
    """Return the dataclass of which these are the fields.

    Raises:
        KeyError: A field is missing.
        TypeError, ValueError: A value has another type or form than its field.
        UsageError: The values do not go together.
    """
    return _CONVERTER.structure(document, kind)


def stamp(moment: dt.datetime) -> str:
    """Return a time as records write it."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def require_moment(moment: dt.datetime) -> None:
    """Let a time pass that records can hold.

    Raises:
        UsageError: It is not UTC, or has parts of a second.
    """
    if moment.utcoffset() != dt.timedelta(0) or moment.microsecond:
        raise UsageError(f"{moment.isoformat()} is no time for a record", hint="give UTC and whole seconds")


def _text(value: object, _: object = None) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: object, _: object = None) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _flag(value: object, _: object = None) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true, false nor null")
    return value


def _time(value: object, _: object = None) -> dt.datetime:
    if not _TIME.fullmatch(_text(value)):
        raise ValueError(f"{value!r} is no time in UTC such as 2026-01-31T12:00:00Z")
    return dt.datetime.fromisoformat(_text(value))


def _repository(value: object, _: object = None) -> Repository:
    registry, _, path = _text(value).partition("/")
    return Repository(registry=registry, path=path)


def _made() -> Converter:
    converter = Converter(detailed_validation=False)
    for simple, read in ((str, _text), (int, _number), (bool, _flag), (dt.datetime, _time)):
        converter.register_structure_hook(simple, read)
    converter.register_structure_hook(Digest, lambda value, _: Digest(_text(value)))
    converter.register_structure_hook(Repository, _repository)
    converter.register_unstructure_hook(dt.datetime, stamp)
    for named in (Digest, Repository):
        converter.register_unstructure_hook(named, str)
    # cattrs takes any iterable for a tuple and any pairs for a mapping; a record has one form.
    converter.register_structure_hook_factory(_is_tuple, _tuple)
    converter.register_structure_hook_factory(_is_mapping, _mapping)
    converter.register_structure_hook_factory(_is_own_dataclass, _dataclass)
    return converter


def _tuple(kind: Any, converter: BaseConverter) -> Callable[[Any, Any], tuple[Any, ...]]:
    member = get_args(kind)[0]
    read = converter.get_structure_hook(member)

    def structure(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is no list")
        return tuple(read(one, member) for one in value)

    return structure


def _mapping(kind: Any, converter: BaseConverter) -> Callable[[Any, Any], dict[str, Any]]:
    member = get_args(kind)[1]
    read = converter.get_structure_hook(member)

    def structure(value: Any, _: Any) -> dict[str, Any]:
        return {key: read(one, member) for key, one in _table(value).items()}

    return structure


@cache
def _dataclass(kind: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    for one in get_type_hints(kind).values():
        if isinstance(one, type) and issubclass(one, StrEnum):
            # Each by name: the hook of `str` would serve them too, and let any word pass.
            converter.register_structure_hook(one, lambda value, named: named(_text(value)))
    read = make_dict_structure_fn(kind, converter, _cattrs_detailed_validation=False)

    def structure(value: Any, _: Any) -> Any:
        return read(_table(value), kind)

    return structure


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) is Mapping


def _is_own_dataclass(kind: Any) -> bool:
    return is_dataclass(kind) and kind not in (Digest, Repository)


def _table(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no object")
    return value


_CONVERTER = _made()
