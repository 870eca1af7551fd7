"""Which package each file of an image belongs to, by dpkg's file lists or rpm's.

Rules: dpkg's lists may name a file by a path over a link (`/lib/x` where `/lib` leads to `/usr/lib`), so
paths are made real by the links at the top of the tree and of `/usr`; a diverted file belongs to its
package where it really lies; maintainer scripts belong to their package. What cannot be attributed counts
as nobody's: better one file too many in the SBOM than one hidden.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.domain.gate import Inside
from pipeline.domain.packages import DPKG_STATUS
from pipeline.domain.tree import FileType, Tree
from pipeline.errors import NotFoundError

_LARGEST = 64 << 20
_QUERY = r"[%{=NAME}\t%{=ARCH}\t%{FILENAMES}\n]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Real path to the package's name and architecture (`zlib1g`, `amd64`); the architecture may be ""."""

    owners: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def owner(self, path: str) -> tuple[str, str] | None:
        """Return whose file it is, or None."""
        return self.owners.get(path)

    def files(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """Return each package's paths, sorted."""
        found: dict[tuple[str, str], list[str]] = {}
        for path, owner in self.owners.items():
            found.setdefault(owner, []).append(path)
        return {owner: tuple(sorted(paths)) for owner, paths in found.items()}


def dpkg_ownership(tree: Tree) -> Ownership:
    """Return the owners by dpkg's lists; empty where the image has no such database."""
    info = next((f"{posixpath.dirname(path)}/info" for path in DPKG_STATUS if tree.entry(path)), None)
    if info is None:
        return Ownership()
    links, diverted = _links(tree), _diversions(tree, posixpath.dirname(info))
    owners: dict[str, tuple[str, str]] = {}
    for name in tree.list(info):
        stem, _, kind = name.rpartition(".")
        package, _, arch = stem.partition(":")
        owners[f"{info}/{name}"] = (package, arch)
        if kind != "list":
            continue
        for path in _lines(tree, f"{info}/{name}"):
            moved, by = diverted.get(path, ("", package))
            owners[_real(moved if moved and by != package else path, links)] = (package, arch)
    return Ownership(owners=owners)


def rpm_ownership(tree: Tree, inside: Inside) -> Ownership | None:
    """Return the owners as rpm inside the image tells them; None when it fails."""
    said = inside(["rpm", "-qa", "--qf", _QUERY])
    if said.code != 0:
        return None
    links = _links(tree)
    owners: dict[str, tuple[str, str]] = {}
    for line in said.stdout.splitlines():
        name, _, rest = line.partition("\t")
        arch, tab, path = rest.partition("\t")
        if tab:
            owners[_real(path, links)] = (name, arch.strip("()").replace("none", ""))
    return Ownership(owners=owners)


def _lines(tree: Tree, path: str) -> Iterator[str]:
    try:
        text = tree.read(path, limit=_LARGEST).decode("utf-8", "surrogateescape")
    except NotFoundError:
        return
    yield from (line for line in text.split("\n") if line.startswith("/") and line != "/.")


def _links(tree: Tree) -> dict[str, str]:
    """Return the directories that are links at the top and in /usr, path to real path."""
    found: dict[str, str] = {}
    for folder in ("/", "/usr"):
        for name in tree.list(folder):
            path = posixpath.join(folder, name)
            entry = tree.entry(path)
            if entry is not None and entry.type is FileType.SYMLINK:
                found[path] = posixpath.normpath(posixpath.join(folder, entry.target))
    return found


def _real(path: str, links: Mapping[str, str]) -> str:
    for _ in range(4):  # /lib -> usr/lib -> ...: a link to a link, and no loop without end
        parts = path.split("/", 3)
        heads = ["/".join(parts[:2]), "/".join(parts[:3])]
        head = next((head for head in heads if head in links and head != path), None)
        if head is None:
            return path
        path = links[head] + path[len(head) :]
    return path


def _diversions(tree: Tree, folder: str) -> dict[str, tuple[str, str]]:
    """Return diverted path to where others' files of that name go, and who diverted it."""
    try:
        text = tree.read(f"{folder}/diversions", limit=_LARGEST).decode("utf-8", "surrogateescape")
    except NotFoundError:
        return {}
    lines = text.split("\n")
    triples = zip(lines[0::3], lines[1::3], lines[2::3], strict=False)
    return {path: (moved, by) for path, moved, by in triples}
