"""The Debian line from nothing, once a session: what `make demo` runs, in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from e2e.boots import Boots

TOP = Path(__file__).parents[2]

REUSED = "PIPELINE_TEST_DEMO"
"""Variable `FOLDER:STATE` of a demo that is there already, for work on these tests; CI never sets it."""


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


@dataclass(frozen=True, kw_only=True)
class Build:
    """The demo while it runs: its process, its folders, its log."""

    process: subprocess.Popen[bytes]
    top: Path

    @property
    def state(self) -> Path:
        """Registry and keys."""
        return self.top / "state"

    @property
    def log(self) -> Path:
        """All the demo printed."""
        return self.top / "demo.log"


_BUILD = pytest.StashKey[Build]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the demo as soon as it is known to be needed: it compiles while the other tests run."""
    if session.config.option.collectonly or REUSED in os.environ:
        return
    if not any(item.get_closest_marker("e2e") for item in session.items):
        return
    top = Path(tempfile.mkdtemp(prefix="pipeline-e2e-"))
    environment = {
        **os.environ,
        "DEMO": str(top / "demo"),
        "DEMO_STATE": str(top / "state"),
        "CI": "true",
    }
    with (top / "demo.log").open("wb") as sink:
        process = subprocess.Popen(
            [str(TOP / "scripts" / "demo")],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    session.config.stash[_BUILD] = Build(process=process, top=top)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what the demo started; its folder is kept when it failed, for its logs."""
    build = config.stash.get(_BUILD, None)
    if build is None:
        return
    if build.process.poll() is None:
        os.killpg(build.process.pid, signal.SIGTERM)
        build.process.wait(60)
    registry = str(build.state / "registry")
    subprocess.run([str(TOP / "scripts" / "local-registry"), "stop", registry], check=False)
    if build.process.returncode == 0:
        shutil.rmtree(build.top, ignore_errors=True)


@pytest.fixture(scope="session")
def demo(request: pytest.FixtureRequest) -> Demo:
    """Upstream, pin, base and hosts of the Debian line, built for real."""
    if REUSED in os.environ:
        folder, state = (Path(part) for part in os.environ[REUSED].split(":"))
        port = (state / "registry" / "port").read_text().strip()
        return Demo(folder=folder, state=state, registry=f"127.0.0.1:{port}", output="")
    build = request.config.stash[_BUILD]
    code = build.process.wait(3600)
    text = build.log.read_text(errors="replace")
    assert code == 0, f"the demo failed; its folder is {build.top}:\n{text[-8000:]}"
    port = (build.state / "registry" / "port").read_text().strip()
    return Demo(folder=build.top / "demo", state=build.state, registry=f"127.0.0.1:{port}", output=text)


@pytest.fixture(scope="session")
def boots(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Boots]]:
    """The long boots, which go on beside the other tests."""
    from e2e.boots import boot_both  # noqa: PLC0415 - it needs this module

    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool.submit(boot_both, demo, tmp_path_factory.mktemp("boots"))


@pytest.fixture(scope="session", autouse=True)
def _begin_boots(request: pytest.FixtureRequest) -> None:
    """Begin the long boots before the first end-to-end test, where any test wants them."""
    if any("boots" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("boots")
