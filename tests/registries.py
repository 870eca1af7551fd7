"""Real registries for tests: docker-registry on a free port of 127.0.0.1, its storage in a given folder.

A registry ends with its context, by its own process id. A missing program fails the test with the line that
installs it: a proof that was skipped is no proof.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

USER = "builder"
PASSWORD = "open sesame"
# bcrypt of PASSWORD, the only scheme docker-registry takes; made once with htpasswd -B.
_HTPASSWD = "builder:$2b$04$Oh3tiNE..aiiVmlk/Mbr7uFPkFl.UXUnt7ZpVj8BgVtVd7dirlrKG\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRegistry:
    """A registry that answers: its `host:port`, where its files are, and its process id."""

    host: str
    storage: Path
    pid: int

    def blob_file(self, digest: str) -> Path:
        """Return the file in which the registry keeps a blob or manifest."""
        value = digest.removeprefix("sha256:")
        return self.storage / f"docker/registry/v2/blobs/sha256/{value[:2]}/{value}/data"


def registry_program() -> str:
    """Return docker-registry's path, under the name Debian or Fedora gives it; fail the test without one."""
    for name in ("docker-registry", "registry"):
        if found := shutil.which(name):
            return found
    pytest.fail(
        "docker-registry is not installed; install it: apt-get install docker-registry"
        " (Fedora: dnf install docker-distribution)"
    )


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_registry(
    folder: Path, *, auth: bool = False, remembers: bool = True
) -> Iterator[RunningRegistry]:
    """Start a registry and end it.

    Args:
        folder: Takes its configuration, log and storage; made when it does not exist.
        auth: Whether it asks for USER and PASSWORD.
        remembers: Whether it trusts its memory of what is in its storage; not where that is put back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    storage = folder / "storage"
    program = registry_program()
    for _ in range(5):
        port = free_port()
        config = _config(folder, storage, port, auth=auth, remembers=remembers)
        with (folder / "log").open("ab") as log:
            child = subprocess.Popen(
                [program, "serve", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            if _answers(child, port):
                yield RunningRegistry(host=f"127.0.0.1:{port}", storage=storage, pid=child.pid)
                return
        finally:
            child.terminate()
            child.wait(10)
    pytest.fail(f"docker-registry does not start:\n{(folder / 'log').read_text()[-2000:]}")


def _config(folder: Path, storage: Path, port: int, *, auth: bool, remembers: bool) -> Path:
    # YAML contains JSON, so no YAML writer is needed.
    value: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "delete": {"enabled": True},
            **({"cache": {"blobdescriptor": "inmemory"}} if remembers else {}),
        },
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if auth:
        (folder / "htpasswd").write_text(_HTPASSWD)
        value["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    config = folder / "config.yml"
    config.write_text(json.dumps(value))
    return config


def _answers(child: subprocess.Popen[bytes], port: int) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until and child.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5):
                return child.poll() is None
        except urllib.error.HTTPError:
            return child.poll() is None  # 401 is an answer too
        except OSError:
            time.sleep(0.02)
    return False
