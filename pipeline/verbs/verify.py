"""`pipeline verify REF`: one release and everything it is built on, from public keys, signers and ledger.

Rules: nothing but the registry, the ledger and the protected branch is asked, no service of anybody else;
every check is made even when one before it failed, so that all problems are told; a tier that several
releases share is checked once. A registry that does not answer ends it as an error: nobody knows then, and
that is neither good nor bad. One that answers, but not with what it must have, is a problem of the release.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pipeline.domain.image import RELEASE_TAG, Digest, ImageRef
from pipeline.domain.lookback import LookBack
from pipeline.domain.release import Seal
from pipeline.domain.text import plain
from pipeline.domain.verification import Check, TierChecked, Verification
from pipeline.errors import (
    DefinitionError,
    GateRefusedError,
    NotFoundError,
    RegistryError,
    SignatureError,
    UsageError,
)
from pipeline.verbs.verify_checks import CHECKS
from pipeline.verbs.verify_parts import Remembered, Subject, VerifyParts

_NO_PROOF = (NotFoundError, SignatureError, GateRefusedError, DefinitionError, UsageError)
"""What a check ends with when what it reads is wrong, and not the way to it."""


def verify_release(seal: Seal, parts: VerifyParts) -> Verification:
    """Verify a release and every tier below it.

    Args:
        seal: The release.
        parts: What it is verified with.

    Raises:
        RegistryError: The registry does not answer.
        LedgerRemoteError: The protected branch cannot be reached.
        ToolMissingError: A program that checks proofs is not installed.
    """
    tiers = []
    one: Seal | None = seal
    while one is not None:
        tiers.append(parts.tiers.once(one.id, partial(_tier, one, parts)))
        one = parts.look.parent(one)
    return Verification(tiers=tuple(tiers))


def verify(ref: str, parts: VerifyParts) -> Verification:
    """Verify what a person names: see `find_release` (errors as `verify_release`, or no such release).

    Raises:
        UsageError: It is neither reference nor release.
        NotFoundError: The image has no such release, or the registry no such tag.
    """
    found = find_release(ref, parts)
    if isinstance(found, Seal):
        return verify_release(found, parts)
    return Verification(tiers=(found,))


def find_release(ref: str, parts: VerifyParts) -> Seal | TierChecked:
    """Return the release that a text names, or what is wrong when the registry has it and the ledger has not.

    Args:
        ref: `LINE/NAME:v2.0` (the highest released 2.0.x), `LINE/NAME` (the newest), or an image in a
            registry by tag or digest.
        parts: Where to look.

    Raises:
        UsageError: It is neither.
        NotFoundError: There is no such release, or the registry has no such tag.
        RegistryError: The registry does not answer.
    """
    name, _, version = ref.partition(":")
    if name.count("/") == 1 and not _names_registry(name):
        return _named(name, version, parts.look)
    wanted = ImageRef.parse(ref)
    digest = wanted.digest or parts.registry.resolve(wanted).digest
    seal = _sealed(wanted, digest, parts.look)
    return seal or _unknown(wanted, digest, parts.look)


def _names_registry(name: str) -> bool:
    host = name.partition("/")[0]
    return "." in host or host == "localhost" or "@" in name


def _named(name: str, version: str, look: LookBack) -> Seal:
    if version:
        return look.lineage.find(name, version, yanked=True)
    newest = look.lineage.predecessor(name)
    if newest.seal is None:
        raise NotFoundError(newest.because, hint="`pipeline releases` lists what was released")
    return newest.seal


def _sealed(ref: ImageRef, digest: Digest, look: LookBack) -> Seal | None:
    """Return the release of a digest, of that repository where there are several."""
    names = [name for name in look.lineage.names if look.lineage.at(name, digest) is not None]
    found = [seal for name in names if (seal := look.lineage.at(name, digest)) is not None]
    here = [seal for seal in found if seal.repository == ref.repository]
    chosen = next(iter(here or found), None)
    if chosen is None or ref.tag is None or not RELEASE_TAG.fullmatch(ref.tag):
        return chosen
    # A release tag that leads to another release than the ledger says is no release of that name.
    return chosen if look.lineage.tags(chosen.name).get(ref.tag) == digest else None


def _unknown(ref: ImageRef, digest: Digest, look: LookBack) -> TierChecked:
    tagged = {
        name: look.lineage.tags(name).get(ref.tag or "")
        for name in look.lineage.names
        if any(one.repository == ref.repository for one in look.lineage.releases(name))
    }
    expected = next((found for found in tagged.values() if found is not None), None)
    problem = f"the ledger has no release {digest}"
    if expected is not None and expected != digest:
        problem = f"{ref.tag} names {digest}, the ledger says {expected}"
    check = Check(name="tag" if expected else "record", problems=(problem,))
    name = next(iter(tagged), ref.repository.path)
    return TierChecked(name=name, repository=ref.repository, digest=digest, checks=(check,))


def _tier(seal: Seal, parts: VerifyParts) -> TierChecked:
    one = Subject(seal=seal, candidate=parts.look.candidate(seal), evidence=Remembered(parts.evidence))
    return TierChecked(
        name=seal.name,
        version=seal.version,
        tier=seal.tier,
        repository=seal.repository,
        digest=seal.digest,
        checks=tuple(_guarded(check, one, parts) for check in CHECKS),
    )


def _guarded(check: Callable[[Subject, VerifyParts], Check], one: Subject, parts: VerifyParts) -> Check:
    name = check.__name__.removeprefix("check_")
    try:
        return check(one, parts)
    except _NO_PROOF as error:
        return Check(name=name, problems=(plain(error.message),))
    except RegistryError as error:
        if not _answers(one.seal, parts):
            raise
        return Check(name=name, problems=(plain(error.message),))


def _answers(seal: Seal, parts: VerifyParts) -> bool:
    """Whether the registry answers at all: then it gave something else than it must have."""
    try:
        parts.registry.resolve(seal.repository.at(seal.digest))
    except NotFoundError:
        return True
    except RegistryError:
        return False
    return True
