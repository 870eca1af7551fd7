from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.kernel import (
    DeclaredRange,
    KernelCandidate,
    PinSearch,
    RangeRule,
    exclude,
    parse_dkms_conf,
    parse_meta,
)

META = """Meta:          1
Name:          zfs
Version:       2.3.4
Linux-Maximum: 6.15
Linux-Minimum: 4.18
"""


def candidate(release: str, *, devel: bool = True, image: bool = True) -> KernelCandidate:
    return KernelCandidate(
        release=release,
        package_version=release,
        devel_package="d" if devel else "",
        image_packages=("i",) if image else (),
        in_image=False,
        devel=devel,
    )


@pytest.mark.parametrize(
    ("release", "wanted"),
    [
        ("6.15.0-1.el10.x86_64", True),
        ("6.15.99+deb14-amd64", True),
        ("6.16.0-1.el10.x86_64", False),
        ("6.9.1", True),
        ("4.18.0-553.el8_10.x86_64", True),
        ("4.17.19", False),
        ("7.0.1", False),
        ("10.0", False),
    ],
)
def test_a_maximum_in_meta_includes_its_whole_series(release: str, *, wanted: bool) -> None:
    declared = parse_meta(META, source="zfs META")
    assert declared is not None
    assert (declared.refusal(release, "x86_64") is None) is wanted


def test_a_refusal_names_the_source_and_the_end() -> None:
    declared = parse_meta(META, source="zfs META")
    assert declared is not None
    assert declared.refusal("6.16.1", "x86_64") == "zfs META: the newest kernel it declares is 6.15"


@pytest.mark.parametrize(
    "text", ["", "Name: zfs\n", "Linux-Maximum: soon\n", "Linux-Maximum: 6.15; rm -rf /\n"]
)
def test_a_meta_that_declares_nothing_readable_declares_nothing(text: str) -> None:
    assert parse_meta(text, source="x") is None


@pytest.mark.parametrize(
    ("conf", "release", "wanted"),
    [
        ('BUILD_EXCLUSIVE_KERNEL="^6\\.12\\..*el10"', "6.12.0-55.el10.x86_64", True),
        ('BUILD_EXCLUSIVE_KERNEL="^6\\.12\\..*el10"', "6.12.94+deb13-amd64", False),
        ("BUILD_EXCLUSIVE_KERNEL='^6[.]1[[:digit:]][.]'", "6.12.94+deb13-amd64", True),
        ("BUILD_EXCLUSIVE_KERNEL='^6[.]1[[:digit:]][.]'", "6.9.1", False),
        ("BUILD_EXCLUSIVE_KERNEL_MIN=6.10", "6.9.12", False),
        ("BUILD_EXCLUSIVE_KERNEL_MIN=6.10  # a comment", "6.12.0", True),
        ("BUILD_EXCLUSIVE_KERNEL_MAX=6.12.99", "6.12.94+deb13-amd64", True),
        # What DKMS itself answers: a text with the same beginning that is longer is greater.
        ("BUILD_EXCLUSIVE_KERNEL_MAX=6.12", "6.12.94+deb13-amd64", False),
        ("BUILD_EXCLUSIVE_KERNEL_MAX=6.12.99", "6.12.101+deb13-amd64", False),
        ("OBSOLETE_BY=6.13", "6.14.1", False),
        ("BUILD_EXCLUSIVE_ARCH='aarch64|x86_64'", "6.12.0", True),
        ("BUILD_EXCLUSIVE_ARCH=aarch64", "6.12.0", False),
        ("#BUILD_EXCLUSIVE_ARCH=aarch64", "6.12.0", True),
        ("BUILD_EXCLUSIVE_ARCH=aarch64\nBUILD_EXCLUSIVE_ARCH=x86_64", "6.12.0", True),
        ("BUILD_EXCLUSIVE_KERNEL='['", "6.12.0", True),
    ],
)
def test_dkms_directives(conf: str, release: str, *, wanted: bool) -> None:
    declared = parse_dkms_conf(conf, source="hello dkms.conf")
    refusal = declared.refusal(release, "x86_64") if declared is not None else None
    assert (refusal is None) is wanted, refusal


@pytest.mark.parametrize("value", ['"$(touch /tmp/x)"', '"`id`"', '"${kernelver}"', '"no end', '"a"b'])
def test_a_value_only_a_shell_knows_decides_nothing(value: str) -> None:
    declared = parse_dkms_conf(f"BUILD_EXCLUSIVE_KERNEL={value}\n", source="x")
    assert declared is not None
    assert declared.unread == ("BUILD_EXCLUSIVE_KERNEL",)
    assert declared.refusal("6.12.0", "x86_64") is None


