from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.adapters.probe import SystemProbe
from pipeline.adapters.process import Processes
from pipeline.adapters.tools import TOOLS, install_line
from pipeline.domain.tool import Fact, Family, ToolReport, ToolState

DEBIAN_12 = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
DEBIAN_13 = "ID=debian\nVERSION_ID='13'\n"
DEBIAN_SID = "ID=debian\n"
UBUNTU = "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=24.04\n"
FEDORA = "# a comment\nNAME=Fedora\nID=fedora\nVERSION_ID=43\n"
CENTOS = 'ID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="10"\n'
ALMA = 'ID="almalinux"\nID_LIKE="rhel centos fedora"\n'
ARCH = "ID=arch\n"


@pytest.mark.parametrize(
    ("program", "system", "line"),
    [
        ("podman", DEBIAN_12, "apt-get install --yes podman"),
        ("podman", CENTOS, "dnf install --assumeyes podman"),
        ("podman", ALMA, "dnf install --assumeyes podman"),
        ("podman", ARCH, "install podman with the package manager of this system"),
        ("podman", "", "install podman with the package manager of this system"),
        ("podman", 'ID="broken\n', "install podman with the package manager of this system"),
        ("git", FEDORA, "dnf install --assumeyes git-core"),
        ("docker-registry", FEDORA, "dnf install --assumeyes docker-distribution"),
        ("createrepo_c", UBUNTU, "apt-get install --yes createrepo-c"),
        ("rpmbuild", DEBIAN_13, "apt-get install --yes rpm"),
        ("cosign", DEBIAN_12, "scripts/fetch-cosign .tools/bin"),
        ("cosign", DEBIAN_13, "scripts/fetch-cosign .tools/bin"),
        ("cosign", DEBIAN_SID, "apt-get install --yes cosign"),
        ("cosign", FEDORA, "dnf install --assumeyes cosign"),
        ("cosign", CENTOS, "go install github.com/sigstore/cosign/v3/cmd/cosign@latest"),
        ("no-such-program", DEBIAN_12, "install no-such-program with the package manager of this system"),
    ],
)
def test_install_lines(program: str, system: str, line: str) -> None:
    assert install_line(program, system) == line


def test_this_system_is_the_default() -> None:
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    assert install_line("podman") == install_line("podman", text)


def test_every_tool_has_a_package_in_both_families() -> None:
    assert len({tool.program for tool in TOOLS}) == len(TOOLS)
    for tool in TOOLS:
        assert set(tool.packages) == {Family.APT, Family.DNF}, tool.program


@pytest.mark.parametrize(
    ("program", "told", "version"),
    [
        ("podman", "podman version 4.3.1\n", (4, 3, 1)),
        ("skopeo", "skopeo version 1.9.3\n", (1, 9, 3)),
        ("git", "git version 2.39.5\n", (2, 39, 5)),
        ("mmdebstrap", "mmdebstrap 1.3.5\n", (1, 3, 5)),
        ("runc", "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\n", (1, 1, 5)),
        ("crun", "crun version 1.8.1\ncommit: f8a096be060b22ccd3d5f3ebe44108517fbf6c30\n", (1, 8, 1)),
        ("buildah", "buildah version 1.28.2 (image-spec 1.1.0-rc2, runtime-spec 1.0.2-dev)\n", (1, 28, 2)),
        ("docker-registry", "docker-registry github.com/docker/distribution 2.8.2+ds1\n", (2, 8, 2)),
        ("dnf", "4.14.0\n  Installed: dnf-0:4.14.0\n", (4, 14, 0)),
        ("dnf", "dnf5 version 5.2.6.2\n", (5, 2, 6, 2)),
        ("rpmbuild", "RPM version 4.18.0\n", (4, 18, 0)),
        ("createrepo_c", "Version: 0.17.3 (Features: DeltaRPM LegacyWeakdeps )\n", (0, 17, 3)),
        ("cosign", "cosign: A tool\n\nGitVersion:    v3.0.4\nGoVersion:     go1.25.1\n", (3, 0, 4)),
        ("cosign", "cosign: A tool\n\nGitVersion:    devel\nGoVersion:     go1.27.3\n", None),
        ("podman", "nothing of the kind", None),
    ],
)
def test_versions_are_read_from_what_programs_told(
    program: str, told: str, version: tuple[int, ...] | None
) -> None:
    tool = next(tool for tool in TOOLS if tool.program == program)
    assert tool.version_in(told) == version


