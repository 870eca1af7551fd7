"""What an image holds, before anybody knows the image's digest: components, and what depends on what.

Rules: everything is read from the files of the image; the scanner's word is enriched, never taken for the
whole; packages are hashed by their installed files, /etc and /var left out, since these change on a host by
design. The digest-free form lets completeness be judged before anything is pushed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.domain.canonical import Json
from pipeline.domain.gate import Package
from pipeline.domain.manifest import MODULES
from pipeline.domain.sbom.ownership import Ownership
from pipeline.domain.sbom.part import (
    OWN,
    Organisation,
    Part,
    hashes,
    occurrences,
    places,
    property_of,
    shown,
    supplied,
)
from pipeline.domain.sbom.scanned import Scanned
from pipeline.domain.sbom.shipped import (
    FIRMWARE,
    ModuleOrigin,
    ShippedModule,
    could_run,
    executable_part,
    firmware_part,
    is_vague,
    listing,
    module_dependencies,
    module_part,
    module_paths,
    quadlet_images,
    read_modules,
    read_quadlets,
)
from pipeline.domain.tree import Entry, FileType, Tree

_LARGEST = 4 << 30
CHANGING = ("/etc/", "/var/", "/run/", "/usr/lib/sysimage/")
"""What differs on a host, or is the database itself: no part of a package's hash."""
_ARCH = re.compile(r"[?&]arch=([A-Za-z0-9_-]+)")
OS_RELEASE = "/usr/lib/os-release"
HASH_OF = f"{OWN}hash:of"
_HASHED = "lines of sha256sum over the package's files in the image, sorted by path, without /etc and /var"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What an image holds.

    Attributes:
        scanner: Name and version of the scanner.
        components: Reference to component.
        dependencies: Reference to the references it depends on; exactly the components' references.
        open: References of components whose own dependencies nobody knows.
        vague: References of components of which nobody can tell what they are.
    """

    scanner: tuple[str, str]
    components: Mapping[str, Part]
    dependencies: Mapping[str, frozenset[str]]
    open: frozenset[str]
    vague: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an SBOM must name, told by the image's own files.

    Attributes:
        modules: Path of each out-of-tree module to the SHA-256 of the file.
        packages: Name and version of each package of the databases; None where none could be read.
    """

    modules: Mapping[str, str]
    packages: frozenset[tuple[str, str]] | None


def expected_of(tree: Tree, packages: Sequence[Package] | None, ownership: Ownership) -> Expected:
    """Return what an image's SBOM must name.

    Raises:
        NotFoundError: A module is larger than four gigabytes.
    """
    return Expected(
        modules={
            path: hashlib.sha256(tree.read(path, limit=_LARGEST)).hexdigest()
            for path in module_paths(tree.walk(MODULES), ownership)
        },
        packages=None if packages is None else frozenset((one.name, one.version) for one in packages),
    )


def file_digests(tree: Tree, ownership: Ownership) -> Mapping[str, bytes]:
    """Return the SHA-256, 32 bytes, of every file a package owns and of all firmware, by path.

    Raises:
        NotFoundError: A file is larger than four gigabytes, or went away meanwhile.
    """
    return {
        entry.path: hashlib.sha256(tree.read(entry.path, limit=_LARGEST)).digest()
        for entry in tree.walk("/")
        if entry.type is FileType.FILE
        and (ownership.owner(entry.path) is not None or entry.path.startswith(FIRMWARE))
        and not entry.path.startswith(CHANGING)
    }


def take_inventory(
    tree: Tree,
    scanned: Scanned,
    ownership: Ownership,
    *,
    digests: Mapping[str, bytes],
    origins: Mapping[str, ModuleOrigin],
    supplier: Organisation,
) -> Inventory:
    """Return what an image holds.

    Args:
        tree: Its files; a walk is made of everything, so give one that remembers it (`WalkedTree`).
        scanned: What the scanner found in it.
        ownership: Which package owns which file; empty where nobody knows.
        digests: What `file_digests` says of the tree.
        origins: Module set to what it was compiled from.
        supplier: Who supplies what no package does: the image's own supplier.

    Raises:
        ModuleError: A module or its manifest is damaged.
    """
    return _Taker(
        tree=tree,
        scanned=scanned,
        ownership=ownership,
        digests=digests,
        origins=origins,
        supplier=supplier,
    ).take()


