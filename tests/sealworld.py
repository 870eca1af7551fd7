"""A project that seals: real registry and git remote, tiny images with full evidence, people, keys, a signer.

Every part a seal has is real but the machine a host's skopeo runs in: here the consumer's keys decide.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from approvalworld import World
from ledgers import BRANCH, git
from records import NOON
from signingkit import FastSigner
from sshkeys import PROCESSES

from images import TinyImage, push, tiny_image
from pipeline.adapters.authors import GitAuthors
from pipeline.adapters.gittags import GitTags, Tagging
from pipeline.adapters.ledger import Ledger
from pipeline.adapters.referrers import Referrers, SignedStore
from pipeline.adapters.registry import Registry
from pipeline.adapters.sshsig import SshSignatures
from pipeline.adapters.transport import Patience
from pipeline.domain.artifact import Attachment
from pipeline.domain.canonical import Json, canonical_json
from pipeline.domain.decision import Approval
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.host_pull import PullAnswer
from pipeline.domain.image import Digest, ImageRef, Repository, Tier
from pipeline.domain.lineage import Lineage
from pipeline.domain.oci import OCI_MANIFEST, Descriptor
from pipeline.domain.provenance import PREDICATE, STATEMENT
from pipeline.domain.record import Candidate, Parent, Record
from pipeline.domain.release import Seal
from pipeline.domain.sealing import Asked, Sealed
from pipeline.domain.signature import VerifyKey
from pipeline.errors import NotFoundError, PipelineError
from pipeline.verbs.evidence import store_evidence
from pipeline.verbs.knowing import Knowing, release_of
from pipeline.verbs.seal import seal
from pipeline.verbs.seal_parts import SealParts
from pipeline.verbs.seal_plan import Words
from pipeline.verbs.signing import SignatureStore, read_signed

RULES = """
[approval.rules.upstream]
people = [{ at_least = 2, role = "managers" }]
[approval.rules.instance]
people = [{ at_least = 2, role = "managers" }]
"""
PREFIX = "os"
Step = Callable[[str], None]


def nothing(_step: str) -> None:
    """Let it go on."""


class Silent:
    """A reporter that keeps what a person should see."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: list[str] = []

    @contextlib.contextmanager
    def stage(self, name: str, *, log: str | None = None) -> Iterator[Silent]:
        self.stages.append(name)
        yield self

    def line(self, text: str) -> None:
        """Forget it."""

    def note(self, text: str) -> None:
        self.notes.append(text)


class KeysPull:
    """Hosts that accept what one of the keys in their image signed; nothing of it is run.

    Attributes:
        trusts: Digest of a consumer to the keys it trusts; the world's keys for others.
        asked: Every pair that was asked about.
    """

    def __init__(self, store: SignatureStore, keys: tuple[VerifyKey, ...]) -> None:
        self._store, self._keys = store, keys
        self.trusts: dict[Digest, tuple[VerifyKey, ...]] = {}
        self.asked: list[tuple[ImageRef, ImageRef]] = []

    def pulls(self, consumer: ImageRef, wanted: ImageRef) -> PullAnswer:
        self.asked.append((consumer, wanted))
        keys = self.trusts.get(consumer.pinned, self._keys)
        found = read_signed(self._store, wanted.repository, wanted.pinned, keys, {})
        said = "Source image rejected: no signature of a trusted key"
        return PullAnswer(ok=found.key is not None, said="accepted" if found.key else said)

    def pulls_many(self, pairs: Sequence[tuple[ImageRef, ImageRef]]) -> tuple[PullAnswer, ...]:
        return tuple(self.pulls(*pair) for pair in pairs)

    def distrusts(self, pairs: Sequence[tuple[ImageRef, ImageRef]], key: VerifyKey) -> tuple[str, ...]:
        known = [self.trusts.get(consumer.pinned, self._keys) for consumer, _ in pairs]
        return tuple("" if key in keys else "it is not among its keys" for keys in known)


class BlindPull(KeysPull):
    """Hosts whose policy tells nothing before they pull."""

    def distrusts(self, pairs: Sequence[tuple[ImageRef, ImageRef]], key: VerifyKey) -> tuple[str, ...]:
        del key
        return tuple("" for _ in pairs)


