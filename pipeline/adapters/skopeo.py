"""skopeo: images go from one registry to another, all architectures, digests as they were.

Rules: the source is named by digest, so a tag that moves cannot change what is copied; skopeo must keep the
digests or fail, and what it says it wrote is compared with what was asked for.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.adapters.process import Processes
from pipeline.domain.image import Digest, ImageRef
from pipeline.errors import RegistryError, UsageError

_HOURS = 4 * 3600.0


class Skopeo:
    """Copies images.

    Args:
        processes: The door to other programs.
        insecure: Registries (`host:port`) that speak plain HTTP.
        auth_file: The file with logins; without one skopeo looks where the container tools look.
        program: Name or path of skopeo.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        insecure: frozenset[str] = frozenset(),
        auth_file: Path | None = None,
        program: str = "skopeo",
    ) -> None:
        self._processes = processes
        self._insecure = insecure
        self._auth_file = auth_file
        self._program = program

    def copy_all(self, source: ImageRef, destination: ImageRef) -> Digest:
        """Copy an image with all its architectures and return the digest that was written.

        Args:
            source: By digest; its tag, if any, plays no part.
            destination: By tag.

        Raises:
            ToolMissingError: skopeo is not installed.
            ToolFailedError: skopeo failed.
            RegistryError: It wrote another digest than the source's.
        """
        digest = source.pinned
        with tempfile.TemporaryDirectory(prefix="pipeline-skopeo-") as folder:
            told = Path(folder, "digest")
            self._processes.run(
                self.argv(source, destination, told),
                timeout=_HOURS,
                hint="check both registries, the logins (`podman login HOST`) and containers' policy.json",
            )
            written = told.read_text(encoding="ascii").strip()
        if written != digest.value:
            raise RegistryError(
                f"skopeo wrote {written!r} to {destination}, not {digest}",
                hint="the copy is not the image that was asked for; delete that tag and copy again",
            )
        return digest

    def argv(self, source: ImageRef, destination: ImageRef, digest_file: Path) -> tuple[str, ...]:
        """Return the command of one copy."""
        if destination.tag is None:
            raise UsageError(f"{destination} has no tag to copy to", hint="append :TAG")
        return (
            self._program,
            "copy",
            "--all",
            "--preserve-digests",
            "--quiet",
            "--retry-times=3",
            *((f"--authfile={self._auth_file}",) if self._auth_file else ()),
            f"--src-tls-verify={self._verified(source)}",
            f"--dest-tls-verify={self._verified(destination)}",
            f"--digestfile={digest_file}",
            f"docker://{source.repository.at(source.pinned)}",
            f"docker://{destination.repository.tagged(destination.tag)}",
        )

    def _verified(self, ref: ImageRef) -> str:
        return "false" if ref.repository.registry in self._insecure else "true"
