"""Builds a base image: module sets compiled for the pinned kernel, copied in file by file, settled, checked.

Order: trust keys and pin are checked before anything is built; the module sets are compiled side by side;
the final stage copies exactly the files their manifests name, then makes module tables and initramfs for the
pinned kernel.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.domain.catalogue import Base
from pipeline.domain.containerfile import copy_from_context, with_generated
from pipeline.domain.image import Digest
from pipeline.domain.manifest import copy_lines, to_json
from pipeline.domain.pin import Pin
from pipeline.domain.record import Candidate, Parent, RecordedPins
from pipeline.domain.trust import Trust, trust_files
from pipeline.errors import PinError
from pipeline.verbs.build_facts import base_facts
from pipeline.verbs.built import Built
from pipeline.verbs.candidates import require_parent
from pipeline.verbs.module_stages import (
    OUT,
    BuiltModule,
    ModuleOrder,
    build_modules,
    build_toolchain,
    package_word,
)
from pipeline.verbs.ports import PinStore, Run
from pipeline.verbs.source_files import digest_of
from pipeline.verbs.stages import EngineStage, run_engine
from pipeline.verbs.trust import read_trust


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseInputs:
    """What a base is built from besides its definition.

    Attributes:
        pin: The kernel and the versions.
        trust: Keys and scopes for its containers policy.
        parent: The candidate it is built on.
    """

    pin: Pin
    trust: Trust
    parent: Candidate


PinHolds = Callable[[Base, Pin, Candidate], None]
"""Raises when a pin made on another upstream digest cannot be built on this parent."""


def inputs(run: Run, base: Base, pins: PinStore, *, images: Path, holds: PinHolds) -> BaseInputs:
    """Collect and check what a base is built from, before anything is built.

    Raises:
        DefinitionError: A release key is missing.
        PinError: There is no usable pin.
        NotFoundError: The parent has no candidate.
    """
    trust = read_trust(run.catalogue.settings, images)
    parent = require_parent(run, base)
    pin = pins.read().pins.get(base.name)
    if pin is None:
        raise PinError(
            f"no kernel is pinned for {base.line}/{base.name}",
            hint=f"run `pipeline --line {base.line} pin`, which finds one and writes pins.toml",
        )
    pin.require_valid(run.clock().date())
    missing = sorted({module.name for module in base.modules} - set(pin.modules))
    if missing:
        raise PinError(
            f"the pin of {base.line}/{base.name} knows no version of {', '.join(missing)}",
            hint=f"run `pipeline --line {base.line} pin` again, the definition has changed since",
        )
    if pin.upstream_digest != parent.digest:
        holds(base, pin, parent)
    return BaseInputs(pin=pin, trust=trust, parent=parent)


def make_base(run: Run, base: Base, given: BaseInputs) -> Built:
    """Build one base up to the engine's own store.

    Raises:
        BuildFailedError: A stage failed.
        RegistryError: The parent cannot be pulled.
    """
    started = run.clock()
    name = f"{base.line}/{base.name}"
    pin = given.pin
    with run.reporter.stage(f"pull {given.parent.line}/{given.parent.image}"):
        parent = run.engine.pull(given.parent.repository.at(given.parent.digest))
    order = ModuleOrder(
        upstream=build_toolchain(run, name, base.toolchain, parent) if base.modules else parent,
        kernel=pin.kernel,
        kernel_devel=pin.kernel_devel,
        version=pin.modules,
        context=_containerfile(base).parent,
    )
    jobs = run.catalogue.settings.build.module_jobs
    modules = build_modules(run, order, base.modules, jobs=jobs)
    context = run.folders.folder(f"context {name}")
    file = write_context(context, base, modules, given.trust)
    local = run.folders.tag(name)
    packages = _packages(base, pin)
    log = run_engine(
        run,
        EngineStage(
            name=f"assemble {name}",
            context=context,
            file=file,
            arguments={
                "UPSTREAM": parent,
                "KERNEL": pin.kernel,
                "KERNEL_PACKAGES": " ".join(pin.kernel_packages),
                "PACKAGES": " ".join(packages),
                "TIMESTAMP": str(run.timestamp),
            },
            tag=local,
            squash=True,
        ),
    )
    return Built(
        image=base,
        local=local,
        kernel=pin.kernel,
        started=started,
        parent=Parent(image=f"{given.parent.line}/{given.parent.image}", digest=given.parent.digest),
        pins=RecordedPins(
            kernel=pin.kernel, kernel_devel=" ".join(pin.kernel_devel), modules=dict(pin.modules)
        ),
        evidence=_evidence(modules, digest_of(log)),
        facts=base_facts(
            run.files,
            base,
            pin,
            modules,
            toolchain=_id(run, order.upstream) if order.upstream != parent else "",
            packages=packages,
            timestamp=run.timestamp,
            options={},
        ),
    )


def write_context(context: Path, base: Base, modules: tuple[BuiltModule, ...], trust: Trust) -> Path:
    """Fill the build context of the final stage and return its Containerfile.

    It holds the line's own files, the manifests and the policy; the module files come from their stages.
    """
    own = _containerfile(base)
    shutil.copytree(own.parent, context, dirs_exist_ok=True)
    files: dict[str, str] = {}
    for path, content in _generated_files(modules, trust).items():
        source = f"generated{path}"
        target = context / source
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        files[path] = source
    lines = [line for one in modules for line in copy_lines(one.manifest, one.image, top=OUT)]
    text = with_generated(own.read_text(), [*lines, *copy_from_context(files)], file=str(own))
    generated = context / f"generated.{own.name}"
    generated.write_text(text)
    return generated


def _generated_files(modules: tuple[BuiltModule, ...], trust: Trust) -> dict[str, bytes]:
    manifests = {one.manifest.path: to_json(one.manifest) for one in modules}
    return {**trust_files(trust), **manifests}


def _packages(base: Base, pin: Pin) -> list[str]:
    userspace = [package_word(name, version) for name, version in sorted(pin.userspace.items())]
    return [*userspace, *(name for name in base.packages if name not in pin.userspace)]


def _id(run: Run, local: str) -> str:
    return (run.engine.id_of(local) or "").removeprefix("sha256:")


def _evidence(modules: tuple[BuiltModule, ...], log: Digest) -> dict[str, Digest]:
    found = {"log assemble": log}
    for one in modules:
        found[f"log {one.module.name}"] = one.log
    return found


def _containerfile(base: Base) -> Path:
    assert base.containerfile is not None  # noqa: S101 - the loader demands it of every base
    return base.containerfile