class SealWorld(World):
    """One project and its registry.

    Args:
        folder: For its files.
        host: `host:port` of a registry that runs.
        path: Begin of its repositories there, so that worlds can share a registry.
    """

    def __init__(
        self,
        folder: Path,
        host: str,
        *,
        path: str = PREFIX,
        rule: str = "",
        more: str = "",
        tables: str = RULES,
    ) -> None:
        super().__init__(folder, rule=f"{rule}\n{tables}", more=more)
        self.folder, self.host, self.path = folder, host, path
        self.patient = False
        self.signer = FastSigner()
        self.keys_trusted: tuple[VerifyKey, ...] = (self.signer.key,)
        self.reporter = Silent()
        self.number = 0
        self._open: list[Registry] = []

    def close(self) -> None:
        """Close every connection."""
        for one in self._open:
            one.close()
        self._open.clear()

    def registry(self, host: str = "", attempts: int = 3) -> Registry:
        """A new client; one of a clone waits as in earnest, for others write to the registry at once."""
        patience = Patience(sleep=lambda seconds: time.sleep(min(seconds, 0.01)), attempts=attempts)
        if self.patient:
            patience = Patience(attempts=10, longest=2.0)
        made = Registry(host or self.host, insecure=True, patience=patience)
        self._open.append(made)
        return made

    def referrers(self, registry: Registry) -> Referrers:
        jitter = random.random if self.patient else random.Random(1).random
        return Referrers(registry, jitter=jitter, pause=lambda _: time.sleep(0.01))

    def repository(self, name: str) -> Repository:
        return Repository(registry=self.host, path=f"{self.path}/debian/{name}")

    def shared_ledger(self) -> Ledger:
        """A ledger that waits for others as a real one does."""
        return Ledger(
            self.top, branch=BRANCH, remote="origin", identity=("Ada", "ada@example.org"),
            clock=lambda: NOON, jitter=random.random,
        )  # fmt: skip

    def records(self) -> tuple[Record, ...]:
        return self.ledger().read()

    def lineage(self) -> Lineage:
        return Lineage(self.records())

    def built(
        self,
        name: str = "base",
        tier: Tier = Tier.BASE,
        *,
        parent: Candidate | None = None,
        bump: str = "minor",
        text: str = "",
        without: Sequence[EvidenceKind] = (),
        **changes: object,
    ) -> Candidate:
        """Push an image that no other is like, prove it and record it as a candidate."""
        self.number += 1
        image = tiny_image(text=text or f"{self.path} {name} {self.number}")
        registry, repository = self.registry(), self.repository(name)
        push(registry, repository, image, f"candidate-{image.digest.hex[:16]}")
        subject = Descriptor(media_type=OCI_MANIFEST, digest=image.digest, size=len(image.manifest))
        found = [one for one in documents(image, repository, bump) if one.kind not in without]
        evidence = store_evidence(self.referrers(registry), repository, subject, found, created=NOON)
        on = None if parent is None else Parent(image=f"debian/{parent.image}", digest=parent.digest)
        return self.candidate(
            self.number,
            image=name, tier=tier, repository=repository, digest=image.digest, evidence=evidence,
            tag=f"candidate-{image.digest.hex[:16]}", parent=on, **changes,
        )  # fmt: skip

    def agree(
        self, *wanted: Candidate, by: Sequence[str] = ("ben", "cleo"), version: str = ""
    ) -> tuple[Approval, ...]:
        """Let people approve candidates, all in one act each, against the releases there are."""
        lineage = self.lineage()
        commits = {one.id: one.source.commit for one in self.records() if isinstance(one, Candidate)}
        proposals = []
        for one in wanted:
            name = f"debian/{one.image}"
            before = lineage.newest(name)
            since = None if before is None else commits[before.candidate]
            next_one = version or lineage.next_version(name, "minor", digest=one.digest)
            proposals.append(self.proposal(one, next_one, since, predecessor=release_of(before)))
        return tuple(self.approve(name, *proposals) for name in by)

    def parts(self, **changes: object) -> SealParts:
        """What a seal is made with: each time with connections of its own."""
        host = str(changes.pop("host", ""))
        registry = self.registry(host)
        referrers = self.referrers(registry)
        store = SignedStore(registry, referrers)
        made = SealParts(
            ledger=self.ledger(),
            rules=self.rules(),
            signatures=SshSignatures(PROCESSES),
            knowing=Knowing(store=referrers, authors=GitAuthors(self.images), branch=self.rules()),
            registry=registry,
            keys=self.keys_trusted,
            signer=self.signer,
            signed=store,
            host_pull=KeysPull(store, self.keys_trusted),
            tags=self.tags(),
            author="Ada <ada@example.org>",
            clock=lambda: self.now,
            reporter=self.reporter,
        )
        return dataclasses.replace(made, **changes)  # type: ignore[arg-type]

    def tags(self, key: str | None = "dan", *, unsigned: bool = False) -> GitTags:
        tagging = Tagging(
            key=None if key is None else self.keys / key,
            unsigned=unsigned,
            identity=("Dan", "dan@example.org"),
            clock=lambda: self.now,
        )
        return GitTags(self.images, remote="origin", tagging=tagging, processes=PROCESSES)

    def seal(
        self, *wanted: Candidate, bump: str | None = None, version: str | None = None, **changes: object
    ) -> tuple[Sealed, ...]:
        words = Words(asked=Asked(bump=bump, version=version))
        return seal(wanted, words, self.parts(**changes))

    def released(self, name: str = "base", tier: Tier = Tier.BASE, **more: Any) -> Candidate:
        """Build, approve and seal in one go."""
        one = self.built(name, tier, **more)
        self.agree(one)
        self.seal(one)
        return one

    def top_down(self) -> Candidate:
        """Release an upstream, so that bases can be sealed."""
        return self.released("upstream", Tier.UPSTREAM)

    def top_down_with(self, tags: GitTags) -> None:
        """Release an upstream with other git tags."""
        one = self.built("upstream", Tier.UPSTREAM)
        self.agree(one)
        self.seal(one, tags=tags)

    def names(self, name: str = "base") -> dict[str, Digest]:
        """What release tags, aliases and the channel of an image name in the registry now."""
        registry, repository = self.registry(), self.repository(name)
        try:
            tags = registry.tags(repository)
        except NotFoundError:
            return {}
        shown = [one for one in tags if one.startswith("v") or one == "current"]
        return {tag: registry.resolve(repository.tagged(tag)).digest for tag in shown}

    def seals(self, name: str = "") -> list[Seal]:
        found = [one for one in self.records() if isinstance(one, Seal)]
        return [one for one in found if not name or one.image == name]

    def git_tags(self) -> list[str]:
        """Tags of the shared repository."""
        return git(self.hub, "tag", "--list").split()

    def verified(self, tag: str) -> str:
        """Let git itself verify a tag, with the list of signers; return its message."""
        allowed = self.folder / "tag-signers"
        allowed.write_text(f"dan@example.org {(self.keys / 'dan.pub').read_text()}")
        git(self.hub, "-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-tag", tag)
        return git(self.hub, "tag", "--list", "--format=%(contents)", tag)

    def clone(self, name: str) -> SealWorld:
        """The same project in a clone of its own, as on another machine."""
        other = object.__new__(SealWorld)
        other.__dict__.update(self.__dict__)
        other.top = self.folder / name
        other.patient = True
        other.images = other.top / "images"
        other._rules = None
        other._open = []
        git(self.folder, "clone", "-q", str(self.hub), str(other.top))
        return other


