"""The parts that release and look after releases: lineage, rules, keys, the signer, the host's view."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pipeline.domain.lineage import Lineage
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.adapters.protected import ProtectedBranch
    from pipeline.adapters.sshsig import SshSignatures
    from pipeline.domain.signature import VerifyKey
    from pipeline.wiring.parts import Parts


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
        """The branch that says who may decide."""
        from pipeline.adapters.protected import ProtectedBranch  # noqa: PLC0415

        parts = self._parts
        settings = parts.catalogue.settings
        return ProtectedBranch(
            parts.images,
            remote=settings.ledger.remote,
            branch=parts.environment.get("PIPELINE_PROTECTED_BRANCH") or None,
            local=settings.approval.branch,
        )

    @cached_property
    def signatures(self) -> SshSignatures:
        """What checks the proofs of decisions."""
        from pipeline.adapters.sshsig import SshSignatures  # noqa: PLC0415

        return SshSignatures(self._parts.processes)

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
        for path in parts.catalogue.settings.signing.release_keys:
            try:
                text = (parts.images / path).read_text(encoding="ascii")
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(
                    f"the release key {path} cannot be read: {error}", hint="put the public key (PEM) there"
                ) from error
            found.append(VerifyKey.parse(path, text))
        return tuple(found)
