"""Two builds compared, as text and as JSON: the verdict first, then layer by layer what differs and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.text import Text

from pipeline.domain.reproducible import Comparison, LayerDifference
from pipeline.domain.text import plain

SHOWN = 20
"""Paths of a layer that the text names; JSON has all."""

_VALUE_LIMIT = 120
_CONTEXT = 30


def to_text(found: Comparison) -> Text:
    """Return a comparison for people."""
    style = "green" if found.same else "red"
    lines = [f"{plain(found.image)}: {found.verdict}", *(f"  {line}" for line in _lines(found))]
    text = Text("\n".join(lines))
    text.stylize(style, 0, len(lines[0]))
    return text


def to_json(found: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON values."""
    return {
        "image": found.image,
        "same": found.same,
        "verdict": found.verdict,
        "manifests": [None if one is None else str(one) for one in found.manifests],
        "configs": [str(one) for one in found.configs],
        "layers": [_layer_json(layer) for layer in found.layers],
        "settings": [
            {"place": one.place, "values": list(one.values), "cause": one.cause.value}
            for one in found.settings
        ],
    }


def _lines(found: Comparison) -> Iterator[str]:
    for layer in found.layers:
        first, second = ("none" if one is None else one.short for one in layer.diff_ids)
        yield f"layer {layer.number}: {first} / {second}  {plain(layer.created_by, _VALUE_LIMIT)}".rstrip()
        for cause, count in layer.causes:
            yield f"  {count}x likely cause: {cause.value}"
        for one in layer.paths[:SHOWN]:
            yield f"    {plain(one.path, 500)}: {', '.join(one.what)}"
        if len(layer.paths) > SHOWN:
            yield f"    and {len(layer.paths) - SHOWN} more (--json has all)"
    for setting in found.settings:
        before, after = _where_they_part(*(str(value) for value in setting.values))
        yield f"setting {plain(setting.place)}: {before} / {after}"
        yield f"  likely cause: {setting.cause.value}"


def _where_they_part(one: str, two: str) -> tuple[str, str]:
    """Return two values short enough to show, cut so that what differs is in sight."""
    parted = (at for at, (left, right) in enumerate(zip(one, two, strict=False)) if left != right)
    common = next(parted, min(len(one), len(two)))
    start = 0 if max(len(one), len(two)) <= _VALUE_LIMIT else max(common - _CONTEXT, 0)
    cut = "…" if start else ""
    return cut + plain(one[start:], _VALUE_LIMIT), cut + plain(two[start:], _VALUE_LIMIT)


def _layer_json(layer: LayerDifference) -> dict[str, Any]:
    return {
        "number": layer.number,
        "diff_ids": [None if one is None else str(one) for one in layer.diff_ids],
        "created_by": layer.created_by,
        "causes": {cause.value: count for cause, count in layer.causes},
        "paths": [
            {"path": _text(one.path), "what": list(one.what), "cause": one.cause.value} for one in layer.paths
        ],
    }


def _text(path: str) -> str:
    """Return a path as valid Unicode: bytes that are none are written as escapes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