def documents(image: TinyImage, repository: Repository, bump: str) -> tuple[Evidence, ...]:
    """All evidence of an image that passed."""
    said: Mapping[EvidenceKind, Json] = {
        EvidenceKind.SBOM: {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "metadata": {"component": {"hashes": [{"alg": "SHA-256", "content": image.digest.hex}]}},
            "components": [],
        },
        EvidenceKind.DIFF: {
            "bump": {"proposed": bump, "reasons": [{"bump": bump, "reason": "package zfs 2.3.1 → 2.3.2"}]}
        },
        EvidenceKind.GATES: {
            "image": str(image.digest),
            "gates": [{"gate": "one-kernel", "verdict": "pass", "summary": "one kernel", "details": []}],
        },
        EvidenceKind.BOOT_TEST: {"image": str(image.digest), "ok": True},
        EvidenceKind.PROVENANCE: {
            "_type": STATEMENT,
            "subject": [{"name": str(repository), "digest": {"sha256": image.digest.hex}}],
            "predicateType": PREDICATE,
            "predicate": {"buildDefinition": {"buildType": "tag:example.org,2026:tiny"}},
        },
    }
    return tuple(Evidence(kind=kind, data=canonical_json(value)) for kind, value in said.items())


class Moments:
    """Counts what a seal does, and kills the process at one moment; at 0 it lives."""

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.seen: list[str] = []

    def __call__(self, what: str) -> None:
        self.seen.append(what)
        if len(self.seen) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class MortalStore(SignedStore):
    """Signatures' store with a moment after each thing that was written."""

    def __init__(self, registry: Registry, referrers: Referrers, moments: Moments) -> None:
        super().__init__(registry, referrers)
        self._moments = moments

    def offer_blob(self, repository: Repository, data: bytes) -> bool:
        done = super().offer_blob(repository, data)
        self._moments("blob")
        return done

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        done = super().put_manifest(repository, reference, data)
        self._moments("signature")
        return done

    def attach(self, repository: Repository, subject: Digest, artifacts: Sequence[Attachment]) -> None:
        for one in artifacts:
            super().attach(repository, subject, [one])
            self._moments("attestation")


def _run(world: SealWorld, wanted: Sequence[Candidate], moments: Moments, said: Path, version: str) -> None:
    registry = world.registry()
    store = MortalStore(registry, world.referrers(registry), moments)
    try:
        made = world.seal(
            *wanted,
            on_step=moments,
            signed=store,
            jobs=1,
            ledger=world.shared_ledger(),
            version=version or None,
        )
    except PipelineError as error:
        said.write_text(f"{error.exit_code} {error.message}")
    else:
        said.write_text("sealed" if any(one.new for one in made) else "already")
        said.with_suffix(".moments").write_text("\n".join(moments.seen))


def begin(
    world: SealWorld,
    wanted: Sequence[Candidate],
    *,
    at: int = 0,
    version: str = "",
    moments: Moments | None = None,
) -> tuple[multiprocessing.process.BaseProcess, Path]:
    """Start a seal in a process of its own, which kills itself at its moment `at`, or what `moments` do."""
    said = world.top.with_suffix(".said")
    said.unlink(missing_ok=True)
    process = multiprocessing.get_context("fork").Process(
        target=_run, args=(world, wanted, moments or Moments(at), said, version)
    )
    process.start()
    return process, said


def end(process: multiprocessing.process.BaseProcess, said: Path) -> str:
    """Wait for it; return what came of it, or "killed"."""
    process.join(900)  # eight at once, each with its git and ssh-keygen, while other things run
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return said.read_text() if process.exitcode == 0 else "killed"
