"""Makes a Debian file tree from packages with mmdebstrap.

Reproducible: the same package set and the same timestamp give the same archive. What the engine will not let
a build step remove (it mounts its own hostname and resolv.conf over them) is removed here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pipeline.adapters.process import Processes
from pipeline.domain.definition import Bootstrap

_BUILDER_FILES = 'rm -f "$1/etc/hostname" "$1/etc/resolv.conf" "$1/etc/hosts"'


class Bootstrapper:
    """Drives mmdebstrap."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def archive(
        self,
        definition: Bootstrap,
        *,
        target: Path,
        timestamp: int,
        log: Path,
        on_line: Callable[[str], None],
    ) -> int:
        """Write the tree as a tar archive to `target`; return mmdebstrap's exit code.

        Args:
            definition: Suite, components and packages.
            target: Path of the archive; its name ends in .tar.
            timestamp: Seconds since the epoch; no file in the archive is younger.
            log: File the full output is appended to.
            on_line: Called with each line of output.
        """
        argv = [
            "mmdebstrap",
            "--verbose",
            "--variant=apt",
            f"--components={','.join(definition.components)}",
            f"--include={','.join(definition.packages)}",
            '--aptopt=APT::Install-Recommends "false"',
            f"--customize-hook={_BUILDER_FILES}",
            definition.suite,
            os.fspath(target),
            *([definition.mirror] if definition.mirror else []),
        ]
        # INITRD=No: the kernel package makes no initramfs; it is made once, of the tree in its final shape.
        env = {"SOURCE_DATE_EPOCH": str(timestamp), "INITRD": "No"}
        return self._processes.stream(argv, log=log, on_line=on_line, env=env)
