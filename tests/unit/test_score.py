"""The yardsticks of an SBOM: what each item asks, what takes it away, and what they add up to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from boms import bom, component
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.canonical import canonical_json, parse_canonical
from pipeline.domain.sbom.score import Scorecard, as_json, hundredths, scorecard
from pipeline.domain.sbom.score_facts import is_cpe, is_purl, is_time
from pipeline.domain.sbom.score_item import Item, Rating
from pipeline.domain.sbom.score_licences import DEPRECATED, ids_of, is_listed
from pipeline.render.score import decimal

Document = dict[str, Any]
Change = Callable[[Document], object]
DOCS = Path(__file__).parents[2] / "docs" / "sbom-score.md"


def scored(change: Change | None = None) -> Scorecard:
    document = bom()
    if change is not None:
        change(document)
    return scorecard(document, schema_valid=True)


def item(rating: Rating, name: str) -> Item:
    return next(one for one in rating.items if one.name == name)


def lacking(rating: Rating) -> set[str]:
    return {one.name for one in rating.items if not one.full}


def without(key: str) -> Change:
    """Take a key from the second package."""
    return lambda document: document["components"][1].pop(key)


def without_meta(key: str) -> Change:
    return lambda document: document["metadata"].pop(key)


def without_flag(name: str) -> Change:
    def change(document: Document) -> None:
        own = document["components"][1]
        own["properties"] = [one for one in own["properties"] if one["name"] != f"bsi:component:{name}"]

    return change


def without_reference(*kinds: str) -> Change:
    def change(document: Document) -> None:
        own = document["components"][1]
        own["externalReferences"] = [one for one in own["externalReferences"] if one["type"] not in kinds]

    return change


def licensed(*entries: Document) -> Change:
    return lambda document: document["components"][1].update(licenses=list(entries))


def told(how: str, text: str = "MIT", key: str = "id") -> Document:
    return {"license": {key: text, "acknowledgement": how}}


def test_the_full_document_is_valid_by_the_official_schema() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom())) is None


def test_a_full_document_lacks_nothing_but_a_verified_signature() -> None:
    card = scored()
    assert card.components == 3
    assert card.ntia.points == card.ntia.best == 7
    assert lacking(card.bsi) == set()
    assert lacking(card.sbomqs) == {"sbom_signature"}
    assert card.sbomqs.best == 10
    assert card.sbomqs.points == 10 - Fraction(10 * 15 * 10, 82 * 100) / 2


@pytest.mark.parametrize(
    ("change", "element"),
    [
        (
            lambda document: [document["components"][1].pop(key) for key in ("supplier", "manufacturer")],
            "supplier name",
        ),
        (without("name"), "component name"),
        (without("version"), "version"),
        (
            lambda document: [document["components"][1].pop(key) for key in ("purl", "cpe")],
            "other unique identifiers",
        ),
        (lambda document: document["dependencies"][0].pop("dependsOn"), "dependency relationship"),
        (lambda document: document["dependencies"][1]["dependsOn"].append("lost"), "dependency relationship"),
        (lambda document: document["dependencies"].append({"ref": "lost"}), "dependency relationship"),
        (
            lambda document: [
                document["metadata"].pop(key) for key in ("authors", "tools", "supplier", "manufacturer")
            ],
            "author of SBOM data",
        ),
        (without_meta("timestamp"), "timestamp"),
        (lambda document: document["metadata"].update(timestamp="yesterday"), "timestamp"),
    ],
)
def test_each_ntia_element_is_lost_by_its_own_lack_alone(change: Change, element: str) -> None:
    rating = scored(change).ntia
    assert lacking(rating) == {element}
    assert rating.points == 6


def test_a_manufacturer_or_a_tool_stands_in_for_ntia() -> None:
    assert lacking(scored(without("supplier")).ntia) == set()
    assert lacking(scored(without_meta("authors")).ntia) == set()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda document: document.update(specVersion="1.5"), "format"),
        (lambda document: document.update(specVersion="newest"), "format"),
        (lambda document: document.update(specVersion="1." + "9" * 5000), "format"),
        (lambda document: document.update(vulnerabilities=[{"id": "CVE-2026-1"}]), "format"),
        (
            lambda document: document["metadata"].update(manufacturer={"name": "Makers"}),
            "creator of the SBOM",
        ),
        (without_meta("timestamp"), "timestamp"),
        (lambda document: document["components"][1].update(manufacturer={"name": "M"}), "component creator"),
        (without("name"), "component name"),
        (without("version"), "component version"),
        (without_flag("filename"), "filename"),
        (lambda document: document["dependencies"].pop(), "dependencies"),
        (lambda document: document["dependencies"][1]["dependsOn"].append("lost"), "dependencies"),
        (lambda document: document["compositions"].pop(), "dependencies"),
        (lambda document: document["compositions"][1].update(aggregate="not_specified"), "dependencies"),
        (licensed(told("declared")), "distribution licences"),
        (licensed(told("declared"), told("concluded", "Unheard of", "name")), "distribution licences"),
        (without_flag("executable"), "executable property"),
        (without_flag("archive"), "archive property"),
        (without_flag("structured"), "structured property"),
        (
            lambda document: document["components"][1]["properties"].append(
                {"name": "bsi:component:archive", "value": "no archive"}
            ),
            "archive property",
        ),
        (
            lambda document: document["components"][1]["properties"][1].update(value="maybe"),
            "executable property",
        ),
        (lambda document: document.pop("serialNumber"), "SBOM-URI"),
        (
            lambda document: [document["components"][1].pop(key) for key in ("purl", "cpe")],
            "other unique identifiers",
        ),
        (licensed(told("concluded")), "original licences"),
        (without_flag("effectiveLicense"), "effective licence"),
        (without_reference("rfc-9116"), "URL of security.txt"),
    ],
)
def test_each_bsi_field_is_lost_by_its_own_lack_alone(change: Change, field: str) -> None:
    assert lacking(scored(change).bsi) == {field}


def test_bsi_references_carry_both_their_place_and_their_hash() -> None:
    assert lacking(scored(without_reference("distribution")).bsi) == {
        "hash of the deployable component",
        "URI of the deployable form",
    }
    assert lacking(scored(without_reference("source-distribution")).bsi) == {"hash of the source code"}
    assert lacking(scored(without_reference("source-distribution", "vcs")).bsi) == {
        "hash of the source code",
        "source code URI",
    }


def test_bsi_wants_sha512_and_nothing_less() -> None:
    def weaker(document: Document) -> None:
        reference = document["components"][1]["externalReferences"][0]
        reference["hashes"] = [{"alg": "SHA-256", "content": "cd" * 32}]

    assert lacking(scored(weaker).bsi) == {"hash of the deployable component"}


def test_bsi_takes_an_expression_as_concluded_licence() -> None:
    entry = {"expression": "MIT AND GPL-2.0-only", "acknowledgement": "concluded"}
    assert lacking(scored(licensed(entry)).bsi) == {"original licences"}


def test_what_syft_writes_by_itself_gets_about_half() -> None:
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": "urn:uuid:3e256f3c-0220-40ec-949b-ba633b124555",
        "metadata": {
            "timestamp": "2026-11-21T14:32:35Z",
            "tools": {
                "components": [{"type": "application", "author": "anchore", "name": "syft", "version": "1"}]
            },
            "component": {"bom-ref": "7420", "type": "container", "name": "base", "version": "sha256:1eff"},
        },
        "components": [
            {
                "bom-ref": f"pkg:deb/debian/{name}@1.0?package-id=4518",
                "type": "library",
                "publisher": "Makers <makers@example.org>",
                "name": name,
                "version": "1.0",
                "licenses": [{"license": {"id": "GPL-2.0-only"}}, {"license": {"name": "Expat"}}],
                "cpe": f"cpe:2.3:a:{name}:{name}:1.0:*:*:*:*:*:*:*",
                "purl": f"pkg:deb/debian/{name}@1.0",
            }
            for name in ("adduser", "apt", "bash", "libc6")
        ],
        "dependencies": [
            {
                "ref": "pkg:deb/debian/apt@1.0?package-id=4518",
                "dependsOn": ["pkg:deb/debian/libc6@1.0?package-id=4518"],
            }
        ],
    }
    card = scorecard(document, schema_valid=True)
    assert card.ntia.points == 4
    assert lacking(card.ntia) == {"supplier name", "other unique identifiers", "dependency relationship"}
    assert 450 < hundredths(card.sbomqs.points) < 500


def test_figures_are_rounded_down_and_canonical() -> None:
    card = scored()
    data = canonical_json(as_json(card, scored(without("version"))))
    value = parse_canonical(data)
    assert value["ratings"][2]["points"] == hundredths(card.sbomqs.points) == 990
    assert value["ratings"][0] == value["ratings"][0] | {"points": 700, "best": 700}
    assert value["beside"]["ratings"][0]["points"] == 600
    assert hundredths(Fraction(9999, 1000)) == 999


def test_a_reason_names_the_first_few_and_counts_the_rest() -> None:
    def many(document: Document) -> None:
        document["components"].extend({"type": "library", "name": f"bare{number}"} for number in range(5))

    version = item(scored(many).ntia, "version")
    assert (version.have, version.total) == (3, 8)
    assert version.reason == "no version: bare0, bare1, bare2 and 2 more"


def test_names_from_outside_are_shown_as_plain_text() -> None:
    def hostile(document: Document) -> None:
        document["components"].append({"type": "library", "name": "\x1b[31m" + "x" * 500})

    reason = item(scored(hostile).ntia, "version").reason
    assert "\x1b" not in reason
    assert len(reason) < 200


def test_components_count_once_for_each_reference_wherever_they_lie() -> None:
    def nested(document: Document) -> None:
        document["components"][0]["components"] = [component("inner"), component("libc6")]

    assert scored(nested).components == 4


def test_a_document_nested_beyond_any_measure_is_read() -> None:
    deep: Document = {"type": "library", "name": "bottom"}
    for _ in range(5_000):
        deep = {"type": "library", "components": [deep]}
    assert scorecard({"components": [deep]}, schema_valid=False).components == 5_001
    while "components" in deep:  # taken apart by hand: freeing it at once would recurse as deep
        deep = deep.pop("components")[0]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("2026-01-02T03:04:05Z", True),
        ("2026-01-02T03:04:05.123456789+02:00", True),
        ("2026-01-02", False),
        ("2026-13-02T03:04:05Z", False),
        ("2026-01-02 03:04:05Z", False),
        ("", False),
    ],
)
def test_times_are_those_of_rfc_3339(text: str, good: bool) -> None:  # noqa: FBT001
    assert is_time(text) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("cpe:2.3:a:apt:apt:3.0.4:*:*:*:*:*:*:*", True),
        (r"cpe:2.3:a:gnu:g\+\+:12\:1:*:*:*:*:*:*:*", True),
        ("cpe:/a:apt:apt:3.0.4", True),
        ("cpe:2.3:a:apt:apt", False),
        ("cpe:2.3:x:apt:apt:3.0.4:*:*:*:*:*:*:*", False),
        ("cpe:2.3:a:a b:apt:3.0.4:*:*:*:*:*:*:*", False),
    ],
)
def test_cpes_are_formatted_strings_or_uris(text: str, good: bool) -> None:  # noqa: FBT001
    assert is_cpe(text) is good


@given(st.text(max_size=60))
def test_no_text_breaks_the_readers_of_identifiers(text: str) -> None:
    assert is_purl(f"pkg:{text}") in (True, False)
    assert is_purl(f"pkg:deb/{text}") in (True, False)
    assert is_cpe(f"cpe:2.3:a:{text}") in (True, False)
    assert is_time(f"2026-01-02T03:04:05{text}") in (True, False)
    assert isinstance(ids_of(text), tuple)


def test_purls_need_a_type_and_a_name() -> None:
    assert is_purl("pkg:deb/debian/apt@3.0.4?arch=amd64")
    assert not any(is_purl(text) for text in ("", "apt", "pkg:deb", "pkg:", "pkg:/apt", "deb/debian/apt"))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("MIT", ("MIT",)),
        ("(MIT AND GPL-2.0-only) OR LicenseRef-Debian-x", ("MIT", "GPL-2.0-only", "LicenseRef-Debian-x")),
        ("GPL-2.0-or-later WITH Bison-exception-2.2", ("GPL-2.0-or-later", "Bison-exception-2.2")),
        ("MIT AND Expat", ("MIT AND Expat",)),
        ("public domain", ("public domain",)),
        ("AND", ("AND",)),
        ("NOASSERTION", ()),
        ("", ()),
    ],
)
def test_an_expression_is_its_ids_unless_one_is_unknown(text: str, ids: tuple[str, ...]) -> None:
    assert ids_of(text) == ids


def test_deprecated_ids_are_ids_of_the_list() -> None:
    assert {one for one in DEPRECATED if not is_listed(one)} == set()


KEYS = sorted(
    {
        "components",
        "component",
        "metadata",
        "dependencies",
        "ref",
        "dependsOn",
        "timestamp",
        "tools",
        "supplier",
    }
    | {"bom-ref", "name", "version", "type", "purl", "cpe", "hashes", "alg", "content", "licenses", "license"}
    | {
        "id",
        "expression",
        "acknowledgement",
        "compositions",
        "aggregate",
        "assemblies",
        "manufacturer",
        "url",
    }
    | {"contact", "email", "properties", "value", "externalReferences"}
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@given(st.dictionaries(st.sampled_from(["metadata", "components", "dependencies", "compositions"]), JSON))
def test_no_document_breaks_the_yardsticks(document: Document) -> None:
    card = scorecard(document, schema_valid=False)
    assert all(0 <= rating.points <= rating.best for rating in card.ratings)
    assert parse_canonical(canonical_json(as_json(card, card)))["components"] == card.components


def test_the_document_names_every_item_with_its_points() -> None:
    text = DOCS.read_text(encoding="utf-8")
    rows = dict(re.findall(r"`(\w+)` \| (\d\.\d\d) \|", text))
    points = {one.name: decimal(one.weight) for one in scored().sbomqs.items}
    assert rows == points
    assert not [one.name for one in scored().ntia.items if f"| {one.name} |" not in text]
