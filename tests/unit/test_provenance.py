"""Provenance: the shape in-toto and SLSA ask for, no claim that is not so, and no secret in it."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packageurl import PackageURL
from records import candidate, candidates, digest

from pipeline.domain.image import Tier
from pipeline.domain.oci import OCI_CONFIG
from pipeline.domain.provenance import (
    BuilderFacts,
    BuildFacts,
    CiJob,
    build_type,
    builder_id,
    ci_job,
    claim,
    git_uri,
    oci_purl,
    statement,
)
from pipeline.domain.record import Builder, Origin, SourceState
from pipeline.errors import UsageError

FACTS = BuildFacts(
    definition="images/debian/base/base.toml",
    timestamp=1_763_000_000,
    options={"verifyReproducible": True},
    files={"Containerfiles/debian/base.Containerfile": digest(20), "images/debian/pins.toml": digest(21)},
    packages=("zfs-dkms=2.3.9-0+deb13u1", "tmux", "linux-image-6.12.94+deb13-amd64=1:6.12.94-1"),
    ecosystem="deb/debian",
    stages={"zfs": digest(30), "toolchain": digest(31)},
    sources={"zfs-dkms=2.3.9-0+deb13u1": digest(32)},
)
LAPTOP = BuilderFacts(
    versions={"bootc-pipeline": "0.4.0", "podman": "4.3.1"}, remote="git@forge.example:os/images.git"
)
JOB = CiJob(
    url="https://gitlab.example/os/images/-/jobs/77",
    project="https://gitlab.example/os/images",
    runner="12",
    ref="main",
)
RUNNER = dataclasses.replace(LAPTOP, ci=JOB)
PRODUCTS = {"log assemble": digest(40), "sbom": digest(41), "gates": digest(42)}

_TEXT = {"type": "string", "minLength": 1}
_DESCRIPTOR = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": _TEXT,
        "uri": {"type": "string", "pattern": r"^[a-z][a-z0-9+.-]*:\S+$"},
        "digest": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{40,64}$"},
        },
        "mediaType": {"type": "string", "pattern": "^[a-z]+/[a-z0-9.+-]+$"},
        "annotations": {"type": "object"},
    },
    "anyOf": [{"required": ["uri"]}, {"required": ["digest"]}],
}
_TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
_URI = {"type": "string", "pattern": r"^[a-z][a-z0-9+.-]*:[^\s]+$"}


def _object(required: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": required,
    }


SCHEMA = _object(
    {
        "_type": {"const": "https://in-toto.io/Statement/v1"},
        "subject": {
            "type": "array",
            "minItems": 1,
            "items": {**_DESCRIPTOR, "required": ["name", "digest"]},
        },
        "predicateType": {"const": "https://slsa.dev/provenance/v1"},
        "predicate": _object(
            {
                "buildDefinition": _object(
                    {
                        "buildType": _URI,
                        "externalParameters": {"type": "object", "minProperties": 1},
                        "internalParameters": {"type": "object"},
                        "resolvedDependencies": {"type": "array", "items": _DESCRIPTOR},
                    }
                ),
                "runDetails": _object(
                    {
                        "builder": _object(
                            {"id": _URI, "version": {"type": "object", "additionalProperties": _TEXT}}
                        ),
                        "metadata": _object({"invocationId": _TEXT, "startedOn": _TIME, "finishedOn": _TIME}),
                        "byproducts": {"type": "array", "items": _DESCRIPTOR},
                    }
                ),
            }
        ),
    }
)
"""What the specifications ask of a statement with this predicate, and no field they do not have."""


def made(facts: BuildFacts = FACTS, builder: BuilderFacts = LAPTOP, **changes: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(statement(candidate(**changes), facts, builder, PRODUCTS))  # type: ignore[arg-type]
    return found


def dependencies(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    listed = found["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert len({one["name"] for one in listed}) == len(listed)
    return {one["name"]: one for one in listed}


@pytest.mark.parametrize("builder", [LAPTOP, RUNNER], ids=["workstation", "ci"])
@pytest.mark.parametrize("tier", list(Tier))
def test_has_the_shape_in_toto_and_slsa_ask_for(tier: Tier, builder: BuilderFacts) -> None:
    found = made(builder=builder, tier=tier)
    jsonschema.validate(found, SCHEMA)
    assert found["predicate"]["buildDefinition"]["buildType"] == build_type(tier)


@given(candidates, st.dictionaries(st.text(), st.builds(digest, st.integers(0, 99)), max_size=3))
def test_whatever_a_candidate_says_has_that_shape(one: Any, files: Any) -> None:
    facts = dataclasses.replace(FACTS, files=files, definition="x\ud800\n" + "y" * 2000)
    found = json.loads(statement(one, facts, RUNNER, dict(one.evidence)))
    assert found["subject"] == [{"name": str(one.repository), "digest": {"sha256": one.digest.hex}}]
    assert found["predicateType"] == SCHEMA["properties"]["predicateType"]["const"]


def test_same_facts_give_the_same_bytes_whatever_their_order() -> None:
    turned = dataclasses.replace(
        FACTS,
        files=dict(reversed(list(FACTS.files.items()))),
        packages=FACTS.packages[::-1],
        stages=dict(reversed(list(FACTS.stages.items()))),
    )
    products = dict(reversed(list(PRODUCTS.items())))
    assert statement(candidate(), FACTS, LAPTOP, PRODUCTS) == statement(candidate(), turned, LAPTOP, products)


def test_own_evidence_is_not_read() -> None:
    with_more = candidate(evidence={"provenance": digest(1)})
    assert statement(with_more, FACTS, LAPTOP, PRODUCTS) == statement(candidate(), FACTS, LAPTOP, PRODUCTS)


def test_every_input_is_named_by_digest_or_version() -> None:
    found = dependencies(made())
    assert found["definitions"]["digest"] == {"gitCommit": "a" * 40}
    assert found["definitions"]["uri"] == f"git+ssh://forge.example/os/images.git@{'a' * 40}"
    assert found["images/debian/pins.toml"]["digest"] == {"sha256": digest(21).hex}
    assert found["debian/upstream"]["digest"] == {"sha256": digest(7).hex}
    assert "repository_url=127.0.0.1:5000/os/debian/upstream" in found["debian/upstream"]["uri"]
    assert found["stage zfs"] == {
        "name": "stage zfs",
        "digest": {"sha256": digest(30).hex},
        "mediaType": OCI_CONFIG,
        "annotations": {"kept": False, "digestOf": "the config of the stage's image"},
    }
    assert found["installed packages"]["digest"] == {"sha256": digest(8).hex}
    assert found["tmux"] == {"name": "tmux", "uri": "pkg:deb/debian/tmux"}
    assert found["source in zfs-dkms"]["digest"] == {"sha256": digest(32).hex}
    assert found["source in zfs-dkms"]["annotations"]["package"] == found["zfs-dkms"]["uri"]


def test_a_mirrored_image_names_where_it_came_from() -> None:
    origin = Origin(reference="quay.example/centos-bootc/centos-bootc:stream10", digest=digest(50))
    one = dependencies(made(origin=origin))[origin.reference]
    assert one["digest"] == {"sha256": digest(50).hex}
    assert one["uri"].endswith("?repository_url=quay.example/centos-bootc/centos-bootc")


def test_package_urls_are_those_of_the_specification() -> None:
    one = candidate()
    assert PackageURL.from_string(oci_purl(one.repository, one.digest)) == PackageURL(
        type="oci",
        name="base",
        version=str(one.digest),
        qualifiers={"repository_url": "127.0.0.1:5000/os/debian/base"},
    )
    for word in FACTS.packages:
        name, _, version = word.partition("=")
        expected = PackageURL(type="deb", namespace="debian", name=name, version=version or None)
        uri = dependencies(made())[name]["uri"]
        assert (uri, PackageURL.from_string(uri)) == (str(expected), expected)


def test_byproducts_have_name_digest_and_type() -> None:
    found = made()["predicate"]["runDetails"]["byproducts"]
    assert [one["name"] for one in found] == ["gates", "log assemble", "sbom"]
    assert found[1] == {
        "name": "log assemble",
        "digest": {"sha256": digest(40).hex},
        "mediaType": "text/plain",
    }
    assert found[2]["mediaType"] == "application/vnd.cyclonedx+json"


def test_a_workstation_claims_no_more_than_level_1() -> None:
    found = made()["predicate"]
    assert found["runDetails"]["builder"]["id"] == "tag:bootc-pipeline,2026:workstation/ada@laptop"
    slsa = found["buildDefinition"]["internalParameters"]["slsa"]
    assert slsa["buildLevel"] == 1
    assert "user controls" in slsa["why"]


def test_hosted_ci_claims_level_2_on_a_condition() -> None:
    found = made(builder=RUNNER)["predicate"]
    assert found["runDetails"]["builder"]["id"] == "https://gitlab.example/os/images/-/runners/12"
    assert found["runDetails"]["metadata"]["invocationId"] == f"{JOB.url}#run-1"
    slsa = found["buildDefinition"]["internalParameters"]["slsa"]
    assert slsa["buildLevel"] == 2
    assert slsa["conditions"] == [
        "the statement is signed with the identity that the CI platform gave to this job"
    ]


@pytest.mark.parametrize("builder", [LAPTOP, RUNNER], ids=["workstation", "ci"])
def test_level_3_is_never_claimed(builder: BuilderFacts) -> None:
    level = claim(builder)["buildLevel"]
    assert isinstance(level, int)
    assert level < 3


@pytest.mark.parametrize(
    ("source", "clean", "says"),
    [
        (SourceState(commit="b" * 40, clean=True), True, "everything that was built is in the commit"),
        (SourceState(commit="b" * 40, clean=False, dirty=("images/x.toml",)), False, "in no commit"),
        (SourceState(commit="b" * 40), None, "not known"),
        (SourceState(), None, "no commit is known"),
    ],
)
def test_says_what_is_known_of_the_source(source: SourceState, clean: object, says: str) -> None:
    found = made(source=source)
    told = found["predicate"]["buildDefinition"]["internalParameters"]["source"]
    assert told["clean"] is clean
    assert told["changed"] == list(source.dirty)
    assert says in told["says"]
    commit = dependencies(found).get("definitions")
    assert (commit is None) == (source.commit is None)
    if commit is not None:
        assert commit["annotations"] == {"clean": clean}


@pytest.mark.parametrize(
    ("remote", "uri"),
    [
        (
            "https://ada:s3cret@forge.example:8443/os/images.git",
            "git+https://forge.example:8443/os/images.git",
        ),
        ("https://forge.example/x.git?private_token=s3cret", "git+https://forge.example/x.git"),
        ("ssh://git@[2001:db8::1]:22/x", "git+ssh://[2001:db8::1]:22/x"),
        ("git@forge.example:os/images.git", "git+ssh://forge.example/os/images.git"),
        ("ada:s3cret@forge.example:x.git", ""),
        ("git://forge.example/x", "git://forge.example/x"),
        ("https://ada:s3cret@forge.example:port/x", ""),
        ("/srv/ledger.git", ""),
        ("../ledger", ""),
        ("file:///srv/ledger.git", ""),
        ("ext::sh -c s3cret", ""),
        ("", ""),
    ],
)
def test_no_login_and_no_path_of_the_machine_is_passed_on(remote: str, uri: str) -> None:
    assert git_uri(remote) == uri
    assert b"s3cret" not in statement(candidate(), FACTS, dataclasses.replace(LAPTOP, remote=remote), {})


def test_a_builder_with_any_name_has_a_uri() -> None:
    odd = candidate(builder=Builder(identity="a b/ü%@höst?#", host="workstation"))
    assert re.fullmatch(r"tag:bootc-pipeline,2026:workstation/[A-Za-z0-9%@._~-]+", builder_id(odd, LAPTOP))


@pytest.mark.parametrize("url", ["", "javascript:alert(1)", "https:///x", "gitlab.example/x"])
def test_a_job_without_a_real_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        dataclasses.replace(JOB, url=url)


def test_a_gitlab_job_is_known_by_its_variables_and_nothing_less() -> None:
    variables = {
        "GITLAB_CI": "true",
        "CI_JOB_URL": JOB.url,
        "CI_PROJECT_URL": JOB.project,
        "CI_RUNNER_ID": JOB.runner,
        "CI_COMMIT_REF_NAME": JOB.ref,
    }
    assert ci_job(variables) == JOB
    assert ci_job({**variables, "CI_COMMIT_REF_NAME": ""}) == dataclasses.replace(JOB, ref="")
    for name in ("GITLAB_CI", "CI_JOB_URL", "CI_PROJECT_URL", "CI_RUNNER_ID"):
        assert ci_job({**variables, name: ""}) is None
    assert ci_job({"CI": "true"}) is None


def test_the_build_types_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "build-types.md").read_text(encoding="utf-8")
    for tier in Tier:
        assert f"`{build_type(tier)}`" in page
    found = made(builder=RUNNER)["predicate"]["buildDefinition"]
    for field in (*found["externalParameters"], *found["internalParameters"]):
        assert f"`{field}`" in page, field
