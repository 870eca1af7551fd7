"""An image's merged files as a diff sees them, and what a change of one is.

Rules: a snapshot is a `Tree`, so whatever reads an image's files reads a snapshot too; facts are those an
engine would lay down, layers applied; a file's bytes are named by their SHA-256, and those that were kept
(see `kept`) are quick to read, while any other costs a passage through its layer. Names are hostile text:
bytes that are no UTF-8 are kept with surrogateescape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from pipeline.domain.image import Digest
from pipeline.domain.tree import FileType, Tree

CAPABILITY = "security.capability"
"""The extended attribute that holds a file's capabilities (capabilities(7))."""

SETUID = 0o4000
SETGID = 0o2000


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """All an image says of one path.

    Attributes:
        path: Absolute path inside the image.
        type: What lies there.
        mode: Permission bits with setuid, setgid and sticky; 0o777 for symbolic links.
        uid: Owner.
        gid: Group.
        size: Bytes of a file; 0 for everything else.
        target: What a symbolic link points to, as written.
        mtime: Seconds since the epoch, fractions cut off.
        sha256: 64 hexadecimal digits of a file's content; "" for everything else.
        xattrs: Extended attributes, sorted by name, values in hexadecimal digits.
        device: Major and minor number of a device node, else zeros.
    """

    path: str
    type: FileType
    mode: int
    uid: int
    gid: int
    size: int = 0
    target: str = ""
    mtime: int = 0
    sha256: str = ""
    xattrs: tuple[tuple[str, str], ...] = ()
    device: tuple[int, int] = (0, 0)

    @property
    def capability(self) -> str:
        """The file capabilities in hexadecimal digits, or ""."""
        return next((value for name, value in self.xattrs if name == CAPABILITY), "")

    @property
    def setuid(self) -> bool:
        """Whether it is a file that runs as its owner."""
        return self.type is FileType.FILE and bool(self.mode & SETUID)

    @property
    def setgid(self) -> bool:
        """Whether it is a file that runs as its group (on a directory the bit means something else)."""
        return self.type is FileType.FILE and bool(self.mode & SETGID)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSize:
    """One layer of an image.

    Attributes:
        digest: Of the blob as the registry keeps it; the diff ID where the image is a local one.
        diff_id: Digest of the unpacked layer.
        size: Bytes of the blob as it is fetched; of the unpacked layer where the image is a local one.
        unpacked: Bytes of the files in it.
        created_by: What the image's history says made it, or "".
    """

    digest: Digest
    diff_id: Digest
    size: int
    unpacked: int
    created_by: str


class Snapshot(Tree, Protocol):
    """An image's merged files."""

    @property
    def layers(self) -> tuple[LayerSize, ...]:
        """The layers, the base's first."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The image's config as its JSON says it (`config.Labels`, `config.Env`, `history` …)."""

    def facts(self, path: str) -> FileFacts | None:
        """Return what lies at a path, following no link, neither the last nor one on the way."""

    def all(self) -> Iterator[FileFacts]:
        """Yield every path of the image, `/` left out, sorted by the bytes of the path."""


class ChangeKind(StrEnum):
    """What happened to a path."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Aspect(StrEnum):
    """What of a path changed.

    `SETUID` and `SETGID` stand for a file that gained, lost or newly bears the bit; `MODE` stands beside them
    where other bits or the same ones changed on a path that was there before. `CAPABILITY` stands beside
    `XATTRS`.
    """

    CONTENT = "content"
    MODE = "mode"
    OWNER = "owner"
    TYPE = "type"
    TARGET = "target"
    XATTRS = "xattrs"
    CAPABILITY = "capability"
    SETUID = "setuid"
    SETGID = "setgid"
    MTIME = "mtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One path that is not the same in both images.

    Attributes:
        path: Absolute path inside the image.
        kind: Added, removed or changed.
        what: The aspects that changed. Of an added or removed path only what deserves a look whatever else it
            is: `SETUID`, `SETGID`, `CAPABILITY`.
        old: Facts in the old image; None when it was added.
        new: Facts in the new image; None when it was removed.
    """

    path: str
    kind: ChangeKind
    what: frozenset[Aspect]
    old: FileFacts | None
    new: FileFacts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChanges:
    """All that differs between the files of two images.

    Attributes:
        changes: Every path that differs in more than its time, sorted by the bytes of the path.
        touched: Every path that differs in its time alone, sorted; a rebuild touches tens of thousands, so
            they are names and no values.
    """

    changes: tuple[FileChange, ...]
    touched: tuple[str, ...]
