"""Whose a file is, who made it and under which licence: what an SBOM says of packages."""

from __future__ import annotations

from typing import Any

import pytest
from sbomkit import INFO, base_tree
from trees import Link, MemoryTree

from pipeline.domain.gate import CommandResult
from pipeline.domain.sbom.licences import module_licences, package_licences
from pipeline.domain.sbom.ownership import dpkg_ownership, rpm_ownership
from pipeline.domain.sbom.part import Organisation, organisation


def test_files_over_links_and_diverted_ones_have_their_owner() -> None:
    tree = base_tree(
        **{
            f"{INFO}/mesa.list": "/usr/lib/libGL.so.1\n",
            f"{INFO}/zlib1g:amd64.list": "/lib/libz.so\n",
            "/usr/lib/sysimage/dpkg/diversions": "/usr/lib/libGL.so.1\n/usr/lib/diverted/libGL.so.1\nglx\n",
        }
    )
    owners = dpkg_ownership(tree)
    assert owners.owner("/usr/lib/diverted/libGL.so.1") == ("mesa", "")
    assert owners.owner("/usr/lib/libGL.so.1") is None
    assert owners.owner("/usr/lib/libz.so") == ("zlib1g", "amd64")
    assert owners.owner("/usr/bin/tool") == ("tool", "")
    assert owners.owner(f"{INFO}/tool.postinst") == ("tool", "")


def test_a_link_to_itself_ends() -> None:
    tree = MemoryTree({"/a": Link("a"), "/usr/lib/sysimage/dpkg/status": "x", f"{INFO}/t.list": "/a/b\n"})
    assert dpkg_ownership(tree).owner("/a/b") == ("t", "")


def test_rpm_tells_owners_itself() -> None:
    def inside(argv: object, *, stdin: str = "", timeout: float = 0.0) -> CommandResult:
        return CommandResult(code=0, stdout="bash\tx86_64\t/bin/bash\nempty\tnoarch\n", stderr="")

    found = rpm_ownership(base_tree(), inside)
    assert found is not None
    assert dict(found.owners) == {"/usr/bin/bash": ("bash", "x86_64")}


@pytest.mark.parametrize(
    ("names", "concluded"),
    [
        (["GPL-2+"], "GPL-2.0-or-later"),
        (["GPL-2.0+"], "GPL-2.0-or-later"),
        (["LGPL-2.1"], "LGPL-2.1-only"),
        (["Expat", "MIT"], "MIT"),
        (["public-domain"], "LicenseRef-public-domain"),
        (["MIT OR Apache-2.0"], "MIT OR Apache-2.0"),
        (["weird <b>"], "LicenseRef-weird-b"),
    ],
)
def test_licences_are_concluded_in_spdx_s_words(names: list[str], concluded: str) -> None:
    found: Any = package_licences({"license": {"name": name}} for name in names)
    last = found[-1]["license"]
    assert last["acknowledgement"] == "concluded"
    assert (last.get("id") or last["name"]) == concluded


def test_nothing_declared_is_nothing_concluded() -> None:
    assert package_licences([]) == []
    assert module_licences([""]) == []


def test_people_are_read() -> None:
    assert organisation("Jo <jo@example.org>") == Organisation(name="Jo", mail="jo@example.org")
    assert organisation("  ") is None
    assert Organisation(name="x", url="javascript:1", mail="a b").part() == {"name": "x"}
