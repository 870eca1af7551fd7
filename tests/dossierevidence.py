"""Evidence and facts of a base with something of everything, for a dossier: what its documents say."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import Any

import records
from dossierdiff import KERNEL

from pipeline.domain.boot.result import Accelerator, BootResult, ModuleResult, Outcome, Step
from pipeline.domain.dossier.dossier import Commit, History
from pipeline.domain.gate import Verdict
from pipeline.domain.pin import PassedOver, Pin
from pipeline.domain.provenance import BuilderFacts, BuildFacts, statement
from pipeline.domain.record import Candidate, GateRecord, RecordedPins

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


def candidate(**changes: object) -> Candidate:
    pins = RecordedPins(
        kernel=KERNEL, kernel_devel="6.12.94-1", modules={"zfs": "2.3.9-1", "nvidia": "550.163.01-4"}
    )
    recorded = tuple(GateRecord(gate=gate, verdict=verdict, summary=text) for gate, verdict, text, _ in GATES)
    given: dict[str, Any] = {"pins": pins, "gates": recorded, **changes}
    return records.candidate(**given)


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
