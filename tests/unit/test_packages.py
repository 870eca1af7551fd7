from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from subjects import Answers
from trees import Link, MemoryTree

from pipeline.domain.gate import Package
from pipeline.domain.packages import installed_packages, parse_dpkg_status, read_packages

STATUS = """\
Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.37-2+b5
Description: shell
 Package: not-this
 .
 more

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: all

Package: held
Status: hold ok installed
Version: 1:2.0~rc1-3
Architecture: all

Package: broken
Status: install ok half-configured
Version: 3
Architecture: amd64
"""


def test_what_is_on_the_disk_counts_and_what_was_removed_does_not() -> None:
    assert parse_dpkg_status(STATUS) == (
        Package(name="bash", version="5.2.37-2+b5", arch="amd64"),
        Package(name="held", version="1:2.0~rc1-3", arch="all"),
        Package(name="broken", version="3", arch="amd64"),
    )


def test_the_status_is_read_in_its_own_place_and_over_a_link() -> None:
    own = MemoryTree({"/usr/lib/sysimage/dpkg/status": STATUS})
    linked = MemoryTree({"/data/dpkg/status": STATUS, "/var/lib/dpkg": Link("/data/dpkg")})

    assert read_packages(own) == read_packages(linked) == parse_dpkg_status(STATUS)
    assert read_packages(MemoryTree({})) is None


def test_a_database_that_makes_no_sense_is_none_and_not_empty() -> None:
    for text in (
        "",
        "\n\n",
        "nonsense",
        "Package: a b\nStatus: install ok installed\n",
        STATUS + "\nVersion: 1\n",
    ):
        assert parse_dpkg_status(text) is None
        assert installed_packages(MemoryTree({"/var/lib/dpkg/status": text}), Answers(0)) is None


def test_rpm_is_asked_inside_only_where_its_database_is() -> None:
    rpm = Answers(0, "bash\t5.2-1.el10\tx86_64\ngpg-pubkey\tab-cd\t(none)\ngrub2\t1:2.12-1\t(none)\n")
    tree = MemoryTree({"/usr/share/rpm/rpmdb.sqlite": b"x"})

    assert installed_packages(tree, rpm) == (
        Package(name="bash", version="5.2-1.el10", arch="x86_64"),
        Package(name="grub2", version="1:2.12-1", arch="none"),
    )
    dpkg = Answers(0)
    assert installed_packages(MemoryTree({"/var/lib/dpkg/status": STATUS}), dpkg) is not None
    assert dpkg.asked == []


def test_an_rpm_that_fails_or_says_nonsense_is_none() -> None:
    tree = MemoryTree({"/usr/share/rpm/rpmdb.sqlite": b"x", "/var/lib/dpkg/status": STATUS})
    for answer in (Answers(127), Answers(1, "bash\t1\tx\n"), Answers(0, "error: no database\n")):
        assert installed_packages(tree, answer) is None


def test_an_empty_rpm_database_adds_nothing_to_dpkgs_and_is_nothing_alone() -> None:
    beside = MemoryTree({"/var/lib/rpm/rpmdb.sqlite": b"x", "/var/lib/dpkg/status": STATUS})
    assert len(installed_packages(beside, Answers(0)) or ()) == 3
    assert installed_packages(MemoryTree({"/var/lib/rpm/rpmdb.sqlite": b"x"}), Answers(0)) is None


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.integers(0, 10_000), st.text(max_size=6), st.integers(0, 40))
def test_any_damage_gives_packages_or_none(at: int, patch: str, cut: int) -> None:
    at %= len(STATUS)
    found = parse_dpkg_status(STATUS[:at] + patch + STATUS[at + cut :])

    assert found is None or all(package.name and package.version for package in found)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_give_packages_or_none(data: bytes) -> None:
    assert read_packages(MemoryTree({"/var/lib/dpkg/status": data})) is None
