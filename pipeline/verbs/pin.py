"""`pin`: the newest kernel for which every module of a base compiles, found before anything is built.

Rules: asked is the upstream image itself, so the answer is the one the build will meet; what a module
declares only drops kernels, what is left is proved by compiling *all* modules; a failure is written down at
once and not tried again until kernel, module or version changes; a stage that failed for want of a package
or of space ends the run, for it says nothing about the kernel; a kernel that is already proved with the
same versions is not compiled again unless asked to.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from pipeline.domain.catalogue import Base, ResolvedModule
from pipeline.domain.gates.modules import upstream_version
from pipeline.domain.image import Digest
from pipeline.domain.kernel import (
    DeclaredRange,
    KernelCandidate,
    KernelSource,
    PinSearch,
    Workshop,
    exclude,
)
from pipeline.domain.offer import Offer
from pipeline.domain.pin import (
    Failure,
    PassedOver,
    Pin,
    PinFile,
    PinState,
    PinVerdict,
    says_nothing_of_the_kernel,
)
from pipeline.domain.record import Candidate
from pipeline.errors import BuildFailedError, PinError, UsageError
from pipeline.verbs.module_stages import ModuleOrder, build_module, build_toolchain
from pipeline.verbs.ports import PinStore, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHand:
    """A person's pin: kernel release, reason, last day."""

    kernel: str
    reason: str
    expires: dt.date


def ask(run: Run, base: Base, parent: Candidate, source: KernelSource, *, arch: str) -> Offer:
    """Ask the repositories, inside the parent image, what can be had.

    Raises:
        PinError: A module or its userspace cannot be had, or their versions differ.
        ToolFailedError: The package manager failed.
    """
    with run.reporter.stage(f"repositories of {parent.line}/{parent.image}") as stage:
        local = run.engine.pull(parent.repository.at(parent.digest))
        inside = workshop(run, local)
        candidates = source.candidates(inside)
        modules = {one.name: _version(source, inside, one.package) for one in base.modules}
        userspace = {name: _version(source, inside, name) for one in base.modules for name in one.userspace}
        ranges: list[DeclaredRange] = []
        for one in base.modules:
            ranges.extend(source.declared(inside, one.package, one.dkms))
        kept, dropped = exclude(candidates, ranges, arch=arch)
        stage.note(f"{len(candidates)} kernels, {len(kept)} of them worth a compile")
    for one in base.modules:
        _same_version(one, modules[one.name], userspace)
    return Offer(
        parent=parent,
        candidates=candidates,
        kept=kept,
        dropped=dropped,
        modules=modules,
        userspace=userspace,
    )


