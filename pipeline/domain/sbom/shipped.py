"""What an image ships beside packages: kernel modules, firmware, executables nobody owns, quadlets' images.

Rules: an out-of-tree module is one that lies outside its kernel's own `kernel/` folder, or that no package
owns; what it is comes from the manifest whose SHA-256 agrees with the file, or else from the file itself; a
container image counts by the digest its quadlet, or the Kubernetes file of its quadlet, names.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from packageurl import PackageURL

from pipeline.domain.canonical import Json
from pipeline.domain.image import ImageRef
from pipeline.domain.kmod import is_module, parse_module
from pipeline.domain.manifest import FOLDER, MODULES, ManifestFile, from_json
from pipeline.domain.quadlet import (
    images,
    is_kube,
    is_quadlet,
    kubernetes_files,
    kubernetes_images,
)
from pipeline.domain.sbom.licences import module_licences
from pipeline.domain.sbom.ownership import Ownership
from pipeline.domain.sbom.part import (
    OWN,
    Part,
    file_facts,
    hashes,
    occurrences,
    properties,
    property_of,
    shown,
)
from pipeline.domain.tree import Entry, FileType, Tree
from pipeline.errors import NotFoundError, UsageError

FIRMWARE = "/usr/lib/firmware/"
MODULE_SET = f"{OWN}module:set"
"""Property of a module that names the set it belongs to."""
VAGUE = f"{OWN}vague"
"""Property of a component that stands for what nobody can tell: why."""
_NOT_TOLD = "what its quadlet starts: no such file in the image, or a container of which no image can be read"
_MOVABLE = "named without a digest: what starts may be another image every day"
_READABLE = (FileType.FILE, FileType.SYMLINK)
_LARGEST = 1 << 30
_LIBRARY = re.compile(r".+\.so(?:\.[0-9.]+)?")
_EXECUTE = 0o111
ELF = b"\x7fELF"
SCRIPT = b"#!"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleOrigin:
    """What a module set was compiled from: the package that brought its source, and that package's purl."""

    package: str
    version: str
    purl: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedModule:
    """A module in the image: its file, the set it belongs to ("" for none), and the bytes' hashes."""

    file: ManifestFile
    set_name: str
    sha512: str

    @property
    def kernel(self) -> str:
        """Kernel release it lies under."""
        return kernel_of(self.file.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quadlets:
    """An image's quadlets.

    Attributes:
        units: Path of each quadlet and drop-in to its bytes.
        kubernetes: Path of each Kubernetes file they name to its bytes; None where it cannot be had.
    """

    units: Mapping[str, bytes]
    kubernetes: Mapping[str, bytes | None]


def kernel_of(path: str) -> str:
    """Return the kernel release whose folder a module's path is in."""
    return path.removeprefix(f"{MODULES}/").partition("/")[0]


def module_paths(entries: Iterable[Entry], ownership: Ownership) -> Iterator[str]:
    """Yield the paths of all out-of-tree modules."""
    for entry in entries:
        path = entry.path
        if entry.type is not FileType.FILE or not path.startswith(f"{MODULES}/") or not is_module(path):
            continue
        in_tree = path.startswith(f"{MODULES}/{kernel_of(path)}/kernel/")
        if not in_tree or (ownership.owners and ownership.owner(path) is None):
            yield path


def read_modules(tree: Tree, paths: Iterable[str]) -> tuple[ShippedModule, ...]:
    """Return what the modules at these paths are.

    Raises:
        ModuleError: A module or a manifest is damaged.
        NotFoundError: A file is gone or larger than a gigabyte.
    """
    listed = _listed(tree)
    return tuple(_module(tree, path, listed) for path in sorted(paths))


def _listed(tree: Tree) -> dict[tuple[str, str], tuple[str, ManifestFile]]:
    found: dict[tuple[str, str], tuple[str, ManifestFile]] = {}
    for name in tree.list(FOLDER):
        if name.endswith(".json"):
            manifest = from_json(tree.read(f"{FOLDER}/{name}"), name)
            found |= {(file.path, file.sha256): (manifest.set_name, file) for file in manifest.files}
    return found


def _module(
    tree: Tree, path: str, listed: Mapping[tuple[str, str], tuple[str, ManifestFile]]
) -> ShippedModule:
    data = tree.read(path, limit=_LARGEST)
    digest = hashlib.sha256(data).hexdigest()
    set_name, file = listed.get((path, digest), ("", None))
    if file is None:
        read = parse_module(path, data)
        file = ManifestFile(
            path=path,
            sha256=digest,
            size=len(data),
            module=read.name,
            version=read.version,
            vermagic=read.vermagic,
            licence="; ".join(read.licenses),
            srcversion=read.srcversion,
            signer=read.signer,
        )
    return ShippedModule(file=file, set_name=set_name, sha512=hashlib.sha512(data).hexdigest())


def module_part(module: ShippedModule, origin: ModuleOrigin | None, owner: str) -> Part:
    """Return a module as a `device-driver`.

    Args:
        module: The module.
        origin: What its set was compiled from; None where nobody knows.
        owner: The package that owns the file, or "".
    """
    file = module.file
    version = file.version or f"for-{module.kernel}"
    part: Part = {
        "bom-ref": f"module:{shown(file.path)}",
        "type": "device-driver",
        "name": shown(file.module),
        "version": shown(version),
        "purl": _generic(file.module, version, {"checksum": f"sha256:{file.sha256}"}),
        "hashes": [{"alg": "SHA-256", "content": file.sha256}, {"alg": "SHA-512", "content": module.sha512}],
        "evidence": occurrences([file.path]),
        "properties": properties(
            {
                **file_facts(file.path, executable=True),
                MODULE_SET: module.set_name,
                f"{OWN}module:kernel": module.kernel,
                f"{OWN}module:vermagic": file.vermagic,
                f"{OWN}module:srcversion": file.srcversion,
                f"{OWN}module:licence": file.licence,
                f"{OWN}module:signer": file.signer or "not signed",
                f"{OWN}package": owner,
                f"{OWN}module:source": f"{origin.package} {origin.version}" if origin else "",
            }
        ),
    }
    licences = module_licences(file.licence.split("; "))
    if licences:
        part["licenses"] = licences
    if origin is not None:
        part["pedigree"] = {"ancestors": [_source(origin)]}
    return part


def _source(origin: ModuleOrigin) -> Part:
    part: Part = {"type": "library", "name": origin.package, "version": origin.version}
    return {**part, "purl": origin.purl} if origin.purl else part


def module_dependencies(tree: Tree, kernel: str) -> Mapping[str, tuple[str, ...]]:
    """Return path of a module to paths of those it needs, as depmod found them; empty without its list."""
    top = f"{MODULES}/{kernel}"
    try:
        text = tree.read(f"{top}/modules.dep", limit=_LARGEST).decode("utf-8", "surrogateescape")
    except NotFoundError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {
        posixpath.join(top, name): tuple(posixpath.join(top, one) for one in needs.split())
        for name, _, needs in pairs
    }


def firmware_part(name: str, version: str, files: Mapping[str, bytes], *, package: str) -> Part:
    """Return firmware as one component: the files a package owns, or one file that nobody owns.

    Args:
        name: The package, or the file's path below the firmware folder.
        version: The package's version, or "" for the file's digest.
        files: Path to SHA-256 of the bytes, 32 bytes each.
        package: Reference of the package, or "".
    """
    lines = listing(files)
    alone = next(iter(files)) if len(files) == 1 and not package else ""
    version = version or f"sha256-{next(iter(files.values())).hex()[:16]}"
    kind: dict[str, str] = file_facts(alone, executable=False, structured=False) if alone else {}
    return {
        "bom-ref": f"firmware:{shown(name)}",
        "type": "firmware",
        "name": shown(name),
        "version": shown(version),
        "purl": _generic(name, version, {"type": "firmware"}),
        "hashes": (
            [{"alg": "SHA-256", "content": next(iter(files.values())).hex()}] if alone else hashes(lines)
        ),
        "evidence": occurrences(files),
        "properties": properties({**kind, f"{OWN}package": package, f"{OWN}files": str(len(files))}),
    }


def listing(files: Mapping[str, bytes]) -> bytes:
    """Return `sha256sum` lines of files, sorted by path: what a hash of several files is the hash of."""
    rows = sorted((path.encode("utf-8", "surrogateescape"), digest.hex()) for path, digest in files.items())
    return b"".join(digest.encode() + b"  " + path + b"\n" for path, digest in rows)


def could_run(entry: Entry) -> bool:
    """Whether an entry is worth a look: a file that may be run, or that is named like a library."""
    if entry.type is not FileType.FILE or not entry.size:
        return False
    return bool(entry.mode & _EXECUTE) or _LIBRARY.fullmatch(entry.path.rpartition("/")[2]) is not None


def executable_part(entry: Entry, data: bytes) -> Part | None:
    """Return a program, library or script that no package owns; None when it is none of them."""
    kind = "elf" if data.startswith(ELF) else "script" if data.startswith(SCRIPT) else ""
    if not kind:
        return None
    digest = hashlib.sha256(data).hexdigest()
    version = f"sha256-{digest[:16]}"
    return {
        "bom-ref": f"file:{shown(entry.path)}",
        "type": "file",
        "name": shown(entry.path),
        "version": version,
        "purl": _generic(entry.path.rpartition("/")[2], version, {"checksum": f"sha256:{digest}"}),
        "hashes": hashes(data),
        "evidence": occurrences([entry.path]),
        "properties": properties(
            {
                **file_facts(entry.path, executable=True, structured=kind == "elf"),
                f"{OWN}executable:kind": kind,
                f"{OWN}executable:setuid": "yes" if entry.mode & 0o6000 else "",
            }
        ),
    }


def read_quadlets(tree: Tree, entries: Iterable[Entry]) -> Quadlets:
    """Return the quadlets of an image, and the Kubernetes files they name."""
    paths = [one.path for one in entries if one.type in _READABLE and is_quadlet(one.path)]
    units = {path: data for path in paths if (data := _read(tree, path)) is not None}
    named = (name for path, data in units.items() if is_kube(path) for name in kubernetes_files(path, data))
    return Quadlets(units=units, kubernetes={name: _read(tree, name) for name in named})


def _read(tree: Tree, path: str) -> bytes | None:
    try:
        return tree.read(path, limit=_LARGEST)
    except NotFoundError:
        return None


def quadlet_images(quadlets: Quadlets) -> list[Part]:
    """Return the container images that quadlets start, one component an image.

    A Kubernetes file that is not in the image or cannot be understood is a component, too: see `is_vague`.
    """
    users: dict[str, list[str]] = {}
    lost: dict[str, list[str]] = {}
    for path, data in quadlets.units.items():
        for name in () if is_kube(path) else images(data):
            users.setdefault(name, []).append(path)
        for file in kubernetes_files(path, data) if is_kube(path) else ():
            text = quadlets.kubernetes.get(file)
            for _, name in (("", ""),) if text is None else kubernetes_images(text):
                (users.setdefault(name, []) if name else lost.setdefault(file, [])).extend((path, file))
    missing = (_unknown(file, paths) for file, paths in sorted(lost.items()))
    return [*(_image(name, paths) for name, paths in sorted(users.items())), *missing]


def is_vague(part: Mapping[str, Json]) -> bool:
    """Whether nobody can tell what a component is: an image without a digest, or one no file tells."""
    return property_of(part, VAGUE) != ""


def _unknown(file: str, paths: Iterable[str]) -> Part:
    """Return what stands for the container images that an unreadable Kubernetes file would name."""
    return {
        "bom-ref": f"kubernetes:{shown(file)}",
        "type": "file",
        "name": shown(file),
        "version": "unknown",
        "purl": _generic(file.rpartition("/")[2], "unknown", {}),
        "evidence": occurrences(paths),
        "properties": properties({VAGUE: _NOT_TOLD}),
    }


def _image(text: str, paths: Iterable[str]) -> Part:
    try:
        ref = ImageRef.parse(text)
    except UsageError:
        ref = None
    part: Part = {"bom-ref": f"image:{shown(text)}", "type": "container", "evidence": occurrences(paths)}
    if ref is None or ref.digest is None:
        part["properties"] = properties({VAGUE: _MOVABLE})
    if ref is None:
        return {**part, "name": shown(text), "version": "not pinned"}
    part |= {"name": str(ref.repository), "version": ref.tag or str(ref.digest)}
    part["supplier"] = {"name": f"{ref.repository.registry}/{ref.repository.path.split('/')[0]}"}
    if ref.digest is not None:
        content: Json = [{"alg": "SHA-256", "content": ref.digest.hex}]
        part |= {"hashes": content, "purl": image_purl(ref)}
    return part


def image_purl(ref: ImageRef) -> str:
    """Return the package URL of an image by digest (purl specification, type oci)."""
    name = ref.repository.path.rpartition("/")[2]
    return PackageURL(
        type="oci", name=name, version=str(ref.pinned), qualifiers={"repository_url": str(ref.repository)}
    ).to_string()


def _generic(name: str, version: str, qualifiers: Mapping[str, str]) -> str:
    """Return a package URL of no known type; a name of blanks alone is one that a URL cannot have."""
    return PackageURL(
        type="generic",
        name=shown(name) if name.strip(" /") and shown(name).strip() else "unnamed",
        version=shown(version),
        qualifiers=dict(qualifiers),
    ).to_string()
