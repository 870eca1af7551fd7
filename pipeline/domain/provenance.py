"""Provenance: who built a candidate from what, as a SLSA v1 predicate in an in-toto statement.

Rules: only what was seen is written, and what is not known is left out instead of guessed; what has a digest
is named by it, a package that has none here by its name and version; the SLSA level is the most that holds,
with the reason and what has still to be true for it; uncommitted sources are said. Same facts, same bytes.
Each tier has a build type of its own, explained in `docs/build-types.md`.
Grammar: https://slsa.dev/spec/v1.1/provenance and in-toto's Statement and ResourceDescriptor, version 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from pipeline.domain.canonical import Json, canonical_json
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.image import Digest, Repository, Tier
from pipeline.domain.oci import OCI_CONFIG, OCI_MANIFEST
from pipeline.domain.record import Candidate, RecordedPins, SourceState, harmless
from pipeline.domain.record_codec import stamp
from pipeline.errors import UsageError

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"

AUTHORITY = "tag:bootc-pipeline,2026:"
"""Begin of the names this project gives: they name, and lead nowhere (RFC 4151)."""

_REMOTES = frozenset({"https", "http", "ssh", "git"})
_LOG = "log "

_WORKSTATION = (
    "built on a machine that its user controls, by the program that also wrote this statement: "
    "it exists and is complete, which is Build L1; nobody else vouches for it"
)
_HOSTED = (
    "built by a job of a hosted CI platform, in an environment its users do not keep; the job itself wrote "
    "this statement, so it is Build L2 only for whoever trusts the platform's word on the job, and never L3"
)
_SOURCES = "the lines of sha256sum over the files of the source, each as ./path, sorted by path"
_CONDITION = "the statement is signed with the identity that the CI platform gave to this job"


@dataclass(frozen=True, slots=True, kw_only=True)
class CiJob:
    """A job of a CI platform.

    Attributes:
        url: Address of the job; identifies the invocation.
        project: Address of the project it belongs to.
        runner: The platform's id of the runner.
        ref: Branch or tag it ran for, "" where none is told.
    """

    url: str
    project: str
    runner: str
    ref: str = ""

    def __post_init__(self) -> None:
        for address in (self.url, self.project):
            if urlsplit(address).scheme not in _REMOTES or not urlsplit(address).netloc:
                raise UsageError(
                    f"{address!r} is no address of a CI job or project",
                    hint="leave the CI's variables as the platform sets them",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderFacts:
    """Who builds; the same for all images of a run.

    Attributes:
        versions: Program to version, this one among them.
        ci: The CI job; None on a workstation.
        remote: Address of the repository that holds the definitions, as git has it; "" for none. Logins in
            it are never passed on.
    """

    versions: Mapping[str, str]
    ci: CiJob | None = None
    remote: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """What one build was asked for and what it used, beside what its candidate says.

    Attributes:
        definition: The definition file, as problems name it.
        timestamp: Seconds since the epoch that the files of the image bear.
        options: Options of the command line that have a bearing on the result.
        files: Path of a definition, Containerfile, script or key to the digest of its bytes.
        packages: Words that were given to the package manager: `name=version`, or `name` where any would do.
        ecosystem: Begin of a package's purl after `pkg:`: `deb/debian`, `rpm/centos`.
        stages: Name of a builder stage to the digest of its image's config, which is its local id.
        sources: Word of a package that brought sources to be compiled to the digest of those sources.
    """

    definition: str
    timestamp: int
    options: Mapping[str, Json] = field(default_factory=dict)
    files: Mapping[str, Digest] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    ecosystem: str = ""
    stages: Mapping[str, Digest] = field(default_factory=dict)
    sources: Mapping[str, Digest] = field(default_factory=dict)


def ci_job(variables: Mapping[str, str]) -> CiJob | None:
    """Return the GitLab job whose predefined variables these are; None when it is none, or not surely one.

    Raises:
        UsageError: Its addresses are none.
    """
    url, project, runner = (
        variables.get(name, "") for name in ("CI_JOB_URL", "CI_PROJECT_URL", "CI_RUNNER_ID")
    )
    if not (variables.get("GITLAB_CI") and url and project and runner):
        return None
    return CiJob(url=url, project=project, runner=runner, ref=variables.get("CI_COMMIT_REF_NAME", ""))


def build_type(tier: Tier) -> str:
    """Return the name of the build type of a tier; `docs/build-types.md` says what it stands for."""
    return f"{AUTHORITY}build-type/{tier.value}/v1"


def statement(
    candidate: Candidate, facts: BuildFacts, builder: BuilderFacts, byproducts: Mapping[str, Digest]
) -> bytes:
    """Return the provenance of a candidate, canonical JSON.

    Args:
        candidate: What was built; its own evidence is not read, for this statement becomes a part of it.
        facts: What it was built from.
        builder: Who built it.
        byproducts: What came out beside the image, by the name evidence has: logs, gates, SBOM.
    """
    return canonical_json(
        {
            "_type": STATEMENT,
            "subject": [{"name": str(candidate.repository), "digest": _sha256(candidate.digest)}],
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": build_type(candidate.tier),
                    "externalParameters": _external(candidate, facts),
                    "internalParameters": _internal(candidate, builder),
                    "resolvedDependencies": list(_dependencies(candidate, facts, builder)),
                },
                "runDetails": {
                    "builder": {"id": builder_id(candidate, builder), "version": dict(builder.versions)},
                    "metadata": {
                        "invocationId": _invocation(candidate, builder),
                        "startedOn": stamp(candidate.started),
                        "finishedOn": stamp(candidate.finished),
                    },
                    "byproducts": [_byproduct(name, byproducts[name]) for name in sorted(byproducts)],
                },
            },
        }
    )


def builder_id(candidate: Candidate, builder: BuilderFacts) -> str:
    """Return the URI of who is to be trusted that the rest is true: a CI runner, or a user's machine."""
    if builder.ci is None:
        return f"{AUTHORITY}workstation/{quote(candidate.builder.identity, safe='@')}"
    return f"{builder.ci.project.rstrip('/')}/-/runners/{quote(builder.ci.runner, safe='')}"


