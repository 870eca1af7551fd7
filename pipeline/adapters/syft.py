"""syft: the inventory of a mounted image, in the fewest seconds that give the same components.

Rules: the same catalogers as for a container image; no digest of each file, which nobody reads and the
packages' own hashes replace; no search through the text of every Go program for something like a version
(four fifths of the time of a scan, and the build information that every Go program carries says it as
well); no question to the network, no update check, no configuration of the caller's own, so that every
machine finds the same.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.adapters.process import Processes
from pipeline.errors import ToolFailedError

FORMAT = "cyclonedx-json@1.6"
_SECONDS = 1800.0
_CONFIG = {
    "check-for-app-update": False,
    "enrich": [],
    "file": {"metadata": {"selection": "none"}},
    "golang": {
        "search-local-mod-cache-licenses": False,
        "search-remote-licenses": False,
        "main-module-version": {"from-contents": False},
    },
    "java": {"use-network": False, "use-maven-local-repository": False},
    "javascript": {"search-remote-licenses": False},
    "parallelism": 2,
    "relationships": {"package-file-ownership": False},
    "unknowns": {"executables-without-packages": False, "unexpanded-archives": False},
}


class Syft:
    """Scans folders.

    Args:
        processes: The door to other programs.
        program: Name or path of syft; by default the one installed with this program, or else the PATH's.
    """

    def __init__(self, processes: Processes, *, program: str = "") -> None:
        self._processes = processes
        beside = Path(sys.executable).with_name("syft")
        self._program = program or (str(beside) if beside.is_file() else "syft")

    def scan(self, root: Path) -> dict[str, Any]:
        """Return what is in an image that is mounted at `root`, as CycloneDX 1.6.

        Raises:
            ToolMissingError: syft is not installed.
            ToolFailedError: It failed, or said what is no document.
        """
        with tempfile.TemporaryDirectory(prefix="pipeline-syft-") as folder:
            config = Path(folder, "config.yaml")
            config.write_text(json.dumps(_CONFIG), encoding="utf-8")  # JSON is YAML
            argv = self.argv(root, config)
            own = {"HOME": folder, "XDG_CONFIG_HOME": folder, "XDG_CACHE_HOME": folder}
            done = self._processes.run(argv, timeout=_SECONDS, cwd=Path(folder), env=own)
        try:
            found = json.loads(done.stdout)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ToolFailedError(
                f"{self._program} printed no document",
                hint="run the same command by hand to see more; `pipeline doctor` shows its version",
                argv=argv,
                code=done.code,
                tail=done.stdout[-2000:],
            )
        return found

    def argv(self, root: Path, config: Path) -> tuple[str, ...]:
        """Return the command of one scan."""
        return (
            self._program,
            "scan",
            f"dir:{root}",
            "--quiet",
            f"--config={config}",
            f"--base-path={root}",
            "--override-default-catalogers=image",
            f"--output={FORMAT}",
        )
