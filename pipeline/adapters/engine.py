"""Podman: builds, runs, mounts, pushes and pulls images.

Rules: nothing is built from a cache; every image the run makes bears a local tag of the run's own and is
removed with it; images are asked for by name and never listed (a store with hundreds of images answers a
list in seconds, an inspect in milliseconds).

What this machine forces on the calls is found out once, by `detect_profile`: crun refuses hybrid
cgroups, and containers ask for higher limits than an unprivileged caller may give.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.process import Completed, Pipes, Processes
from pipeline.domain.gate import CommandResult
from pipeline.domain.image import Digest, ImageRef
from pipeline.errors import RegistryError, ToolFailedError

_EXEC_FAILED = frozenset({126, 127})
_CONTAINER_GRACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile:
    """How the engine must be called here.

    Attributes:
        program: The command.
        runtime: OCI runtime to name, or "" for the engine's own choice.
        limits: `--ulimit` values that containers can be given, such as `nofile=20000:20000`.
        network: Network of containers that fetch packages.
        registries_conf: File that lets the engine speak plain HTTP to the project's registry, or None.
    """

    program: str = "podman"
    runtime: str = ""
    limits: tuple[str, ...] = ()
    network: str = "host"
    registries_conf: Path | None = None


class Engine:
    """Drives the engine through its command line."""

    def __init__(self, processes: Processes, profile: EngineProfile) -> None:
        self._processes = processes
        self._profile = profile
        runtime = ("--runtime", profile.runtime) if profile.runtime else ()
        self._command = (profile.program, *runtime)
        self._limits = tuple(part for limit in profile.limits for part in ("--ulimit", limit))
        conf = profile.registries_conf
        self._env = {"CONTAINERS_REGISTRIES_CONF": str(conf)} if conf is not None else {}

    @property
    def command(self) -> tuple[str, ...]:
        """The engine's command with the options it needs here."""
        return self._command

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables its calls need."""
        return self._env

    def build(
        self,
        *,
        context: Path,
        file: Path,
        arguments: Mapping[str, str],
        tag: str,
        timestamp: int,
        log: Path,
        on_line: Callable[[str], None],
        squash: bool = False,
        cancel: threading.Event | None = None,
    ) -> int:
        """Build an image, never from a cache; return the engine's exit code.

        Args:
            context: Folder the Containerfile's COPY and bind mounts read from.
            file: The Containerfile.
            arguments: Build arguments.
            tag: Local tag of the result.
            timestamp: Seconds since the epoch for all files of the layers and the image (reproducibility).
            log: File the full output is appended to.
            on_line: Called with each line of output.
            squash: Make all new layers one, so that what a later step removes is gone for good.
            cancel: Ends the build when it is set.
        """
        argv = [
            *self._command, "build", "--no-cache", "--force-rm", "--format", "oci",
            "--timestamp", str(timestamp), "--network", self._profile.network, "--pull=missing",
            *self._limits, "--tag", tag, "--file", str(file),
        ]  # fmt: skip
        for name, value in arguments.items():
            argv += ["--build-arg", f"{name}={value}"]
        if squash:
            argv.append("--squash")
        return self._processes.stream(
            [*argv, str(context)], log=log, on_line=on_line, env=self._env, cancel=cancel
        )

    def id_of(self, name: str) -> str | None:
        """Return the id of a local image, or None when there is none of that name."""
        done = self._run("image", "inspect", "--format", "{{.Id}}", name, check=False)
        return done.stdout.strip() if done.code == 0 else None

    def labels(self, name: str) -> Mapping[str, str]:
        """Return the labels of a local image."""
        done = self._run("image", "inspect", "--format", "{{json .Labels}}", name)
        return dict(json.loads(done.stdout) or {})

    def pull(self, ref: ImageRef) -> str:
        """Pull an image by digest; return its local id.

        Raises:
            RegistryError: It cannot be pulled.
        """
        name = f"{ref.repository}@{ref.pinned}"
        done = self._run("pull", "--quiet", name, check=False, timeout=3600)
        if done.code != 0:
            raise RegistryError(
                f"{name} cannot be pulled: {_last_line(done.stderr)}",
                hint="check the registry's address, its TLS setting and your login",
            )
        return done.stdout.strip().splitlines()[-1]

    def push(self, name: str, ref: ImageRef, *, digest_file: Path) -> Digest:
        """Push a local image under a tag; return the manifest's digest as the engine reports it.

        Raises:
            RegistryError: It cannot be pushed.
        """
        done = self._run(
            "push", "--quiet", "--format", "oci", "--digestfile", str(digest_file), name, f"docker://{ref}",
            check=False, timeout=3600,
        )  # fmt: skip
        if done.code != 0:
            raise RegistryError(
                f"{ref} cannot be pushed: {_last_line(done.stderr)}",
                hint="check the registry's address, its TLS setting, your login and its free space",
            )
        return Digest(digest_file.read_text().strip())

    def remove(self, name: str) -> None:
        """Remove a local tag, and its image when nothing else names it; a missing one is no error."""
        self._run("image", "rm", name, check=False)

    def run(
        self,
        name: str,
        argv: Sequence[str],
        *,
        stdin: str = "",
        timeout: float = 120.0,
        online: bool = False,
        volumes: Mapping[Path, str] | None = None,
    ) -> CommandResult:
        """Run a program in a throw-away container of an image.

        Without `online` it has no network and a read-only root; with it, the build network and a root that
        is thrown away. Code 127 when the image has no such program.

        Raises:
            ToolFailedError: The container could not be started, or took longer than `timeout` seconds.
        """
        confined = (
            ("--network", self._profile.network)
            if online
            else ("--network", "none", "--read-only", "--read-only-tmpfs")
        )
        mounts = [f"--volume={host}:{inside}:ro" for host, inside in (volumes or {}).items()]
        with self._container(int(timeout) + 30) as words:
            done = self._run(
                *words, *confined, *self._limits, *mounts, "--entrypoint", argv[0], name, *argv[1:],
                check=False, stdin=stdin, timeout=timeout, grace=_CONTAINER_GRACE_SECONDS,
            )  # fmt: skip
        if done.code == 125:  # noqa: PLR2004 - podman's own code for "the engine failed"
            raise ToolFailedError(
                f"a container of {name} could not be started: {_last_line(done.stderr)}",
                hint="run `pipeline doctor`; it shows what the engine can do here",
                argv=done.argv,
                code=done.code,
                tail=done.stderr[-2000:],
            )
        code = 127 if done.code in _EXEC_FAILED and _no_such_program(done.stderr) else done.code
        return CommandResult(code=code, stdout=done.stdout, stderr=done.stderr)

    @contextlib.contextmanager
    def conversation(self, name: str, argv: Sequence[str], *, seconds: int) -> Iterator[Pipes]:
        """Start a program in a throw-away container without network, and speak to it while it runs.

        Its root can be written to and goes with the container, `seconds` after the start at the latest.
        """
        rest = ("--network", "none", *self._limits, "--entrypoint", argv[0], name, *argv[1:])
        with (
            self._container(seconds) as words,
            self._processes.conversation([*self._command, *words, *rest], env=self._env) as pipes,
        ):
            yield pipes

    @contextlib.contextmanager
    def _container(self, seconds: int) -> Iterator[tuple[str, ...]]:
        """Yield the words that start a throw-away container; left by an exception, the container is removed.

        The first program of a container may not hear a polite signal, and then outlives the engine's command.
        Should this process be killed, the engine ends the container itself after `seconds`.
        """
        with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
            note = Path(folder) / "container"
            try:
                yield (
                    "run", "--rm", "--interactive", "--pull", "never", "--timeout", str(seconds),
                    "--cidfile", str(note),
                )  # fmt: skip
            except BaseException:
                if note.is_file():
                    self._run("rm", "--force", "--time", "0", note.read_text().strip(), check=False)
                raise

    @contextlib.contextmanager
    def mounted(self, name: str) -> Iterator[Path]:
        """Mount a local image's root read-only and yield its path on this machine.

        Raises:
            ToolFailedError: The engine cannot mount it (it needs root, or a shell of `podman unshare`).
        """
        done = self._run(
            "image", "mount", name,
            hint="reading an image's files needs root, or a shell of `podman unshare`",
        )  # fmt: skip
        try:
            yield Path(done.stdout.strip())
        finally:
            self._run("image", "unmount", name, check=False)

    def _run(
        self,
        *words: str,
        check: bool = True,
        stdin: str | None = None,
        timeout: float | None = 600,
        hint: str = "",
        grace: float = 20.0,
    ) -> Completed:
        return self._processes.run(
            [*self._command, *words],
            check=check,
            stdin=stdin,
            timeout=timeout,
            env=self._env,
            hint=hint,
            grace=grace,
        )


def registries_conf(registry: str) -> str:
    """Return a registries.conf that lets the engine speak plain HTTP to one registry and nothing else."""
    host = registry.partition("/")[0]
    return f'unqualified-search-registries = []\n\n[[registry]]\nlocation = "{host}"\ninsecure = true\n'


def detect_profile(
    processes: Processes,
    *,
    program: str,
    runtime: str,
    network: str,
    limits: tuple[str, ...],
    registries_conf: Path | None,
) -> EngineProfile:
    """Find out how the engine must be called here.

    `runtime` "auto" names runc where the control groups are not the unified hierarchy, which crun refuses.

    Raises:
        ToolMissingError: There is no engine.
        ToolFailedError: It does not answer.
    """
    if runtime == "auto":
        info = processes.json(
            [program, "info", "--format", "{{json .Host}}"], env={"CONTAINERS_LOG_LEVEL": "error"}
        )
        hybrid = info.get("cgroupVersion") == "v1" and processes.which("runc") is not None
        runtime = "runc" if hybrid else ""
    return EngineProfile(
        program=program, runtime=runtime, limits=limits, network=network, registries_conf=registries_conf
    )


def _no_such_program(stderr: str) -> bool:
    return (
        re.search(r"executable file .*not found|no such file or directory|not found in \$PATH", stderr)
        is not None
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"
