"""Packages in a difference, by their managers, and programs that changed without a package."""

from __future__ import annotations

import pytest
from diffkit import group, items, one
from difftrees import STATUS, compared, dpkg
from trees import Content

from pipeline.domain.diff.item import Risk
from pipeline.domain.diff.packages import Direction, direction, licence_changed, machine_readable_licences
from pipeline.domain.gate import CommandResult


def test_packages_come_go_and_move_in_their_managers_order() -> None:
    old = dpkg(("a", "1:1.0-1"), ("b", "2.0~rc1-1"), ("c", "3.0-1"), ("d", "1.0-1"), ("same", "1"))
    new = dpkg(("a", "2.0-1"), ("b", "2.0-1"), ("d", "1.0-1"), ("e", "5"), ("same", "1"))
    found = compared({STATUS: old}, {STATUS: new})
    assert {change.name: direction(change) for change in found.packages} == {
        "a:amd64": Direction.DOWN,
        "b:amd64": Direction.UP,
        "c:amd64": Direction.REMOVED,
        "e:amd64": Direction.ADDED,
    }
    assert group(found, "packages").risk is Risk.HIGH


def test_a_package_whose_files_are_gone_counts_as_removed() -> None:
    old, new = dpkg(("a", "1")), dpkg(("a", "1"), state="deinstall ok config-files") + "\n" + dpkg(("b", "1"))
    found = compared({STATUS: old}, {STATUS: new})
    assert items(found, "packages") == [("removed", "a:amd64"), ("added", "b:amd64")]


def test_licences_of_changed_packages_are_compared() -> None:
    head = "Format: https://example.org/copyright-format/1.0/\n\nFiles: *\n"
    path = "/usr/share/doc/redis/copyright"
    old = {STATUS: dpkg(("redis", "7.2-1")), path: f"{head}License: BSD-3-Clause\n text\n"}
    new = {STATUS: dpkg(("redis", "8.0-1")), path: f"{head}License: AGPL-3\n\nFiles: x\nLicense: MIT\n"}
    (change,) = compared(old, new).packages
    assert licence_changed(change)
    assert change.new is not None
    assert change.new.licence == "AGPL-3, MIT"
    assert "another licence" in one(compared(old, new), "packages").why


def test_a_copyright_file_in_free_form_tells_no_licence() -> None:
    assert machine_readable_licences("License: this is prose\n") == ""


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        (CommandResult(code=0, stdout="zlib\t2:1.2-3\tx86_64\t99\tZlib\n", stderr=""), True),
        (CommandResult(code=1, stdout="", stderr="broken"), False),
        (CommandResult(code=0, stdout="only one field\n", stderr=""), False),
        (None, False),
    ],
)
def test_an_rpm_database_that_cannot_be_read_is_told(answer: CommandResult | None, known: bool) -> None:  # noqa: FBT001
    def new_inside(argv: object, *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
        assert answer is not None
        return answer

    def old_inside(argv: object, *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
        return CommandResult(code=0, stdout="zlib\t2:1.2-1\tx86_64\t90\tZlib\n", stderr="")

    database = "/usr/lib/sysimage/rpm/rpmdb.sqlite"
    inside = (old_inside, None if answer is None else new_inside)
    found = compared({database: "1"}, {database: "2"}, inside)
    assert bool(found.unread) is not known
    assert [direction(change) for change in found.packages] == ([Direction.UP] if known else [])
    assert (group(found, "unread").risk is Risk.CRITICAL) is not known


def test_several_kernels_of_one_package_are_told_apart() -> None:
    def rpm(*versions: str) -> CommandResult:
        rows = "".join(f"kernel-core\t{version}\tx86_64\t1\tGPL\n" for version in versions)
        return CommandResult(code=0, stdout=rows, stderr="")

    database = "/usr/share/rpm/rpmdb.sqlite"
    found = compared(
        {database: "1"},
        {database: "2"},
        (lambda *_, **__: rpm("6.12-1", "6.12-2"), lambda *_, **__: rpm("6.12-2", "6.12-3", "6.12-4")),
    )
    assert [(direction(change).value, (change.new or change.old).version) for change in found.packages] == [  # type: ignore[union-attr]
        ("removed", "6.12-1"),
        ("added", "6.12-3"),
        ("added", "6.12-4"),
    ]


def test_a_program_that_changed_without_its_package_is_told() -> None:
    info = "/var/lib/dpkg/info"
    old: dict[str, Content] = {
        STATUS: dpkg(("tool", "1"), ("lib", "1")),
        f"{info}/tool.list": "/.\n/bin/tool\n/usr/share/doc/tool\n/usr/lib/python3/tool.py\n",
        f"{info}/lib:amd64.list": "/usr/lib/lib.so\n",
        "/usr/bin/tool": "1",
        "/usr/lib/lib.so": "1",
        "/usr/share/doc/tool": "1",
    }
    new = old | {
        STATUS: dpkg(("tool", "2"), ("lib", "1")),
        "/usr/bin/tool": "2",
        "/usr/lib/lib.so": "2",
        "/usr/share/doc/tool": "2",
        "/usr/lib/firmware/new.bin": "2",
        "/usr/lib/sysctl.d/x.conf": "shown as text",
        "/usr/lib/python3/tool.py": "",
        "/usr/lib/python3/__pycache__/tool.cpython-313.opt-1.pyc": "2",
    }
    found = compared(old, new)
    assert found.unexplained == ("/usr/lib/firmware/new.bin", "/usr/lib/lib.so")
    assert group(found, "files").risk is Risk.MEDIUM
    assert "/usr/lib/lib.so: no package that differs brings it" in group(found, "files").reasons
    both = compared(old, new | {STATUS: dpkg(("tool", "2"), ("lib", "2"))})
    assert both.unexplained == ("/usr/lib/firmware/new.bin",)


def test_without_a_package_database_nothing_is_claimed_of_owners() -> None:
    assert compared({"/usr/bin/tool": "1"}, {"/usr/bin/tool": "2"}).unexplained == ()
