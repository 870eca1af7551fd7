"""The JSON Schema says the same as the loader: shipped files pass, broken ones do not, every key has help."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.verbs.schema import MODELS, Kind, schema

IMAGES = Path(__file__).parents[2] / "images"
FOLDER = {Kind.UPSTREAM: "upstream", Kind.BASE: "base", Kind.ROLE: "roles", Kind.HOST: "hosts"}


def shipped() -> Iterator[tuple[Kind, Path]]:
    yield Kind.SETTINGS, IMAGES / "pipeline.toml"
    for kind, folder in FOLDER.items():
        for path in sorted(IMAGES.glob(f"*/{folder}/*.toml")):
            yield kind, path


def values(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


@pytest.mark.parametrize(
    ("kind", "path"), [pytest.param(k, p, id=f"{p.parts[-3]}/{p.name}") for k, p in shipped()]
)
def test_shipped_definitions_fit_their_schema(kind: Kind, path: Path) -> None:
    validator = jsonschema.Draft202012Validator(schema(kind))
    assert [error.message for error in validator.iter_errors(values(path))] == []
    whole = jsonschema.Draft202012Validator(schema())
    assert whole.is_valid(values(path))


def test_the_schema_refuses_what_the_loader_refuses() -> None:
    good = values(IMAGES / "debian/base/base.toml")
    validator = jsonschema.Draft202012Validator(schema(Kind.BASE))
    assert validator.is_valid(good)
    assert not validator.is_valid({**good, "pakages": []})
    assert not validator.is_valid({**good, "from": "No Name"})
    assert not validator.is_valid({**good, "packages": ["--allow"]})
    assert not validator.is_valid({key: value for key, value in good.items() if key != "from"})


@pytest.mark.parametrize("kind", Kind)
def test_every_key_has_a_description(kind: Kind) -> None:
    document = schema(kind)
    tables = [document, *document.get("$defs", {}).values()]
    without = [
        f"{table.get('title')}.{name}"
        for table in tables
        for name, value in table.get("properties", {}).items()
        if not value.get("description") and not _pointed_at(document, value).get("description")
    ]
    assert without == []
    assert set(MODELS) == set(Kind)


def _pointed_at(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """What a bare reference points at: help that equals the table's own is said there only."""
    found: dict[str, Any] = document.get("$defs", {}).get(value.get("$ref", "").rpartition("/")[2], {})
    return found
