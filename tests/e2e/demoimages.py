"""The demo's images on this machine: pulled, mounted, looked up in the ledger."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from e2e.conftest import Demo

PODMAN = ("podman", "--runtime", "runc")


def podman(*words: str, **more: Any) -> str:
    done = subprocess.run([*PODMAN, *words], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return str(done.stdout).strip()


@contextmanager
def mounted(name: str) -> Iterator[Path]:
    yield Path(podman("image", "mount", name))
    podman("image", "unmount", name)


def candidates(demo: Demo, image: str) -> list[dict[str, Any]]:
    records = demo.json("log")["records"]
    return [one for one in records if one["kind"] == "candidate" and one["image"] == image]


def newest(demo: Demo, image: str) -> dict[str, Any]:
    return candidates(demo, image)[-1]


def pulled(demo: Demo, image: str) -> str:
    record = newest(demo, image)
    name = f"{record['repository']}@{record['digest']}"
    podman("pull", "--quiet", "--tls-verify=false", name)
    return name


def kernel_of(base: str) -> str:
    with mounted(base) as root:
        (folder,) = (root / "usr/lib/modules").iterdir()
        return folder.name
