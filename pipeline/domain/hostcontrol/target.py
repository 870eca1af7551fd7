"""Where a host shall go: an image by digest."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.hostcontrol.state import BootEntry
from pipeline.domain.image import NAME, Digest, ImageRef, Repository
from pipeline.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One release of one host's image.

    Attributes:
        line, image: Whose image it is.
        repository, digest: The image.
        version: MAJOR.MINOR.PATCH.
        platforms: Digests of the manifests an index lists; a host may name one of these instead.
        channel: A tag that names this digest now; a host that follows it stays on the target.
        zfs: Version of the image's ZFS module; "" when it has none, None when that is not known.
    """

    line: str
    image: str
    repository: Repository
    digest: Digest
    version: str
    platforms: frozenset[Digest] = frozenset()
    channel: ImageRef | None = None
    zfs: str | None = None

    def __post_init__(self) -> None:
        for name in (self.line, self.image):
            if not NAME.fullmatch(name):
                raise UsageError(f"{name!r} is no image name", hint="use lower-case letters, digits and '-'")

    @property
    def reference(self) -> str:
        """The image by digest."""
        return str(self.repository.at(self.digest))

    def is_(self, entry: BootEntry | None) -> bool:
        """Tell whether an entry is this image; one of unknown digest is not."""
        return entry is not None and (entry.digest == self.digest or entry.digest in self.platforms)

    def keeps(self, entry: BootEntry) -> bool:
        """Tell whether a host that runs the entry stays there when it updates itself."""
        return not entry.follows_tag or (self.channel is not None and entry.reference == str(self.channel))
