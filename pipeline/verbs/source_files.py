"""Digests of the image repository's files, for the provenance of what is built from them.

Rules: a file is named as it lies in the repository and hashed as it lies there now, once a run; a file that
cannot be read is left out, for the build itself has said so or did not need it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.domain.image import Digest

SETTINGS = "pipeline.toml"


class SourceFiles:
    """Digests of the image repository's files; safe to use from several threads.

    Args:
        images: The images folder; its parent is the repository.
        release_keys: Files in it that hosts trust.
    """

    def __init__(self, images: Path, release_keys: Sequence[str] = ()) -> None:
        self.images = images.resolve()
        self.root = self.images.parent
        self.common = tuple(f"{self.images.name}/{name}" for name in (SETTINGS, *release_keys))
        self._known: dict[str, Digest | None] = {}

    def digests(self, names: Iterable[str]) -> dict[str, Digest]:
        """Return the digests of files named from the repository's top."""
        found = {name: self._digest(name) for name in names}
        return {name: digest for name, digest in found.items() if digest is not None}

    def folder(self, folder: Path) -> dict[str, Digest]:
        """Return the digests of all files below a folder of the repository."""
        top = folder.resolve()
        if not top.is_relative_to(self.root):
            return {}
        paths = sorted(path for path in top.rglob("*") if path.is_file())
        return self.digests(str(path.relative_to(self.root)) for path in paths)

    def _digest(self, name: str) -> Digest | None:
        if name not in self._known:
            self._known[name] = None
            with contextlib.suppress(OSError):
                self._known[name] = digest_of(self.root / name)
        return self._known[name]


def digest_of(path: Path) -> Digest:
    """Return the digest of a file's bytes."""
    with path.open("rb") as file:
        return Digest(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")