def test_an_end_of_line_anchor_is_no_expansion() -> None:
    declared = parse_dkms_conf('BUILD_EXCLUSIVE_KERNEL="amd64$"', source="x")
    assert declared is not None
    assert declared.pattern == "amd64$"


@settings(derandomize=True, deadline=None)
@given(
    st.text(alphabet="BUILD_EXCLUSIVE_KERNELMAXOSTY=\"'$`[]\n 0169.#;=(", max_size=200), st.text(max_size=20)
)
def test_hostile_text_never_raises(text: str, release: str) -> None:
    for declared in (
        parse_dkms_conf(f"BUILD_EXCLUSIVE_KERNEL={text}\nBUILD_EXCLUSIVE_KERNEL_MAX={text}", source="x"),
        parse_meta(f"Linux-Maximum: {text}", source="x"),
    ):
        if declared is not None:
            assert declared.refusal(release, "x86_64") is None or declared.source == "x"


def test_candidates_are_dropped_with_the_reason_and_the_order_kept() -> None:
    declared = DeclaredRange(source="zfs META", rule=RangeRule.SERIES, maximum="6.15")
    kept, dropped = exclude(
        [
            candidate("6.16.1"),
            candidate("6.15.2"),
            candidate("6.14.9", devel=False),
            candidate("6.13.7", image=False),
            candidate("6.12.1"),
        ],
        [declared],
        arch="x86_64",
    )
    assert [c.release for c in kept] == ["6.15.2", "6.12.1"]
    assert [(d.release, d.reason) for d in dropped] == [
        ("6.16.1", "zfs META: the newest kernel it declares is 6.15"),
        ("6.14.9", "its kernel-devel is not in the repositories"),
        ("6.13.7", "the kernel itself is neither in the image nor in the repositories"),
    ]


@dataclass
class Run:
    """A search driven to its end, with every kernel it asked for."""

    result: str | None
    tried: list[str]
    bad: frozenset[str]


def drive(search: PinSearch, works: frozenset[str]) -> Run:
    tried: list[str] = []
    while (kernel := search.next()) is not None:
        tried.append(kernel)
        search = search.told(kernel, works=kernel in works)
    return Run(result=search.result, tried=tried, bad=search.bad)


def kernels(count: int) -> tuple[str, ...]:
    return tuple(f"6.12.{number}" for number in range(count, 0, -1))


def test_the_newest_is_tried_first_and_alone_when_it_works() -> None:
    assert drive(PinSearch(kernels=kernels(9)), frozenset(kernels(9))).tried == ["6.12.9"]


def test_seven_kernels_of_which_the_oldest_works_take_four_proofs() -> None:
    run = drive(PinSearch(kernels=kernels(7)), frozenset({"6.12.1"}))
    assert run.result == "6.12.1"
    assert run.tried == ["6.12.7", "6.12.4", "6.12.2", "6.12.1"]


@pytest.mark.parametrize("names", [(), ("6.12.1",)])
def test_nothing_that_works_ends_in_none(names: tuple[str, ...]) -> None:
    run = drive(PinSearch(kernels=names), frozenset())
    assert run.result is None
    assert run.tried == list(names)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.data(), st.integers(min_value=1, max_value=40))
def test_monotone_patterns_take_a_logarithm_of_proofs(data: st.DataObject, count: int) -> None:
    names = kernels(count)
    border = data.draw(st.integers(min_value=0, max_value=count - 1))
    bad = frozenset(data.draw(st.sets(st.sampled_from(names[:border])))) if border else frozenset()
    run = drive(PinSearch(kernels=names, bad=bad), frozenset(names[border:]))
    assert run.result == names[border]
    assert len(run.tried) <= 1 + math.ceil(math.log2(count))


@settings(derandomize=True, deadline=None, max_examples=600)
@given(st.data(), st.integers(min_value=1, max_value=14))
def test_any_pattern_ends_in_a_proved_kernel_whose_newer_neighbour_failed(
    data: st.DataObject, count: int
) -> None:
    names = kernels(count)
    works = frozenset(data.draw(st.sets(st.sampled_from(names))))
    failing = sorted(set(names) - works)
    bad = frozenset(data.draw(st.sets(st.sampled_from(failing)))) if failing else frozenset()
    run = drive(PinSearch(kernels=names, bad=bad), works)
    assert len(run.tried) == len(set(run.tried))
    assert not bad & set(run.tried)
    if not works:
        assert run.result is None
        assert set(run.tried) | bad == set(names)
        return
    assert run.result in works & set(run.tried)
    place = names.index(run.result or "")
    assert place == 0 or names[place - 1] in run.bad
