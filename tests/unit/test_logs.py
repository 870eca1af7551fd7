from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.logs import first_error

LOGS = Path(__file__).parents[1] / "golden" / "logs"
NVIDIA = (
    "/var/lib/dkms/nvidia-current-open/550.163.01/build/nvidia/nv-pci.c:237:9: "
    "error: too few arguments to function 'pci_resize_resource'"
)
DKMS = "Error! Bad return status for module build on kernel: 6.12.117+deb13-amd64 (x86_64)"
STEP = 'Error: building at STEP "RUN dkms build": while running runtime: exit status 10'


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nvidia-550.163.01-on-6.12.117.log", NVIDIA),
        ("apt-unknown-package.log", "E: Unable to locate package no-such-package-here"),
        (
            "dpkg-missing-archive.log",
            "dpkg: error: cannot access archive '/nonexistent.deb': No such file or directory",
        ),
        ("dnf-unknown-package.log", "No match for argument: kernel-devel-6.12.0-55.el10"),
    ],
)
def test_real_logs(name: str, expected: str) -> None:
    assert first_error((LOGS / name).read_text(encoding="utf-8").splitlines()) == expected


def test_the_compiler_wins_though_dkms_prints_its_make_log_last() -> None:
    make_log = (LOGS / "nvidia-550.163.01-on-6.12.117.log").read_text(encoding="utf-8").splitlines()
    lines = ["STEP 7/9: RUN dkms build", DKMS, "Consult make.log for more information.", *make_log, STEP]
    assert first_error(lines) == NVIDIA


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["nv.c:3:10: fatal error: linux/x.h: No such file or directory"], None),
        (["x.S: Assembler messages:", "x.S:12: Error: no such instruction: `foo'"], 1),
        (["a.o: in function `main':", "a.c:(.text+0x5): undefined reference to `zfs_open'"], 1),
        (
            ["/usr/bin/ld: cannot find -lzfs: No such file", "collect2: error: ld returned 1 exit status"],
            None,
        ),
        (["collect2: error: ld returned 1 exit status"], None),
        (['ERROR: modpost: "bdev_open" [/build/zfs.ko] undefined!', "make[1]: *** [x:1: all] Error 1"], None),
        (["gcc: fatal error: Killed signal terminated program cc1"], None),
        (["make[2]: *** [scripts/Makefile.build:234: nv.o] Error 1", "make: *** [all] Error 2", DKMS], None),
        (["  BTF [M] hello.ko", "pahole: hello.ko: Invalid argument", "make: *** [all] Error 1"], 1),
        (["pahole: unknown option", "a.c:1:1: error: bad"], 1),
        (["make: *** No rule to make target 'modules'.  Stop.", DKMS], None),
        ([DKMS, STEP], None),
        (["make: *** [Makefile:3: all] Error 2", "tar: x.ko: No space left on device"], 1),
        (["make[4]: *** Waiting for unfinished jobs....", DKMS], 1),
        (["dpkg: error processing package zfs-dkms (--configure):", DKMS], 1),
        (
            [
                "dpkg: error processing package zfs-dkms (--configure):",
                "E: Sub-process dpkg returned an error",
            ],
            None,
        ),
        (["E: Failed to fetch some-repository  404  Not Found"], None),
        (["W: Failed to fetch something", "a.c:1:1: error: bad"], 1),
        (
            [
                "Errors during downloading metadata for repository 'local':",
                "  - Curl error (6): Couldn't resolve",
            ],
            1,
        ),
        (
            [
                "Error: ",
                " Problem: conflicting requests",
                "  - nothing provides kernel-devel = 9 needed by kmod",
            ],
            2,
        ),
        (["ld.lld: error: undefined symbol: foo"], None),
        (["sh: 1: dkms: not found", STEP], None),
        (["something went wrong", "zpool: error: no pool"], 1),
    ],
)
def test_the_cause_is_told_from_its_messengers(lines: list[str], expected: int | None) -> None:
    assert first_error(lines) == lines[expected or 0].strip()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([STEP], "while running runtime: exit status 10"),
        (['Error: building at STEP "RUN echo "a.c:1:1: error: x"": exit status 2'], "exit status 2"),
        (["[2/2] a.c:1:1: error: bad"], "a.c:1:1: error: bad"),
        (["\x1b[1ma.c:1:1: \x1b[31merror: \x1b[0mbad\x1b[K\n"], "a.c:1:1: error: bad"),
        (["a.c:1:1: error: b\x07ad\u202e"], "a.c:1:1: error: b\\x07ad\\u202e"),
        (["50%\r100%\ra.c:1:1: error: bad\r\n"], "a.c:1:1: error: bad"),
        (
            ["configure: error: ", "\t*** Unable to build an empty module."],
            "configure: error: Unable to build an empty module.",
        ),
        (["Error:", "a.c:1:1: error: bad"], "a.c:1:1: error: bad"),
        (["configure: error:"], "configure: error:"),
    ],
)
def test_what_stands_around_the_cause_is_taken_off(lines: list[str], expected: str) -> None:
    assert first_error(lines) == expected


@pytest.mark.parametrize(
    "line",
    [
        'STEP 2/2: RUN echo "a.c:1:1: error: no"',
        "[1/2] STEP 2/2: RUN echo fatal error: no",
        "+ echo 'E: Unable to locate package'",
        "checking whether objtool error on warning behavior is enabled... no",
        " CONFTEST: dma_fence_set_error",
        "  CC [M]  module/zstd/lib/common/error_private.o",
        "gcc -Werror=date-time -o fatal.o error.c",
        "module/zfs.o: warning: objtool: lexerror+0x94: is missing a __noreturn annotation",
        "make: [Makefile:3: clean] Error 1 (ignored)",
        "0 errors, 0 warnings",
        "",
    ],
)
def test_what_only_looks_like_an_error_is_none(line: str) -> None:
    assert first_error([line]) is None


@given(st.lists(st.text(max_size=80) | st.sampled_from([DKMS, STEP, NVIDIA, "Error:", "E: x"]), max_size=20))
@settings(derandomize=True, deadline=None)
def test_any_log_gives_a_harmless_line_or_none(lines: list[str]) -> None:
    found = first_error(lines)
    assert found is None or not {unicodedata.category(char) for char in found} & {"Cc", "Cf", "Cs"}
    assert NVIDIA not in lines or found is not None


def test_an_endless_line_is_cut() -> None:
    found = first_error(["a.c:1:1: error: " + "x" * 10_000_000])
    assert found is not None
    assert len(found) == 400
