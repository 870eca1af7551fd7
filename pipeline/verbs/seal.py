"""`pipeline seal CANDIDATE…`: turns approved candidates into immutable, signed releases.

Order: reserve the versions in the ledger, tag by digest, sign and attest, verify as a host would, write the
git tags (signed before all this, so that a key that fails fails early), move aliases and channels, record.
Rules:
1. Everything that can be asked is asked before the first of these (`seal_plan`); whether it is still so is
   asked again of the newest records when versions are reserved, before channels move, and with the record.
2. A step that was done already is success, so the same command goes on where another run was killed; what it
   does is the same, for nothing that is written depends on the run.
3. Before the channels, nothing that anybody follows has moved; what fails after that, or is refused when an
   image whose seal was cut off is sealed again, is moved back to what the ledger says (`seal_back`).
4. Of two seals of one image, the ledger lets one reserve; who finds a release recorded meanwhile tells so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from pipeline.domain.image import Digest, ImageRef, Tier
from pipeline.domain.lineage import Lineage
from pipeline.domain.record import Candidate, Record
from pipeline.domain.release import Seal
from pipeline.domain.sealing import LEASE, Sealed, TagOrder
from pipeline.errors import (
    GateRefusedError,
    InterruptedRunError,
    PipelineError,
    RegistryError,
    SealConflictError,
    SignatureError,
)
from pipeline.verbs.host_pull import pull_problems
from pipeline.verbs.knowing import side_by_side
from pipeline.verbs.seal_back import put_back_and_tell
from pipeline.verbs.seal_checks import OvertakenError, by_ledger, named_by, recheck, refuse, release_tag
from pipeline.verbs.seal_entry import seal_record, sign_order, tag_orders
from pipeline.verbs.seal_parts import Sealing, SealParts, SealPlan
from pipeline.verbs.seal_plan import Words, plan_seal
from pipeline.verbs.signing import UnsafeUnsigned, read_signed, sign_further, sign_images

SIGNED_AT_ONCE = 25
"""Images signed by one call of the signer: their SBOMs are in memory meanwhile."""

_REFUSALS = (GateRefusedError, SealConflictError, SignatureError)
"""With these a plan says no; with others nobody knows yet."""

_T = TypeVar("_T")
Show = Callable[[SealPlan], None]
"""Shows a plan before it is carried out."""


def _unseen(_plan: SealPlan) -> None:
    """Show nothing."""


def seal(
    wanted: Sequence[Candidate], words: Words, parts: SealParts, *, show: Show = _unseen
) -> tuple[Sealed, ...]:
    """Release candidates in one act; return their releases, sorted by name.

    Args:
        wanted: Their records, as the ledger has them.
        words: What a person says of version and reasons.
        parts: What seals are made with.
        show: Shows the plan before anything is written.

    Raises:
        UsageError, NotFoundError: What is named does not do, or is not there.
        GateRefusedError: An image may not be released; all reasons are told.
        SealConflictError: A version or tag belongs to another image, or another seal is under way.
        SignatureError: It could not be signed, or does not verify.
        RegistryError, LedgerError, LedgerRaceError, LedgerRemoteError: They fail or refuse; run the same
            command again.
    """
    plan = plan_to_seal(wanted, words, parts)
    show(plan)
    return carry_out(plan, parts)


def plan_to_seal(wanted: Sequence[Candidate], words: Words, parts: SealParts) -> SealPlan:
    """Return the plan of a seal that is going to be carried out (errors as `seal`).

    If it is refused, the tags that an earlier run of it moved go back; `plan_seal` alone changes nothing.
    """
    with _putting_back(wanted, parts, _REFUSALS):
        return plan_seal(wanted, words, parts)


def carry_out(plan: SealPlan, parts: SealParts) -> tuple[Sealed, ...]:
    """Do what a plan says (errors as `seal`)."""
    act = _Act(plan, parts)
    with _putting_back([one.candidate for one in plan.sealings], parts, (PipelineError,)):
        made = act.run() if plan.sealings else ()
    there = [Sealed(seal=one, new=False) for one in (*plan.already, *act.overtaken)]
    return tuple(sorted((*made, *there), key=lambda one: one.seal.name))


@contextlib.contextmanager
def _putting_back(
    wanted: Sequence[Candidate], parts: SealParts, when: tuple[type[PipelineError], ...]
) -> Iterator[None]:
    """Let the tags of images that are not released after all name what the ledger says."""
    try:
        yield
    except InterruptedRunError:
        raise
    except when:
        put_back_and_tell(
            {f"{one.line}/{one.image}" for one in wanted},
            parts.ledger.read,
            lambda _: parts.registry,
            parts.reporter,
            now=parts.clock(),
            refused={one.digest for one in wanted},
        )
        raise


class _Act:
    """One seal under way."""

    def __init__(self, plan: SealPlan, parts: SealParts) -> None:
        self._plan, self._parts = plan, parts
        self._left = plan.sealings
        self.overtaken: list[Seal] = []

    def run(self) -> list[Sealed]:
        """Take every step; return the releases this run made."""
        self._step("sign the git tags", self._sign_tags, "git tags signed")
        self._step("reserve the versions", self._reserve, "reserved")
        self._step("tag the images", self._tag, "tagged")
        signatures = self._step("sign and attest", self._sign, "signed")
        self._step("verify as a host would", lambda: self._verify(signatures), "verified")
        self._step("write the git tags", lambda: self._parts.tags.write(self._git_tags), "git tags")
        self._step("move aliases and channels", self._move, "moved")
        return self._step("record the releases", lambda: self._record(signatures), "recorded")

    def _step(self, what: str, work: Callable[[], _T], done: str) -> _T:
        with self._parts.reporter.stage(f"{what} ({len(self._left)})"):
            made = work()
        if isinstance(self._parts.signer, UnsafeUnsigned):
            self._parts.reporter.note(self._parts.signer.warning)
        self._parts.on_step(done)
        return made

    def _sign_tags(self) -> None:
        with by_ledger(self._left, self._parts.ledger.read, self._parts.clock):
            self._parts.tags.sign(self._git_tags)

    def _reserve(self) -> None:
        """Reserve what is not reserved, or not lately: a reservation keeps others away for a while only."""
        while self._left:
            now = self._parts.clock()
            records = self._parts.ledger.read()
            lineage = Lineage(records)
            due = [one for one in self._left if not _held(one, lineage, self._parts)]
            try:
                if not due:
                    self._check(records, reserved=True)
                    return
                self._parts.ledger.append(
                    [one.reservation(now, self._parts.author) for one in due],
                    check=lambda there: self._check(there, reserved=False),
                )
            except OvertakenError as others:
                self._give_way(others)
            else:
                return

    def _tag(self) -> None:
        def tag(one: Sealing) -> None:
            self._put(one, one.tag, release_tag(self._parts.registry, one))

        side_by_side(tag, self._left, jobs=self._parts.jobs)

    def _sign(self) -> dict[Digest, dict[str, Digest]]:
        parts, found = self._parts, dict[Digest, dict[str, Digest]]()
        if isinstance(parts.signer, UnsafeUnsigned):
            return {one.candidate.digest: {} for one in self._left}
        for at in range(0, len(self._left), SIGNED_AT_ONCE):
            some = self._left[at : at + SIGNED_AT_ONCE]
            orders = side_by_side(
                lambda one: sign_order(one, self._plan, parts.knowing.store), some, jobs=parts.jobs
            )
            found |= sign_images(orders, parts.signer, parts.signed, jobs=parts.jobs)
            parts.on_step(f"signed {at + len(some)}")
        self._sign_further()
        return found

    def _sign_further(self) -> None:
        """Sign once more with an identity, where that is wanted; the key's signature is what counts."""
        further = self._parts.further
        if further is None or not self._left:
            return
        refs = [one.ref for one in self._left]
        failed = sign_further(refs, further.signer, required=further.required)
        if failed:
            self._parts.reporter.note(f"not signed with the job's identity: {failed}")

    def _verify(self, signatures: dict[Digest, dict[str, Digest]]) -> None:
        """Read every release as those will who pull it.

        Raises:
            GateRefusedError: A host would refuse it.
            SignatureError: A signature is missing or wrong.
        """

        def read(one: Sealing) -> tuple[str, ...]:
            held = named_by(self._parts.registry, one, one.tag)
            if held != one.candidate.digest:
                return (f"its tag {one.tag} names {held} by now",)
            if isinstance(self._parts.signer, UnsafeUnsigned):
                return ()
            named = signatures[one.candidate.digest]
            repository = one.candidate.repository
            return read_signed(
                self._parts.signed, repository, one.candidate.digest, self._parts.keys, named
            ).problems

        found = side_by_side(read, self._left, jobs=self._parts.jobs)
        wrong = [
            f"  {one.name}: {text}" for one, texts in zip(self._left, found, strict=True) for text in texts
        ]
        if wrong:
            raise SignatureError(
                "what was signed does not verify; no channel was moved:\n" + "\n".join(wrong),
                hint="find out who else writes to the repository, then run the same command again",
            )
        if not isinstance(self._parts.signer, UnsafeUnsigned):
            self._ask_hosts()

    def _ask_hosts(self) -> None:
        """Let the previous release pull the new one, and the new one itself: by their own policy and keys."""
        hosts = [one for one in self._left if one.candidate.tier is not Tier.UPSTREAM]
        asked = [(None if one.before is None else _ref_of(one.before), one.ref) for one in hosts]
        found = pull_problems(self._parts.host_pull, asked) if asked else ()
        refuse(
            [(one.name, text) for one, texts in zip(hosts, found, strict=True) for text in texts],
            hint="a key has to be trusted by a release before it signs one; once that is mended, the same "
            "command goes on",
        )

    @property
    def _git_tags(self) -> tuple[TagOrder, ...]:
        return tag_orders(self._left, self._parts)

    def _move(self) -> None:
        """Move aliases and channels, if nothing was decided otherwise meanwhile."""
        records = self._checked()
        lineage = Lineage(records)

        def move(one: Sealing) -> None:
            known = lineage.tags(one.name)
            for alias in one.aliases:
                held = named_by(self._parts.registry, one, alias)
                if held not in (None, one.candidate.digest, known.get(alias)):
                    self._parts.reporter.note(
                        f"{one.candidate.repository}:{alias} was {held}, the ledger says {known.get(alias)}"
                    )
                self._put(one, alias, held)

        side_by_side(move, self._left, jobs=self._parts.jobs)
        # Those of seals that were given up: of this one, which is younger, nothing is touched.
        put_back_and_tell(
            {one.name for one in self._left},
            lambda: records,
            lambda _: self._parts.registry,
            self._parts.reporter,
            now=self._parts.clock(),
        )

    def _record(self, signatures: dict[Digest, dict[str, Digest]]) -> list[Sealed]:
        while self._left:
            now = self._parts.clock()
            seals = [
                seal_record(one, signatures[one.candidate.digest], now, self._parts.author)
                for one in self._left
            ]
            try:
                self._parts.ledger.append(seals, check=lambda there: self._check(there, reserved=True))
            except OvertakenError as others:
                self._give_way(others)
            else:
                self._keep_moved()
                return [Sealed(seal=one, new=True) for one in seals]
        return []

    def _checked(self) -> tuple[Record, ...]:
        """Return the ledger as it is now, in which everything is still as it must be."""
        while True:
            records = self._parts.ledger.read()
            try:
                self._check(records, reserved=True)
            except OvertakenError as others:
                self._give_way(others)
            else:
                return records

    def _check(self, records: tuple[Record, ...], *, reserved: bool) -> None:
        plan = self._plan
        now = self._parts.clock()
        recheck(self._left, records, plan.rules, self._parts.signatures, now=now, reserved=reserved)

    def _give_way(self, others: OvertakenError) -> None:
        """Leave alone what another run released."""
        names = {one.name for one in others.seals}
        self.overtaken.extend(others.seals)
        self._left = tuple(one for one in self._left if one.name not in names)

    def _keep_moved(self) -> None:
        """Move again what another run, which was refused, put back just before the releases were recorded."""

        def stray(one: Sealing) -> list[str]:
            named = {alias: named_by(self._parts.registry, one, alias) for alias in one.aliases}
            return [alias for alias, held in named.items() if held != one.candidate.digest]

        found = side_by_side(stray, self._left, jobs=self._parts.jobs)
        if not any(found):
            return
        lineage = Lineage(self._parts.ledger.read())
        for one, aliases in zip(self._left, found, strict=True):
            known = lineage.tags(one.name)
            for alias in aliases:
                if known.get(alias) == one.candidate.digest:
                    self._put(one, alias, None)

    def _put(self, one: Sealing, tag: str, held: Digest | None) -> None:
        """Let a tag name the release, by digest, and read it again."""
        digest, repository = one.candidate.digest, one.candidate.repository
        if held != digest:
            data = self._parts.registry.manifest(one.ref)
            there = self._parts.registry.put_manifest(repository, tag, data)
            if there != digest:
                raise RegistryError(
                    f"{repository}:{tag} was written as {digest} and is {there}",
                    hint="another writer uses this tag, or the registry changes what it stores",
                )
        self._parts.on_step(f"{one.name}:{tag}")


def _ref_of(seal: Seal) -> ImageRef:
    return seal.repository.at(seal.digest)


def _held(one: Sealing, lineage: Lineage, parts: SealParts) -> bool:
    """Whether a version is reserved for an image lately enough to keep others away until the end."""
    mine = lineage.reservation(one.name, one.candidate.digest)
    return mine is not None and mine.version == one.version and parts.clock() - mine.time < LEASE / 2
