"""Looks at this machine for `pipeline doctor`: programs, their versions, and what decides how builds run.

Rules: looking changes nothing and never fails: what cannot be found out is told as unknown.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.adapters.process import Completed, Processes
from pipeline.adapters.tools import TOOLS, install_line
from pipeline.domain.tool import Fact, Tool, ToolReport
from pipeline.errors import PipelineError

_AT_ONCE = 6
_ASK_SECONDS = 30.0
_INFO_SECONDS = 60.0  # it waits for the store's lock while images are built
_ROOM = 20 * 10**9
"""Bytes a build of one line needs at its widest: two module builders, the base, and its layers packed."""


class SystemProbe:
    """This machine.

    Args:
        processes: Runs the programs.
        user: Login name of who runs this, for the subordinate ids.
        uid: Its number; 0 is root.
        root: The file system's root.
        programs: The folder with the programs that were installed together with this one.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        user: str,
        uid: int,
        root: Path = Path("/"),
        programs: Path = Path(sys.executable).parent,
    ) -> None:
        self._processes = processes
        self._user = user
        self._uid = uid
        self._root = root
        self._programs = programs

    def tools(self) -> tuple[ToolReport, ...]:
        """Return every program of the registry as it is here; they are asked side by side."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return tuple(pool.map(self._look, TOOLS))

    def facts(self) -> tuple[Fact, ...]:
        """Return the distribution, control groups, OCI runtime, user, subordinate ids and room for images."""
        info = self._engine_info()
        cgroups = str(_at(info, "host", "cgroupVersion") or "")
        return (
            Fact(name="system", value=self._system()),
            Fact(name="kernel", value=f"{platform.release()} {platform.machine()}"),
            _cgroup_fact(cgroups),
            self._runtime_fact(cgroups, str(_at(info, "host", "ociRuntime", "name") or "")),
            *self._user_facts(),
            *self._storage_facts(_at(info, "store", "graphRoot")),
        )

    def _look(self, tool: Tool) -> ToolReport:
        path = self._path(tool)
        told = self._ask(path, tool.ask) if path is not None else ""
        version = tool.version_in(told)
        featured = False
        if path is not None and version is None and tool.feature is not None:
            arguments, text = tool.feature
            featured = text in self._ask(path, arguments)
        return ToolReport(
            tool=tool,
            path=path,
            version=version,
            featured=featured,
            install=install_line(tool.program, self._read("etc/os-release")),
        )

    def _path(self, tool: Tool) -> str | None:
        own = self._programs / tool.program
        return str(own) if tool.bundled and own.is_file() else self._processes.which(tool.program)

    def _ask(self, program: str, arguments: tuple[str, ...]) -> str:
        done = self._run(program, *arguments)
        return f"{done.stdout}\n{done.stderr}" if done is not None and done.code == 0 else ""

    def _run(self, *argv: str) -> Completed | None:
        try:
            return self._processes.run(argv, check=False, timeout=_ASK_SECONDS)
        except (PipelineError, OSError):
            return None

    def _engine_info(self) -> Any:
        try:
            return self._processes.json(["podman", "info", "--format", "json"], timeout=_INFO_SECONDS)
        except (PipelineError, OSError):
            return None

    def _system(self) -> str:
        for line in self._read("etc/os-release").splitlines():
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip("\"'")
        return "unknown"

    def _read(self, path: str) -> str:
        try:
            return (self._root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _runtime_fact(self, cgroups: str, own: str) -> Fact:
        if cgroups != "v1":
            return Fact(name="runtime", value=own or "unknown", hint="" if own else "podman did not tell")
        if self._processes.which("runc") is None:
            return Fact(
                name="runtime",
                value=own or "unknown",
                ok=False,
                hint=install_line("runc", self._read("etc/os-release")),
            )
        return Fact(name="runtime", value="runc", hint="chosen because crun refuses these control groups")

    def _user_facts(self) -> tuple[Fact, ...]:
        if self._uid == 0:
            return (Fact(name="user", value="root"),)
        found = all(self._has_range(name) for name in ("etc/subuid", "etc/subgid"))
        missing = f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {self._user}"
        return (
            Fact(name="user", value=f"{self._user}, rootless"),
            Fact(
                name="subordinate ids",
                value="present" if found else "missing",
                ok=found,
                hint="" if found else missing,
            ),
        )

    def _has_range(self, path: str) -> bool:
        owners = {line.partition(":")[0] for line in self._read(path).splitlines()}
        return bool(owners & {self._user, str(self._uid)})

    def _storage_facts(self, store: Any) -> tuple[Fact, ...]:
        if not isinstance(store, str):
            return ()
        try:
            free = shutil.disk_usage(store).free
        except OSError:
            return ()
        hint = "" if free >= _ROOM else f"a build may need {_ROOM // 10**9} GB"
        return (Fact(name="storage", value=f"{free / 10**9:.0f} GB free in {store}", hint=hint),)


def _cgroup_fact(version: str) -> Fact:
    names = {"v1": "hybrid or legacy (v1)", "v2": "unified (v2)"}
    return Fact(name="control groups", value=names.get(version, "unknown"))


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
