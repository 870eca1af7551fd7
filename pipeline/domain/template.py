r"""Templates: `{{ name }}` becomes a value, everything else stays as it is.

Rules: an undefined name is an error with file and line, never an empty text; there are no conditions and
no loops, for those belong into roles; `\{{` is a literal `{{`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.domain.nearest import nearest
from pipeline.problem import Problem

_PLACE = re.compile(r"\\(?P<literal>\{\{)|\{\{(?P<name>[^\n]*?)\}\}|(?P<open>\{\{)")
_NAME = re.compile(r"[ \t]*([a-z][a-z0-9_]*)[ \t]*")

Scalar = str | int | bool


def fill(text: str, values: Mapping[str, Scalar], *, file: str) -> tuple[str, tuple[Problem, ...]]:
    """Return the text with all values put in, and a problem for each place that cannot be filled."""
    problems: list[Problem] = []

    def put(found: re.Match[str]) -> str:
        if found["literal"]:
            return found["literal"]
        name = _NAME.fullmatch(found["name"] or "")
        if name is not None and name[1] in values:
            return _text(values[name[1]])
        problems.append(_problem(found, values, text, file))
        return found[0]

    return _PLACE.sub(put, text), tuple(problems)


def _problem(found: re.Match[str], values: Mapping[str, Scalar], text: str, file: str) -> Problem:
    line = text.count("\n", 0, found.start()) + 1
    name = (found["name"] or "").strip()
    if found["open"] or not _NAME.fullmatch(name):
        message = f"{found[0][:60]!r} is no place for a value"
        hint = "write {{ name }} with a name of lower-case letters, digits and '_', or \\{{ for the braces"
    else:
        message, hint = f"the value {name!r} is not defined", nearest(name, values)
    return Problem(file=file, line=line, key=name, message=message, hint=hint)


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
