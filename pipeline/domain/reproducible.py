"""Two builds of one image, compared: the same digest, or what differs by layer, and why it likely does.

Rules: images are the same only when their digests are; what differs is always told, and a cause is a guess
from the path, named as one; layers with the same diff ID are not looked into; a layer whose files are all the
same and whose digest is not says so. Paths and texts come from images and are hostile.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from typing import Any

from pipeline.domain.diff.files import change_of
from pipeline.domain.diff.layered import LayeredSnapshot
from pipeline.domain.diff.snapshot import Aspect, ChangeKind, FileChange, FileFacts, LayerSize
from pipeline.domain.image import Digest
from pipeline.domain.placement import TreeEntry
from pipeline.domain.toc import LayerToc, facts_of, unescaped
from pipeline.domain.tree import FileType


class Cause(StrEnum):
    """Why a path likely differs; the value is what a person reads."""

    TIME = "the time of the build instead of SOURCE_DATE_EPOCH"
    HOST_KEY = "a host key that a package made up while it was installed"
    IDENTITY = "an identity of a machine or a random seed"
    BUILDER = "a file of the machine that built it"
    LOG = "a log, which tells when things were done"
    ACCOUNTS = "accounts; their lines bear the day they were made unless SOURCE_DATE_EPOCH is set"
    PACKAGES = "the package database: other packages, or times of their installation"
    INITRAMFS = "the initramfs: times, the order of its files, or something it copied from the image"
    MODULE = "a kernel module: compiler, paths or times in what it was compiled from"
    TABLES = "tables made of the kernel modules"
    BYTECODE = "bytecode, which bears the time of its source"
    CACHE = "a cache that something wrote while it ran"
    SOURCES = "what was copied into the image was not the same"
    COMMAND = "a build step was not the same"
    UNKNOWN = "not known"


# The first that fits counts; "module" comes after "initramfs" and "tables", which lie in the same folder.
_CAUSES: tuple[tuple[Cause, re.Pattern[str]], ...] = tuple(
    (cause, re.compile(pattern))
    for cause, pattern in (
        (Cause.HOST_KEY, r"/etc/ssh/ssh_host_[^/]*"),
        (
            Cause.IDENTITY,
            r"/etc/(machine-id|hostid)|/var/lib/dbus/machine-id|.*/(random-seed|credential\.secret)",
        ),
        (Cause.BUILDER, r"/etc/(hostname|hosts|resolv\.conf|mailname)"),
        (Cause.LOG, r"/var/log/.*|.*\.log(\.[0-9]+)?"),
        (Cause.ACCOUNTS, r"/etc/g?shadow-?|/etc/(passwd|group|subuid|subgid)-?"),
        (Cause.PACKAGES, r"(/var/lib|/usr/lib/sysimage)/(dpkg|rpm|dnf|apt|libdnf5)/.*|/usr/share/rpm/.*"),
        (Cause.INITRAMFS, r".*/(initramfs|initrd)[^/]*\.img"),
        (Cause.TABLES, r"/usr/lib/modules/[^/]+/modules\.[^/]+"),
        (Cause.MODULE, r".*\.ko(\.(xz|zst|gz))?"),
        (Cause.BYTECODE, r".*\.py[co]|.*\.elc"),
        (Cause.CACHE, r"/var/cache/.*|/etc/ld\.so\.cache|.*\.cache(-[0-9]+)?|.*/[^/]*cache[^/]*/.*"),
    )
)
_COPY = re.compile(r"\b(ADD|COPY) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class PathDifference:
    """One path of a layer that is not the same in both builds: what of it differs, and why it likely does."""

    path: str
    what: tuple[str, ...]
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDifference:
    """A layer that is not the same in both builds.

    Attributes:
        number: Counted from the base, 1 for the first.
        diff_ids: Digest of the unpacked layer in either build; None where a build has no such layer.
        created_by: What the image's history says made it.
        paths: What differs, sorted by path; empty when the same files were packed in another way.
    """

    number: int
    diff_ids: tuple[Digest | None, Digest | None]
    created_by: str
    paths: tuple[PathDifference, ...]

    @property
    def causes(self) -> tuple[tuple[Cause, int], ...]:
        """The likely causes with the number of paths each, the most frequent first."""
        return tuple(Counter(one.cause for one in self.paths).most_common())


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingDifference:
    """A setting of the config that is not the same: its place, its JSON value in either build, a guess."""

    place: str
    values: tuple[Any, Any]
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two builds of one image.

    Attributes:
        image: `line/name`.
        manifests: Digest of either build's manifest; the second is None when it was not pushed, because its
            config was another one already.
        configs: Digest of either build's config, which names all layers, unpacked.
        layers: Layers that differ.
        settings: Settings that differ, digests of layers left out.
    """

    image: str
    manifests: tuple[Digest, Digest | None]
    configs: tuple[Digest, Digest]
    layers: tuple[LayerDifference, ...] = ()
    settings: tuple[SettingDifference, ...] = ()

    @property
    def same(self) -> bool:
        """Whether both builds gave the same image, byte for byte."""
        return self.manifests[0] == self.manifests[1]

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if self.same:
            return f"reproducible: both builds are {self.manifests[0]}"
        if self.configs[0] == self.configs[1]:
            return "the same files and settings, but the engine packed them in another way"
        if not self.layers:
            return "the same files, but other settings"
        paths = sum(len(layer.paths) for layer in self.layers)
        places = _counted(len(self.layers), "layer")
        if not paths:
            return f"not reproducible: {places}, but no path: the same files came in another order or form"
        return f"not reproducible: {_counted(paths, 'path')} in {places}"


