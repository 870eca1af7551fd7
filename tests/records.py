"""Records for tests: candidates, releases and what became of them, and strategies that make any."""

from __future__ import annotations

import dataclasses
import datetime as dt

from hypothesis import strategies as st

from pipeline.domain.decision import Approval, Decided, Method, Proof, Rejection, Release, Withdrawal
from pipeline.domain.gate import Verdict
from pipeline.domain.image import RELEASE_TAG, Digest, Repository, Tier
from pipeline.domain.lineage import aliases_of
from pipeline.domain.record import (
    Builder,
    Candidate,
    GateRecord,
    Origin,
    Parent,
    Record,
    RecordedPins,
    SourceState,
    harmless,
)
from pipeline.domain.release import Deployment, Removed, Reservation, Retention, Seal, Step, Yank

NOON = dt.datetime(2026, 11, 21, 12, 0, 0, tzinfo=dt.UTC)


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number:064x}")


def candidate(number: int = 1, **changes: object) -> Candidate:
    """A base image of the Debian line; the number makes it another one."""
    base = Candidate(
        time=NOON + dt.timedelta(seconds=number),
        author="Ada <ada@example.org>",
        run="run-1",
        line="debian",
        image="base",
        tier=Tier.BASE,
        repository=Repository(registry="127.0.0.1:5000", path="os/debian/base"),
        digest=digest(number),
        tag=f"candidate-{number:016x}",
        parent=Parent(image="debian/upstream", digest=digest(7)),
        pins=RecordedPins(kernel="6.12.94+deb13-amd64", kernel_devel="6.12.94-1", modules={"zfs": "2.3.2"}),
        source=SourceState(commit="a" * 40, clean=True),
        gates=(GateRecord(gate="one-kernel", verdict=Verdict.PASS, summary="one kernel"),),
        builder=Builder(identity="ada@laptop", host="workstation"),
        started=NOON,
        finished=NOON + dt.timedelta(minutes=5),
        packages=digest(8),
        evidence={"build.log": digest(9)},
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def reservation(version: str = "1.0.0", number: int = 1, **changes: object) -> Reservation:
    """The version of `candidate(number)` that is about to be sealed."""
    return Reservation(**{**_of(version, number), "approvals": (), **changes})  # type: ignore[arg-type]


def seal(version: str = "1.0.0", number: int = 1, **changes: object) -> Seal:
    """A release of `candidate(number)`; `of` makes it another candidate's."""
    of = changes.pop("of", None) or candidate(number)
    assert isinstance(of, Candidate)
    base = {
        **_of(version, number, of),
        "tier": of.tier,
        "candidate": of.id,
        "approvals": (),
        "aliases": aliases_of(version, of.tier),
        "evidence": of.evidence,
        "what": "a newer kernel",
        "why": "fixes the pool import",
        "approvers": ("ben@example.org", "cleo@example.org"),
        "bump": ("minor", "zfs 2.3.2 in place of 2.3.1"),
    }
    return Seal(**{**base, **changes})  # type: ignore[arg-type]


def yank(of: Seal, why: str = "zfs.ko does not load", **changes: object) -> Yank:
    """The record that a release is bad, a day later."""
    base = {**_same(of), "time": of.time + dt.timedelta(days=1), "why": why}
    return Yank(**{**base, **changes})  # type: ignore[arg-type]


def deployment(of: Seal, step: Step = Step.BOOTED, **changes: object) -> Deployment:
    """A step of bringing a release to the host its image is named like, an hour later."""
    base = {
        **_same(of),
        "time": of.time + dt.timedelta(hours=1),
        "host": of.image,
        "step": step,
        "why": "the change of November",
    }
    return Deployment(**{**base, **changes})  # type: ignore[arg-type]


def _of(version: str, number: int, of: Candidate | None = None) -> dict[str, object]:
    one = of or candidate(number)
    return {
        "time": one.time + dt.timedelta(hours=1),
        "author": "Cleo <cleo@example.org>",
        "line": one.line,
        "image": one.image,
        "repository": one.repository,
        "digest": one.digest,
        "version": version,
    }


def _same(of: Seal) -> dict[str, object]:
    names = ("author", "line", "image", "repository", "digest", "version")
    return {name: getattr(of, name) for name in names}


times = st.datetimes(min_value=dt.datetime(1970, 1, 1), timezones=st.just(dt.UTC)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0)
)
digests = st.binary(min_size=32, max_size=32).map(lambda data: Digest(f"sha256:{data.hex()}"))
texts = st.text(max_size=60).map(harmless)
words = texts.filter(bool)
names = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,60}", fullmatch=True).filter(
    lambda tag: not RELEASE_TAG.fullmatch(tag)
)
sources = st.builds(
    SourceState,
    commit=st.none() | st.binary(min_size=20, max_size=20).map(bytes.hex),
    clean=st.none() | st.just(False),
    dirty=st.lists(words, max_size=3).map(tuple),
) | st.builds(SourceState, commit=st.just("b" * 64), clean=st.just(True))
gates = st.builds(GateRecord, gate=words, verdict=st.sampled_from(Verdict), summary=texts)
pins = st.builds(
    RecordedPins, kernel=words, kernel_devel=words, modules=st.dictionaries(words, words, max_size=3)
)
candidates = st.builds(
    Candidate,
    time=times,
    author=words,
    run=words,
    line=names,
    image=names,
    tier=st.sampled_from(Tier),
    repository=st.builds(
        Repository, registry=st.sampled_from(["localhost", "127.0.0.1:5000", "[::1]:5000"]), path=names
    ),
    digest=digests,
    tag=tags,
    parent=st.none() | st.builds(Parent, image=words, digest=digests),
    origin=st.none() | st.builds(Origin, reference=words, digest=digests),
    pins=st.none() | pins,
    source=sources,
    gates=st.lists(gates, max_size=3).map(tuple),
    builder=st.builds(Builder, identity=words, host=words),
    started=times,
    finished=times,
    packages=st.none() | digests,
    evidence=st.dictionaries(words, digests, max_size=3),
)
ids = st.binary(min_size=32, max_size=32).map(bytes.hex)
versions = st.tuples(*[st.integers(0, 999)] * 3).map(lambda parts: ".".join(map(str, parts)))
repositories = st.builds(Repository, registry=st.just("127.0.0.1:5000"), path=names)
releases = st.builds(Release, version=versions, digest=digests)
proofs = st.builds(
    Proof,
    method=st.sampled_from(Method),
    identity=words,
    key=words,
    text=st.from_regex(r"[A-Za-z0-9+/=._-]{1,80}", fullmatch=True),
)
evidence = st.dictionaries(words, digests, max_size=3)
decided = st.builds(
    Decided, line=names, image=names, tier=st.sampled_from(Tier), repository=repositories, digest=digests,
    candidate=ids, version=versions, predecessor=st.none() | releases, evidence=evidence,
)  # fmt: skip
several = st.lists(decided, min_size=1, max_size=3, unique_by=lambda one: one.name).map(
    lambda found: tuple(sorted(found, key=lambda one: one.name))
)
sorted_ids = st.lists(ids, max_size=3, unique=True).map(sorted).map(tuple)
maybe_proof = st.none() | proofs
of_version = {
    "time": times, "author": words, "line": names, "image": names, "repository": repositories,
    "digest": digests, "version": versions,
}  # fmt: skip
decisions: tuple[st.SearchStrategy[Record], ...] = (
    st.builds(
        Approval, time=times, author=words, why=words, proof=maybe_proof, decided=several, what=words,
        expires=st.just(dt.datetime(9999, 1, 1, tzinfo=dt.UTC)),
    ),
    st.builds(Rejection, time=times, author=words, why=words, proof=maybe_proof, decided=several),
    st.builds(
        Withdrawal, time=times, author=words, why=words, proof=maybe_proof, approval=ids,
        images=st.lists(words, max_size=2).map(tuple),
    ),
)  # fmt: skip
outcomes: tuple[st.SearchStrategy[Record], ...] = (
    st.builds(Reservation, approvals=sorted_ids, **of_version),
    st.builds(
        Seal, tier=st.sampled_from(Tier), candidate=ids, approvals=sorted_ids, parent=st.none() | releases,
        predecessor=st.none() | releases, evidence=evidence, signatures=evidence, git_tag=texts, what=words,
        aliases=st.lists(words, max_size=2).map(tuple), bump=st.lists(words, max_size=2).map(tuple),
        why=words, approvers=st.lists(words, max_size=2).map(tuple), **of_version,
    ),
    st.builds(Yank, why=words, **of_version),
    st.builds(
        Deployment, host=names, step=st.sampled_from(Step), why=words, before=st.none() | releases,
        **of_version,
    ),
    st.builds(
        Retention, time=times, author=words,
        removed=st.lists(
            st.builds(Removed, repository=repositories, digest=digests, reason=words), min_size=1, max_size=3
        ).map(tuple),
    ),
)  # fmt: skip
records = st.one_of(candidates, *decisions, *outcomes)
