"""Documents for a dossier of a base with something of everything, and names that would hurt a page."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import Any

import records

from pipeline.domain.boot.result import Accelerator, BootResult, ModuleResult, Outcome, Step
from pipeline.domain.diff.areas import Area
from pipeline.domain.diff.change import Change
from pipeline.domain.diff.containers import ContainerImage
from pipeline.domain.diff.difference import Difference, ImageName, Noise
from pipeline.domain.diff.document import as_json
from pipeline.domain.diff.kernel import KernelChange, Module
from pipeline.domain.diff.packages import InstalledPackage, Manager
from pipeline.domain.diff.policy import PolicyChange
from pipeline.domain.diff.privileges import Privilege
from pipeline.domain.diff.settings import SystemChange
from pipeline.domain.diff.size import FolderSize, Layer, PackageSize, SizeChange
from pipeline.domain.diff.snapshot import Aspect, ChangeKind, FileChange, FileFacts
from pipeline.domain.diff.texts import TextChange
from pipeline.domain.diff.units import Start
from pipeline.domain.diff.users import Account
from pipeline.domain.dossier.assembly import assemble_dossier
from pipeline.domain.dossier.difference import Change as ToldChange
from pipeline.domain.dossier.difference import ReleaseSize
from pipeline.domain.dossier.dossier import Commit, Dossier, EvidenceLine, Held, History
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.gate import Verdict
from pipeline.domain.pin import PassedOver, Pin
from pipeline.domain.provenance import BuilderFacts, BuildFacts, statement
from pipeline.domain.record import Candidate, GateRecord, RecordedPins
from pipeline.domain.sbom.score import scorecard
from pipeline.domain.tree import FileType
from pipeline.domain.vulnerabilities import compare, parse_vulnerabilities

MIB = 1 << 20
KERNEL = "6.12.94+deb13-amd64"
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</style><style>body{display:none}</style>",
    "</title></head><body onload=alert(1)>",
    "</text></svg><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&#x3c;b",
    "\x1b[31mred\x1b]0;owned\x07\x1b[2J",
    "\u202egnp.exe\u202c\u2066x\u2069",
    "z\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308\u0309\u030a\u030b\u030c",
    "x" * 3000,
    "[bold red]rich[/]",
    "line\nbreak\r\u2028other",
    "\ud800\udcff",
    "\u05d0\u05d1\u05d2\u05d3 1.2.3",
)


def package(name: str, version: str, size: int = MIB, licence: str = "") -> InstalledPackage:
    return InstalledPackage(
        name=name, version=version, arch="amd64", manager=Manager.DPKG, size=size, licence=licence
    )


def packages() -> tuple[Change[InstalledPackage], ...]:
    return (
        Change(name="libc6:amd64", old=package("libc6", "2.41-12"), new=package("libc6", "2.41-12+deb13u1")),
        Change(name="nano:amd64", old=package("nano", "8.4-1"), new=None),
        Change(
            name="openssh-server:amd64",
            old=package("openssh-server", "1:10.0p1-8"),
            new=package("openssh-server", "1:10.0p1-7"),
        ),
        Change(
            name="redis:amd64",
            old=package("redis", "7.2.4-1", licence="BSD-3-Clause"),
            new=package("redis", "8.0.2-1", 2 * MIB, licence="AGPL-3.0-only"),
        ),
        Change(name="tailscale:amd64", old=None, new=package("tailscale", "1.88.4", 34 * MIB)),
        Change(
            name="zfsutils-linux:amd64",
            old=package("zfsutils-linux", "2.3.2-2"),
            new=package("zfsutils-linux", "2.3.9-1"),
        ),
    )


def file(path: str, mode: int = 0o644, sha256: str = "a" * 64, size: int = 100) -> FileFacts:
    return FileFacts(path=path, type=FileType.FILE, mode=mode, uid=0, gid=0, size=size, sha256=sha256)


def files(count: int = 40) -> tuple[FileChange, ...]:
    docs = (f"/usr/share/doc/zfsutils-linux/part-{index:03}" for index in range(count - 1))
    changed = (
        FileChange(
            path=path,
            kind=ChangeKind.CHANGED,
            what=frozenset({Aspect.CONTENT}),
            old=file(path),
            new=file(path, sha256="b" * 64, size=120),
        )
        for path in docs
    )
    newgrp = file("/usr/bin/newgrp", mode=0o4755)
    added = FileChange(
        path=newgrp.path, kind=ChangeKind.ADDED, what=frozenset({Aspect.SETUID}), old=None, new=newgrp
    )
    return (added, *changed)


def size_change() -> SizeChange:
    parts = {"linux-image-6.12.94+deb13-amd64": 105, "nvidia-kernel-open": 70, "podman": 41, "tailscale": 34}
    parts |= {f"library-{index:02}": 24 - index // 2 for index in range(40)}
    return SizeChange(
        old_download=310 * MIB,
        new_download=326 * MIB,
        old_files=1012 * MIB,
        new_files=1046 * MIB,
        fetched=44 * MIB,
        grown=33 * MIB,
        old_layers=(),
        new_layers=(
            Layer(
                digest=f"sha256:{1:064x}",
                size=282 * MIB,
                unpacked=900 * MIB,
                created_by="mmdebstrap",
                shared=True,
            ),
            Layer(
                digest=f"sha256:{2:064x}",
                size=44 * MIB,
                unpacked=146 * MIB,
                created_by="COPY modules",
                shared=False,
            ),
        ),
        folders=(FolderSize(name="/usr/bin", grown=34 * MIB), FolderSize(name="/usr/share", grown=-MIB)),
        packages=(
            PackageSize(name="tailscale:amd64", old=0, new=34 * MIB),
            PackageSize(name="nano:amd64", old=3 * MIB, new=0),
            PackageSize(name="podman:amd64", old=42 * MIB, new=41 * MIB),
            PackageSize(name="linux-image-6.12.94+deb13-amd64:amd64", old=104 * MIB, new=105 * MIB),
            PackageSize(name="redis:amd64", old=MIB, new=2 * MIB),
        ),
        largest=tuple(PackageSize(name=name, old=0, new=size * MIB) for name, size in parts.items())[:40],
    )


def difference(**changes: object) -> Difference:
    """What differs between two bases: something of nearly every part."""
    sshd = TextChange(
        path="/etc/ssh/sshd_config",
        kind=ChangeKind.CHANGED,
        lines=(
            "@@ -12,3 +12,4 @@",
            " Port 22",
            "-PermitRootLogin no",
            "+PermitRootLogin yes",
            "+X11Forwarding no",
        ),
        added=2,
        removed=1,
        cut=3,
    )
    module = Module(
        path="/usr/lib/modules/6.12.93/updates/dkms/zfs.ko.xz",
        sha256="c" * 64,
        version="2.3.2-2",
        vermagic="6.12.93+deb13-amd64 SMP preempt mod_unload modversions",
        srcversion="8A5C1D6F",
        licence="CDDL",
        module_set="zfs",
    )
    newer = dataclasses.replace(
        module, version="2.3.9-1", vermagic=f"{KERNEL} SMP preempt mod_unload modversions", srcversion="F00D"
    )
    envoy = ContainerImage(
        image=f"registry.example.org/envoy@{records.digest(3)}",
        user="root",
        path="/etc/containers/systemd/envoy.container",
        pinned=True,
    )
    whole = Difference(
        old=ImageName(name="127.0.0.1:5000/os/debian/base", digest=records.digest(2)),
        new=ImageName(name="127.0.0.1:5000/os/debian/base", digest=records.digest(1)),
        because="v2.4.0 is the last release of this image",
        system=SystemChange(old_id="debian", new_id="debian", old_version="13", new_version="13"),
        kernel=KernelChange(old=("6.12.93+deb13-amd64",), new=(KERNEL,), drivers_added=("intel_vpu",)),
        modules=(Change(name="zfs", old=module, new=newer),),
        privileges=(
            Change(
                name="/usr/bin/newgrp", old=None, new=Privilege(grants=("setuid",), mode="4755", owner="0:0")
            ),
        ),
        accounts=(
            Change(
                name="user _envoy",
                old=None,
                new=Account(
                    what="user",
                    name="_envoy",
                    number="993",
                    group="993",
                    home="/nonexistent",
                    shell="/usr/sbin/nologin",
                ),
            ),
        ),
        units=(
            Change(
                name="multi-user.target wants tailscaled.service",
                old=None,
                new=Start(
                    scope="system",
                    unit="tailscaled.service",
                    relation="wants",
                    by="multi-user.target",
                    path="/etc/systemd/system/multi-user.target.wants/tailscaled.service",
                ),
            ),
        ),
        policy=PolicyChange(),
        kargs=(),
        containers=(Change(name="envoy.container", old=None, new=envoy),),
        bound=(),
        packages=packages(),
        config=(),
        texts=(sshd,),
        files=files(),
        areas=(
            Area(name="programs", added=1, removed=0, changed=0),
            Area(name="documentation", added=0, removed=0, changed=39),
        ),
        noise=(Noise(why="time alone", paths=tuple(f"/usr/share/info/{index}" for index in range(9))),),
        built=(),
        size=size_change(),
        unexplained=("/usr/bin/newgrp",),
        unread=(),
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def diff_document(**changes: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(as_json(difference(**changes))))
    return document


GATES = (
    ("one-kernel", Verdict.PASS, f"one kernel, {KERNEL}", ()),
    ("modules-load", Verdict.PASS, "9 modules, all symbols resolved", ()),
    (
        "no-compiler",
        Verdict.WAIVED,
        "/usr/bin/cpp is left; waived until 2026-12-31: xrdb wants it",
        ("/usr/bin/cpp-14",),
    ),
)


def gates_document() -> dict[str, Any]:
    return {
        "schema": 1,
        "image": str(records.digest(1)),
        "ok": True,
        "tier": "base",
        "gates": [
            {"gate": gate, "verdict": verdict.value, "summary": summary, "details": list(details)}
            for gate, verdict, summary, details in GATES
        ],
    }


def component(kind: str, name: str, version: str = "1.0") -> dict[str, Any]:
    return {
        "type": kind,
        "bom-ref": f"{kind}-{name}",
        "name": name,
        "version": version,
        "supplier": {"name": "Debian"},
        "purl": f"pkg:deb/debian/{name}@{version}",
        "licenses": [{"license": {"id": "GPL-2.0-only"}}],
    }


def sbom_document() -> dict[str, Any]:
    libraries = [component("library", f"library-{index}") for index in range(40)]
    drivers = [component("device-driver", name, "2.3.9-1") for name in ("zfs", "spl")]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
        "version": 1,
        "metadata": {
            "timestamp": "2026-11-21T12:00:00Z",
            "component": {
                **component("operating-system", "debian/base"),
                "hashes": [{"alg": "SHA-256", "content": records.digest(1).hex}],
            },
        },
        "components": [*libraries, *drivers],
        "dependencies": [],
    }


def provenance_document(of: Candidate | None = None) -> dict[str, Any]:
    facts = BuildFacts(
        definition="images/debian/base/base.toml",
        timestamp=1_763_700_000,
        files={"images/debian/base/base.toml": records.digest(60)},
        packages=("zfs-dkms=2.3.9-1", f"linux-headers-{KERNEL}=6.12.94-1"),
        ecosystem="deb/debian",
    )
    builder = BuilderFacts(versions={"pipeline": "0.4.0"}, remote="https://git.example.org/os")
    document: dict[str, Any] = json.loads(statement(of or candidate(), facts, builder, {}))
    return document


def boot_result() -> BootResult:
    steps = (
        Step(
            name="initramfs",
            ok=True,
            found=f"kernel {KERNEL}; its initramfs mounted the root",
            milliseconds=6210,
        ),
        Step(name="modules", ok=True, found="2 loaded, 1 without a device", milliseconds=3120),
        Step(
            name="zfs pool",
            ok=True,
            found="created, written, exported, imported, read back, destroyed",
            milliseconds=5210,
        ),
    )
    modules = (
        ModuleResult(
            name="spl",
            set_name="zfs",
            outcome=Outcome.LOADED,
            version="2.3.9-1",
            why="",
            lines=(),
            milliseconds=310,
        ),
        ModuleResult(
            name="zfs",
            set_name="zfs",
            outcome=Outcome.LOADED,
            version="2.3.9-1",
            why="",
            lines=(),
            milliseconds=1840,
        ),
        ModuleResult(
            name="nvidia",
            set_name="nvidia",
            outcome=Outcome.NO_DEVICE,
            version="550.163.01",
            why="all symbols are there, and there is no device for it",
            lines=(),
            milliseconds=930,
        ),
    )
    return BootResult(
        accelerator=Accelerator.TCG,
        kernel=KERNEL,
        full=False,
        steps=steps,
        modules=modules,
        failed_units=(),
        left_out=(("envoy.service", "its image is not in the test"),),
        boots=(),
        milliseconds=23_400,
    )


def boot_document(**changes: object) -> dict[str, Any]:
    result = dataclasses.replace(boot_result(), **changes)  # type: ignore[arg-type]
    document: dict[str, Any] = json.loads(json.dumps(result.to_json(records.digest(1))))
    return document


def grype(*found: tuple[str, str, str, str]) -> dict[str, Any]:
    return {
        "descriptor": {"name": "grype", "version": "0.90.0"},
        "matches": [
            {
                "vulnerability": {
                    "id": name,
                    "severity": severity,
                    "fix": {"versions": [fixed] if fixed else []},
                },
                "artifact": {"name": package_name, "version": "1.0"},
            }
            for name, severity, package_name, fixed in found
        ],
    }


OLD_REPORT = grype(
    ("CVE-2026-00002", "Critical", "libc6", "2.41-12+deb13u1"), ("CVE-2026-00003", "Low", "tailscale", "")
)
NEW_REPORT = grype(
    ("CVE-2026-00001", "High", "openssh-server", "1:10.0p1-8"), ("CVE-2026-00003", "Low", "tailscale", "")
)


def pin() -> Pin:
    return Pin(
        kernel=KERNEL,
        kernel_devel=(f"linux-headers-{KERNEL}=6.12.94-1",),
        kernel_packages=(f"linux-image-{KERNEL}=6.12.94-1",),
        modules={"zfs": "2.3.9-1", "nvidia": "550.163.01-4"},
        userspace={"zfsutils-linux": "2.3.9-1"},
        upstream="upstream",
        upstream_digest=records.digest(7),
        reason="the newest kernel for which zfs and nvidia compile",
        time=records.NOON,
        passed_over=(
            PassedOver(
                kernel="6.12.117+deb13-amd64",
                reason="nvidia: nv-pci.c:260: error: too few arguments to function 'pci_resize_resource'",
            ),
            PassedOver(kernel="6.12.107+deb13-amd64", reason="nvidia 550.163.01-4: the same"),
        ),
    )


def history() -> History:
    day = dt.timedelta(days=1)
    return History(
        since="b" * 40,
        until="a" * 40,
        commits=(
            Commit(
                id="a" * 40,
                subject="Let root log in on the lab's consoles",
                author="Ada Lovelace",
                time=records.NOON,
            ),
            Commit(
                id="c" * 40,
                subject="Add tailscale for the branch offices behind NAT",
                author="Grace Hopper",
                time=records.NOON - 2 * day,
            ),
        ),
    )


def candidate(**changes: object) -> Candidate:
    pins = RecordedPins(
        kernel=KERNEL, kernel_devel="6.12.94-1", modules={"zfs": "2.3.9-1", "nvidia": "550.163.01-4"}
    )
    recorded = tuple(GateRecord(gate=gate, verdict=verdict, summary=text) for gate, verdict, text, _ in GATES)
    given: dict[str, Any] = {"pins": pins, "gates": recorded, **changes}
    return records.candidate(**given)


def documents() -> dict[EvidenceKind, Any]:
    return {
        EvidenceKind.DIFF: diff_document(),
        EvidenceKind.GATES: gates_document(),
        EvidenceKind.SBOM: sbom_document(),
        EvidenceKind.PROVENANCE: provenance_document(),
        EvidenceKind.BOOT_TEST: boot_document(),
    }


def parts(**changes: object) -> dict[str, Any]:
    """What `assemble_dossier` takes; parts can be replaced."""
    return {
        "documents": documents(),
        "evidence": tuple(
            EvidenceLine(name=kind.value, digest=records.digest(20 + number), held=Held.VERIFIED)
            for number, kind in enumerate(EvidenceKind)
        ),
        "console": f"[    0.000000] Linux version {KERNEL}\n\n[   12.1] ZFS: Loaded module v2.3.9-1\n",
        "history": history(),
        "pin": pin(),
        "score": scorecard(sbom_document(), schema_valid=True),
        "trend": tuple(
            ReleaseSize(name=f"v2.{minor}.0", total=(980 + 8 * minor) * MIB) for minor in range(5)
        ),
        "vulnerabilities": compare(parse_vulnerabilities(NEW_REPORT), parse_vulnerabilities(OLD_REPORT)),
        "today": records.NOON.date(),
        **changes,
    }


def dossier(**changes: object) -> Dossier:
    """A base that may be approved, with points to look at first."""
    made = changes.pop("candidate", None) or candidate()
    assert isinstance(made, Candidate)
    return assemble_dossier(made, **parts(**changes))


def poison(value: Any, text: str) -> Any:
    """Return a value in which every text is the given one, but for names that this program gives."""
    if isinstance(value, ToldChange):
        return dataclasses.replace(
            value, name=text, before=text, after=text, why=text, lines=(f"+{text}", text)
        )
    if isinstance(value, tuple):
        return tuple(poison(one, text) for one in value)
    if dataclasses.is_dataclass(value) and type(value).__module__.startswith("pipeline.domain.dossier"):
        names = {one.name for one in dataclasses.fields(value)} - {"kind", "section"}
        changed = {name: poison(getattr(value, name), text) for name in names}
        return dataclasses.replace(value, **changed)  # type: ignore[type-var]
    if isinstance(value, dict):
        return {text: text}
    return text if type(value) is str else value


def poisoned(text: str) -> Dossier:
    """A dossier in which every text of every part is the given one."""
    whole = dossier()
    found: Dossier = poison(dataclasses.replace(whole, candidate=None), text)  # type: ignore[arg-type]
    return dataclasses.replace(found, candidate=whole.candidate, approve=whole.approve, reject=whole.reject)
