"""BSI TR-03183-2 v2.1.0 (2025-08-20): its required, additional and optional fields, each met or not.

Rules: fields after tables 2 to 6, their place in CycloneDX 1.6 after section 8.2; where sbomqs also reads a
neighbouring kind of reference (`distribution-intake`, `vcs`), so does this. A field of components is met
only if every component has it: which of them are meant as logical components, and could leave some out, no
document tells.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pipeline.domain.sbom.score_facts import Component, Facts, entity_of, is_time
from pipeline.domain.sbom.score_item import (
    Finding,
    Judge,
    Rating,
    Rule,
    each,
    met_or_not,
    of_document,
    per_component,
)
from pipeline.domain.sbom.score_licences import all_valid
from pipeline.domain.sbom.score_ntia import identified

REQUIRED_DOCUMENT = "required, document"
REQUIRED = "required, component"
ADDITIONAL_DOCUMENT = "additional, document"
ADDITIONAL = "additional, component"
OPTIONAL = "optional, component"

_DEPLOYED = frozenset({"distribution", "distribution-intake"})
_SOURCE = frozenset({"source-distribution", "vcs"})
_SECURITY_TXT = frozenset({"rfc-9116"})
_LEAST = (1, 6)
_VERSION = re.compile(r"(?P<major>[0-9]{1,4})\.(?P<minor>[0-9]{1,4})")


def bsi(facts: Facts) -> Rating:
    """Return which fields are met, a point each, in the groups the guideline has."""
    return Rating(name="bsi", title="BSI TR-03183-2", version="2.1.0", items=met_or_not(_RULES, facts))


def _new_enough(facts: Facts) -> bool:
    found = _VERSION.fullmatch(facts.spec_version)
    numbers = (int(found["major"]), int(found["minor"])) if found else (0, 0)
    return facts.spec == "CycloneDX" and numbers >= _LEAST and not facts.vulnerabilities


def _created(facts: Facts) -> bool:
    return entity_of(facts.metadata.get("manufacturer")).reachable


def _depends(facts: Facts) -> Finding:
    """Find components whose entry in the graph leads to components only, and whose completeness is told."""
    known = facts.by_ref
    claims = [claim for claim in facts.compositions if claim.tells]
    everywhere = any(claim.everywhere for claim in claims)
    claimed = {ref for claim in claims for ref in claim.dependencies | claim.assemblies}

    def listed(component: Component) -> bool:
        targets = facts.depends.get(component.ref)
        whole = targets is not None and all(target in known for target in targets)
        return whole and (everywhere or component.ref in claimed)

    return each(listed, facts, "no entry in dependencies, or nothing said of completeness")


def _acknowledged(how: str) -> Callable[[Component], bool]:
    return lambda one: all_valid(licence for licence in one.licences if licence.acknowledgement == how)


def _property(name: str, *allowed: str) -> Judge:
    """Return the rule that asks a property exactly once, with one of the allowed values (none given: any)."""

    def has(component: Component) -> bool:
        values = component.values(name)
        return len(values) == 1 and (not allowed or values[0] in allowed)

    return per_component(has, f"no {name}, or not one of its values")


def _referenced(kinds: frozenset[str], lacking: str) -> Judge:
    return per_component(lambda one: any(ref.kind in kinds and ref.url for ref in one.references), lacking)


def _hashed(kinds: frozenset[str]) -> Judge:
    def has(component: Component) -> bool:
        return any(ref.kind in kinds and "SHA512" in ref.hashes for ref in component.references)

    return per_component(has, "no SHA-512 in such a reference")


_RULES = (
    Rule(
        name="format",
        group=REQUIRED_DOCUMENT,
        asks="CycloneDX 1.6 or later, and no vulnerabilities in it",
        judge=of_document(_new_enough, "older than CycloneDX 1.6, or it lists vulnerabilities"),
    ),
    Rule(
        name="creator of the SBOM",
        group=REQUIRED_DOCUMENT,
        asks="metadata.manufacturer with a contact's email, or a url",
        judge=of_document(_created, "no mail address and no URL of who made it"),
    ),
    Rule(
        name="timestamp",
        group=REQUIRED_DOCUMENT,
        asks="metadata.timestamp as RFC 3339",
        judge=of_document(lambda facts: is_time(facts.timestamp), "no time, or not as RFC 3339 writes it"),
    ),
    Rule(
        name="component creator",
        group=REQUIRED,
        asks="manufacturer with a contact's email, or a url",
        judge=per_component(
            lambda one: one.manufacturer.reachable, "no mail address and no URL of the maker"
        ),
    ),
    Rule(
        name="component name",
        group=REQUIRED,
        asks="name",
        judge=per_component(lambda one: bool(one.name), "no name"),
    ),
    Rule(
        name="component version",
        group=REQUIRED,
        asks="version, or the date of the file",
        judge=per_component(lambda one: bool(one.version), "no version"),
    ),
    Rule(
        name="filename",
        group=REQUIRED,
        asks="property bsi:component:filename",
        judge=_property("bsi:component:filename"),
    ),
    Rule(
        name="dependencies",
        group=REQUIRED,
        asks="an entry in dependencies, also when empty, and a composition that tells how complete it is",
        judge=_depends,
    ),
    Rule(
        name="distribution licences",
        group=REQUIRED,
        asks="valid licences with acknowledgement concluded",
        judge=per_component(_acknowledged("concluded"), "no valid concluded licence"),
    ),
    Rule(
        name="hash of the deployable component",
        group=REQUIRED,
        asks="a reference of type distribution with a SHA-512",
        judge=_hashed(_DEPLOYED),
    ),
    Rule(
        name="executable property",
        group=REQUIRED,
        asks="property bsi:component:executable: executable or non-executable",
        judge=_property("bsi:component:executable", "executable", "non-executable"),
    ),
    Rule(
        name="archive property",
        group=REQUIRED,
        asks="property bsi:component:archive: archive or no archive",
        judge=_property("bsi:component:archive", "archive", "no archive"),
    ),
    Rule(
        name="structured property",
        group=REQUIRED,
        asks="property bsi:component:structured: structured or unstructured",
        judge=_property("bsi:component:structured", "structured", "unstructured"),
    ),
    Rule(
        name="SBOM-URI",
        group=ADDITIONAL_DOCUMENT,
        asks="serialNumber",
        judge=of_document(lambda facts: facts.serial.startswith("urn:"), "no serial number"),
    ),
    Rule(
        name="source code URI",
        group=ADDITIONAL,
        asks="a reference of type source-distribution (or vcs)",
        judge=_referenced(_SOURCE, "no source"),
    ),
    Rule(
        name="URI of the deployable form",
        group=ADDITIONAL,
        asks="a reference of type distribution",
        judge=_referenced(_DEPLOYED, "no place to get it from"),
    ),
    Rule(
        name="other unique identifiers",
        group=ADDITIONAL,
        asks="CPE, purl or SWID",
        judge=per_component(identified, "no identifier"),
    ),
    Rule(
        name="original licences",
        group=ADDITIONAL,
        asks="valid licences with acknowledgement declared",
        judge=per_component(_acknowledged("declared"), "no valid declared licence"),
    ),
    Rule(
        name="effective licence",
        group=OPTIONAL,
        asks="property bsi:component:effectiveLicense",
        judge=_property("bsi:component:effectiveLicense"),
    ),
    Rule(
        name="hash of the source code",
        group=OPTIONAL,
        asks="a reference of type source-distribution (or vcs) with a SHA-512",
        judge=_hashed(_SOURCE),
    ),
    Rule(
        name="URL of security.txt",
        group=OPTIONAL,
        asks="a reference of type rfc-9116",
        judge=_referenced(_SECURITY_TXT, "no security.txt"),
    ),
)