class Machine:
    """A small machine: programs that are shell scripts, and a file system root."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.root = folder / "root"
        self.own = folder / "own"
        self.bin.mkdir()
        self.own.mkdir()
        (self.root / "etc").mkdir(parents=True)
        self.write("etc/os-release", DEBIAN_12)

    def program(self, name: str, script: str, *, own: bool = False) -> None:
        path = (self.own if own else self.bin) / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text, encoding="utf-8")

    def podman(self, cgroups: str, runtime: str = "crun") -> None:
        info = f'{{"host":{{"cgroupVersion":"{cgroups}","ociRuntime":{{"name":"{runtime}"}}}},"store":{{}}}}'
        self.program("podman", f"[ $1 = info ] && echo '{info}' || echo podman version 4.3.1")

    def probe(self, *, uid: int = 0) -> SystemProbe:
        processes = Processes(environment={"PATH": str(self.bin)})
        return SystemProbe(processes, user="builder", uid=uid, root=self.root, programs=self.own)

    def tool(self, program: str) -> ToolReport:
        return next(report for report in self.probe().tools() if report.tool.program == program)

    def fact(self, name: str, *, uid: int = 0) -> Fact:
        return next(fact for fact in self.probe(uid=uid).facts() if fact.name == name)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_installed_is_told_and_nothing_fails(machine: Machine) -> None:
    probe = machine.probe()
    assert {report.state for report in probe.tools()} == {ToolState.MISSING}
    assert {fact.name: fact.value for fact in probe.facts()}["control groups"] == "unknown"
    assert machine.tool("cosign").install == "scripts/fetch-cosign .tools/bin"


def test_path_and_version_are_found(machine: Machine) -> None:
    machine.program("git", "echo git version 2.20.1")
    report = machine.tool("git")
    assert report.path == str(machine.bin / "git")
    assert report.version == (2, 20, 1)
    assert report.state is ToolState.TOO_OLD


def test_what_comes_with_this_program_is_found_off_the_path_and_taken_first(machine: Machine) -> None:
    machine.program("syft", "echo syft 1.18.1", own=True)
    machine.program("git", "echo git version 2.39.5", own=True)
    assert machine.tool("syft").path == str(machine.own / "syft")
    assert machine.tool("syft").state is ToolState.OK
    assert machine.tool("git").state is ToolState.MISSING
    machine.program("syft", "echo syft 0.1")
    assert machine.tool("syft").version == (1, 18, 1)
    (machine.own / "syft").unlink()
    assert machine.tool("syft").version == (0, 1)


@pytest.mark.parametrize("script", ["exit 1", "echo 9.9.9; exit 3", "echo hello", "printf '\\377\\376'"])
def test_a_program_that_tells_no_version_is_not_good_enough(machine: Machine, script: str) -> None:
    machine.program("git", script)
    assert machine.tool("git").state is ToolState.UNKNOWN


@pytest.mark.parametrize(
    ("switch", "state"), [("=true", ToolState.OK), ("=false", ToolState.UNKNOWN), ("", ToolState.UNKNOWN)]
)
def test_a_cosign_without_a_version_is_known_by_its_feature(
    machine: Machine, switch: str, state: ToolState
) -> None:
    told = f"[ $1 = version ] && echo 'GitVersion:    devel' || echo '    --use-signing-config{switch}:'"
    machine.program("cosign", told)
    assert machine.tool("cosign").state is state


@pytest.mark.parametrize(
    ("cgroups", "runc", "value", "ok"),
    [
        ("v1", True, "runc", True),
        ("v1", False, "crun", False),
        ("v2", True, "crun", True),
        ("v2", False, "crun", True),
    ],
)
def test_the_runtime_that_works_here(
    machine: Machine, *, cgroups: str, runc: bool, value: str, ok: bool
) -> None:
    machine.podman(cgroups)
    if runc:
        machine.program("runc", "echo runc version 1.1.5")
    fact = machine.fact("runtime")
    assert (fact.value, fact.ok) == (value, ok)
    assert ok or fact.hint == "apt-get install --yes runc"


@pytest.mark.parametrize(
    ("uid", "subuid", "subgid", "ok"),
    [
        (1000, "builder:100000:65536\n", "1000:100000:65536\n", True),
        (1000, "builder:100000:65536\n", "", False),
        (1000, "other:100000:65536\n", "other:100000:65536\n", False),
    ],
)
def test_rootless_users_need_subordinate_ids(
    machine: Machine, uid: int, subuid: str, subgid: str, *, ok: bool
) -> None:
    machine.write("etc/subuid", subuid)
    machine.write("etc/subgid", subgid)
    fact = machine.fact("subordinate ids", uid=uid)
    assert fact.ok is ok
    assert ok or "--add-subuids" in fact.hint


def test_root_needs_none(machine: Machine) -> None:
    assert machine.fact("user").value == "root"
    assert "subordinate ids" not in {fact.name for fact in machine.probe().facts()}
