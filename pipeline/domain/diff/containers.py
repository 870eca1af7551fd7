"""Which container images an image's quadlets run, and which are bound to it.

Rules: only `Image=` is read, in `.container`, `.image` and `.volume` files of the folders Podman's generator
reads; who runs it follows from the folder; an image without a digest is told to be movable.
Sources: podman-systemd.unit(5); bootc's logically bound images (/usr/lib/bootc/bound-images.d).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.domain.diff.change import Change, compare
from pipeline.domain.diff.pair import Pair, Side, below
from pipeline.domain.tree import FileType

QUADLETS = ("/usr/share/containers/systemd", "/etc/containers/systemd", "/usr/etc/containers/systemd")
_BOUND = "/usr/lib/bootc/bound-images.d"
_SUFFIXES = (".container", ".image", ".volume", ".build")
_USER = re.compile(r"/users/([0-9]+)/")
_IMAGE = re.compile(r"^[ \t]*Image[ \t]*=[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerImage:
    """An image a quadlet names; `user` is `root`, `any user` or a numeric user id; `pinned` if by digest."""

    image: str
    user: str
    path: str
    pinned: bool


def container_changes(pair: Pair) -> tuple[Change[ContainerImage], ...]:
    """Return the quadlets whose image or user differs, by file name and user."""
    return compare(dict(_images(pair.old)), dict(_images(pair.new)))


def bound_changes(pair: Pair) -> tuple[Change[str], ...]:
    """Return the links in bound-images.d that differ: images bootc pulls together with the host's."""
    return compare(dict(_bound(pair.old)), dict(_bound(pair.new)))


def _images(side: Side) -> Iterator[tuple[str, ContainerImage]]:
    for facts in side.changed:
        path = facts.path
        if facts.type is not FileType.FILE or not path.endswith(_SUFFIXES):
            continue
        if not any(below(path, folder) for folder in QUADLETS):
            continue
        text = (side.read(path, limit=_LARGEST) or b"").decode("utf-8", "surrogateescape")
        for image in _IMAGE.findall(text)[-1:]:  # of a key given twice systemd takes the last
            user = _user(path)
            name = path.rpartition("/")[2] if user == "root" else f"{path.rpartition('/')[2]} ({user})"
            yield name, ContainerImage(image=image, user=user, path=path, pinned="@sha256:" in image)


def _user(path: str) -> str:
    found = _USER.search(path)
    if found is not None:
        return f"user {found[1]}"
    return "any user" if "/users/" in path else "root"


def _bound(side: Side) -> Iterator[tuple[str, str]]:
    for facts in side.changed:
        if below(facts.path, _BOUND) and facts.type is FileType.SYMLINK:
            yield facts.path.rpartition("/")[2], facts.target