def claim(builder: BuilderFacts) -> dict[str, Json]:
    """Return the SLSA build level that holds, why, and on which conditions."""
    if builder.ci is None:
        return {"buildLevel": 1, "why": _WORKSTATION, "conditions": []}
    return {"buildLevel": 2, "why": _HOSTED, "conditions": [_CONDITION]}


def _external(candidate: Candidate, facts: BuildFacts) -> dict[str, Json]:
    return {
        "line": candidate.line,
        "image": candidate.image,
        "tier": candidate.tier.value,
        "definition": harmless(facts.definition),
        "sourceDateEpoch": facts.timestamp,
        "options": dict(facts.options),
    }


def _internal(candidate: Candidate, builder: BuilderFacts) -> dict[str, Json]:
    found: dict[str, Json] = {
        "run": candidate.run,
        "identity": candidate.builder.identity,
        "host": candidate.builder.host,
        "source": _source(candidate.source),
        "slsa": claim(builder),
    }
    if candidate.pins is not None:
        found["pins"] = _pins(candidate.pins)
    if builder.ci is not None:
        found["ref"] = builder.ci.ref
    return found


def _pins(pins: RecordedPins) -> dict[str, Json]:
    return {"kernel": pins.kernel, "kernelDevel": pins.kernel_devel, "modules": dict(pins.modules)}


def _source(source: SourceState) -> dict[str, Json]:
    if source.commit is None:
        says = "no commit is known: the files this was built from are named by their digests alone"
    elif source.clean is None:
        says = "it is not known whether everything that was built is in the commit"
    elif source.clean:
        says = "everything that was built is in the commit"
    else:
        says = "files that are in no commit went into this build: the commit alone does not give this image"
    return {"commit": source.commit, "clean": source.clean, "changed": list(source.dirty), "says": says}


