"""Boots local images with the verb's own parts: the engine, and QEMU through its adapter."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.engine import Engine, EngineProfile
from pipeline.adapters.machine import Qemu
from pipeline.adapters.process import Processes
from pipeline.adapters.tree import MountedTree
from pipeline.domain.boot.result import BootResult
from pipeline.domain.tree import Tree
from pipeline.verbs.boot_test import BootParts, boot_test


@dataclass(kw_only=True)
class Folders:
    """Disks and logs in a test's own folder; also a reporter that says nothing."""

    run: str
    logs: Path
    work: Path

    def tag(self, name: str) -> str:
        return f"localhost/pipeline-e2e/{name}"

    def log(self, name: str) -> Path:
        return self.logs / f"{name.replace('/', '-')}.log"

    def folder(self, name: str) -> Path:
        path = self.work / f"{name.replace('/', '-')}"
        path.mkdir()
        return path

    @contextlib.contextmanager
    def stage(self, name: str, *, log: str | None = None) -> Iterator[Folders]:
        del name, log
        yield self

    def line(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass


def booted(local: str, folder: Path, *, full: bool) -> BootResult:
    """Boot an image that the engine holds."""
    processes = Processes(environment=os.environ)
    engine = Engine(processes, EngineProfile(runtime="runc"))
    folders = Folders(run="test", logs=folder, work=folder)

    @contextlib.contextmanager
    def tree(name: str) -> Iterator[Tree]:
        with engine.mounted(name) as root:
            yield MountedTree(root)

    parts = BootParts(
        machine=Qemu(processes, monotonic=time.monotonic),
        open_root=engine.mounted,
        open_tree=tree,
        folders=folders,
        reporter=folders,
        monotonic=time.monotonic,
    )
    return boot_test(parts, local, name="tested", full=full)
