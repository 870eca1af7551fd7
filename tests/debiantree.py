"""Debian trees for tests, from packages, with nothing in them that no test looks at.

What is left out costs more than it seems: each file is unpacked, archived, imported, walked and pushed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pipeline.adapters.tools import install_line

_NOBODY_READS = (
    *(f"/usr/share/{part}/*" for part in ("doc", "man", "info", "locale", "lintian")),
    "/usr/lib/x86_64-linux-gnu/gconv/*",
    "/usr/lib/udev/hwdb.d/*",
    "/usr/libexec/gcc/*/*/lto1",
    "/usr/bin/*lto-dump*",
    "/usr/lib/gcc/*/*/lib*san.a",
    # Python then compiles what is run, not all that is installed: maintainer scripts look for this program.
    "/usr/bin/py3compile",
)


def bootstrap(archive: Path, packages: Sequence[str], *, variant: str, hooks: Sequence[str] = ()) -> None:
    """Write a tree with these packages to an archive.

    Args:
        archive: The file to write.
        packages: Names of packages.
        variant: What is in it besides, by mmdebstrap's word: `essential` or `apt`.
        hooks: Shell commands that run at the end; the tree is `$1`.
    """
    assert shutil.which("mmdebstrap"), f"mmdebstrap is missing; install it with: {install_line('mmdebstrap')}"
    done = subprocess.run(
        [
            "mmdebstrap", "--quiet", f"--variant={variant}", f"--include={','.join(packages)}",
            '--aptopt=APT::Install-Recommends "false"', "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude={one}" for one in _NOBODY_READS),
            *(f"--customize-hook={hook}" for hook in hooks), "trixie", str(archive),
        ],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**os.environ, "INITRD": "No"},
    )  # fmt: skip
    assert done.returncode == 0, f"mmdebstrap: {done.stdout[-2000:]}{done.stderr[-2000:]}"
