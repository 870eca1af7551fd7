"""An image with module manifests, in memory, and what its machine would report."""

from __future__ import annotations

from collections.abc import Iterable

from trees import MemoryTree

from pipeline.domain.boot.inside import Part
from pipeline.domain.boot.report import Ending, Ran
from pipeline.domain.manifest import Manifest, ManifestFile, to_json

KERNEL = "6.12.94+deb13-amd64"
TOP = f"/usr/lib/modules/{KERNEL}"
VERSION = "2.3.9"


def manifest(set_name: str, *names: str) -> bytes:
    files = tuple(
        ManifestFile(
            path=f"{TOP}/updates/dkms/{name}.ko.xz",
            sha256="0" * 64,
            size=1,
            module=name.replace("-", "_"),
            version=VERSION,
            vermagic=f"{KERNEL} SMP",
            licence="GPL",
            srcversion="ABC",
            signer="",
        )
        for name in sorted(names, key=lambda name: f"{name}.")
    )
    return to_json(Manifest(set_name=set_name, kernel=KERNEL, module_version=VERSION, files=files))


def image() -> MemoryTree:
    """Return an image with ZFS and NVIDIA."""
    dkms = "updates/dkms"
    return MemoryTree(
        {
            f"{TOP}/vmlinuz": b"kernel",
            f"{TOP}/initramfs.img": b"initramfs",
            f"{TOP}/modules.dep": (
                f"{dkms}/nvidia.ko.xz: kernel/drm.ko.xz\n"
                f"{dkms}/nvidia-uvm.ko.xz: {dkms}/nvidia.ko.xz kernel/drm.ko.xz\n"
                f"{dkms}/zfs.ko.xz: {dkms}/spl.ko.xz\n{dkms}/spl.ko.xz:\n"
            ),
            f"{TOP}/modules.symbols": (
                "# Aliases for symbols, used by symbol_request().\n"
                "alias symbol:nv_open nvidia\nalias symbol:spl_alloc spl\nalias symbol:drm_open drm\n"
            ),
            "/usr/lib/pipeline/modules/nvidia.json": manifest("nvidia", "nvidia", "nvidia-uvm"),
            "/usr/lib/pipeline/modules/zfs.json": manifest("zfs", "zfs", "spl"),
        }
    )


def loaded(name: str) -> list[str]:
    return [
        f"vermagic {name} {KERNEL} SMP",
        f"module {name} 0 5.00 5.50",
        f"version {name} {VERSION}",
        f"srcversion {name} ABC",
        f"initstate {name} live",
    ]


GOOD = {
    "root": ["phase root 3.00", f"kernel {KERNEL}", "phase modules 3.50"],
    "spl": loaded("spl"),
    "zfs": loaded("zfs"),
    "nvidia": [
        f"vermagic nvidia {KERNEL} SMP",
        "module nvidia 1 6.00 7.25",
        "said nvidia modprobe: ERROR: could not insert 'nvidia': No such device",
        "dmesg nvidia [ 6.5] NVRM: No NVIDIA GPU found.",
    ],
    "nvidia_uvm": [
        f"vermagic nvidia_uvm {KERNEL} SMP",
        "blocked nvidia_uvm nvidia",
        "module nvidia_uvm 1 8.00 8.10",
        "said nvidia_uvm insmod: ERROR: could not insert module x: Unknown symbol in module",
        "dmesg nvidia_uvm [ 8.0] nvidia_uvm: Unknown symbol nv_open (err -2)",
    ],
    "pool": [f"pool {one} 0 9.00 9.10" for one in ("create", "write", "export", "import", "read", "destroy")],
    "done": ["done modules"],
}
"""What a sound base reports, by topic."""

SYSTEM = [
    "phase root 3.00",
    f"kernel {KERNEL}",
    "phase system 8.00",
    "state running 40.00",
    "mark refused /usr",
    "saidmark /usr Read-only file system",
    *(f"mark written {path}" for path in ("/etc", "/var", "/run", "/tmp")),
    "done system",
]
AGAIN = ["phase root 3.00", *(f"kept yes {one}" for one in ("/etc", "/var")), "kept no /run", "kept no /tmp",
         "done again"]  # fmt: skip


def good(**changes: Iterable[str]) -> list[str]:
    """Return a sound report, with some topics replaced."""
    return [line for topic, lines in {**GOOD, **changes}.items() for line in lines]


def ran(
    part: Part, lines: Iterable[str], *, ending: Ending = Ending.OFF, why: str = "", console: bytes = b""
) -> Ran:
    text = "".join(f"{line}\r\n" for line in lines)
    return Ran(
        part=part,
        ending=ending,
        phase="modules",
        why=why,
        report=text.encode("utf-8", "surrogateescape"),
        console=console,
        milliseconds=30_000,
    )