def workshop(run: Run, local: str) -> Workshop:
    """Return what runs programs in throw-away, connected containers of an image."""

    def inside(argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> object:
        return run.engine.run(local, argv, stdin=stdin, timeout=timeout, online=True)

    return inside  # type: ignore[return-value]


def pin(run: Run, base: Base, offer: Offer, pins: PinStore, *, reprove: bool = False) -> Pin:
    """Find, prove and write the pin of one base.

    Raises:
        PinError: No kernel is left for which everything compiles.
        BuildFailedError: A stage failed for a reason that says nothing about the kernel.
    """
    known = pins.read()
    current = known.pins.get(base.name)
    if current is not None and not reprove and not current.by_hand and _still_best(current, offer, known):
        renewed = _made(offer, current.kernel, known, run.clock(), base, evidence=current.evidence)
        pins.write(known.with_pin(base.name, renewed))
        run.reporter.note(f"{current.kernel} is proved already with the same modules; nothing was compiled")
        return renewed
    return _search(run, base, offer, pins, forget=reprove)


def pin_by_hand(run: Run, base: Base, offer: Offer, pins: PinStore, wish: ByHand) -> Pin:
    """Write a person's pin; the build will prove it. What speaks against the kernel is said, not refused.

    Raises:
        UsageError: The reason is empty or the last day is over.
        PinError: The repositories do not offer that kernel with its kernel-devel.
    """
    if not wish.reason.strip():
        raise UsageError("a pin by hand needs a reason", hint="add --why TEXT")
    if wish.expires < run.clock().date():
        raise UsageError(f"{wish.expires} is over", hint="give the last day of the pin with --expires")
    found = offer.candidate(wish.kernel)
    if found is None or not found.devel:
        names = ", ".join(one.release for one in offer.candidates if one.devel)
        raise PinError(
            f"kernel {wish.kernel} with its kernel-devel is not in the repositories",
            hint=f"these can be had: {names}",
        )
    made = _pin_of(offer, found, wish.reason, run.clock(), base, expires=wish.expires)
    known = pins.read()
    if (doubt := _doubt(offer, wish.kernel, known)) is not None:
        run.reporter.note(f"{wish.kernel}: {doubt}; the build will show whether that has changed")
    pins.write(known.with_pin(base.name, made))
    return made


def verdict(base: Base, current: Pin, offer: Offer, known: PinFile) -> PinVerdict:
    """Say whether a pin still holds, could be newer, or cannot be built any more."""
    gone = missing_from(current, offer)
    if gone:
        return PinVerdict(base=base.name, pin=current, state=PinState.GONE, reasons=gone)
    better = _better(current, offer, known)
    if better:
        return PinVerdict(base=base.name, pin=current, state=PinState.OBSOLETE, reasons=better)
    return PinVerdict(base=base.name, pin=current, state=PinState.HOLDS)


def missing_from(current: Pin, offer: Offer) -> tuple[str, ...]:
    """Return what a pin needs that the repositories no longer offer."""
    reasons: list[str] = []
    found = offer.candidate(current.kernel)
    if found is None:
        reasons.append(f"kernel {current.kernel} is no longer offered")
    elif not found.devel:
        reasons.append(f"kernel-devel of {current.kernel} is no longer offered")
    elif not found.in_image and not found.image_packages:
        reasons.append(f"the packages of kernel {current.kernel} are no longer offered")
    offered = {**offer.modules, **offer.userspace}
    for name, version in {**current.modules, **current.userspace}.items():
        if name in offered and offered[name] != version:
            reasons.append(f"{name} {version} is no longer the version offered ({offered[name]} is)")
    return tuple(reasons)


def _search(run: Run, base: Base, offer: Offer, pins: PinStore, *, forget: bool) -> Pin:
    known = pins.read()
    releases = tuple(one.release for one in offer.kept)
    bad = (
        frozenset()
        if forget
        else frozenset(release for release in releases if known.failure(release, offer.modules) is not None)
    )
    current = None if forget else _proved_before(known.pins.get(base.name), offer, releases)
    evidence: dict[str, Mapping[str, Digest]] = {}

    @cache
    def ground() -> str:
        parent = run.engine.pull(offer.parent.repository.at(offer.parent.digest))
        return build_toolchain(run, f"{base.line}/{base.name}", base.toolchain, parent)

    if current is not None:
        evidence[current.kernel] = current.evidence
    search = PinSearch(kernels=releases, good=frozenset(evidence), bad=bad - evidence.keys())
    while (release := search.next()) is not None:
        outcome = _prove(run, base, offer, release, ground=ground())
        if isinstance(outcome, Failure):
            known = known.with_failure(outcome)
        else:
            evidence[release] = outcome
            known = known.proved(release, offer.modules)
        pins.write(known)
        search = search.told(release, works=not isinstance(outcome, Failure))
    if search.result is None:
        raise PinError(_no_kernel(base, offer, known), hint=_no_kernel_hint(base))
    made = _made(offer, search.result, known, run.clock(), base, evidence=evidence[search.result])
    pins.write(known.with_pin(base.name, made))
    return made


def _proved_before(current: Pin | None, offer: Offer, releases: Sequence[str]) -> Pin | None:
    """Return the pin there is when its proof still counts: same kernel, same module versions."""
    if current is None or current.by_hand or current.kernel not in releases:
        return None
    proved = current.evidence and all(
        current.modules.get(name) == version for name, version in offer.modules.items()
    )
    return current if proved else None


def _prove(
    run: Run, base: Base, offer: Offer, release: str, *, ground: str
) -> Failure | Mapping[str, Digest]:
    """Compile all modules for a kernel; the first failure is the answer, else the logs are."""
    candidate = offer.candidate(release)
    assert candidate is not None and base.containerfile is not None  # noqa: S101, PT018 - both were looked up
    order = ModuleOrder(
        upstream=ground,
        kernel=release,
        kernel_devel=(candidate.devel_package,),
        version=offer.modules,
        context=base.containerfile.parent,
    )
    logs: dict[str, Digest] = {}
    # One after the other: the first that fails spares the others, and each fills the cores by itself.
    for module in base.modules:
        try:
            logs[module.name] = build_module(run, order, module).log
        except BuildFailedError as error:
            if says_nothing_of_the_kernel(error.first_error):
                raise
            return Failure(
                kernel=release,
                module=module.name,
                version=offer.modules[module.name],
                error=error.first_error,
                log=Digest(error.log_digest),
                time=run.clock(),
            )
    return logs


def _still_best(current: Pin, offer: Offer, known: PinFile) -> bool:
    return not missing_from(current, offer) and not _better(current, offer, known)


def _better(current: Pin, offer: Offer, known: PinFile) -> tuple[str, ...]:
    """Return the newer kernels that nothing speaks against.

    As in the search, a kernel newer than one that failed is taken to fail too, but for the newest of all,
    which is tried in any case: it may bring what the others lack.
    """
    found: list[str] = []
    dropped = {one.release for one in offer.dropped}
    newer = [one.release for one in offer.newer(current.kernel) if one.release not in dropped]
    failed = {release for release in newer if known.failure(release, offer.modules) is not None}
    for release in reversed(newer):
        if release in failed:
            break
        found.append(release)
    if newer and newer[0] not in failed and newer[0] not in found:
        found.append(newer[0])
    return tuple(f"{one} is newer, and no module is known to fail on it" for one in reversed(found))


def _made(
    offer: Offer,
    release: str,
    known: PinFile,
    now: dt.datetime,
    base: Base,
    *,
    evidence: Mapping[str, Digest],
) -> Pin:
    candidate = offer.candidate(release)
    assert candidate is not None  # noqa: S101 - the search only knows offered kernels
    over = _passed_over(offer, release, known)
    names = ", ".join(module.name for module in base.modules) or "no module"
    reason = f"newest of {len(offer.candidates)} offered kernels for which {names} compile"
    return _pin_of(offer, candidate, reason, now, base, evidence=evidence, passed_over=over)


def _pin_of(
    offer: Offer,
    candidate: KernelCandidate,
    reason: str,
    now: dt.datetime,
    base: Base,
    *,
    evidence: Mapping[str, Digest] | None = None,
    passed_over: tuple[PassedOver, ...] = (),
    expires: dt.date | None = None,
) -> Pin:
    return Pin(
        kernel=candidate.release,
        kernel_devel=(candidate.devel_package,),
        kernel_packages=candidate.image_packages,
        modules=offer.modules,
        userspace=offer.userspace,
        upstream=base.parent or "",
        upstream_digest=offer.parent.digest,
        reason=reason,
        time=now,
        evidence=evidence or {},
        passed_over=passed_over,
        expires=expires,
    )


def _passed_over(offer: Offer, release: str, known: PinFile) -> tuple[PassedOver, ...]:
    untried = "not compiled: an older kernel fails already"
    return tuple(
        PassedOver(kernel=one.release, reason=_doubt(offer, one.release, known) or untried)
        for one in offer.newer(release)
    )


def _doubt(offer: Offer, release: str, known: PinFile) -> str | None:
    """Return what speaks against a kernel: a declared range, or a remembered failure."""
    for one in offer.dropped:
        if one.release == release:
            return one.reason
    failure = known.failure(release, offer.modules)
    return failure.said if failure is not None else None


def _version(source: KernelSource, inside: Workshop, package: str) -> str:
    version = source.module_version(inside, package)
    if version is None:
        raise PinError(
            f"the image's repositories offer no package {package}",
            hint="check the name in the base's definition and the repositories of the upstream image",
        )
    return version


def _same_version(module: ResolvedModule, version: str, userspace: Mapping[str, str]) -> None:
    wanted = upstream_version(version)
    for name in module.userspace:
        if upstream_version(userspace[name]) != wanted:
            raise PinError(
                f"{name} is offered as {userspace[name]}, but the module {module.name} as {version}",
                hint="userspace must be of the module's version; wait for the repositories, or pin another",
            )


def _no_kernel(base: Base, offer: Offer, known: PinFile) -> str:
    lines = [f"no offered kernel serves {base.line}/{base.name}:"]
    lines += [f"  {one.release}: {one.reason}" for one in offer.dropped]
    for one in offer.kept:
        failure = known.failure(one.release, offer.modules)
        if failure is not None:
            lines.append(f"  {one.release}: {failure.module} {failure.version}: {failure.error}")
    return "\n".join(lines)


def _no_kernel_hint(base: Base) -> str:
    return (
        f"use other module versions, or another upstream; `pipeline --line {base.line} pin --reprove` "
        "forgets the failures"
    )
