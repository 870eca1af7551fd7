"""The public scoring of sbomqs v2: what each item loses, and that partial answers earn their part."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from boms import bom

from pipeline.domain.sbom.score import scorecard
from pipeline.domain.sbom.score_item import Item, Rating
from pipeline.domain.sbom.score_sbomqs import CATEGORIES

Document = dict[str, Any]
Change = Callable[[Document], object]


def rated(change: Change | None = None, *, schema_valid: bool = True) -> Rating:
    document = bom()
    document.pop("signature")
    if change is not None:
        change(document)
    return scorecard(document, schema_valid=schema_valid).sbomqs


def item(rating: Rating, name: str) -> Item:
    return next(one for one in rating.items if one.name == name)


def lost(change: Change) -> set[str]:
    return {one.name for one in rated(change).items if not one.full} - {"sbom_signature"}


def put(**fields: Any) -> Change:
    """Set fields of the second package."""
    return lambda document: document["components"][1].update(fields)


def licensed(*entries: Document) -> Change:
    def change(document: Document) -> None:
        for own in (document["metadata"]["component"], *document["components"]):
            own["licenses"] = list(entries)

    return change


def told(how: str, text: str = "MIT", key: str = "id") -> Document:
    return {"license": {key: text, "acknowledgement": how}}


def test_weights_are_the_published_ones() -> None:
    rating = rated()
    assert sum(CATEGORIES.values()) == 82
    for group, weight in CATEGORIES.items():
        assert sum(one.weight for one in rating.of(group)) == Fraction(10 * weight, 82)
    assert item(rating, "comp_with_strong_checksums").weight == Fraction(10 * 15 * 50, 82 * 100)
    assert len(rating.items) == 30


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (put(name=" "), "comp_with_name"),
        (put(version=""), "comp_with_version"),
        (lambda document: document["metadata"].update(timestamp="now"), "sbom_creation_timestamp"),
        (lambda document: document["metadata"].update(authors=[{"phone": "1"}]), "sbom_authors"),
        (lambda document: document["metadata"].update(tools=[]), "sbom_tool_version"),
        (lambda document: document["metadata"].update(supplier={"name": "M"}), "sbom_supplier"),
        (lambda document: document.update(serialNumber="urn:cdx:1"), "sbom_namespace"),
        (lambda document: document["metadata"].update(lifecycles=[]), "sbom_lifecycle"),
        (put(hashes=[]), "comp_with_strong_checksums"),
        (
            lambda document: document["compositions"][0]["dependencies"].remove("apt"),
            "comp_with_dependencies",
        ),
        (lambda document: document["compositions"].pop(), "sbom_completeness_declared"),
        (put(externalReferences=[]), "comp_with_source_code"),
        (put(supplier={"url": ["https://example.org"]}), "comp_with_supplier"),
        (put(type="device-driver"), "comp_with_purpose"),
        (
            put(licenses=[told("declared"), told("concluded", "Unheard of", "name")]),
            "comp_with_valid_licenses",
        ),
        (
            put(licenses=[told("declared"), told("concluded", "GPL-2.0+", "name")]),
            "comp_no_deprecated_licenses",
        ),
        (put(licenses=[told("declared"), told("concluded", "MPL-2.0")]), "comp_no_restrictive_licenses"),
        (put(licenses=[told("concluded")]), "comp_with_declared_licenses"),
        (lambda document: document["metadata"].pop("licenses"), "sbom_data_license"),
        (put(purl="apt"), "comp_with_purl"),
        (put(cpe="cpe:apt"), "comp_with_cpe"),
        (lambda document: document.update(specVersion="1.7"), "sbom_spec_version"),
    ],
)
def test_each_item_is_lost_by_its_own_lack(change: Change, name: str) -> None:
    found = lost(change)
    assert name in found
    assert found <= {name, "comp_no_restrictive_licenses"}


def test_a_document_the_schema_refuses_loses_that_item() -> None:
    assert item(rated(schema_valid=False), "sbom_schema_valid").share == 0


def test_an_item_of_components_earns_its_part() -> None:
    assert item(rated(put(version="")), "comp_with_version").share == Fraction(2, 3)


def test_nothing_unfinished_earns_more_than_99_of_100() -> None:
    def one_in_thousand(document: Document) -> None:
        document["components"].extend({"bom-ref": str(number), "name": "n"} for number in range(999))
        document["components"][0].pop("name")

    found = item(rated(one_in_thousand), "comp_with_name")
    assert (found.have, found.total, found.share) == (1001, 1002, Fraction(99, 100))


def test_a_weak_hash_alone_counts_against_those_with_a_hash() -> None:
    rating = rated(put(hashes=[{"alg": "SHA-1", "content": "ab"}]))
    assert item(rating, "comp_with_strong_checksums").share == Fraction(2, 3)
    assert item(rating, "comp_with_weak_checksums").share == Fraction(2, 3)


def test_without_any_hash_the_whole_category_is_lost() -> None:
    def change(document: Document) -> None:
        for own in (document["metadata"]["component"], *document["components"]):
            own.pop("hashes")

    assert {"comp_with_strong_checksums", "comp_with_weak_checksums"} == lost(change)


def test_an_embedded_signature_is_half_a_signature() -> None:
    signed = rated(lambda document: document.update(signature={"algorithm": "ES256", "value": "eA=="}))
    assert item(signed, "sbom_signature").share == Fraction(1, 2)


def test_a_tool_without_version_earns_half() -> None:
    rating = rated(lambda document: document["metadata"].update(tools=[{"name": "syft"}]))
    assert item(rating, "sbom_tool_version").share == Fraction(1, 2)


def test_licences_without_acknowledgement_are_declared_since_1_6_and_concluded_before() -> None:
    plain = {"license": {"id": "MIT"}}
    assert "comp_with_licenses" in lost(licensed(plain))
    assert "comp_with_declared_licenses" not in lost(licensed(plain))

    def older(document: Document) -> None:
        licensed(plain)(document)
        document["specVersion"] = "1.5"

    assert lost(older) == {"comp_with_declared_licenses"}


def test_the_acknowledgement_of_an_expression_is_not_read() -> None:
    found = lost(licensed({"expression": "MIT", "acknowledgement": "concluded"}))
    assert {"comp_with_licenses", "comp_with_valid_licenses"} <= found


def test_an_expression_as_a_name_is_taken_apart() -> None:
    change = put(licenses=[told("declared"), told("concluded", "MIT AND (BSD-3-Clause OR Zlib)", "name")])
    assert lost(change) == set()


def test_without_any_concluded_licence_what_they_should_not_be_earns_nothing() -> None:
    assert {"comp_no_deprecated_licenses", "comp_no_restrictive_licenses"} <= lost(licensed(told("declared")))


@pytest.mark.parametrize("text", ["GPL-2.0-only", "LGPL-2.1-or-later", "MPL-2.0", "AGPL-3.0-or-later"])
def test_copyleft_is_restrictive(text: str) -> None:
    assert "comp_no_restrictive_licenses" in lost(licensed(told("declared"), told("concluded", text)))


@pytest.mark.parametrize("text", ["MIT", "Apache-2.0", "BSD-3-Clause", "ISC", "Zlib"])
def test_permissive_licences_are_not(text: str) -> None:
    assert lost(licensed(told("declared"), told("concluded", text))) == set()


def test_without_components_only_the_document_is_rated() -> None:
    rating = scorecard({"bomFormat": "CycloneDX", "specVersion": "1.6"}, schema_valid=True).sbomqs
    assert {one.group for one in rating.items if one.share} == {"structural"}
    assert rating.points == Fraction(10 * 8, 82)
    assert sum(one.weight for one in rating.of("identification")) == 0
