"""The public scoring of sbomqs v2, 0 to 10: seven categories of weighted items.

Source: interlynk-io/sbomqs at commit 04377e776340c546a4c3501b21de2f612c72e763: categories and weights from
`pkg/scorer/v2/registry/registry.go`, what an item looks at from `pkg/scorer/v2/extractors` and
`pkg/scorer/v2/common`, how CycloneDX is read from `pkg/sbom/cdx.go`, licences from `pkg/licenses`.

Rules: score = sum of category weight x category score, over the sum of the weights (82). A category's score
is the mean of its items by weight, items that do not apply left out. An item of components gets have / all,
and at most 0.99 while one lacks it. Written anew from those facts; where sbomqs decides by lists of its own,
see `score_licences`. An embedded signature is given half, unverified.
"""

from __future__ import annotations

from fractions import Fraction

from pipeline.domain.sbom.score_facts import Facts, is_cpe, is_purl, is_time
from pipeline.domain.sbom.score_item import Finding, Item, Rating, Rule, item_of, of_document, per_component
from pipeline.domain.sbom.score_licences import all_valid
from pipeline.domain.sbom.score_sbomqs_rules import (
    PURPOSES,
    STRONG,
    VERSIONS,
    declared_complete,
    dependencies_complete,
    has_concluded,
    has_declared,
    not_weak_alone,
    signed,
    supplied,
    tooled,
    valid_licences,
    without_copyleft,
    without_deprecated,
)

COMMIT = "04377e77"

CATEGORIES = {
    "identification": 10,
    "provenance": 12,
    "integrity": 15,
    "completeness": 12,
    "licensing": 15,
    "vulnerability": 10,
    "structural": 8,
}
"""Weight of each category."""

_BEST = 10
_UNFINISHED = Fraction(99, 100)
_ALL = sum(CATEGORIES.values())


def sbomqs(facts: Facts) -> Rating:
    """Return the score: `points` of `best` (10, or less where whole categories have nothing to look at)."""
    found = [(rule, rule.judge(facts)) for rule in _RULES]
    items = tuple(_item(rule, finding, _live(rule.group, found)) for rule, finding in found)
    return Rating(name="sbomqs", title="sbomqs v2", version=COMMIT, items=items)


def _live(group: str, found: list[tuple[Rule, Finding]]) -> int:
    return sum(rule.weight for rule, finding in found if rule.group == group and finding.applies)


def _item(rule: Rule, finding: Finding, live: int) -> Item:
    """Return an item weighed in points of the whole score; `live`: weights in its category that apply."""
    weight = (
        Fraction(_BEST * CATEGORIES[rule.group] * rule.weight, _ALL * live) if finding.applies else Fraction()
    )
    unfinished = finding.have < finding.total
    share = min(finding.share, _UNFINISHED) if unfinished else finding.share
    return item_of(rule, finding, weight=weight, share=share)


