"""What a boot test has to look at, read from the image's own files before it boots.

Rules: modules come from the manifests in the image, those without dependencies first; kernel arguments are
the ones bootc would pass; what the persistence document says is what is asked. Units that cannot run in a
machine without a network and without the host's secrets are left out by name, each with the reason.
Sources: podman-systemd.unit(5) for places and names of quadlets, bootc's kargs.d, depmod's tables.
"""

from __future__ import annotations

import json
import posixpath
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.domain.kmod import module_name
from pipeline.domain.manifest import FOLDER, MODULES, Manifest, ManifestFile, from_json
from pipeline.domain.rootfs.persistence import FOLDER as DOCUMENTS
from pipeline.domain.tree import FileType, Tree
from pipeline.errors import BootTestError, NotFoundError

KARGS = "/usr/lib/bootc/kargs.d"
DOCUMENT = f"{DOCUMENTS}/persistence.json"

_QUADLETS = ("/etc/containers/systemd", "/usr/share/containers/systemd")
_SUFFIXES = {".container": "", ".kube": "", ".pod": "-pod", ".image": "-image", ".build": "-build"}
"""Quadlets that need a container image, and what their services' names have before `.service`."""
_SERVICE_NAME = re.compile(r"^[ \t]*ServiceName[ \t]*=[ \t]*(\S+)[ \t]*$", re.MULTILINE)
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,240}")
_UNITS = ("/usr/lib/systemd/system", "/etc/systemd/system")
_CREDENTIAL = re.compile(r"^[ \t]*LoadCredential(?:Encrypted)?[ \t]*=[ \t]*[^:\s]+:(/\S+)", re.MULTILINE)
_TMPFILES = "/usr/lib/tmpfiles.d"
_DIRECTORY = re.compile(r'd\S*[ \t]+(?:"(?P<quoted>[^"\\]+)"|(?P<plain>[^"\s]+))')
_WAITS_ONLINE = ("systemd-networkd-wait-online.service", "NetworkManager-wait-online.service")
_LARGEST = 1 << 20


class Keeping(StrEnum):
    """What becomes of a file that is written at a place."""

    REFUSED = "refused"
    KEPT = "kept"
    GONE = "gone"


