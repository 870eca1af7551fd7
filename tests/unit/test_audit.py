"""How the tags, proofs and keys of releases are judged, without a registry."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from approvalkit import SIGNERS, approval, decided, settings
from hypothesis import given
from hypothesis import strategies as st
from records import NOON, candidate, deployment, digest, reservation, seal, yank
from releaseworld import Quiet
from rich.console import Console
from signingkit import FastSigner, MemoryStore

from images import tiny_image
from pipeline.arguments.auditing import add_audit, add_verify
from pipeline.arguments.common import Parser
from pipeline.domain.allowed_signers import AllowedSigners
from pipeline.domain.approvals import Proved, Signed, Unproved
from pipeline.domain.artifact import Listing, artifact_of, evidence_tag
from pipeline.domain.audit import (
    AuditReport,
    Finding,
    Home,
    What,
    homes_of,
    parent_findings,
    tag_findings,
    yanked_findings,
)
from pipeline.domain.decision import Decision, Release
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.image import Digest, ImageRef, Repository, Tier
from pipeline.domain.lookback import LookBack
from pipeline.domain.oci import OCI_MANIFEST, Descriptor, digest_of
from pipeline.domain.predicates import Attest
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.record import Candidate, Record
from pipeline.domain.release import Removed, Retention, Seal, Step
from pipeline.domain.signature import signature_tag
from pipeline.errors import NotFoundError, UsageError
from pipeline.render.audit import show_audit
from pipeline.verbs.audit import AuditParts, audit
from pipeline.verbs.audit_keys import KeyParts, key_findings
from pipeline.verbs.signing import SignOrder, sign_images

HOUR = dt.timedelta(hours=1)
WEB = Repository(registry="127.0.0.1:5000", path="os/debian/web-1")


def host(number: int) -> Candidate:
    return candidate(number, image="web-1", tier=Tier.INSTANCE, repository=WEB)


def releases(*versions: str) -> list[Record]:
    """A host's releases, each reserved before it was sealed."""
    made: list[Record] = []
    for number, version in enumerate(versions, 1):
        one = host(number)
        made += [one, reservation(version, number, image="web-1", repository=WEB), seal(version, of=one)]
    return made


def seals(ledger: Sequence[Record]) -> list[Seal]:
    return [one for one in ledger if isinstance(one, Seal)]


def home(ledger: Sequence[Record], **changes: Digest | None) -> Home:
    """The repository as the ledger says it is, but for tags that are given; None takes one away."""
    named = dict(LookBack(ledger).lineage.tags("debian/web-1"))
    for tag, value in changes.items():
        name = tag.replace("_", ".")
        if value is None:
            named.pop(name, None)
        else:
            named[name] = value
    return Home(image="debian/web-1", repository=WEB, tags=frozenset({*named, "candidate-1"}), named=named)


def judged(ledger: Sequence[Record], **changes: Digest | None) -> list[tuple[What, str]]:
    return [(one.what, one.release) for one in tag_findings(home(ledger, **changes), LookBack(ledger))]


THREE = releases("1.0.0", "1.0.1", "2.0.0")


def test_a_registry_as_the_ledger_says_has_no_findings() -> None:
    assert judged(THREE) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"v1_0_0": digest(99)}, [(What.REPUSHED, "v1.0.0")]),
        ({"v1_0_0": digest(2)}, [(What.MOVED, "v1.0.0")]),
        ({"v1_0_0": None}, [(What.DELETED, "v1.0.0")]),
        ({"v3": digest(3)}, [(What.ADDED, "v3")]),
        ({"latest": digest(3)}, [(What.ADDED, "latest")]),
        ({"v1": digest(1)}, [(What.MOVED, "v1")]),
        ({"current": digest(1)}, [(What.CHANNEL, "current")]),
        ({"current": digest(99)}, [(What.CHANNEL, "current")]),
        ({"current": None}, [(What.DELETED, "current")]),
    ],
)
def test_each_way_a_tag_can_be_wrong_has_its_name(
    changes: dict[str, Digest | None], expected: list[tuple[What, str]]
) -> None:
    assert judged(THREE, **changes) == expected


