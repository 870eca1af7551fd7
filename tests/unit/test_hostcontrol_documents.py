"""The stand-in speaks bootc's own form: its documents fit the schema, and bootc's published ones are read.

The schema here says what this project reads. The published `host-v1.schema.json` and `spec-*.yaml` are asked
as well: they lie in `shared/data/bootc` beside the checkout, or where BOOTC_DATA says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from bootcdata import HOSTS, published_bootc
from hostmachine import Machine

from pipeline.domain.hostcontrol.bootc import parse_bootc

OWN = Path(__file__).parents[1] / "golden" / "bootc" / "host.schema.json"
UPSTREAM = published_bootc()
SCHEMAS = [OWN, UPSTREAM / "host-v1.schema.json"]
SPECS = [path for folder in (OWN.parent, UPSTREAM) for path in sorted(folder.glob("spec-*.yaml"))]


def test_the_published_documents_are_there() -> None:
    missing = "put bootc's docs/src/host-v1.schema.json and the spec-*.yaml of its tests into"
    assert (UPSTREAM / "host-v1.schema.json").is_file(), (
        f"{missing} {UPSTREAM}, or name a folder in BOOTC_DATA"
    )
    assert len(list(UPSTREAM.glob("spec-*.yaml"))) >= 5, (
        f"{missing} {UPSTREAM}, or name a folder in BOOTC_DATA"
    )


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.name)
@pytest.mark.parametrize("host", HOSTS)
def test_the_stand_in_speaks_the_form_of_host_v1(host: str, schema: Path) -> None:
    document = Machine(HOSTS[host]).host_document()
    jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(document)
    assert parse_bootc(json.dumps(document)).booted is not None


@pytest.mark.parametrize("change", [{"status": {"booted": {}}}, {"kind": 1}, {"status": {"staged": 1}}])
def test_the_schema_can_say_no(change: dict[str, Any]) -> None:
    document = {**Machine(HOSTS["a fallback"]).host_document(), **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json.loads(OWN.read_text()))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_written_document_is_read(path: Path) -> None:
    document = yaml.load(path.read_text(), Loader=yaml.BaseLoader)
    truths = {"true": True, "false": False, "null": None}
    found = parse_bootc(json.dumps(_typed(document, truths)))
    said = {
        role for role in ("booted", "staged", "rollback") if document["status"].get(role, "null") != "null"
    }
    roles = {role.replace("fallback", "rollback") for role, _ in found.entries()}
    assert roles - {"pinned", "other"} == said


def _typed(value: Any, truths: dict[str, Any]) -> Any:
    """Return a value in which words are what JSON would have: dates stay text, truths become truths."""
    if isinstance(value, dict):
        return {key: _typed(inner, truths) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner, truths) for inner in value]
    return truths.get(value, value)
