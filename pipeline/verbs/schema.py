"""`pipeline schema`: the JSON Schema of the definition files, so that editors complete and check them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from pipeline.domain.definition import BaseDefinition, Definition, UpstreamDefinition
from pipeline.domain.host import HostDefinition, RoleDefinition
from pipeline.domain.settings import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Kind(enum.StrEnum):
    """The kinds of definition file."""

    SETTINGS = "settings"
    UPSTREAM = "upstream"
    BASE = "base"
    ROLE = "role"
    HOST = "host"


MODELS: Mapping[Kind, type[Definition]] = {
    Kind.SETTINGS: Settings,
    Kind.UPSTREAM: UpstreamDefinition,
    Kind.BASE: BaseDefinition,
    Kind.ROLE: RoleDefinition,
    Kind.HOST: HostDefinition,
}


def schema(kind: Kind | None = None) -> dict[str, Any]:
    """Return the schema of one kind of file, or one document with all of them under `$defs`."""
    if kind is not None:
        return {"$schema": DIALECT, **MODELS[kind].model_json_schema(by_alias=True)}
    parts = {one.value: _nested(one) for one in Kind}
    references = [{"$ref": f"#/$defs/{one.value}"} for one in Kind]
    return {
        "$schema": DIALECT,
        "title": "Definition files of pipeline",
        "description": "One of the files under images/; the kind follows from the folder.",
        "anyOf": references,
        "$defs": parts,
    }


def _nested(kind: Kind) -> dict[str, Any]:
    """Return one kind's schema with its references made relative to the document of all kinds."""
    return MODELS[kind].model_json_schema(by_alias=True, ref_template=f"#/$defs/{kind.value}/$defs/{{model}}")