def _dependencies(
    candidate: Candidate, facts: BuildFacts, builder: BuilderFacts
) -> Iterator[dict[str, Json]]:
    if candidate.source.commit is not None:
        yield _commit(candidate.source, builder.remote)
    for path in sorted(facts.files):
        yield {"name": harmless(path), "digest": _sha256(facts.files[path])}
    yield from _images(candidate)
    for name in sorted(facts.stages):
        yield {
            "name": f"stage {name}",
            "digest": _sha256(facts.stages[name]),
            "mediaType": OCI_CONFIG,
            "annotations": {"kept": False, "digestOf": "the config of the stage's image"},
        }
    for word in sorted(set(facts.packages)):
        yield _package(word, facts.ecosystem)
    for word in sorted(facts.sources):
        package = _package(word, facts.ecosystem)
        yield {
            "name": f"source in {package['name']}",
            "digest": _sha256(facts.sources[word]),
            "annotations": {"digestOf": _SOURCES, "package": package["uri"]},
        }
    if candidate.packages is not None:
        yield {
            "name": "installed packages",
            "digest": _sha256(candidate.packages),
            "annotations": {"digestOf": "canonical JSON of the sorted rows name, version, architecture"},
        }


def _images(candidate: Candidate) -> Iterator[dict[str, Json]]:
    if candidate.origin is not None:
        registry, _, rest = candidate.origin.reference.partition("/")
        path = rest.partition("@")[0].partition(":")[0]
        yield _image(candidate.origin.reference, registry, path, candidate.origin.digest)
    if candidate.parent is not None:
        name, own = candidate.parent.image, f"{candidate.line}/{candidate.image}"
        path = candidate.repository.path.removesuffix(own) + name  # the project's images lie side by side
        yield _image(name, candidate.repository.registry, path, candidate.parent.digest)


def _commit(source: SourceState, remote: str) -> dict[str, Json]:
    found: dict[str, Json] = {
        "name": "definitions",
        "digest": {"gitCommit": source.commit},
        "annotations": {"clean": source.clean},
    }
    uri = git_uri(remote)
    return {**found, "uri": f"{uri}@{source.commit}"} if uri else found


def git_uri(remote: str) -> str:
    """Return a remote as a URI without any login in it; "" for a path of this machine or no remote."""
    user, colon, path = remote.partition(":")
    if colon and "/" not in user and not path.startswith("//"):  # scp's form, user@host:path
        if "@" in path or path.startswith(":"):  # a password, perhaps, or a helper program and its words
            return ""
        return f"git+ssh://{quote(user.rpartition('@')[2])}/{quote(path.lstrip('/'))}"
    try:
        parts = urlsplit(remote)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if parts.scheme not in _REMOTES or not host:
        return ""
    host = f"[{host}]" if ":" in host else host
    scheme = "git" if parts.scheme == "git" else f"git+{parts.scheme}"
    return f"{scheme}://{host}{f':{port}' if port else ''}{quote(parts.path, safe='/%~')}"


def _image(name: str, registry: str, path: str, digest: Digest) -> dict[str, Json]:
    found: dict[str, Json] = {"name": name, "digest": _sha256(digest), "mediaType": OCI_MANIFEST}
    try:
        return {**found, "uri": oci_purl(Repository(registry=registry, path=path), digest)}
    except UsageError:  # a record may name an image in a form of its time; its digest names it all the same
        return found


def oci_purl(repository: Repository, digest: Digest) -> str:
    """Return an image's package URL."""
    name = repository.path.rpartition("/")[2].lower()
    return f"pkg:oci/{quote(name, safe='')}@{digest}?repository_url={quote(str(repository), safe=':/')}"


def _package(word: str, ecosystem: str) -> dict[str, Json]:
    name, equals, version = word.partition("=")
    purl = f"pkg:{ecosystem or 'generic'}/{quote(name, safe='')}"
    return {"name": name, "uri": f"{purl}@{quote(version, safe=':~')}" if equals else purl}


def _byproduct(name: str, digest: Digest) -> dict[str, Json]:
    found: dict[str, Json] = {"name": name, "digest": _sha256(digest)}
    if name in set(EvidenceKind):
        found["mediaType"] = EvidenceKind(name).media_type
    elif name.startswith(_LOG):
        found["mediaType"] = "text/plain"
    return found


def _invocation(candidate: Candidate, builder: BuilderFacts) -> str:
    return candidate.run if builder.ci is None else f"{builder.ci.url}#{quote(candidate.run)}"


def _sha256(digest: Digest) -> dict[str, Json]:
    return {"sha256": digest.hex}
