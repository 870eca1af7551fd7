"""Which container images an image's quadlets run, and which are bound to it.

Rules: what a unit, its drop-ins and the Kubernetes files of a `.kube` unit name counts, in the folders that
Podman's generator reads; a Kubernetes file may differ while its unit does not, so units of that kind are
looked at either way; who runs an image follows from the folder; one without a digest is told to be movable.
Sources: see `pipeline.domain.quadlet`; bootc's logically bound images (/usr/lib/bootc/bound-images.d).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.domain.diff.change import Change, compare
from pipeline.domain.diff.pair import Pair, Side, below
from pipeline.domain.quadlet import FOLDERS, images, is_kube, is_quadlet, kubernetes_files, kubernetes_images
from pipeline.domain.tree import FileType

QUADLETS = tuple(folder.rstrip("/") for folder in FOLDERS)
_BOUND = "/usr/lib/bootc/bound-images.d"
_USER = re.compile(r"/users/([0-9]+)/")
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerImage:
    """An image a quadlet names; `user` is `root`, `any user` or a numeric user id; `pinned` if by digest.

    `path` is the file that names it; `image` is "" where a Kubernetes file cannot be read or names none.
    """

    image: str
    user: str
    path: str
    pinned: bool


def container_changes(pair: Pair) -> tuple[Change[ContainerImage], ...]:
    """Return the quadlets whose image or user differs, by file name and user."""
    return compare(dict(_images(pair, pair.old)), dict(_images(pair, pair.new)))


def bound_changes(pair: Pair) -> tuple[Change[str], ...]:
    """Return the links in bound-images.d that differ: images bootc pulls together with the host's."""
    return compare(dict(_bound(pair.old)), dict(_bound(pair.new)))


def _images(pair: Pair, side: Side) -> Iterator[tuple[str, ContainerImage]]:
    for facts in side.changed:
        if facts.type is not FileType.FILE or not is_quadlet(facts.path) or is_kube(facts.path):
            continue
        for image in images(_read(side, facts.path))[-1:]:  # of a key given twice systemd takes the last
            yield _name(facts.path), _image(image, facts.path, facts.path)
    for unit in _kube_units(side):
        for file in kubernetes_files(unit, _read(side, unit)):
            if pair.has(unit) or pair.has(file):
                yield from _kubernetes(unit, file, side)


def _kube_units(side: Side) -> Iterator[str]:
    """Yield the `.kube` units of a side, and drop-ins of such units, whether they differ or not."""
    for folder in QUADLETS:
        users = f"{folder}/users"
        for place in (folder, users, *(f"{users}/{one}" for one in side.folders(users))):
            for name in side.list(place):
                path = f"{place}/{name}"
                inside = [f"{path}/{one}" for one in side.list(path)] if name.endswith(".kube.d") else [path]
                yield from (one for one in inside if is_kube(one) and _is_file(side, one))


def _is_file(side: Side, path: str) -> bool:
    facts = side.facts(path)
    return facts is not None and facts.type is FileType.FILE


def _kubernetes(unit: str, file: str, side: Side) -> Iterator[tuple[str, ContainerImage]]:
    found = kubernetes_images(_read(side, file)) if side.facts(file) is not None else (("", ""),)
    counted = Counter[str]()
    for container, image in found:
        counted[container] += 1
        nth = f" {counted[container]}" if counted[container] > 1 else ""
        yield f"{_name(unit)}, {container or 'container'}{nth}", _image(image, unit, file)


def _read(side: Side, path: str) -> bytes:
    return side.read(path, limit=_LARGEST) or b""


def _image(image: str, unit: str, path: str) -> ContainerImage:
    return ContainerImage(image=image, user=_user(unit), path=path, pinned="@sha256:" in image)


def _name(path: str) -> str:
    """Return the name of a unit or of its drop-in, and whose it is."""
    folder, _, name = path.rpartition("/")
    name = f"{folder.rpartition('/')[2]}/{name}" if folder.endswith(".d") else name
    user = _user(path)
    return name if user == "root" else f"{name} ({user})"


def _user(path: str) -> str:
    found = _USER.search(path)
    if found is not None:
        return f"user {found[1]}"
    return "any user" if "/users/" in path else "root"


def _bound(side: Side) -> Iterator[tuple[str, str]]:
    for facts in side.changed:
        if below(facts.path, _BOUND) and facts.type is FileType.SYMLINK:
            yield facts.path.rpartition("/")[2], facts.target
