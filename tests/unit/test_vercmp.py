from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.vercmp import dpkg_compare, dpkg_key, evr_compare, evr_key, rpm_compare

_NUMBER = st.sampled_from(["0", "1", "01", "6", "9", "10", "12", "94", "100", "117", "0100", "550", "163"])
_WORD = st.sampled_from(["a", "b", "rc", "el10", "el9", "deb13", "deb13u1", "fc42", "alpha", "x"])
_RPM_JOINTS = ".", ".", "~", "^", "_", "+", ""
_DEB_JOINTS = ".", ".", "~", "+", "-", ""


@st.composite
def versions(draw: st.DrawFn, joints: tuple[str, ...]) -> str:
    """A version as packagers write them: a number, then numbers and words joined by separators."""
    parts = st.lists(st.tuples(st.sampled_from(joints), st.one_of(_NUMBER, _WORD)), max_size=4)
    return draw(_NUMBER) + "".join(joint + part for joint, part in draw(parts))


@st.composite
def full_versions(draw: st.DrawFn, joints: tuple[str, ...]) -> str:
    epoch = draw(st.sampled_from(["", "", "0:", "1:", "4:"]))
    return f"{epoch}{draw(versions(joints))}-{draw(versions(joints))}"


def _pairs(texts: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(st.tuples(texts, texts), min_size=20, max_size=200)


def _tool(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is missing; install it with: apt-get install {name}"
    return found


def _same_as_rpm(pairs: list[tuple[str, str]], compare: Callable[[str, str], int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "pairs.lua")
        script.write_text("".join(f'print(rpm.vercmp("{a}", "{b}") .. " ")\n' for a, b in pairs))
        done = subprocess.run(
            [_tool("rpm"), "--eval", f'%{{lua:dofile("{script}")}}'],
            capture_output=True,
            text=True,
            check=True,
        )
    answers = [int(word) for word in done.stdout.split()]
    assert [(a, b, compare(a, b)) for a, b in pairs] == [
        (a, b, answer) for (a, b), answer in zip(pairs, answers, strict=True)
    ]


@settings(max_examples=15, derandomize=True, deadline=None)
@given(_pairs(versions(_RPM_JOINTS)))
def test_labels_are_ordered_as_rpm_orders_them(pairs: list[tuple[str, str]]) -> None:
    _same_as_rpm(pairs, rpm_compare)


@settings(max_examples=15, derandomize=True, deadline=None)
@given(_pairs(full_versions(_RPM_JOINTS)))
def test_full_versions_are_ordered_as_rpm_orders_them(pairs: list[tuple[str, str]]) -> None:
    _same_as_rpm(pairs, evr_compare)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(full_versions(_DEB_JOINTS), full_versions(_DEB_JOINTS))
def test_versions_are_ordered_as_dpkg_orders_them(left: str, right: str) -> None:
    wanted = dpkg_compare(left, right)
    operator = {-1: "lt", 0: "eq", 1: "gt"}[wanted]
    subprocess.run([_tool("dpkg"), "--compare-versions", left, operator, right], check=True)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=6))
def test_any_text_has_a_place_in_the_order(texts: list[str]) -> None:
    for key in (evr_key, dpkg_key):
        assert len(sorted(texts, key=key)) == len(texts)
    for left in texts:
        for right in texts:
            assert rpm_compare(left, right) == -rpm_compare(right, left)
            assert dpkg_compare(left, right) == -dpkg_compare(right, left)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("6.12.0-9.el10", "6.12.0-55.el10"),
        ("6.12.0-55.el10", "6.12.0-55.1.el10"),
        ("6.12.0-124.el10", "0:6.12.0-124.1.el10"),
        ("6.13~rc1-1", "6.13-1"),
    ],
)
def test_kernels_of_the_enterprise_line(older: str, newer: str) -> None:
    assert evr_compare(older, newer) < 0 < evr_compare(newer, older)


def test_a_very_long_number_is_no_trouble() -> None:
    assert rpm_compare("9" * 100_000, "1" + "0" * 100_000) < 0
