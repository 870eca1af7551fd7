"""The parts that release and look after releases: lineage, rules, keys, the signer, the host's view."""

from __future__ import annotations

import random
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from pipeline.domain.lineage import Lineage
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.adapters.host_pull import SkopeoHostPull
    from pipeline.adapters.protected import ProtectedBranch
    from pipeline.adapters.referrers import Referrers, SignedStore
    from pipeline.adapters.registries import Registries
    from pipeline.adapters.registry import Registry
    from pipeline.adapters.signatures import AnySignatures
    from pipeline.domain.image import ImageRef
    from pipeline.domain.lookback import LookBack
    from pipeline.domain.signature import VerifyKey
    from pipeline.verbs.signing import Signer
    from pipeline.verbs.verify_parts import VerifyParts
    from pipeline.wiring.parts import Parts

_Protected = TypeVar("_Protected", bound="ProtectedBranch")


class ReleaseParts:
    """Makes each part once, when it is first asked for.

    Args:
        parts: The parts of the run.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def lineage(self) -> Lineage:
        """Return the releases of all images, as the ledger has them now."""
        return Lineage(self._parts.ledger.read())

    @cached_property
    def branch(self) -> ProtectedBranch:
        """The branch that says who may decide, as it is whenever it is read."""
        from pipeline.adapters.protected import ProtectedBranch  # noqa: PLC0415

        return self.protected(ProtectedBranch)

    def protected(self, kind: type[_Protected]) -> _Protected:
        """Return the protected branch, to be read in one way or another."""
        parts = self._parts
        settings = parts.settings
        return kind(
            parts.images,
            remote=settings.ledger.remote,
            branch=parts.environment.get("PIPELINE_PROTECTED_BRANCH") or None,
            local=settings.approval.branch,
        )

    @cached_property
    def signatures(self) -> AnySignatures:
        """What checks the proofs of decisions."""
        from pipeline.adapters.gitlab import GitlabTokens, PublishedKeys  # noqa: PLC0415
        from pipeline.adapters.signatures import AnySignatures  # noqa: PLC0415
        from pipeline.adapters.sshsig import SshSignatures  # noqa: PLC0415
        from pipeline.domain.decision import Method  # noqa: PLC0415

        return AnySignatures(
            {Method.SSH: SshSignatures(self._parts.processes), Method.GITLAB: GitlabTokens(PublishedKeys())}
        )

    @cached_property
    def keys(self) -> tuple[VerifyKey, ...]:
        """The public keys that releases are or will be signed with.

        Raises:
            UsageError: A key cannot be read.
            SignatureError: A file holds no public key.
        """
        from pipeline.domain.signature import VerifyKey  # noqa: PLC0415

        parts = self._parts
        found = []
        for path in parts.settings.signing.release_keys:
            try:
                text = (parts.images / path).read_text(encoding="ascii")
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(
                    f"the release key {path} cannot be read: {error}", hint="put the public key (PEM) there"
                ) from error
            found.append(VerifyKey.parse(path, text))
        return tuple(found)

    @cached_property
    def signer(self) -> Signer:
        """What signs with the release key: this process for a key file, cosign for a key service.

        Raises:
            SignatureError: The key is named in no way that is known, is not there, or does not open.
        """
        from pipeline.adapters.signer import signer_for  # noqa: PLC0415

        parts = self._parts
        key = parts.settings.signing.key
        return signer_for(
            parts.processes,
            key if "://" in key else str(parts.images / key),
            environment=parts.environment,
        )

    @cached_property
    def signed_store(self) -> SignedStore:
        """Signatures and attestations in the project's registry."""
        from pipeline.adapters.referrers import SignedStore  # noqa: PLC0415

        return SignedStore(self._parts.registry, self._parts.proofs.referrers)

    @cached_property
    def host_pull(self) -> SkopeoHostPull:
        """What asks the skopeo of an image whether a host of it would pull another."""
        from pipeline.adapters.host_pull import SkopeoHostPull  # noqa: PLC0415
        from pipeline.wiring.opening import Opening  # noqa: PLC0415

        parts = self._parts
        return SkopeoHostPull(
            parts.engine,
            parts.registry,
            Opening(parts).layered,
            insecure=frozenset({parts.registry.host} if parts.settings.registry.insecure else ()),
            login=parts.login,
            stand_in=self._newest_base(),
        )

    @cached_property
    def registries(self) -> Registries:
        """The project's registry, and those that the ledger's releases lie in beside it."""
        from pipeline.adapters.referrers import Referrers  # noqa: PLC0415
        from pipeline.adapters.registries import Registries  # noqa: PLC0415

        parts = self._parts

        def pause(seconds: float) -> None:
            parts.stop.wait(seconds)

        def opened(host: str) -> tuple[Registry, Referrers]:
            if host == parts.registry.host:
                return parts.registry, parts.proofs.referrers
            other = parts.registry_at(host, insecure=False)
            return other, Referrers(other, jitter=random.random, pause=pause)

        return Registries(opened)

    def verify_parts(self, look: LookBack) -> VerifyParts:
        """Return what releases are verified with, by a ledger that was read."""
        from pipeline.adapters.authors import GitAuthors  # noqa: PLC0415
        from pipeline.adapters.protected_history import ProtectedHistory  # noqa: PLC0415
        from pipeline.verbs.verify_parts import VerifyParts  # noqa: PLC0415

        parts = self._parts
        history = self.protected(ProtectedHistory)
        return VerifyParts(
            look=look,
            registry=self.registries,
            evidence=self.registries,
            signed=self.registries,
            keys=self.keys,
            rules=history,
            signatures=self.signatures,
            authors=GitAuthors(parts.images),
            newcomers=history,
            unsigned=parts.settings.signing.unsafe_none,
        )

    def _newest_base(self) -> ImageRef | None:
        """Return the newest base of the line, whose skopeo answers for images that have none."""
        from pipeline.domain.image import Tier  # noqa: PLC0415
        from pipeline.domain.record import candidates  # noqa: PLC0415

        bases = [one for one in candidates(self._parts.ledger.read()) if one.tier is Tier.BASE]
        mine = [one for one in bases if one.line == self._parts.line.name]
        return mine[-1].repository.at(mine[-1].digest) if mine else None
