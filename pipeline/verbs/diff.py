"""`pipeline diff OLD NEW`: what differs between two images, released or not.

Rules: both references are resolved to digests first, and only digests are compared; nothing is unpacked and
nothing is run, but for rpm, whose database only rpm reads; without a predecessor all of the new image is new.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from pipeline.domain.diff.difference import Difference, ImageName, difference
from pipeline.domain.diff.snapshot import Snapshot
from pipeline.domain.gate import Inside
from pipeline.domain.image import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An image that is open for reading.

    Attributes:
        name: The repository or local name it goes by, without tag.
        digest: Its digest.
        snapshot: Its files.
        inside: Runs a program in it, for an rpm database; None where nothing can be run.
    """

    name: str
    digest: Digest
    snapshot: Snapshot
    inside: Inside | None = None


class Snapshots(Protocol):
    """Opens images, from a registry or the local store."""

    def open_snapshots(self, *refs: str) -> AbstractContextManager[tuple[Opened, ...]]:
        """Open what references name now, in their order.

        Raises:
            NotFoundError: There is no such image.
            RegistryError: It cannot be had, or is not what its digest says.
        """


def diff(
    old: str | None, new: str, source: Snapshots, *, because: str = "named on the command line"
) -> Difference:
    """Return what differs between two images.

    Args:
        old: The image before; None when the new one has no predecessor.
        new: The image now.
        source: Opens both.
        because: Why it is compared with `old`, or why there is no predecessor.

    Raises:
        NotFoundError: There is no such image.
        RegistryError: One cannot be had, or is not what its digest says.
    """
    refs = (new,) if old is None else (old, new)
    with source.open_snapshots(*refs) as opened:
        return difference_of(None if old is None else opened[0], opened[-1], because=because)


def difference_of(old: Opened | None, new: Opened, *, because: str) -> Difference:
    """Return what differs between two images that are open."""
    return difference(
        old.snapshot if old is not None else None,
        new.snapshot,
        names=(_name(old) if old is not None else None, _name(new)),
        inside=(old.inside if old is not None else None, new.inside),
        because=because,
    )


def _name(opened: Opened) -> ImageName:
    return ImageName(name=opened.name, digest=opened.digest)
