"""The parts that prove candidates: evidence in the registry, snapshots, machines that boot, scanners."""

from __future__ import annotations

import os
import random
import time
from functools import cached_property
from typing import TYPE_CHECKING

from pipeline import __version__

if TYPE_CHECKING:
    from pipeline.adapters.referrers import Referrers
    from pipeline.adapters.toc import TocStore
    from pipeline.domain.boot.result import BootResult
    from pipeline.domain.image import Tier
    from pipeline.domain.provenance import BuilderFacts
    from pipeline.domain.sbom.part import Organisation
    from pipeline.verbs.boot_test import BootParts
    from pipeline.verbs.proof import Workshop
    from pipeline.wiring.parts import Parts


class ProofParts:
    """Makes each part once, when it is first asked for.

    Args:
        parts: The parts of the run.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @cached_property
    def referrers(self) -> Referrers:
        """Evidence in the project's registry; one for the run, for it remembers what the registry can."""
        from pipeline.adapters.referrers import Referrers  # noqa: PLC0415

        def pause(seconds: float) -> None:
            self._parts.stop.wait(seconds)

        return Referrers(self._parts.registry, jitter=random.random, pause=pause)

    @cached_property
    def tables(self) -> TocStore:
        """Tables of contents of layers."""
        from pipeline.adapters.toc import TocStore  # noqa: PLC0415

        return TocStore(self._parts.state / "cache" / "layers")

    @cached_property
    def boot(self) -> BootParts:
        """What boots a local image."""
        from pipeline.adapters.machine import Qemu  # noqa: PLC0415
        from pipeline.verbs.boot_test import BootParts  # noqa: PLC0415

        parts = self._parts
        return BootParts(
            machine=Qemu(parts.processes, monotonic=time.monotonic),
            open_root=parts.engine.mounted,
            open_tree=parts.open_tree,
            folders=parts.workspace,
            reporter=parts.reporter,
            monotonic=time.monotonic,
        )

    def workshop(self, boots: frozenset[Tier]) -> Workshop:
        """Return what evidence is made with; images of the tiers `boots` are booted before the push."""
        from pipeline.adapters.syft import Syft  # noqa: PLC0415
        from pipeline.verbs.boot_test import boot_test  # noqa: PLC0415
        from pipeline.verbs.proof import Workshop  # noqa: PLC0415
        from pipeline.wiring.opening import Opening  # noqa: PLC0415

        parts = self._parts

        def boot(local: str, *, name: str, full: bool) -> BootResult:
            return boot_test(self.boot, local, name=name, full=full)

        return Workshop(
            scanner=Syft(parts.processes),
            open_root=parts.engine.mounted,
            boot=boot,
            boots=boots,
            store=self.referrers,
            snapshots=Opening(parts),
            builder=self.builder,
            supplier=self.supplier,
            version=__version__,
        )

    @cached_property
    def supplier(self) -> Organisation:
        """Who makes the images: as the settings say, else whoever has the registry."""
        from pipeline.domain.sbom.part import Organisation  # noqa: PLC0415

        settings = self._parts.settings
        said = settings.supplier
        return Organisation(name=said.name or settings.registry.url, url=said.url, mail=said.mail)

    @cached_property
    def builder(self) -> BuilderFacts:
        """Who builds, with which versions of which tools."""
        from pipeline.adapters.probe import SystemProbe  # noqa: PLC0415
        from pipeline.adapters.tools import BUILDING  # noqa: PLC0415
        from pipeline.domain.provenance import BuilderFacts, ci_job  # noqa: PLC0415
        from pipeline.domain.tool import dotted  # noqa: PLC0415

        parts = self._parts
        probe = SystemProbe(parts.processes, user=parts.user, uid=os.geteuid())
        found = {one.tool.program: one.version for one in probe.tools() if one.path is not None}
        told = {name: dotted(version) for name, version in found.items() if version and name in BUILDING}
        versions = {"pipeline": __version__, **told}
        return BuilderFacts(versions=versions, ci=ci_job(parts.environment), remote=parts.remote)
