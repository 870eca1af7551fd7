"""The shape of a part: what the JSON schema looks at and nothing else, so that one check holds for many.

Rules: texts the schema only asks to be texts (some: not empty, or not too long) become marks that tell
exactly that; digests and times of the right form become marks of the form; everything else stays as it is.
Two parts of one shape are both valid or both not.
"""

from __future__ import annotations

import re

from pipeline.domain.canonical import Json, canonical_json

_FREE = frozenset(
    {
        "bom-ref", "comment", "dependsOn", "location", "name", "publisher", "purl", "ref", "subjects", "text",
        "value", "version",
    }
)  # fmt: skip
"""Keys whose texts have no rule in the schema but on their length."""

_FORMS = {
    "content": re.compile(r"[0-9a-f]{64}|[0-9a-f]{128}"),
    "serialNumber": re.compile(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "timestamp": re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"),
}
_LONGEST = 1024


def shape_of(value: Json) -> bytes:
    """Return a part's shape."""
    return canonical_json(_shape(value, ""))


def _shape(value: Json, key: str) -> Json:
    if isinstance(value, str):
        return _mark(value, key)
    if isinstance(value, dict):
        return {name: _shape(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shape(item, key) for item in value]
    return value


def _mark(text: str, key: str) -> Json:
    form = _FORMS.get(key)
    if form is not None and form.fullmatch(text):
        return len(text)
    if key not in _FREE:
        return text
    return "long" if len(text) > _LONGEST else "text" if text else ""
