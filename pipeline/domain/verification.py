"""What was checked of a release and of every tier below it, and what documents of evidence say of an image.

Rules: a check has a name, says what it saw, and lists everything that is wrong, not the first of it; a
release verifies when nothing is wrong in it nor in anything it is built on. Notes are what a person should
know and what makes nothing wrong: a yank, a rule that was weakened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.domain.dossier.reading import Fields, NotUnderstoodError
from pipeline.domain.image import Digest, Repository, Tier
from pipeline.domain.provenance import PREDICATE
from pipeline.domain.record import Candidate
from pipeline.domain.text import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What, in a word: the same in every release.
        said: What was seen, for people.
        problems: What is wrong with it; nothing when it is good.
        notes: What is good and should be known.
    """

    name: str
    said: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class TierChecked:
    """One release of the chain.

    Attributes:
        name: `line/image`.
        version: MAJOR.MINOR.PATCH, "" for what is no release.
        tier: Its tier, None for what is no release.
        repository, digest: The image.
        checks: In the order they were made.
    """

    name: str
    version: str = ""
    tier: Tier | None = None
    repository: Repository
    digest: Digest
    checks: tuple[Check, ...]

    @property
    def title(self) -> str:
        """The release in a few words."""
        return f"{self.name} v{self.version}" if self.version else f"{self.name}@{self.digest}"

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, each with the release and the check."""
        return tuple(
            f"{self.title}: {one.name}: {problem}" for one in self.checks for problem in one.problems
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A release and everything it is built on, itself first."""

    tiers: tuple[TierChecked, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is wrong; nothing for a release that verifies."""
        return tuple(problem for tier in self.tiers for problem in tier.problems)

    @property
    def ok(self) -> bool:
        """Whether it verifies: something was looked at, and nothing is wrong."""
        return bool(self.tiers) and not self.problems


def sbom_problems(data: bytes, candidate: Candidate) -> tuple[str, ...]:
    """Return in what an SBOM speaks of another image than a candidate."""
    return _problems(_sbom, data, candidate)


def provenance_problems(data: bytes, candidate: Candidate) -> tuple[str, ...]:
    """Return in what a provenance names another image, commit, parent or run than a candidate's record."""
    return _problems(_provenance, data, candidate)


def parsed(data: bytes) -> Any:
    """Return a document's JSON.

    Raises:
        NotUnderstoodError: It is none.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotUnderstoodError(f"it is no JSON: {plain(str(error), 120)}") from error


def _problems(judge: Any, data: bytes, candidate: Candidate) -> tuple[str, ...]:
    try:
        return tuple(judge(parsed(data), candidate))
    except NotUnderstoodError as error:
        return (f"it is not understood: {plain(str(error), 200)}",)


def _sbom(document: Any, candidate: Candidate) -> Iterator[str]:
    fields = Fields(document, "sbom")
    if fields.text("bomFormat") != "CycloneDX":
        yield "it is no CycloneDX document"
    root = fields.object("metadata").object("component")
    covers = [one.text("content") for one in root.objects("hashes") if one.text("alg") == "SHA-256"]
    if covers != [candidate.digest.hex]:
        yield f"it covers {_shown(covers)}, not {candidate.digest.hex}"
    ancestors = [
        hashed.text("content")
        for one in (root.object("pedigree").objects("ancestors") if "pedigree" in root else ())
        for hashed in one.objects("hashes")
    ]
    parent = [] if candidate.parent is None else [candidate.parent.digest.hex]
    if ancestors and ancestors != parent:
        yield f"it names the parent {_shown(ancestors)}, the image was built on {_shown(parent)}"


def _provenance(document: Any, candidate: Candidate) -> Iterator[str]:
    fields = Fields(document, "provenance")
    if fields.text("predicateType") != PREDICATE:
        yield f"it is of the type {plain(fields.text('predicateType'), 80)}, not {PREDICATE}"
    subjects = [one.object("digest").text("sha256", "") for one in fields.objects("subject")]
    if subjects != [candidate.digest.hex]:
        yield f"it is of {_shown(subjects)}, not of {candidate.digest.hex}"
    definition = fields.object("predicate").object("buildDefinition")
    inside = definition.object("internalParameters")
    named = [pair for one in definition.objects("resolvedDependencies") for pair in one.pairs("digest")]
    commits = [value for kind, value in named if kind == "gitCommit"]
    expected = [] if candidate.source.commit is None else [candidate.source.commit]
    if commits != expected:
        yield f"it names the commit {_shown(commits)}, the ledger {_shown(expected)}"
    if candidate.parent is not None and ("sha256", candidate.parent.digest.hex) not in named:
        yield f"it does not name the parent {candidate.parent.digest}"
    if inside.text("run") != candidate.run:
        yield f"it is of the run {plain(inside.text('run'), 80)}, the ledger says {candidate.run}"


def _shown(values: list[str]) -> str:
    return ", ".join(plain(one, 80) for one in values) or "none"
