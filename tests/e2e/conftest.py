"""The Debian line from nothing, once a session: what `make demo` runs, in a folder of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo left: the image repository, its registry, and what the run said."""

    folder: Path
    state: Path
    registry: str
    output: str

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `pipeline` in the image repository and demand an exit code."""
        done = subprocess.run(
            command(*words), cwd=self.folder, capture_output=True, text=True, check=False, timeout=1800
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        """Run `pipeline --json` and return what it printed."""
        return json.loads(self.run("--json", *words, code=code).stdout)


def command(*words: str) -> Sequence[str]:
    """Return the argument list of the command under test."""
    return [sys.executable, "-m", "pipeline", *words]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Build upstream, pin and base of the Debian line for real."""
    top = tmp_path_factory.mktemp("demo")
    state = top / "state"
    environment = {**os.environ, "DEMO": str(top / "demo"), "DEMO_STATE": str(state), "CI": "true"}
    log = top / "demo.log"
    try:
        with log.open("w") as sink:
            done = subprocess.run(
                [str(TOP / "scripts" / "demo")],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=3600,
            )
        text = log.read_text(errors="replace")
        assert done.returncode == 0, f"the demo failed:\n{text[-8000:]}"
        port = (state / "registry" / "port").read_text().strip()
        yield Demo(folder=top / "demo", state=state, registry=f"127.0.0.1:{port}", output=text)
    finally:
        subprocess.run(
            [str(TOP / "scripts" / "local-registry"), "stop", str(state / "registry")], check=False
        )