def layer_differences(first: LayeredSnapshot, second: LayeredSnapshot) -> tuple[LayerDifference, ...]:
    """Return the layers that differ between two builds, each against the one at its place."""
    pairs = zip_longest(first.layers, second.layers)
    return tuple(
        LayerDifference(
            number=at + 1,
            diff_ids=(one.diff_id if one else None, two.diff_id if two else None),
            created_by=_created_by(one, two),
            paths=path_differences(
                layer_facts(first.tocs[at]) if one else {}, layer_facts(second.tocs[at]) if two else {}
            ),
        )
        for at, (one, two) in enumerate(pairs)
        if one is None or two is None or one.diff_id != two.diff_id
    )


def path_differences(
    first: Mapping[str, FileFacts], second: Mapping[str, FileFacts]
) -> tuple[PathDifference, ...]:
    """Return what differs between the paths of two layers."""
    found = (change_of(first.get(path), second.get(path)) for path in sorted({*first, *second}))
    return tuple(_difference(change) for change in found if change is not None)


def layer_facts(toc: LayerToc) -> dict[str, FileFacts]:
    """Return what one layer says of each path it names; a deletion as engines mark it, a device 0:0."""
    found = {unescaped(path): facts_of(path, line, toc.times[path]) for path, line in toc.entries.items()}
    for path in (*toc.gone, *toc.opaque):
        shown = unescaped(path) + ("/" if path in toc.opaque else "")
        found[shown] = FileFacts(path=shown, type=FileType.CHARACTER, mode=0, uid=0, gid=0)
    for path, target in toc.links:
        shown = unescaped(path)
        found[shown] = FileFacts(
            path=shown, type=FileType.FILE, mode=0, uid=0, gid=0, target=unescaped(target)
        )
    return found


def entry_differences(first: Sequence[TreeEntry], second: Sequence[TreeEntry]) -> tuple[PathDifference, ...]:
    """Return what differs between two renderings of a host's files."""
    before, after = ({entry.path: entry for entry in entries} for entries in (first, second))
    found: list[PathDifference] = []
    for path in sorted({*before, *after}):
        what = tuple(_entry_aspects(before.get(path), after.get(path)))
        if what:
            found.append(PathDifference(path=path, what=what, cause=likely_cause(path, what)))
    return tuple(found)


def setting_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[SettingDifference, ...]:
    """Return what differs between two configs beside the digests of layers, which are told as layers."""
    return tuple(
        SettingDifference(place=place, values=values, cause=_setting_cause(place, values))
        for place, values in _settings(first, second, "")
        if not place.startswith("rootfs.diff_ids")
    )


def likely_cause(path: str, what: Sequence[str]) -> Cause:
    """Return why a path likely differs: by its time alone, else by what such a path is for."""
    if tuple(what) == (Aspect.MTIME.value,):
        return Cause.TIME
    return next((cause for cause, pattern in _CAUSES if pattern.fullmatch(path)), Cause.UNKNOWN)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _difference(change: FileChange) -> PathDifference:
    kinds = {ChangeKind.ADDED: ("only in the second",), ChangeKind.REMOVED: ("only in the first",)}
    what = kinds.get(change.kind) or tuple(aspect.value for aspect in Aspect if aspect in change.what)
    return PathDifference(path=change.path, what=what, cause=likely_cause(change.path, what))


def _created_by(one: LayerSize | None, two: LayerSize | None) -> str:
    told = one or two
    return told.created_by if told is not None else ""


def _entry_aspects(one: TreeEntry | None, two: TreeEntry | None) -> Iterator[str]:
    if one is None or two is None:
        if one is not two:
            yield "only in the second" if one is None else "only in the first"
        return
    told = {
        Aspect.TYPE: one.type is not two.type,
        Aspect.CONTENT: one.content != two.content,
        Aspect.MODE: one.mode != two.mode,
        Aspect.OWNER: (one.uid, one.gid) != (two.uid, two.gid),
        Aspect.TARGET: one.target != two.target,
    }
    yield from (aspect.value for aspect, differs in told.items() if differs)


def _settings(one: Any, two: Any, place: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted({*one, *two}):
            yield from _settings(one.get(key), two.get(key), f"{place}.{key}" if place else key)
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for at, (left, right) in enumerate(zip(one, two, strict=True)):
            yield from _settings(left, right, f"{place}[{at}]")
    elif one != two:
        yield place, (one, two)


def _setting_cause(place: str, values: tuple[Any, Any]) -> Cause:
    if place.endswith("created"):
        return Cause.TIME
    if not place.endswith(".created_by"):
        return Cause.UNKNOWN
    return Cause.SOURCES if all(_COPY.search(str(value)) for value in values) else Cause.COMMAND
