"""Makes a Debian file tree from packages with mmdebstrap.

Reproducible: the same package set and the same timestamp give the same archive, byte for byte. That takes
more than equal files in the finished image: the engine writes the archive's hash into the image's history, so
an identity that only a later step removes would change the image's digest all the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pipeline.adapters.process import Processes
from pipeline.domain.definition import Bootstrap

# Files of the building machine; the engine mounts its own over them, so no build step could remove them.
_BUILDER_FILES = 'rm -f "$1/etc/hostname" "$1/etc/resolv.conf" "$1/etc/hosts"'

# What packages make up anew at each installation. mmdebstrap itself empties the machine id and the logs.
_IDENTITIES = (
    'rm -f "$1"/etc/ssh/ssh_host_*_key "$1"/etc/ssh/ssh_host_*_key.pub "$1/etc/hostid"'
    ' "$1/var/lib/dbus/machine-id" "$1/var/lib/systemd/random-seed" "$1/var/lib/systemd/credential.secret"'
    ' "$1/var/cache/ldconfig/aux-cache"'
)


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
            f"--customize-hook={_IDENTITIES}",
            definition.suite,
            os.fspath(target),
            *([definition.mirror] if definition.mirror else []),
        ]
        # INITRD=No: the kernel package makes no initramfs; it is made once, of the tree in its final shape.
        env = {"SOURCE_DATE_EPOCH": str(timestamp), "INITRD": "No"}
        return self._processes.stream(argv, log=log, on_line=on_line, env=env)
