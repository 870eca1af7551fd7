from __future__ import annotations

from typing import Any

import pytest
from subjects import Answers, ask
from trees import Content, Dir, Link

from pipeline.domain.gate import Verdict

TREE: dict[str, Content] = {
    "/home": Link("var/home"),
    "/sysroot": Dir(mode=0o755),
    "/etc/passwd": b"",
    "/usr/lib/sysimage/dpkg/status": b"",
    "/var/lib/dpkg": Link("../../usr/lib/sysimage/dpkg"),
}
DECLARED: dict[str, Any] = {"links": {"/home": "var/home"}, "directories": {"/sysroot": 0o755}}


def test_a_tree_as_declared_passes() -> None:
    verdict, text = ask("persistence-layout", TREE, **DECLARED)

    assert verdict is Verdict.PASS, text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"/home": Dir()}, "/home: must be a symlink to var/home, is a directory"),
        ({"/home": Link("/var/home")}, "leads to /var/home"),
        ({"/home": None}, "is missing"),
        ({"/sysroot": Dir(mode=0o700)}, "must have mode 0755, has 0700"),
        ({"/sysroot": Link("var/sysroot")}, "must be a directory, is a symlink"),
        ({"/sysroot": None}, "/sysroot: must be a directory, is missing"),
        ({"/usr/etc/passwd": b""}, "/etc and /usr/etc both have content"),
        ({"/usr/lib/sysimage/dpkg": None}, "no package database"),
        ({"/var/lib/dpkg": None, "/var/lib/dpkg/status": b""}, "more than one place"),
        (
            {"/usr/lib/sysimage/dpkg": None, "/var/lib/dpkg": None, "/var/lib/dpkg/status": b""},
            "stays at the first image's state",
        ),
        ({"/var/lib/rpm/rpmdb.sqlite": b""}, "/var/lib/rpm: a package database in /var"),
    ],
)
def test_each_deviation_is_found(change: dict[str, Content | None], said: str) -> None:
    contents = {
        path: it
        for path, it in TREE.items()
        if not any(path == gone or path.startswith(f"{gone}/") for gone in change)
    }
    contents.update({path: it for path, it in change.items() if it is not None})
    verdict, text = ask("persistence-layout", contents, **DECLARED)

    assert verdict is Verdict.FAIL
    assert said in text


def test_the_rpm_way_over_a_link_is_one_place() -> None:
    contents: dict[str, Content] = {
        "/usr/share/rpm/rpmdb.sqlite": b"",
        "/usr/lib/sysimage/rpm": Link("../../share/rpm"),
    }
    assert ask("persistence-layout", contents)[0] is Verdict.PASS


def test_files_in_var_are_noted_and_no_failure() -> None:
    verdict, text = ask("persistence-layout", {**TREE, "/var/lib/app/state": b""}, **DECLARED)

    assert verdict is Verdict.PASS
    assert "note: 1 files in /var" in text


@pytest.mark.parametrize(
    ("code", "verdict"),
    [(0, Verdict.PASS), (1, Verdict.FAIL), (127, Verdict.UNCHECKED), (126, Verdict.UNCHECKED)],
)
def test_bootc_is_asked_where_the_image_has_it(code: int, verdict: Verdict) -> None:
    inside = Answers(code, "Lint warning: x\n", "error: two kernels\n")
    found, text = ask("bootc-lint", {"/usr/bin/bootc": b""}, inside=inside)

    assert found is verdict
    assert inside.asked == [("/usr/bin/bootc", "container", "lint")]
    assert "Lint warning: x" in text
    assert ("two kernels" in text) is (code != 0)


def test_without_bootc_nothing_is_asked() -> None:
    inside = Answers(0)

    assert ask("bootc-lint", {}, inside=inside) == (Verdict.PASS, "the image has no bootc")
    assert inside.asked == []
