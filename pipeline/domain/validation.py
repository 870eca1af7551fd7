"""Turns plain values into a definition, or into one problem for each fault.

Rules: every problem has the dotted key, its line, what was allowed, and the nearest right name where a
name was wrong; the text of a fault never contains the whole input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pipeline.domain.definition import Definition
from pipeline.domain.nearest import nearest
from pipeline.problem import Problem

Model = TypeVar("Model", bound=Definition)
_WANTED = {
    "string_type": "wants text in quotes",
    "int_type": "wants a whole number",
    "bool_type": "wants true or false",
    "tuple_type": "wants a list",
    "date_type": "wants a date such as 2030-01-31, without quotes",
    "dict_type": "wants a table",
    "mapping_type": "wants a table",
    "model_type": "wants a table",
    "model_attributes_type": "wants a table",
}


def validate(
    model: type[Model], values: Mapping[str, Any], *, file: str, lines: Mapping[str, int]
) -> Model | tuple[Problem, ...]:
    """Return the definition, or its problems in order of their lines."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = [_problem(model, detail, file, lines) for detail in error.errors(include_url=False)]
        return tuple(sorted(problems, key=lambda problem: (problem.line or 0, problem.key)))


def partial_problems(
    model: type[Definition], values: Mapping[str, Any], *, file: str, lines: Mapping[str, int]
) -> tuple[Problem, ...]:
    """Return the problems of a file that is only a part of a definition: nothing is missing yet."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        details = [one for one in error.errors(include_url=False) if not _of_the_whole(one)]
        problems = [_problem(model, detail, file, lines) for detail in details]
        return tuple(sorted(problems, key=lambda problem: (problem.line or 0, problem.key)))
    return ()


def _of_the_whole(detail: ErrorDetails) -> bool:
    """Whether a fault can only be seen when all parts are together: a missing key, a rule of a table."""
    return detail["type"] == "missing" or (
        detail["type"] == "value_error" and isinstance(detail["input"], Mapping)
    )


def _problem(model: type[Definition], detail: ErrorDetails, file: str, lines: Mapping[str, int]) -> Problem:
    parts = [str(part) for part in detail["loc"] if part != "[key]"]
    message, hint = _words(model, detail, parts)
    return Problem(file=file, line=_line(parts, lines), key=".".join(parts), message=message, hint=hint)


def _line(parts: Sequence[str], lines: Mapping[str, int]) -> int | None:
    """Return the line of a key, or of the nearest table around it that the file has."""
    for length in range(len(parts), 0, -1):
        line = lines.get(".".join(parts[:length]))
        if line is not None:
            return line
    return None


def _words(model: type[Definition], detail: ErrorDetails, parts: list[str]) -> tuple[str, str]:
    kind, name = detail["type"], parts[-1] if parts else ""
    if kind == "extra_forbidden":
        keys = _keys(model, parts[:-1])
        return f"unknown key {name[:80]!r}; allowed: {', '.join(keys)}", nearest(name, keys)
    help_text = _description(model, parts)
    if kind == "missing":
        return f"the key {name!r} is missing", help_text
    if kind == "literal_error":
        options = [str(option) for option in _options(model, parts)]
        wrong = str(detail["input"])
        return f"{wrong[:80]!r} is not allowed; allowed: {', '.join(options)}", nearest(wrong, options)
    if kind in _WANTED:
        return f"{_WANTED[kind]}, not {_named(detail['input'])}", help_text
    return detail["msg"].removeprefix("Value error, "), help_text


def _named(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", tuple: "a list"}
    return names.get(type(value), "a table" if isinstance(value, Mapping) else f"a {type(value).__name__}")


def _keys(model: type[BaseModel], parts: Sequence[str]) -> list[str]:
    found = _field_type(model, parts)
    if isinstance(found, type) and issubclass(found, BaseModel):
        return [field.alias or name for name, field in found.model_fields.items()]
    return []


def _options(model: type[BaseModel], parts: Sequence[str]) -> tuple[object, ...]:
    found = _field_type(model, parts)
    return get_args(found) if get_origin(found) is Literal else ()


def _description(model: type[BaseModel], parts: Sequence[str]) -> str:
    """Return the help of the innermost key that has one."""
    for length in range(len(parts), 0, -1):
        holder = _field_type(model, parts[: length - 1])
        if isinstance(holder, type) and issubclass(holder, BaseModel):
            field = _field(holder, parts[length - 1])
            if field is not None and field.description:
                return " ".join(field.description.split())
    return "see `pipeline schema`"


def _field(model: type[BaseModel], key: str) -> FieldInfo | None:
    for name, field in model.model_fields.items():
        if key == (field.alias or name):
            return field
    return None


def _field_type(model: type[BaseModel], parts: Sequence[str]) -> Any:
    """Return the type a dotted path of keys and list positions leads to, or None."""
    current: Any = model
    for part in parts:
        current = _plain(current)
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = _field(current, part)
            current = field.annotation if field else None
        elif get_origin(current) is tuple:
            current = get_args(current)[0]
        elif get_origin(current) is not None and len(get_args(current)) == 2:  # noqa: PLR2004 - a mapping
            current = get_args(current)[1]
        else:
            return None
    return _plain(current)


def _plain(annotation: Any) -> Any:
    """Strip Annotated and `| None` from a type."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, UnionType):
            annotation = next(arg for arg in get_args(annotation) if arg is not type(None))
        else:
            return annotation
