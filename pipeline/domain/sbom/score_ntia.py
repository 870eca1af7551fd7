"""The NTIA minimum elements: the seven data fields of July 2021, each met or not.

Rules: an element of components is met only if every component has it. The dependency element asks the image's
direct dependencies and no reference that leads nowhere. Mapping to CycloneDX as sbomqs has it in its profile
(`pkg/scorer/v2/profiles/ntia.go`), but for swid, which the NTIA names as an identifier too.
"""

from __future__ import annotations

from pipeline.domain.sbom.score_facts import Component, Entity, Facts, entity_of, is_cpe, is_purl, is_time
from pipeline.domain.sbom.score_item import (
    Finding,
    Rating,
    Rule,
    met_or_not,
    of_document,
    per_component,
    yes_or_no,
)

GROUP = "data fields"


def ntia(facts: Facts) -> Rating:
    """Return which of the seven elements are met: `points` of `best` (7)."""
    return Rating(name="ntia", title="NTIA minimum elements", version="2021", items=met_or_not(_RULES, facts))


def identified(component: Component) -> bool:
    """Tell whether a component has an identifier that a database could know."""
    return is_purl(component.purl) or is_cpe(component.cpe) or bool(component.swid)


def dangling(facts: Facts) -> list[str]:
    """Return the references of the dependency graph that lead to no component, each once."""
    known = facts.by_ref
    used = [ref for entry, targets in facts.depends.items() for ref in (entry, *targets)]
    return list(dict.fromkeys(ref for ref in used if ref not in known))


def _related(facts: Facts) -> Finding:
    if facts.root is None or not facts.depends.get(facts.root.ref):
        return yes_or_no(False, "the image depends on nothing")
    lost = dangling(facts)
    return yes_or_no(not lost, f"{len(lost)} references lead to no component")


def _authored(facts: Facts) -> bool:
    tool = any(name and version for name, version in facts.tools)
    parties: tuple[Entity, ...] = (
        *facts.authors,
        entity_of(facts.metadata.get("supplier")),
        entity_of(facts.metadata.get("manufacturer")),
    )
    return tool or any(party.known for party in parties)


_RULES = (
    Rule(
        name="supplier name",
        group=GROUP,
        asks="supplier or manufacturer of every component",
        judge=per_component(lambda one: one.supplier.known or one.manufacturer.known, "no supplier"),
    ),
    Rule(
        name="component name",
        group=GROUP,
        asks="name of every component",
        judge=per_component(lambda one: bool(one.name), "no name"),
    ),
    Rule(
        name="version",
        group=GROUP,
        asks="version of every component",
        judge=per_component(lambda one: bool(one.version), "no version"),
    ),
    Rule(
        name="other unique identifiers",
        group=GROUP,
        asks="purl, CPE or SWID of every component",
        judge=per_component(identified, "no identifier"),
    ),
    Rule(
        name="dependency relationship",
        group=GROUP,
        asks="what the image depends on, without references that lead nowhere",
        judge=_related,
    ),
    Rule(
        name="author of SBOM data",
        group=GROUP,
        asks="author, tool with version, supplier or manufacturer in metadata",
        judge=of_document(_authored, "nobody is named"),
    ),
    Rule(
        name="timestamp",
        group=GROUP,
        asks="metadata.timestamp as RFC 3339",
        judge=of_document(lambda facts: is_time(facts.timestamp), "no time, or not as RFC 3339 writes it"),
    ),
)