versions = st.lists(
    st.tuples(*[st.integers(0, 3)] * 3).map(lambda parts: ".".join(map(str, parts))),
    min_size=1,
    max_size=6,
    unique=True,
)


@given(versions, st.data())
def test_whatever_one_tag_is_changed_to_exactly_that_tag_is_named(
    wanted: list[str], data: st.DataObject
) -> None:
    ledger = releases(*wanted)
    tags = LookBack(ledger).lineage.tags("debian/web-1")
    tag = data.draw(st.sampled_from([*sorted(tags), "v9", "v9.9.9", "latest"]))
    to = data.draw(st.none() | st.integers(1, 9).map(digest))
    found = judged(ledger, **{tag.replace(".", "_"): to})
    assert found == [] if tags.get(tag) == to else [name for _, name in found] == [tag]


def test_tags_of_a_seal_under_way_are_no_forgery_and_those_of_one_given_up_are() -> None:
    late = host(9)
    ledger = [*THREE, late, reservation("2.1.0", 9, image="web-1", repository=WEB)]
    moved = {"v2_1_0": digest(9), "v2": digest(9), "current": digest(9)}
    assert judged(ledger, **moved) == []
    assert judged(ledger, v2_1_0=digest(8)) == [(What.ADDED, "v2.1.0")]
    later = [*ledger, *releases("2.2.0")]
    assert judged(later, v2_1_0=digest(9)) == [(What.ADDED, "v2.1.0")]
    assert [one.version for one in LookBack(ledger).unfinished] == ["2.1.0"]
    assert [one.version for one in LookBack(later).passed_over] == ["2.1.0"]


def test_a_rollback_under_way_is_a_note_until_a_release_overtakes_it() -> None:
    old, new = seals(THREE)[0], host(4)
    ledger = [*THREE, deployment(old, Step.WANTED)]
    assert judged(ledger, current=old.digest) == [(What.UNFINISHED, "current")]
    after = [*ledger, new, seal("2.1.0", of=new)]
    assert judged(after, current=old.digest) == [(What.CHANNEL, "current")]


def test_what_was_pruned_has_to_be_nowhere() -> None:
    old = seals(THREE)[0]
    gone = Removed(repository=WEB, digest=old.digest, reason="old")
    ledger = [*THREE, Retention(time=NOON, author="prune", removed=(gone,))]
    assert judged(ledger, v1_0_0=None) == []
    assert judged(ledger) == [(What.PRUNED, "v1.0.0")]
    assert judged(ledger, v1_0_0=digest(99)) == [(What.ADDED, "v1.0.0")]


def test_a_copy_elsewhere_has_to_be_right_where_it_is_and_need_not_be_whole() -> None:
    look = LookBack(THREE)
    copy = Repository(registry="10.0.0.1:5000", path="os/debian/web-1")
    named = {"v1.0.0": digest(1), "v2": digest(1), "v7.0.0": digest(1)}
    found = tag_findings(
        Home(image="debian/web-1", repository=copy, tags=frozenset(named), named=named), look
    )
    assert [(one.what, one.release) for one in found] == [(What.MOVED, "v2"), (What.ADDED, "v7.0.0")]


def test_every_image_that_anything_knows_has_a_home() -> None:
    defined = {"debian/new": Repository(registry="127.0.0.1:5000", path="os/debian/new")}
    found = homes_of(LookBack([candidate(1), *THREE]), defined)
    assert [one.image for one in found] == ["debian/base", "debian/new", "debian/web-1"]


