"""A project with releases, all of it real: a docker-registry, a shared git repository, signed approvals.

The releases are made step by step as a seal leaves them, by hand, so that a test can leave out or forge any
of the steps. A world can be put back to how it was made, which is quicker than to make another one.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import os
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from approvalworld import World
from ledgers import git
from records import candidate as a_candidate
from records import digest
from signingkit import FastSigner
from sshkeys import PROCESSES

from images import TinyImage, push, tiny_image
from pipeline.adapters.authors import GitAuthors
from pipeline.adapters.protected_history import ProtectedHistory
from pipeline.adapters.referrers import Referrers, SignedStore
from pipeline.adapters.registries import Registries
from pipeline.adapters.registry import Registry
from pipeline.adapters.scaffold import ScaffoldFolder, installed_source
from pipeline.adapters.sshsig import SshKey, SshSignatures
from pipeline.domain.decision import Approval, Release
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Digest, Repository, Tier, candidate_tag
from pipeline.domain.lineage import aliases_of
from pipeline.domain.lookback import LookBack
from pipeline.domain.oci import OCI_MANIFEST, Descriptor
from pipeline.domain.predicates import Attest
from pipeline.domain.provenance import BuilderFacts, BuildFacts, statement
from pipeline.domain.record import Candidate, GateRecord, Parent, Record, SourceState
from pipeline.domain.release import Reservation, Seal
from pipeline.verbs.audit import AuditParts
from pipeline.verbs.audit_keys import KeyParts
from pipeline.verbs.evidence import store_evidence
from pipeline.verbs.init import init
from pipeline.verbs.signing import SignOrder, sign_images
from pipeline.verbs.verify_parts import VerifyParts

TIERS = """
[approval.rules.upstream]
people = [{ at_least = 1, role = "managers" }]
[approval.rules.instance]
people = [{ at_least = 1, role = "managers" }]
"""
GATES = (GateRecord(gate="one-kernel", verdict=Verdict.PASS, summary="one kernel"),)
APPROVERS = ("ben", "cleo")
_COUNT = itertools.count()
"""Makes each image another one, also after a world was put back: registries remember what they once had."""


class Quiet:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, name: str, *, log: str | None = None) -> Self:
        del log
        self.said.append(name)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def line(self, text: str) -> None:
        self.said.append(text)

    def note(self, text: str) -> None:
        self.said.append(text)


class ReleaseWorld(World):
    """A project whose releases lie in a registry.

    Args:
        folder: Takes its repositories and keys.
        host: The registry.
    """

    def __init__(self, folder: Path, host: str) -> None:
        super().__init__(folder, rule=TIERS)
        self.host = host
        self.registry = Registry(host, insecure=True)
        self.referrers = Referrers(self.registry, jitter=random.Random(1).random, pause=time.sleep)
        self.signer = FastSigner()
        self.seals: dict[str, Seal] = {}

    def commit(self, subject: str, author: str) -> str:
        """Commit at the world's own time, which is what looking back goes by."""
        git(self.top, "add", "-A")
        date = {f"GIT_{role}_DATE": self.now.isoformat() for role in ("AUTHOR", "COMMITTER")}
        person = f"{author} <{author}@example.org>"
        git(self.top, "commit", "-q", "--allow-empty", "-m", subject, f"--author={person}", env=date)
        return git(self.top, "rev-parse", "HEAD")

    def repository(self, image: str) -> Repository:
        return Repository(registry=self.host, path=f"os/debian/{image}")

    def built(
        self, image: str, tier: Tier, *, on: Seal | None = None, text: str = "", **changes: object
    ) -> tuple[Candidate, dict[str, bytes]]:
        """Push an image with its evidence and record its candidate; return it with its documents."""
        self.now += dt.timedelta(minutes=1)
        tiny = tiny_image(text=text or f"{image}, the {next(_COUNT)}. image here")
        repository = self.repository(image)
        push(self.registry, repository, tiny, candidate_tag(tiny.digest))
        bare = a_candidate(
            1,
            time=self.now,
            author="Ada <ada@example.org>",
            image=image,
            tier=tier,
            repository=repository,
            digest=tiny.digest,
            tag=candidate_tag(tiny.digest),
            parent=None if on is None else Parent(image=on.name, digest=on.digest),
            source=SourceState(commit=git(self.top, "rev-parse", "HEAD"), clean=True),
            started=self.now,
            finished=self.now,
            evidence={},
        )
        documents = documents_of(dataclasses.replace(bare, **changes))  # type: ignore[arg-type]
        hashes = self.stored(repository, tiny, documents)
        record = dataclasses.replace(bare, evidence={**hashes, "build.log": digest(9)}, **changes)  # type: ignore[arg-type]
        self.ledger().append([record])
        return record, documents

    def stored(
        self, repository: Repository, tiny: TinyImage, documents: Mapping[str, bytes]
    ) -> dict[str, Digest]:
        subject = Descriptor(media_type=OCI_MANIFEST, digest=tiny.digest, size=len(tiny.manifest))
        evidence = [Evidence(kind=EvidenceKind(kind), data=data) for kind, data in documents.items()]
        return store_evidence(self.referrers, repository, subject, evidence, created=self.now)

    def approved(self, one: Candidate, version: str, *, by: Sequence[str] = APPROVERS) -> list[Approval]:
        """Have people approve a candidate, with their own keys."""
        self.now += dt.timedelta(minutes=1)
        before = self.look().lineage.newest(f"{one.line}/{one.image}")
        since = None if before is None else self.look().candidate_named(before.candidate)
        follows = None if before is None else Release(version=before.version, digest=before.digest)
        proposal = self.proposal(
            one,
            version,
            None if since is None else since.source.commit,
            predecessor=follows,
            held=frozenset(one.evidence),
        )
        return [self.approve(name, proposal) for name in by]

    def signed_by_hand(self, name: str, one: Candidate, version: str) -> Approval:
        """Record a person's approval that the program would have refused to make."""
        draft = Approval(
            time=self.now,
            author=f"{name} <{name}@example.org>",
            decided=(self.proposal(one, version).decided,),
            what="a newer kernel",
            why="fixes the pool import",
            expires=self.now + dt.timedelta(days=7),
        )
        key = SshKey(PROCESSES, self.keys / name)
        made = dataclasses.replace(draft, proof=key.sign(draft.statement(), f"{name}@example.org"))
        self.write(made)
        return made

    def reserved(self, one: Candidate, version: str, approvals: Sequence[Approval]) -> Reservation:
        record = Reservation(
            time=self.now,
            author="Cleo <cleo@example.org>",
            line=one.line,
            image=one.image,
            repository=one.repository,
            digest=one.digest,
            version=version,
            approvals=tuple(sorted(approval.id for approval in approvals)),
        )
        self.ledger().append([record])
        return record

    def tagged(self, one: Candidate, *tags: str) -> None:
        """Let tags name an image, by its own bytes."""
        data = self.registry.manifest(one.repository.at(one.digest))
        for tag in tags:
            self.registry.put_manifest(one.repository, tag, data)

    def signed(
        self,
        one: Candidate,
        documents: Mapping[str, bytes],
        approvals: Sequence[Approval],
        *,
        signer: FastSigner | None = None,
        names: Sequence[str] = ("sbom", "provenance", "boot-test", "approval"),
    ) -> dict[str, Digest]:
        """Sign an image and attest to it; return what its seal names."""
        order = SignOrder(
            repository=one.repository,
            subject=self.registry.resolve(one.repository.at(one.digest)),
            attestations=tuple(attest for attest in attests(documents, approvals) if attest.name in names),
            created=self.now,
        )
        store = SignedStore(self.registry, self.referrers)
        return sign_images([order], signer or self.signer, store)[one.digest]

    def seal_of(
        self,
        one: Candidate,
        version: str,
        approvals: Sequence[Approval],
        signatures: Mapping[str, Digest],
        **changes: object,
    ) -> Seal:
        """Return the record of a release as a seal writes it."""
        look = self.look()
        before = look.lineage.newest(f"{one.line}/{one.image}")
        parent = None if one.parent is None else look.lineage.by_digest(one.parent.digest)
        made = Seal(
            time=self.now,
            author="Cleo <cleo@example.org>",
            line=one.line,
            image=one.image,
            repository=one.repository,
            digest=one.digest,
            version=version,
            tier=one.tier,
            candidate=one.id,
            approvals=tuple(sorted(approval.id for approval in approvals)),
            parent=None if parent is None else Release(version=parent.version, digest=parent.digest),
            predecessor=None if before is None else Release(version=before.version, digest=before.digest),
            evidence=one.evidence,
            signatures=signatures,
            aliases=aliases_of(version, one.tier),
            git_tag=f"{one.line}/{one.image}/v{version}",
            bump=("minor", "a newer kernel"),
            what="a newer kernel",
            why="fixes the pool import",
            approvers=tuple(sorted(a.proof.identity for a in approvals if a.proof is not None)),
        )
        return dataclasses.replace(made, **changes)  # type: ignore[arg-type]

    def release(self, image: str, tier: Tier, version: str = "1.0.0", *, on: Seal | None = None) -> Seal:
        """Build, approve and seal an image as everybody should."""
        one, documents = self.built(image, tier, on=on)
        approvals = self.approved(one, version)
        self.reserved(one, version, approvals)
        self.tagged(one, f"v{version}")
        signatures = self.signed(one, documents, approvals)
        self.tagged(one, *aliases_of(version, tier))
        self.now += dt.timedelta(minutes=1)
        seal = self.seal_of(one, version, approvals, signatures)
        self.ledger().append([seal])
        self.seals[f"{image} {version}"] = seal
        return seal

    def settle(self) -> None:
        """Put definitions and settings into the checkout, as the command line needs them."""
        scaffold = self.top.parent / "scaffold"
        source = ScaffoldFolder(installed_source())
        init(source, scaffold, line="debian", registry=f"{self.host}/os", insecure=True)
        (self.images / "keys/release.pub").write_text(self.signer.key.pem)
        approval = (self.images / "pipeline.toml").read_text()
        rest = (scaffold / "images/pipeline.toml").read_text()
        (self.images / "pipeline.toml").write_text(rest + approval)
        for name in ("images/debian", "Containerfiles"):
            (scaffold / name).rename(self.top / name)

    def write(self, *records: Record) -> None:
        self.ledger().append(records)

    def look(self) -> LookBack:
        return LookBack(self.ledger().read())

    def registries(self) -> Registries:
        return Registries(lambda host: (self.registry, self.referrers))

    def verify_parts(self) -> VerifyParts:
        history, store = ProtectedHistory(self.images, remote="origin"), self.registries()
        return VerifyParts(
            look=self.look(),
            registry=store,
            evidence=store,
            signed=store,
            keys=(self.signer.key,),
            rules=history,
            signatures=SshSignatures(PROCESSES),
            authors=GitAuthors(self.images),
            newcomers=history,
        )

    def audit_parts(self, **changes: object) -> AuditParts:
        made = AuditParts(
            ledger=self.ledger(),
            store=self.registries(),
            defined={},
            keys=(self.signer.key,),
            people=KeyParts(rules=self.rules(), signatures=SshSignatures(PROCESSES)),
            reporter=Quiet(),
        )
        return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def documents_of(one: Candidate) -> dict[str, bytes]:
    """Return the evidence of a candidate, in the forms this program writes."""
    hashes = [{"alg": "SHA-256", "content": one.digest.hex}]
    above = [] if one.parent is None else [{"hashes": [{"alg": "SHA-256", "content": one.parent.digest.hex}]}]
    sbom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "metadata": {"component": {"name": one.image, "hashes": hashes, "pedigree": {"ancestors": above}}},
    }
    gates = [
        {"gate": gate.gate, "verdict": gate.verdict, "summary": gate.summary, "details": []}
        for gate in one.gates
    ]
    facts = BuildFacts(definition=f"debian/{one.image}.toml", timestamp=0)
    texts = {
        "sbom": sbom,
        "diff": {"bump": {"proposed": "minor", "reasons": []}, "new": str(one.digest)},
        "gates": {"image": str(one.digest), "gates": gates},
        "boot-test": {"ok": True, "image": str(one.digest)},
    }
    documents = {kind: json.dumps(value).encode() for kind, value in texts.items()}
    return {**documents, "provenance": statement(one, facts, BuilderFacts(versions={"pipeline": "0"}), {})}