_PROMISED = {
    "/usr": Keeping.REFUSED,
    "/etc": Keeping.KEPT,
    "/var": Keeping.KEPT,
    "/run": Keeping.GONE,
    "/tmp": Keeping.GONE,  # noqa: S108 - the image's
}
_KINDS = {
    "base": Keeping.REFUSED,
    "overlay": Keeping.KEPT,
    "state": Keeping.KEPT,
    "volatile": Keeping.GONE,
}
"""Kinds of places in the persistence document."""
_BOOTCS_OWN = frozenset({"/boot", "/sysroot"})
"""Written by bootc alone, which is not there in a boot test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A directory, what becomes of files in it, and the user who must own it ("" for no matter who)."""

    path: str
    keeping: Keeping
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedModule:
    """One module of a manifest.

    Attributes:
        file: What the manifest says of it.
        set_name: Which manifest.
        listed: Names of the other listed modules it needs.
        others: Names of the kernel's own modules it needs.
    """

    file: ManifestFile
    set_name: str
    listed: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name as the kernel shows it."""
        return self.file.module


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A unit that is not started.

    Attributes:
        unit: Its name.
        user: Whether it belongs to users' own managers.
        why: The reason.
        made: Whether a generator makes it, so that its file must be there all the same.
    """

    unit: str
    user: bool
    why: str
    made: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BootPlan:
    """All that is asked of one image.

    Attributes:
        kernel: Its only kernel.
        modules: In an order in which they can be loaded.
        symbols: Symbol to the listed module that exports it.
        arguments: Kernel arguments it brings.
        places: What must be read-only, kept, or gone after a reboot.
        left_out: Units that are not started.
    """

    kernel: str
    modules: tuple[PlannedModule, ...]
    symbols: Mapping[str, str]
    arguments: tuple[str, ...]
    places: tuple[Place, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def zfs(self) -> bool:
        """Whether a pool has to be made."""
        return any(one.name == "zfs" for one in self.modules)


def read_plan(tree: Tree) -> BootPlan:
    """Read what is to be asked of an image.

    Raises:
        BootTestError: It has not exactly one kernel with an initramfs, or a file that cannot be understood.
        ModuleError: A manifest is not what it must be.
    """
    kernel = _kernel(tree)
    manifests = tuple(_manifests(tree))
    modules = _modules(tree, kernel, manifests)
    return BootPlan(
        kernel=kernel,
        modules=modules,
        symbols=_symbols(tree, kernel, {one.name for one in modules}),
        arguments=tuple(_arguments(tree)),
        places=tuple(_places(tree)),
        left_out=tuple({one.unit: one for one in _left_out(tree)}.values()),
    )


def _kernel(tree: Tree) -> str:
    found = [name for name in tree.list(MODULES) if tree.entry(f"{MODULES}/{name}/vmlinuz") is not None]
    if len(found) != 1:
        shown = ", ".join(map(repr, found)) or "none"
        raise BootTestError(
            f"the image must have one kernel in {MODULES} to be booted, it has {shown}",
            hint="see what the gate on kernels says: pipeline check REF",
        )
    if tree.entry(f"{MODULES}/{found[0]}/initramfs.img") is None:
        raise BootTestError(
            f"the image has no {MODULES}/{found[0]}/initramfs.img", hint="let its Containerfile run dracut"
        )
    return found[0]


def _manifests(tree: Tree) -> Iterator[Manifest]:
    for name in tree.list(FOLDER):
        path = f"{FOLDER}/{name}"
        if name.endswith(".json"):
            yield from_json(tree.read(path, limit=_LARGEST), path)


def _modules(tree: Tree, kernel: str, manifests: tuple[Manifest, ...]) -> tuple[PlannedModule, ...]:
    needs = _needs(tree, kernel)
    names = {file.module for one in manifests for file in one.files}
    planned = []
    for one in manifests:
        for file in one.files:
            needed = [module_name(path) for path in needs.get(file.path, ())]
            planned.append(
                PlannedModule(
                    file=file,
                    set_name=one.set_name,
                    listed=tuple(name for name in needed if name in names),
                    others=tuple(name for name in needed if name not in names),
                )
            )
    # modules.dep lists all that a module needs, however far down: fewer come first.
    return tuple(sorted(planned, key=lambda module: (len(module.listed), module.name)))


def _needs(tree: Tree, kernel: str) -> Mapping[str, tuple[str, ...]]:
    folder = f"{MODULES}/{kernel}"
    lines = _text(tree, f"{folder}/modules.dep", limit=1 << 26).splitlines()
    parts = (line.partition(":") for line in lines)
    return {
        f"{folder}/{path}": tuple(one for one in needed.split() if ".ko" in one)
        for path, colon, needed in parts
        if colon
    }


def _symbols(tree: Tree, kernel: str, names: set[str]) -> Mapping[str, str]:
    """Read depmod's `alias symbol:NAME MODULE` lines of the listed modules."""
    found: dict[str, str] = {}
    for line in _text(tree, f"{MODULES}/{kernel}/modules.symbols", limit=1 << 26).splitlines():
        words = line.split()
        if len(words) == 3 and words[1].startswith("symbol:") and words[2] in names:  # noqa: PLR2004
            found[words[1].removeprefix("symbol:")] = words[2]
    return found


def _arguments(tree: Tree) -> Iterator[str]:
    for name in tree.list(KARGS):
        path = f"{KARGS}/{name}"
        if not name.endswith(".toml"):
            continue
        try:
            found = tomllib.loads(_text(tree, path)).get("kargs", [])
        except tomllib.TOMLDecodeError as error:
            raise _unreadable(path, str(error)) from error
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise _unreadable(path, "kargs is no list of texts")
        yield from found


def _places(tree: Tree) -> Iterator[Place]:
    """Yield what every image promises, or its own document says instead; then its directories of state."""
    document = _document(tree)
    keeping = dict(_PROMISED)
    for item in _objects(document, "places"):
        kept = _KINDS.get(str(item.get("kind")))
        names = [name for name in str(item.get("path")).split(", ") if name not in _BOOTCS_OWN]
        keeping |= {name: kept for name in names if kept is not None and _plain(name) and " " not in name}
    yield from (Place(path=path, keeping=kept) for path, kept in keeping.items())
    made = _made_at_boot(tree)
    for item in _objects(document, "state"):
        path, owner = str(item.get("path")), str(item.get("owner"))
        if not _plain(path) or not _UNIT.fullmatch(owner):
            raise _unreadable(DOCUMENT, f"its state names {item!r}")
        if path in made:  # the others come when their service first starts
            yield Place(path=path, keeping=Keeping.KEPT, owner=owner)


def _made_at_boot(tree: Tree) -> set[str]:
    """Return the directories that systemd-tmpfiles makes."""
    texts = (_text(tree, f"{_TMPFILES}/{name}") for name in tree.list(_TMPFILES) if name.endswith(".conf"))
    found = (_DIRECTORY.match(line) for text in texts for line in text.splitlines())
    return {one["quoted"] or one["plain"] for one in found if one is not None}


def _document(tree: Tree) -> Any:
    if tree.entry(DOCUMENT) is None:
        return {}
    try:
        return json.loads(_text(tree, DOCUMENT))
    except (ValueError, RecursionError) as error:
        raise _unreadable(DOCUMENT, str(error)) from error


def _objects(document: Any, key: str) -> list[dict[str, Any]]:
    found = document.get(key, []) if isinstance(document, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _unreadable(DOCUMENT, f"its {key} is no list of objects")
    return found


def _plain(path: str) -> bool:
    return path.startswith("/") and posixpath.normpath(path) == path != "/" and path.isprintable()


def _left_out(tree: Tree) -> Iterator[LeftOut]:
    for folder in _QUADLETS:
        for entry in tree.walk(folder):
            stem, suffix = posixpath.splitext(posixpath.basename(entry.path))
            if entry.type is FileType.DIRECTORY or suffix not in _SUFFIXES:
                continue
            named = _SERVICE_NAME.search(_text(tree, entry.path))
            name = named[1] if named else stem + _SUFFIXES[suffix]
            if _UNIT.fullmatch(name):
                user = entry.path.startswith(f"{folder}/users/")
                why = "its container image cannot be pulled without a network"
                yield LeftOut(unit=f"{name}.service", user=user, why=why, made=True)
    for unit, path in _with_secrets(tree):
        yield LeftOut(unit=unit, user=False, why=f"its credential {path} lies on the host alone", made=False)
    for unit in _WAITS_ONLINE:
        if any(tree.entry(f"{folder}/{unit}") for folder in _UNITS):
            yield LeftOut(unit=unit, user=False, why="there is no network to wait for", made=False)


def _with_secrets(tree: Tree) -> Iterator[tuple[str, str]]:
    for folder in _UNITS:
        for entry in tree.walk(folder):
            if entry.type is not FileType.FILE or not entry.path.endswith((".service", ".conf")):
                continue
            top = entry.path.removeprefix(f"{folder}/").partition("/")[0].removesuffix(".d")
            for path in _CREDENTIAL.findall(_text(tree, entry.path)):
                if tree.entry(path) is None and top.endswith(".service") and _UNIT.fullmatch(top):
                    yield top, path


def _text(tree: Tree, path: str, *, limit: int = _LARGEST) -> str:
    try:
        return tree.read(path, limit=limit).decode("utf-8", "replace")
    except NotFoundError:
        return ""


def _unreadable(path: str, why: str) -> BootTestError:
    return BootTestError(f"{path} cannot be understood: {why}", hint="mend it in the image's definition")
