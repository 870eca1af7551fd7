"""What proves the demo's candidates: every document is there, is true, and can be made again."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
from e2e.conftest import Demo, command
from e2e.demoimages import newest

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

DOCUMENTS = {"sbom", "diff", "gates", "provenance"}


def document(demo: Demo, image: str, kind: str) -> Any:
    return json.loads(demo.run("evidence", f"debian/{image}", "--get", kind).stdout)


@pytest.mark.parametrize(
    ("image", "more"),
    [("debian-13", set()), ("base", {"boot-test", "boot-console"}), ("web-1", set()), ("gpu-1", set())],
)
def test_every_candidate_has_its_evidence_in_the_registry(demo: Demo, image: str, more: set[str]) -> None:
    found = demo.json("evidence", f"debian/{image}")
    matching = {one["name"] for one in found["evidence"] if one["standing"] == "matches"}
    assert matching == DOCUMENTS | more
    assert found["ok"]
    assert found["problems"] == []


def test_provenance_names_commit_parent_and_what_was_built(demo: Demo) -> None:
    record = newest(demo, "base")
    statement = document(demo, "base", "provenance")
    assert statement["subject"][0]["digest"]["sha256"] == record["digest"].removeprefix("sha256:")
    definition = statement["predicate"]["buildDefinition"]
    named = {one["name"]: one for one in definition["resolvedDependencies"]}
    assert named["definitions"]["digest"]["gitCommit"] == record["source"]["commit"]
    assert named["debian/debian-13"]["digest"]["sha256"] == record["parent"]["digest"].removeprefix("sha256:")
    assert "zfs-dkms" in named
    assert {"stage toolchain", "source in zfs-dkms", "source in nvidia-open-kernel-dkms"} <= {
        name for name, one in named.items() if one.get("digest", {}).get("sha256")
    }
    assert "images/debian/base/base.toml" in named
    byproducts = {one["name"]: one["digest"] for one in statement["predicate"]["runDetails"]["byproducts"]}
    assert byproducts["sbom"] == {"sha256": record["evidence"]["sbom"].removeprefix("sha256:")}


def test_a_host_is_told_by_what_it_adds_to_its_base(demo: Demo) -> None:
    found = document(demo, "web-1", "diff")
    assert found["old"]["digest"] == newest(demo, "base")["digest"]
    assert "no release yet" in found["because"]
    same = json.loads(demo.run("--json", "diff", "debian/base", "debian/web-1").stdout)
    assert {**same, "because": found["because"]} == found
    assert "user robin (sysusers)" in json.dumps(found)


def test_the_dossier_is_one_page_and_says_what_the_documents_say(demo: Demo) -> None:
    page = (demo.folder / "dossier.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert newest(demo, "web-1")["digest"] in page
    assert "<script" not in page
    assert "http-equiv" in page
    dossier = demo.json("review", "debian/web-1")
    assert dossier["judgement"]["blocks"] == []


def test_hosts_come_out_the_same_twice(demo: Demo) -> None:
    found = demo.json("build", "--tier", "instance", "--all", "--verify-reproducible")["reproducible"]
    assert len(found) == 3
    assert all(one["same"] for one in found)


def test_a_second_bootstrap_gives_the_digest_of_the_first(demo: Demo) -> None:
    """The date is the one the first build had: that of the first commit."""
    before = newest(demo, "debian-13")
    dates = subprocess.run(
        ["git", "-C", str(demo.folder), "log", "--reverse", "--format=%ct", "main"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    done = subprocess.run(
        command("--json", "-q", "build", "--tier", "upstream"),
        cwd=demo.folder, capture_output=True, text=True, check=False, timeout=1800,
        env={**os.environ, "SOURCE_DATE_EPOCH": dates.stdout.split()[0]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert newest(demo, "debian-13")["digest"] == before["digest"]
    assert newest(demo, "debian-13")["id"] != before["id"]
