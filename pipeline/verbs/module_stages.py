"""Compiles module sets, each in a builder stage of its own, and makes their manifests from the .ko files.

DKMS's word is not believed: what counts is that the files are there, are modules, and were built for the
kernel that was asked for.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from pipeline.domain.catalogue import ResolvedModule
from pipeline.domain.image import Digest
from pipeline.domain.manifest import Manifest, build_manifest
from pipeline.errors import BuildFailedError, PipelineError
from pipeline.verbs.ports import Run
from pipeline.verbs.source_files import digest_of
from pipeline.verbs.stages import EngineStage, run_engine

OUT = "/out"
"""Where a builder stage leaves what it offers."""
_SOURCE = re.compile(r"pipeline: source of (?P<name>\S+) \S+ is (?P<digest>sha256:[0-9a-f]{64})")
"""The line by which a stage's script names what it compiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleOrder:
    """What a builder stage is to compile.

    Attributes:
        upstream: Local image the stage starts from: the parent, or the toolchain on it.
        kernel: Kernel release.
        kernel_devel: Words that install its kernel-devel.
        version: Package version of each module set.
        context: The line's Containerfiles folder.
    """

    upstream: str
    kernel: str
    kernel_devel: Sequence[str]
    version: Mapping[str, str]
    context: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltModule:
    """A module set that compiled.

    Attributes:
        module: Its definition.
        image: Id of its local image.
        manifest: Its manifest.
        log: Digest of its log.
        source: Digest of what was compiled, as the stage told it in its log; None where it told none.
    """

    module: ResolvedModule
    image: str
    manifest: Manifest
    log: Digest
    source: Digest | None = None


def build_toolchain(run: Run, name: str, file: Path | None, upstream: str) -> str:
    """Build what the module stages of a base have in common, once a run; return its local image.

    Args:
        run: The run.
        name: The base, for people.
        file: The toolchain's Containerfile; None when module stages start from the parent itself.
        upstream: Local image of the parent.

    Raises:
        BuildFailedError: It cannot be built, which says nothing about any kernel.
    """
    if file is None:
        return upstream
    stage = EngineStage(
        name=f"toolchain for {name}",
        context=file.parent,
        file=file,
        arguments={"UPSTREAM": upstream},
        tag=run.folders.tag(f"toolchain {name}"),
    )
    run_engine(run, stage)
    return stage.tag


def build_module(
    run: Run, order: ModuleOrder, module: ResolvedModule, *, cancel: threading.Event | None = None
) -> BuiltModule:
    """Compile one module set.

    Raises:
        BuildFailedError: It does not compile, or what came out is not what the definition says.
    """
    name = f"{module.name} for {order.kernel}"
    stage = EngineStage(
        name=name,
        context=order.context,
        file=module.containerfile,
        arguments={
            "UPSTREAM": order.upstream,
            "KERNEL": order.kernel,
            "KERNEL_DEVEL": " ".join(order.kernel_devel),
            "PACKAGE": package_word(module.package, order.version[module.name]),
            "MODULE": module.dkms,
            "MODULE_SET": module.name,
        },
        tag=run.folders.tag(name),
        squash=True,  # else the engine commits the stage that compiles, which nobody starts from
    )
    log = run_engine(run, stage, cancel=cancel)
    try:
        with run.open_tree(stage.tag) as tree:
            manifest = build_manifest(module.name, order.kernel, tree, OUT, module.kernel_modules)
    except PipelineError as error:
        raise BuildFailedError(
            stage=name, first_error=error.message, log=str(log), log_digest=str(digest_of(log))
        ) from error
    identity = (run.engine.id_of(stage.tag) or "").removeprefix("sha256:")
    return BuiltModule(
        module=module, image=identity, manifest=manifest, log=digest_of(log), source=_source(log, module.dkms)
    )


def _source(log: Path, dkms: str) -> Digest | None:
    """Return what the stage says of the source, before anything of that source has run."""
    found = (_SOURCE.fullmatch(line) for line in log.read_text("utf-8", "replace").splitlines())
    return next((Digest(one["digest"]) for one in found if one is not None and one["name"] == dkms), None)


def build_modules(
    run: Run, order: ModuleOrder, modules: Sequence[ResolvedModule], *, jobs: int
) -> tuple[BuiltModule, ...]:
    """Compile module sets, `jobs` side by side; the first failure ends the others.

    Raises:
        BuildFailedError: One does not compile.
    """
    if not modules:
        return ()
    cancel = threading.Event()
    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="module") as pool:
        futures = [pool.submit(build_module, run, order, module, cancel=cancel) for module in modules]
        try:
            done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
            if waiting:  # one failed
                cancel.set()
            for future in done:
                future.result()
        except BaseException:
            cancel.set()
            for future in futures:
                future.cancel()
            raise
    return tuple(future.result() for future in futures)


def package_word(name: str, version: str) -> str:
    """Return what names one exact version for the line's scripts: `package=version`."""
    return f"{name}={version}"