def attests(documents: Mapping[str, bytes], approvals: Sequence[Approval]) -> tuple[Attest, ...]:
    """Return what a seal attests to."""
    said = {kind: json.loads(documents[kind]) for kind in ("sbom", "provenance", "boot-test")}
    return (
        Attest(name="sbom", predicate_type="https://cyclonedx.org/bom", predicate=said["sbom"]),
        Attest(
            name="provenance",
            predicate_type=said["provenance"]["predicateType"],
            predicate=said["provenance"]["predicate"],
        ),
        Attest(name="boot-test", predicate_type="tag:example.org,2026:boot", predicate=said["boot-test"]),
        Attest(
            name="approval",
            predicate_type="https://in-toto.io/attestation/svr/v0.1",
            predicate={"approvals": [one.id for one in approvals]},
        ),
    )


class Restorable:
    """Folders that can be put back to how they were kept.

    Args:
        kept: Takes the copies; those that are there already, of these folders in this order, are used.
        folders: What is kept.
    """

    def __init__(self, kept: Path, *folders: Path) -> None:
        self.kept = kept
        self._pairs = [(folder, kept / str(number)) for number, folder in enumerate(folders)]
        for folder, copy in self._pairs:
            if not copy.exists():
                shutil.copytree(folder, copy, symlinks=True)

    def restore(self) -> None:
        for folder, copy in self._pairs:
            _restore(folder, copy)

    def untouched(self) -> bool:
        """Whether every file is as it was kept, by size and time."""
        return all(_untouched(folder, copy) for folder, copy in self._pairs)