_RULES = (
    Rule(
        name="comp_with_name",
        group="identification",
        weight=40,
        asks="name",
        judge=per_component(lambda one: bool(one.name), "no name"),
    ),
    Rule(
        name="comp_with_version",
        group="identification",
        weight=35,
        asks="version",
        judge=per_component(lambda one: bool(one.version), "no version"),
    ),
    Rule(
        name="comp_with_local_id",
        group="identification",
        weight=25,
        asks="bom-ref",
        judge=per_component(lambda one: bool(one.ref), "no bom-ref"),
    ),
    Rule(
        name="sbom_creation_timestamp",
        group="provenance",
        weight=20,
        asks="metadata.timestamp as RFC 3339",
        judge=of_document(lambda facts: is_time(facts.timestamp), "no time, or not as RFC 3339 writes it"),
    ),
    Rule(
        name="sbom_authors",
        group="provenance",
        weight=20,
        asks="metadata.authors with a name or email",
        judge=of_document(lambda facts: any(one.known for one in facts.authors), "no author"),
    ),
    Rule(
        name="sbom_tool_version", group="provenance", weight=20, asks="a tool with its version", judge=tooled
    ),
    Rule(
        name="sbom_supplier",
        group="provenance",
        weight=15,
        asks="metadata.supplier with name, and url or email",
        judge=of_document(supplied, "no supplier with an address"),
    ),
    Rule(
        name="sbom_namespace",
        group="provenance",
        weight=15,
        asks="serialNumber as urn:uuid",
        judge=of_document(lambda facts: facts.serial.startswith("urn:uuid:"), "no serial number"),
    ),
    Rule(
        name="sbom_lifecycle",
        group="provenance",
        weight=10,
        asks="metadata.lifecycles",
        judge=of_document(lambda facts: bool(facts.metadata.get("lifecycles")), "no lifecycle phase"),
    ),
    Rule(
        name="comp_with_strong_checksums",
        group="integrity",
        weight=50,
        asks="SHA-224 or stronger in hashes",
        judge=per_component(lambda one: bool(one.hashes & STRONG), "no strong hash"),
    ),
    Rule(
        name="comp_with_weak_checksums",
        group="integrity",
        weight=40,
        asks="of components with a hash, none with a weak one alone",
        judge=not_weak_alone,
    ),
    Rule(name="sbom_signature", group="integrity", weight=10, asks="signature in the document", judge=signed),
    Rule(
        name="comp_with_dependencies",
        group="completeness",
        weight=25,
        asks="dependencies of the image and its direct dependencies declared complete",
        judge=dependencies_complete,
    ),
    Rule(
        name="sbom_completeness_declared",
        group="completeness",
        weight=15,
        asks="the whole document declared complete",
        judge=of_document(declared_complete, "not declared complete as a whole"),
    ),
    Rule(
        name="sbom_primary_component",
        group="completeness",
        weight=20,
        asks="metadata.component with a bom-ref",
        judge=of_document(
            lambda facts: facts.root is not None and bool(facts.root.ref), "no image component"
        ),
    ),
    Rule(
        name="comp_with_source_code",
        group="completeness",
        weight=15,
        asks="a reference of type vcs",
        judge=per_component(
            lambda one: any(ref.kind == "vcs" and ref.url for ref in one.references), "no source repository"
        ),
    ),
    Rule(
        name="comp_with_supplier",
        group="completeness",
        weight=15,
        asks="supplier with name or email",
        judge=per_component(lambda one: bool(one.supplier.name or one.supplier.email), "no supplier"),
    ),
    Rule(
        name="comp_with_purpose",
        group="completeness",
        weight=10,
        asks="a type it knows",
        judge=per_component(lambda one: one.kind.lower() in PURPOSES, "a type not among those it knows"),
    ),
    Rule(
        name="comp_with_licenses",
        group="licensing",
        weight=20,
        asks="a concluded licence",
        judge=has_concluded,
    ),
    Rule(
        name="comp_with_valid_licenses",
        group="licensing",
        weight=20,
        asks="concluded licences all SPDX, ScanCode or LicenseRef",
        judge=valid_licences,
    ),
    Rule(
        name="comp_no_deprecated_licenses",
        group="licensing",
        weight=15,
        asks="no deprecated id among concluded licences",
        judge=without_deprecated,
    ),
    Rule(
        name="comp_no_restrictive_licenses",
        group="licensing",
        weight=20,
        asks="no copyleft among concluded licences",
        judge=without_copyleft,
    ),
    Rule(
        name="comp_with_declared_licenses",
        group="licensing",
        weight=15,
        asks="a declared licence",
        judge=has_declared,
    ),
    Rule(
        name="sbom_data_license",
        group="licensing",
        weight=10,
        asks="metadata.licenses, valid",
        judge=of_document(
            lambda facts: all_valid(facts.licences), "no valid licence for the document's data"
        ),
    ),
    Rule(
        name="comp_with_purl",
        group="vulnerability",
        weight=50,
        asks="purl that parses",
        judge=per_component(lambda one: is_purl(one.purl), "no purl"),
    ),
    Rule(
        name="comp_with_cpe",
        group="vulnerability",
        weight=50,
        asks="CPE that parses",
        judge=per_component(lambda one: is_cpe(one.cpe), "no CPE"),
    ),
    Rule(
        name="sbom_spec_declared",
        group="structural",
        weight=30,
        asks="bomFormat CycloneDX",
        judge=of_document(lambda facts: facts.spec == "CycloneDX", "not CycloneDX"),
    ),
    Rule(
        name="sbom_spec_version",
        group="structural",
        weight=30,
        asks="specVersion it knows (1.0 to 1.6)",
        judge=of_document(lambda facts: facts.spec_version in VERSIONS, "another version"),
    ),
    Rule(
        name="sbom_file_format",
        group="structural",
        weight=20,
        asks="JSON",
        judge=of_document(lambda facts: facts.spec == "CycloneDX", "not CycloneDX"),
    ),
    Rule(
        name="sbom_schema_valid",
        group="structural",
        weight=20,
        asks="valid by the official JSON schema",
        judge=of_document(lambda facts: facts.schema_valid, "the JSON schema refuses it"),
    ),
)
