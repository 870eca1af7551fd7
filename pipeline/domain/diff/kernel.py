"""Kernels and kernel modules: which release, which out-of-tree modules, which drivers came and went.

Rules: a module is what its file says. A manifest's words stand in for the file only where the file has the
very sha256 the manifest lists; any other module file is read itself. What cannot be read is a fault that is
shown. Modules are named, not their paths, so that a new kernel release does not make every module a new one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.domain.diff.change import Change, compare
from pipeline.domain.diff.pair import Pair, Side, below
from pipeline.domain.diff.snapshot import FileFacts
from pipeline.domain.kmod import is_module, module_name, parse_module
from pipeline.domain.manifest import FOLDER, MODULES, ManifestFile, from_json
from pipeline.domain.tree import FileType
from pipeline.errors import ModuleError, NotFoundError

_LARGEST_MANIFEST = 1 << 20
_LARGEST_MODULE = 512 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One out-of-tree module, in its own words; `fault` says why it could not be read, or is ""."""

    path: str
    sha256: str
    version: str = ""
    vermagic: str = ""
    srcversion: str = ""
    signer: str = ""
    licence: str = ""
    module_set: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelChange:
    """The kernels of both sides.

    Attributes:
        old, new: Releases, sorted; an image should have one.
        rebuilt: Releases that stayed while their kernel image did not.
        initramfs: Releases that stayed while their initramfs did not.
        drivers_added, drivers_removed: Names of modules that the kernel itself brings; none of a first image.
    """

    old: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    rebuilt: tuple[str, ...] = ()
    initramfs: tuple[str, ...] = ()
    drivers_added: tuple[str, ...] = ()
    drivers_removed: tuple[str, ...] = ()


def kernel_change(pair: Pair) -> KernelChange:
    """Return what is different about the kernels."""
    new = pair.new.folders(MODULES)
    # An image has thousands of files there: they are gone through once where none differs.
    old = pair.old.folders(MODULES) if pair.old.tree is None or pair.any_below(MODULES) else new
    kept = sorted(set(old) & set(new))
    before, after = _drivers(pair.old), _drivers(pair.new)
    return KernelChange(
        old=old,
        new=new,
        rebuilt=tuple(one for one in kept if pair.has(f"{MODULES}/{one}/vmlinuz")),
        initramfs=tuple(one for one in kept if pair.has(f"{MODULES}/{one}/initramfs.img")),
        drivers_added=tuple(sorted(after - before)) if pair.old.tree is not None else (),
        drivers_removed=tuple(sorted(before - after)),
    )


def module_changes(pair: Pair) -> tuple[Change[Module], ...]:
    """Return the out-of-tree modules that differ, by module name."""
    return compare(_modules(pair.old), _modules(pair.new))


def _drivers(side: Side) -> set[str]:
    return {
        module_name(facts.path)
        for facts in side.changed
        if facts.type is FileType.FILE and _place(facts.path) == "kernel" and is_module(facts.path)
    }


def _place(path: str) -> str:
    """Return the folder below a kernel's own in which a path lies, such as `kernel` or `updates`; or ""."""
    parts = path.removeprefix(f"{MODULES}/").split("/") if below(path, MODULES) else []
    return parts[1] if len(parts) > 2 else ""  # noqa: PLR2004 - release, folder, file


def _modules(side: Side) -> dict[str, Module]:
    files = [
        facts
        for facts in side.changed
        if facts.type is FileType.FILE and is_module(facts.path) and _place(facts.path) not in ("", "kernel")
    ]
    listed = dict(_listed(side)) if files else {}
    names = [module_name(facts.path) for facts in files]
    times = Counter(names)
    return {
        name if times[name] == 1 else facts.path: _module(side, facts, listed)
        for name, facts in zip(names, files, strict=True)
    }


def _listed(side: Side) -> Iterator[tuple[tuple[str, str], tuple[str, ManifestFile]]]:
    """Yield path and sha256 of each module that a manifest lists, with its set and the manifest's words."""
    for name in side.list(FOLDER):
        path = f"{FOLDER}/{name}"
        data = side.read(path, limit=_LARGEST_MANIFEST)
        try:
            manifest = from_json(data or b"", path)
        except ModuleError:  # no manifest: its modules are read from their files
            continue
        for file in manifest.files:
            yield (file.path, file.sha256), (manifest.set_name, file)


def _module(side: Side, facts: FileFacts, listed: dict[tuple[str, str], tuple[str, ManifestFile]]) -> Module:
    known = listed.get((facts.path, facts.sha256))
    if known is None:
        return _from_file(side, facts)
    set_name, file = known
    return Module(
        path=facts.path,
        sha256=facts.sha256,
        version=file.version,
        vermagic=file.vermagic,
        srcversion=file.srcversion,
        signer=file.signer,
        licence=file.licence,
        module_set=set_name,
    )


def _from_file(side: Side, facts: FileFacts) -> Module:
    data = side.read(facts.path, limit=_LARGEST_MODULE)
    try:
        module = parse_module(facts.path, data or b"")
    except (ModuleError, NotFoundError) as error:
        return Module(path=facts.path, sha256=facts.sha256, fault=error.message)
    return Module(
        path=facts.path,
        sha256=facts.sha256,
        version=module.version,
        vermagic=module.vermagic,
        srcversion=module.srcversion,
        signer=module.signer,
        licence="; ".join(module.licenses),
    )


def versions(changes: Iterable[Change[Module]]) -> tuple[Change[str], ...]:
    """Return the versions by module set (or by module, where no manifest lists it) that differ."""
    old: dict[str, str] = {}
    new: dict[str, str] = {}
    for change in changes:
        for side, module in ((old, change.old), (new, change.new)):
            if module is not None:
                side.setdefault(module.module_set or change.name, module.version)
    return compare(old, new)