def _untouched(folder: Path, copy: Path) -> bool:
    wanted = {entry.name: entry for entry in os.scandir(copy)}
    there = {entry.name: entry for entry in os.scandir(folder)}
    return there.keys() == wanted.keys() and all(
        _same(entry, wanted[name])
        and (not entry.is_dir(follow_symlinks=False) or _untouched(folder / name, copy / name))
        for name, entry in there.items()
    )


def _restore(folder: Path, copy: Path) -> None:
    """Make a folder what its copy is; what has the size and time of then is left alone."""
    wanted = {entry.name: entry for entry in os.scandir(copy)}
    there = {entry.name: entry for entry in os.scandir(folder)}
    for name, entry in there.items():
        if name in wanted and _same(entry, wanted[name]):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            Path(entry.path).unlink()
    for name, entry in wanted.items():
        target = folder / name
        if entry.is_dir(follow_symlinks=False) and target.is_dir():
            _restore(target, Path(entry.path))
        elif entry.is_dir(follow_symlinks=False):
            shutil.copytree(entry.path, target, symlinks=True)
        elif not os.path.lexists(target):
            shutil.copy2(entry.path, target, follow_symlinks=False)


def _same(one: os.DirEntry[str], other: os.DirEntry[str]) -> bool:
    if one.is_dir(follow_symlinks=False) or other.is_dir(follow_symlinks=False):
        return one.is_dir(follow_symlinks=False) and other.is_dir(follow_symlinks=False)
    mine, theirs = (entry.stat(follow_symlinks=False) for entry in (one, other))
    facts = ("st_mode", "st_size", "st_mtime_ns")
    return all(getattr(mine, fact) == getattr(theirs, fact) for fact in facts)