@dataclass(slots=True, kw_only=True)
class _Taker:
    tree: Tree
    scanned: Scanned
    ownership: Ownership
    digests: Mapping[str, bytes]
    origins: Mapping[str, ModuleOrigin]
    supplier: Organisation
    components: dict[str, Part] = field(default_factory=dict)
    dependencies: dict[str, frozenset[str]] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    packages: dict[tuple[str, str], str] = field(default_factory=dict)

    def take(self) -> Inventory:
        entries = tuple(self.tree.walk("/"))
        for ref, part in self.scanned.components.items():
            self._add(part, self.scanned.dependencies.get(ref, frozenset()))
            if property_of(part, f"{OWN}package:type") in ("deb", "rpm"):
                self.packages[str(part["name"]), ""] = ref
                self.packages[str(part["name"]), _architecture(ref)] = ref
        self._hash_system()
        self._hash_packages()
        self._hash_found()
        self._take_modules(entries)
        self._take_firmware(entries)
        self._take_executables(entries)
        self._take_images(entries)
        return Inventory(
            scanner=self.scanned.scanner,
            components=self.components,
            dependencies=self.dependencies,
            open=frozenset(self.open),
            vague=frozenset(ref for ref, part in self.components.items() if is_vague(part)),
        )

    def _add(self, part: Part, needs: frozenset[str] = frozenset(), *, known: bool = True) -> None:
        ref = str(part["bom-ref"])
        self.components[ref] = supplied(part, self.supplier)
        self.dependencies[ref] = needs
        if not known:
            self.open.add(ref)

    def _owner(self, path: str) -> str:
        """Return the reference of the package that owns a file, or ""."""
        owner = self.ownership.owner(path)
        if owner is None:
            return ""
        return self.packages.get(owner) or self.packages.get((owner[0], ""), "")

    def _hash_system(self) -> None:
        """Give the operating system's entry the hash of the file that says what it is."""
        entry = self.tree.entry(OS_RELEASE)
        if entry is None or entry.type is not FileType.FILE:
            return
        for ref, part in self.components.items():
            if part["type"] == "operating-system":
                facts = _with(part, HASH_OF, f"the file {OS_RELEASE}")
                data = self.tree.read(OS_RELEASE, limit=_LARGEST)
                more: Part = {
                    "hashes": hashes(data),
                    "evidence": occurrences([OS_RELEASE]),
                    "properties": facts,
                }
                self.components[ref] = {**part, **more}

    def _hash_packages(self) -> None:
        files: dict[str, dict[str, bytes]] = {}
        for path, digest in self.digests.items():
            owner = self._owner(path)
            if owner:
                files.setdefault(owner, {})[path] = digest
        for ref, owned in files.items():
            part = self.components[ref]
            facts = _with(part, HASH_OF, _HASHED)
            self.components[ref] = {**part, "hashes": hashes(listing(owned)), "properties": facts}

    def _hash_found(self) -> None:
        """Give what was found in exactly one file that file's hash, and the licences of its package."""
        for ref, part in self.components.items():
            paths = places(part)
            if "hashes" in part or len(paths) != 1 or paths[0] not in self.digests:
                continue
            sha256: Part = {"alg": "SHA-256", "content": self.digests[paths[0]].hex()}
            more: Part = {"hashes": [sha256], "properties": _with(part, HASH_OF, f"the file {paths[0]}")}
            package = self.components.get(self._owner(paths[0]), {})
            if "licenses" not in part and "licenses" in package:
                more["licenses"] = package["licenses"]
            self.components[ref] = {**part, **more}

    def _take_modules(self, entries: Sequence[Entry]) -> None:
        modules = read_modules(self.tree, module_paths(entries, self.ownership))
        refs = {module.file.path: f"module:{shown(module.file.path)}" for module in modules}
        for kernel in sorted({module.kernel for module in modules}):
            needs = module_dependencies(self.tree, kernel)
            kernels = frozenset(self._kernels(kernel))
            for module in modules:
                if module.kernel == kernel:
                    others = {refs[path] for path in needs.get(module.file.path, ()) if path in refs}
                    self._add_module(module, kernels | others)

    def _add_module(self, module: ShippedModule, needs: frozenset[str]) -> None:
        part = module_part(module, self.origins.get(module.set_name), self._owner(module.file.path))
        self._add(part, needs)

    def _kernels(self, release: str) -> Iterator[str]:
        """Yield what stands for a kernel: the scanner's kernel, or else the package of that name."""
        found = [
            ref
            for ref, part in self.scanned.components.items()
            if property_of(part, f"{OWN}package:type") == "linux-kernel" and part["version"] == release
        ]
        image = self.packages.get((f"linux-image-{release}", ""))
        yield from found or ([image] if image else ())
        for ref in found:
            self._add_kernel(ref, release, image)

    def _add_kernel(self, ref: str, release: str, image: str | None) -> None:
        """Give the scanner's kernel the hash of its file and the package it came from."""
        part = self.components[ref]
        path = next(iter(places(part)), f"{MODULES}/{release}/vmlinuz")
        if self.tree.entry(path) is not None:
            part = {**part, "hashes": hashes(self.tree.read(path, limit=_LARGEST))}
        package = self.components.get(image or "", {})
        part = {
            **part,
            **{key: package[key] for key in ("supplier", "manufacturer", "licenses") if key in package},
        }
        self._add(part, frozenset([image] if image else ()))

    def _take_firmware(self, entries: Sequence[Entry]) -> None:
        groups: dict[str, dict[str, bytes]] = {}
        for entry in entries:
            if entry.path.startswith(FIRMWARE) and entry.type is FileType.FILE:
                owner = self._owner(entry.path)
                groups.setdefault(owner or entry.path, {})[entry.path] = self.digests[entry.path]
        for key, files in sorted(groups.items()):
            package = self.components.get(key)
            if package is None:
                name, version = key.removeprefix(FIRMWARE), ""
            else:
                name, version = str(package["name"]), str(package["version"])
            part = firmware_part(name, version, files, package=key if package is not None else "")
            if package is not None:
                part |= {
                    one: package[one] for one in ("supplier", "manufacturer", "licenses") if one in package
                }
            self._add(part, frozenset([key] if package is not None else ()), known=package is not None)

    def _take_executables(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if not could_run(entry) or self.ownership.owner(entry.path) is not None:
                continue
            part = executable_part(entry, self.tree.read(entry.path, limit=_LARGEST))
            if part is not None:
                self._add(part, known=False)

    def _take_images(self, entries: Sequence[Entry]) -> None:
        for part in quadlet_images(read_quadlets(self.tree, entries)):
            self._add(part, known=False)


def _architecture(purl: str) -> str:
    found = _ARCH.search(purl)
    return found[1] if found else ""


def _with(part: Part, name: str, value: str) -> list[Json]:
    """Return a component's properties and one more."""
    told = part.get("properties")
    return [*(told if isinstance(told, list) else ()), {"name": name, "value": value}]