class Held:
    """A registry in memory that lists its tags, as one without the referrers API has them."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    @property
    def requests(self) -> list[str]:
        return self.store.requests

    def tags(self, repository: Repository) -> tuple[str, ...]:
        self.requests.append(f"LIST {repository}")
        found = tuple(sorted(tag for where, tag in self.store.tags if where == repository))
        if not found:
            raise NotFoundError(f"there is no {repository}", hint="push it")
        return found

    def resolve(self, ref: ImageRef) -> Descriptor:
        return self.store.resolve(ref)

    def unparsed(self, ref: ImageRef) -> bytes:
        return self.store.unparsed(ref)

    def entries(self, repository: Repository, subject: Digest) -> Listing:
        return self.store.entries(repository, subject)

    def untag(self, tag: str) -> None:
        """Take a tag, and what only it named, out of every repository."""
        for key in [key for key in self.store.tags if key[1] == tag]:
            self.store.manifests.pop((key[0], self.store.tags.pop(key)), None)


class Sealed:
    """One release in memory, with signature, attestations and evidence under tags of their own."""

    def __init__(self, *, signer: FastSigner | None = None) -> None:
        self.held, self.signer = Held(), FastSigner()
        store = self.held.store
        tiny = tiny_image()
        sbom = Evidence(kind=EvidenceKind.SBOM, data=b"{}")
        self.one = dataclasses.replace(host(1), digest=tiny.digest, evidence={"sbom": sbom.digest})
        store.put_manifest(WEB, "v1.0.0", tiny.manifest)
        for tag in ("v1.0", "v1", "current"):
            store.put_manifest(WEB, tag, tiny.manifest)
        subject = Descriptor(media_type=OCI_MANIFEST, digest=tiny.digest, size=len(tiny.manifest))
        said = Attest(name="approval", predicate_type="tag:x", predicate={})
        order = SignOrder(repository=WEB, subject=subject, attestations=(said,), created=NOON)
        signatures = sign_images([order], signer or self.signer, store)[tiny.digest]
        for manifest in (
            store.manifests[WEB, signatures["approval"]],
            artifact_of(subject, sbom, NOON).manifest,
        ):
            self.tag_of(manifest)
        reserved = reservation("1.0.0", 1, image="web-1", repository=WEB, digest=tiny.digest)
        self.seal = seal("1.0.0", of=self.one, signatures=signatures)
        self.ledger: list[Record] = [self.one, reserved, self.seal]
        store.requests.clear()

    def tag_of(self, manifest: bytes) -> str:
        tag = evidence_tag(self.one.digest, digest_of(manifest))
        self.held.store.put_manifest(WEB, tag, manifest)
        return tag

    def audited(self, *more: Record, **changes: Any) -> AuditReport:
        parts = AuditParts(
            ledger=Fixed([*self.ledger, *more]),
            store=self.held,
            defined={},
            keys=(self.signer.key,),
            people=KeyParts(rules=Book(), signatures=Good()),
            reporter=Quiet(),
        )
        return audit(dataclasses.replace(parts, **changes))

    def found(self, **changes: Any) -> list[What]:
        return [one.what for one in self.audited(**changes).findings if one.what is not What.RECORD]


class Fixed:
    """A ledger that says always the same."""

    def __init__(self, ledger: Sequence[Record]) -> None:
        self._records = tuple(ledger)

    def read(self, *, offline: bool = False) -> tuple[Record, ...]:
        del offline
        return self._records


class Book:
    """A protected branch that lists everybody; nobody's key is revoked unless that is told."""

    def __init__(self, signers: AllowedSigners = SIGNERS, revoked: bytes = b"") -> None:
        self._rules = ProtectedRules(settings=settings(), signers=signers, revoked=revoked, source="main")

    def read(self) -> ProtectedRules:
        return self._rules


class Good:
    """Finds every proof good, but for the key that is named as revoked; notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def check(self, decision: Decision, signers: AllowedSigners, revoked: bytes, now: dt.datetime) -> Proved:
        del signers, now
        assert decision.proof is not None
        self.asked.append(decision.proof.key)
        if decision.proof.key.encode() == revoked:
            return Unproved(why="its key was revoked")
        return Signed(identity=decision.proof.identity, key=decision.proof.key)


def test_a_release_costs_a_list_a_question_a_tag_and_one_for_its_signature() -> None:
    made = Sealed()
    assert made.found() == []
    assert sorted(request.partition(" ")[0] for request in made.held.requests) == [
        "GET", "HEAD", "HEAD", "HEAD", "HEAD", "LIST",
    ]  # fmt: skip
    assert [one for one in made.held.requests if one.startswith("GET")] == [
        f"GET {WEB}:{signature_tag(made.one.digest)}"
    ]


def test_what_has_no_tag_is_asked_for_before_it_is_missed() -> None:
    """A registry with the referrers API keeps attestations and evidence without tags."""
    made = Sealed()
    store = made.held.store
    for key in [key for key in store.tags if key[1].startswith("evidence-")]:
        del store.tags[key]
    assert made.found() == []
    assert len(made.held.requests) == 6 + 1 + 1 + 1


def test_what_of_a_release_is_gone_or_wrong_is_named() -> None:
    made = Sealed()
    made.held.untag(signature_tag(made.one.digest))
    assert made.found() == [What.SIGNATURE]
    made = Sealed()
    made.held.untag(evidence_tag(made.one.digest, made.seal.signatures["approval"]))
    assert made.found() == [What.ATTESTATION]
    made = Sealed()
    stored = [tag for _, tag in made.held.store.tags if tag.startswith("evidence-")]
    made.held.untag(
        next(tag for tag in stored if tag != evidence_tag(made.one.digest, made.seal.signatures["approval"]))
    )
    assert made.found() == [What.EVIDENCE]


def test_a_signature_counts_only_with_a_known_key_and_for_this_repository() -> None:
    assert Sealed(signer=FastSigner()).found() == [What.SIGNATURE]
    made = Sealed()
    assert made.found(keys=()) == [What.SIGNATURE]
    made.ledger[-1] = dataclasses.replace(made.seal, signatures={})
    assert made.found() == [What.SIGNATURE]


def test_a_release_without_a_signature_is_a_loud_note_where_the_settings_say_so() -> None:
    made = Sealed()
    made.ledger[-1] = dataclasses.replace(made.seal, signatures={})
    report = made.audited(unsigned=True)
    told = next(one for one in report.findings if one.what is What.UNSIGNED)
    assert told.note
    assert told.text.startswith("UNSAFE")


def test_a_signature_manifest_that_is_none_is_told() -> None:
    made = Sealed()
    key = (WEB, made.held.store.tags[WEB, signature_tag(made.one.digest)])
    for data in (b"", b"[]", b'{"layers": 7}', b"\xff" * 10):
        made.held.store.manifests[key] = data
        assert made.found() == [What.SIGNATURE]


def test_a_copy_has_to_be_signed_as_its_original_is() -> None:
    made = Sealed()
    store, copy = made.held.store, Repository(registry="10.0.0.1:5000", path="os/debian/web-1")
    for (_, tag), digest_ in list(store.tags.items()):
        store.put_manifest(copy, tag, store.manifests[WEB, digest_])
    defined = {"debian/web-1": copy}
    assert made.found(defined=defined) == []
    store.manifests.pop((copy, store.tags.pop((copy, signature_tag(made.one.digest)))))
    assert made.found(defined=defined) == [What.SIGNATURE]


def test_an_image_that_nobody_knows_is_refused() -> None:
    people = KeyParts(rules=Book(), signatures=Good())
    parts = AuditParts(ledger=Fixed([]), store=Held(), defined={}, keys=(), people=people, reporter=Quiet())
    with pytest.raises(UsageError, match="debian/web-7"):
        audit(parts, images=["debian/web-7"])


def keys(ledger: Sequence[Record], book: Book, good: Good | None = None) -> list[str]:
    parts = KeyParts(rules=book, signatures=good or Good())
    return [one.text for one in key_findings(seals(ledger), LookBack(ledger), parts)]


def approved(*names: str) -> list[Record]:
    """Two hosts, both approved by everybody who is named."""
    ones = [host(1), candidate(2, image="web-2", tier=Tier.INSTANCE)]
    yes = [approval(name, *(decided(one) for one in ones), time=NOON) for name in names]
    ids = tuple(sorted(one.id for one in yes))
    return [*ones, *yes, *(seal("1.0.0", of=one, approvals=ids) for one in ones)]


def test_each_key_is_asked_about_once_however_many_releases_rest_on_it() -> None:
    good = Good()
    ledger = approved("ben", "cleo")
    told = keys(ledger, Book(revoked=b"SHA256:ben"), good)
    assert len(told) == 1
    assert (
        "SHA256:ben of ben@example.org was revoked since it approved: debian/web-1 v1.0.0, debian/web-2"
        in told[0]
    )
    assert sorted(good.asked) == ["SHA256:ben", "SHA256:ben", "SHA256:cleo"]
    assert keys(ledger, Book()) == []


def test_a_key_that_is_no_longer_listed_is_told_without_asking_anything() -> None:
    left = AllowedSigners(data=b"", keys=tuple(one for one in SIGNERS.keys if one.key != "SHA256:ben"))
    good = Good()
    assert "was removed from the list of signers" in keys(approved("ben", "cleo"), Book(left), good)[0]
    assert good.asked == []


def test_without_releases_nobody_reads_the_protected_branch() -> None:
    class NoBranch(Book):
        def read(self) -> ProtectedRules:
            raise AssertionError

    assert keys([host(1)], NoBranch()) == []


def test_parents_however_far_above_and_aliases_of_yanked_releases_are_told() -> None:
    top = candidate(7, image="upstream", tier=Tier.UPSTREAM, parent=None)
    base, leaf = candidate(1), host(5)
    ups = seal("1.0.0", of=top)
    bases = seal("1.0.0", of=base, parent=Release(version="1.0.0", digest=top.digest))
    leaves = seal("1.0.0", of=leaf, parent=Release(version="1.0.0", digest=base.digest))
    look = LookBack([top, base, leaf, ups, bases, leaves, yank(ups)])
    found = [
        (one.what, one.image, one.release)
        for home_ in homes_of(look, {})
        for one in (*parent_findings(home_, look), *yanked_findings(home_, look))
    ]
    assert found == [
        (What.PARENT, "debian/base", "v1.0.0"),
        (What.YANKED, "debian/upstream", "v1"),
        (What.YANKED, "debian/upstream", "v1.0"),
        (What.PARENT, "debian/web-1", "v1.0.0"),
    ]
    quiet = LookBack([top, base, leaf, ups, bases, leaves, yank(ups), yank(bases), yank(leaves)])
    assert [one for home_ in homes_of(quiet, {}) for one in parent_findings(home_, quiet)] == []


def shown(report: AuditReport, *, as_json: bool = False) -> str:
    screen = io.StringIO()
    show_audit(
        report, console=Console(file=screen, width=160, highlight=False, markup=False), as_json=as_json
    )
    return screen.getvalue()


FAULT = Finding(
    what=What.MOVED, image="debian/base", release="v1", text="it names \x1b[2J[b]x[/b]", todo="look"
)
NOTE = Finding(
    what=What.UNFINISHED, image="debian/base", release="v2.0.0", text="reserved", todo="pipeline seal x"
)


def test_an_audit_says_what_it_looked_at_and_shows_texts_as_texts() -> None:
    report = AuditReport(images=2, releases=1000, findings=(FAULT, NOTE))
    text = shown(report)
    assert "✗ tag-moved" in text
    assert "it names \\x1b[2J[b]x[/b]" in text
    assert "-> pipeline seal x" in text
    assert "1,000 releases of 2 images: 1 fault, 1 note" in text
    assert "\x1b" not in text
    good = AuditReport(images=1, releases=1, findings=(NOTE,))
    assert good.ok
    assert "1 release of 1 image: as the ledger says; --deep verifies every chain too, 1 note" in shown(good)
    assert "every chain verified" in shown(dataclasses.replace(good, deep=True))


def test_the_json_of_an_audit_is_a_contract() -> None:
    report = AuditReport(images=2, releases=3, findings=(NOTE,))
    assert json.loads(shown(report, as_json=True)) == {
        "ok": True,
        "deep": False,
        "images": 2,
        "releases": 3,
        "findings": [
            {
                "what": "unfinished",
                "note": True,
                "image": "debian/base",
                "release": "v2.0.0",
                "text": "reserved",
                "todo": "pipeline seal x",
            }
        ],
    }


def test_the_words_of_verify_and_audit() -> None:
    top = Parser(prog="pipeline")
    verbs = top.add_subparsers(parser_class=Parser)
    add_verify(verbs)
    add_audit(verbs)
    assert top.parse_args(["verify", "debian/base:v2.0"]).ref == "debian/base:v2.0"
    options = top.parse_args(["audit", "base", "--deep", "--jobs", "4"])
    assert (options.names, options.deep, options.jobs) == (["base"], True, 4)
    assert top.parse_args(["audit"]).jobs == 12
    with pytest.raises(UsageError):
        top.parse_args(["verify"])
