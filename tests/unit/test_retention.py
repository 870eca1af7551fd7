"""Which images stay and why, on hand-made ledgers and on many made by chance; and what goes with an image."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import NOON, candidate, deployment, digest, reservation, seal, yank

from images import descriptor, spelled
from pipeline.domain.artifact import evidence_tag, fallback_tag
from pipeline.domain.decision import Approval, Decided, Release, Withdrawal
from pipeline.domain.holding import Held, Shelf, held_of
from pipeline.domain.hostcontrol.state import BootEntry, HostState, System
from pipeline.domain.image import Digest, Repository, Tier
from pipeline.domain.lineage import removed_of
from pipeline.domain.oci import OCI_INDEX, OCI_MANIFEST, digest_of
from pipeline.domain.record import Candidate, Parent, Record
from pipeline.domain.release import Deployment, Removed, Retention, Seal, Step
from pipeline.domain.retention import NOBODY, HostsKnown, Images, Limits
from pipeline.domain.retention_plan import Role, Row, in_order, rows_of
from pipeline.errors import UsageError

LIMITS = Limits(releases=2, candidate_days=30)
LATER = NOON + dt.timedelta(days=400)
WEB = "debian/web-1"
REPOSITORY = Repository(registry="127.0.0.1:5000", path="os/debian/base")


def host_candidate(number: int, *, parent: int | None = None, image: str = "web-1") -> Candidate:
    below = None if parent is None else Parent(image="debian/base", digest=digest(parent))
    return candidate(
        number,
        image=image,
        tier=Tier.INSTANCE,
        parent=below,
        repository=Repository(registry="127.0.0.1:5000", path=f"os/debian/{image}"),
    )


def release(number: int, version: str, **changes: object) -> tuple[Candidate, Seal]:
    made = host_candidate(number, **changes)  # type: ignore[arg-type]
    return made, seal(version, number, of=made)


def base_release(number: int, version: str) -> tuple[Candidate, Seal]:
    made = candidate(number, parent=None)
    return made, seal(version, number, of=made)


def judged(records: Sequence[Record], *, hosts: HostsKnown = NOBODY, limits: Limits = LIMITS) -> Images:
    return Images(records, limits, hosts=hosts, now=LATER)


def kept(images: Images, image: str = "web-1") -> dict[int, tuple[str, ...]]:
    """The numbers of the digests that stay, with the reasons."""
    where = Repository(registry="127.0.0.1:5000", path=f"os/debian/{image}")
    return {
        int(found.hex, 16): verdict.reasons
        for found, verdict in images.in_repository(where).items()
        if verdict.keep
    }


def five(step: Step = Step.BOOTED, on: int = 5) -> list[Record]:
    """Five releases of a host's image; the host booted the one before and then number `on`."""
    records: list[Record] = []
    seals = {}
    for number in range(1, 6):
        made, sealed = release(number, f"1.{number}.0")
        seals[number] = sealed
        records += [made, sealed]
    boots = [deployment(seals[on - 1]), deployment(seals[on], step)]
    return [*records, *boots]


def test_the_newest_releases_stay_and_the_reason_is_told() -> None:
    records = [record for number in range(1, 6) for record in base_release(number, f"1.{number}.0")]
    found = kept(judged(records), "base")
    assert set(found) == {4, 5}
    assert found[4] == ("one of the newest 2 releases",)
    gone = judged(records).in_repository(REPOSITORY)[digest(1)]
    assert not gone.keep
    assert gone.reasons == ("none of the newest 2 releases, and no host may run it",)


def test_a_yanked_release_takes_no_place_and_goes_when_no_host_may_run_it() -> None:
    sealed = [base_release(number, f"1.{number}.0") for number in range(1, 6)]
    records = [record for pair in sealed for record in pair]
    bad = yank(sealed[4][1])
    found = judged([*records, candidate(9, parent=None), bad])
    assert set(kept(found, "base")) == {3, 4, 9}
    assert found.in_repository(REPOSITORY)[digest(5)].reasons == ("was yanked, and no host may run it",)


def test_a_yanked_release_stays_while_a_host_may_run_it() -> None:
    records = five(on=2)
    seals = [one for one in records if isinstance(one, Seal)]
    found = kept(judged([*records, yank(seals[0]), yank(seals[1])]))
    assert {1, 2} <= set(found)
    assert "the host web-1 runs it, by its last report" in found[2]
    assert "the host web-1 has run it and may fall back to it" in found[1]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Step.WANTED, "was told to run it"),
        (Step.STAGED, "has staged it"),
        (Step.CHANNEL, "follows a channel"),
        (Step.FAILED, "failed on its way"),
    ],
)
def test_every_step_of_a_host_holds_its_release(step: Step, said: str) -> None:
    records = five(on=5)
    old = next(one for one in records if isinstance(one, Seal) and one.version == "1.1.0")
    found = kept(judged([*records, deployment(old, step)]))
    assert any(said in reason for reason in found[1])
    assert set(found) == {1, 4, 5}


def test_what_a_host_came_from_stays_though_its_boot_was_never_seen() -> None:
    records = five(on=5)
    last = next(one for one in reversed(records) if isinstance(one, Deployment))
    moved = dataclasses.replace(last, before=Release(version="1.2.0", digest=digest(2)), why="again")
    assert "the host web-1 may fall back to it" in kept(judged([*records, moved]))[2]


def test_a_host_that_was_never_seen_holds_all_that_its_channel_ever_named() -> None:
    records = [one for one in five() if not isinstance(one, Deployment)]
    found = kept(judged(records))
    assert set(found) == {1, 2, 3, 4, 5}
    assert found[1] == ("nothing tells what web-1 runs, and it may be this",)


def test_a_host_that_was_seen_once_may_fall_back_to_whatever_came_before() -> None:
    records = [one for one in five() if not isinstance(one, Deployment)]
    newest = next(one for one in reversed(records) if isinstance(one, Seal))
    assert set(kept(judged([*records, deployment(newest)]))) == {1, 2, 3, 4, 5}


def test_what_the_channel_named_since_the_last_boots_stays() -> None:
    """The host's own timer may have taken any of them without anybody seeing it."""
    made = [release(number, f"1.{number}.0") for number in range(1, 8)]
    records: list[Record] = [record for pair in made[:3] for record in pair]
    records += [deployment(made[0][1]), deployment(made[1][1])]
    records += [record for pair in made[3:] for record in pair]
    assert set(kept(judged(records))) == {1, 2, 4, 5, 6, 7}


def test_a_host_that_tells_all_it_has_is_believed_instead_of_history() -> None:
    records = [one for one in five() if not isinstance(one, Deployment)]
    entry = BootEntry(reference="registry/x@y", digest=digest(2), pinned=True)
    told = HostState(system=System.BOOTC, booted=BootEntry(digest=digest(3)), fallback=entry)
    found = kept(judged(records, hosts=HostsKnown(states={WEB: told})))
    assert set(found) == {2, 3, 4, 5}
    assert "the host debian/web-1 has pinned it" in found[2]
    assert "the host debian/web-1 may fall back to it" in found[2]
    assert "the channel of web-1 names it" in found[5]


def test_a_host_that_tells_only_half_is_believed_beside_history() -> None:
    records = [one for one in five() if not isinstance(one, Deployment)]
    told = HostState(system=System.BOOTC, booted=BootEntry(digest=digest(3)), unknown=frozenset({"fallback"}))
    assert set(kept(judged(records, hosts=HostsKnown(states={WEB: told})))) == {1, 2, 3, 4, 5}


def test_everything_a_kept_image_is_built_on_stays_all_the_way_down() -> None:
    upstream = candidate(50, image="upstream", tier=Tier.UPSTREAM, parent=None)
    base = candidate(51, parent=Parent(image="debian/upstream", digest=digest(50)))
    newer = [record for number in (52, 53, 54) for record in base_release(number, f"2.{number}.0")]
    host, sealed = release(1, "1.0.0", parent=51)
    found = judged([upstream, base, seal("1.0.0", 51, of=base), *newer, host, sealed])
    all_of = found.in_repository(REPOSITORY)
    assert all_of[digest(51)].reasons == (f"sha256:{digest(1).short}, which stays, is built on it",)
    assert all_of[digest(50)].keep
    assert not all_of[digest(52)].keep


def test_candidates_go_by_age_but_the_newest_stays() -> None:
    old, newest = candidate(1, parent=None), candidate(2, parent=None)
    young = candidate(3, parent=None, time=LATER - dt.timedelta(days=29))
    found = judged([young, old, newest]).in_repository(REPOSITORY)
    assert found[digest(3)].reasons == ("a candidate younger than 30 days",)
    assert found[digest(2)].reasons == ("the newest candidate of its image",)
    assert found[digest(1)].reasons == ("a candidate of 399 days; they stay 30",)


def test_a_reserved_version_and_a_valid_approval_hold_a_candidate() -> None:
    old = [candidate(number, parent=None) for number in range(1, 5)]
    valid, expired = (_approval(old[1], days=500), _approval(old[2], days=300))
    found = judged([*old, reservation("1.0.0", 1), valid, expired]).in_repository(REPOSITORY)
    assert found[digest(1)].reasons == ("v1.0.0 is reserved for it",)
    assert found[digest(2)].reasons == ("its approval is still valid",)
    assert not found[digest(3)].keep
    back = Withdrawal(time=NOON, author="Ben", why="no", approval=valid.id, images=("debian/base",))
    assert not judged([*old, valid, back]).in_repository(REPOSITORY)[digest(2)].keep


def _approval(of: Candidate, *, days: int) -> Approval:
    decided = Decided(
        line=of.line, image=of.image, tier=of.tier, repository=of.repository, digest=of.digest,
        candidate=of.id, version="1.0.0",
    )  # fmt: skip
    expires = NOON + dt.timedelta(days=days)
    return Approval(time=NOON, author="Ben", why="ok", decided=(decided,), what="x", expires=expires)


def test_limits_that_would_leave_nothing_are_refused() -> None:
    with pytest.raises(UsageError):
        Limits(releases=0)


def test_what_was_recorded_as_deleted_and_built_again_is_there_again() -> None:
    first = candidate(1)
    gone = Retention(
        time=NOON, author="Ben", removed=(Removed(repository=REPOSITORY, digest=digest(1), reason="old"),)
    )
    assert removed_of([first, gone]) == {(REPOSITORY, digest(1)): NOON}
    assert not removed_of([first, gone, candidate(1, run="run-2")])


@st.composite
def ledgers(draw: st.DrawFn) -> list[Record]:
    """Releases of two bases and a host, with a host's steps among them, in any order that can be."""
    records: list[Record] = []
    seals: list[Seal] = []
    for number in range(1, draw(st.integers(2, 8))):
        made, sealed = base_release(number, f"1.{number}.0")
        parent = draw(st.integers(1, number))
        host, of_host = release(100 + number, f"1.{number}.0", parent=parent)
        records += [made, sealed, host, of_host]
        seals.append(of_host)
        for step in draw(st.lists(st.sampled_from(Step), max_size=3)):
            records.append(deployment(draw(st.sampled_from(seals)), step))
        if draw(st.booleans()):
            records.append(yank(draw(st.sampled_from(seals))))
    return records


@given(ledgers(), st.integers(1, 4))
def test_whatever_happened_nothing_that_must_stay_goes(records: list[Record], releases: int) -> None:
    found = judged(records, limits=Limits(releases=releases, candidate_days=1))
    verdicts = {
        digest: verdict
        for repository in found.repositories()
        for digest, verdict in found.in_repository(repository).items()
    }
    for one in (record for record in records if isinstance(record, Candidate | Seal)):
        if verdicts[one.digest].keep and one.parent is not None and one.parent.digest in verdicts:
            assert verdicts[one.parent.digest].keep, "a parent of what stays goes"
    steps = [one for one in records if isinstance(one, Deployment)]
    booted = [one.digest for one in steps if one.step is Step.BOOTED]
    before = [one for one in booted if one != booted[-1]]
    must = [*booted[-1:], *before[-1:], *(one.digest for one in steps[-1:])]
    must += [one.digest for one in records if isinstance(one, Seal)][-1:]
    assert all(verdicts[one].keep for one in must)
    assert all(verdict.reasons for verdict in verdicts.values())


# What goes with an image: the manifests of one repository.


def _manifest(text: str, subject: Digest | None = None) -> bytes:
    value: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [],
        "annotations": {"text": text},
    }
    if subject is not None:
        value["subject"] = {"mediaType": OCI_MANIFEST, "digest": subject.value, "size": 1}
    return spelled(value)


def _index(*children: bytes) -> bytes:
    manifests = [descriptor(OCI_MANIFEST, one) for one in children]
    return spelled({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})


class Stock:
    """A repository of bases: manifests by name, and the ledger that knows some of them."""

    def __init__(self) -> None:
        self.held: dict[Digest, Held] = {}
        self.records: list[Record] = []

    def put(self, data: bytes, *tags: str) -> Digest:
        one = held_of(data, tags)
        self.held[one.digest] = one
        return one.digest

    def release(self, version: str, *children: bytes) -> Digest:
        data = _index(*children) if children else _manifest(version)
        found = digest_of(data)
        made = candidate(1, digest=found, tag=f"candidate-{found.hex[:16]}", parent=None, run=version)
        sealed = seal(version, of=made)
        self.records += [made, sealed]
        for child in children:
            self.put(child)
        major, minor, _ = version.split(".")
        self.untag(f"v{major}", f"v{major}.{minor}")
        return self.put(data, f"v{version}", f"v{major}.{minor}", f"v{major}", made.tag)

    def untag(self, *tags: str) -> None:
        for found, one in self.held.items():
            left = tuple(tag for tag in one.tags if tag not in tags)
            self.held[found] = dataclasses.replace(one, tags=left)

    def prove(self, subject: Digest) -> tuple[Digest, Digest, Digest, Digest]:
        """Attach a signature, evidence, a bundle without a tag and the list of referrers."""
        signature = self.put(_manifest(f"signature of {subject}"), f"sha256-{subject.hex}.sig")
        document = _manifest("sbom", subject)
        evidence = self.put(document, evidence_tag(subject, digest_of(document)))
        bundle = _manifest("bundle", subject)
        listed = self.put(_index(document, bundle), fallback_tag(subject))
        return signature, evidence, self.put(bundle), listed

    def rows(self) -> dict[Digest, Row]:
        shelf = Shelf(repository=REPOSITORY, held=self.held)
        images = judged(self.records, limits=Limits(releases=1, candidate_days=1))
        return {row.digest: row for row in rows_of(shelf, images)}


def test_signatures_and_evidence_share_the_fate_of_their_image() -> None:
    stock = Stock()
    old, new = stock.release("1.0.0"), stock.release("1.1.0")
    with_old, with_new = stock.prove(old), stock.prove(new)
    rows = stock.rows()
    assert not any(rows[one].keep for one in (old, *with_old))
    assert all(rows[one].keep for one in (new, *with_new))
    assert rows[with_old[2]].reasons == (f"belongs to sha256:{old.short}, which goes",)
    assert [rows[one].role for one in with_old] == [Role.ATTACHED] * 3 + [Role.LIST]


def test_platforms_go_with_their_index_unless_another_that_stays_has_them_too() -> None:
    shared, only = _manifest("shared"), _manifest("only")
    stock = Stock()
    old = stock.release("1.0.0", shared, only)
    stock.release("1.1.0", shared)
    signature = stock.put(_manifest("recursive"), f"sha256-{digest_of(only).hex}.sig")
    rows = stock.rows()
    assert rows[digest_of(shared)].keep
    assert not any(rows[one].keep for one in (old, digest_of(only), signature))


def test_the_order_of_deletion_is_image_platform_list_and_then_what_is_attached() -> None:
    stock = Stock()
    old = stock.release("1.0.0", _manifest("a"))
    stock.prove(old)
    stock.release("1.1.0")
    going = tuple(row for row in stock.rows().values() if not row.keep)
    assert [row.role for row in in_order(going)] == [
        Role.RELEASE, Role.PLATFORM, Role.LIST, Role.ATTACHED, Role.ATTACHED, Role.ATTACHED,
    ]  # fmt: skip


@pytest.mark.parametrize("tag", ["v9.9.9", "latest", "debug", "candidate-0000000000000000", "evidence-x"])
def test_a_tag_that_the_ledger_does_not_know_keeps_what_it_names(tag: str) -> None:
    stock = Stock()
    old = stock.release("1.0.0")
    stock.release("1.1.0")
    stock.held[old] = dataclasses.replace(stock.held[old], tags=(*stock.held[old].tags, tag))
    assert stock.rows()[old].reasons == (f"the ledger does not know its tag {tag}",)


def test_a_release_tag_that_was_moved_keeps_what_it_names_now() -> None:
    stock = Stock()
    stock.release("1.0.0")
    stock.release("1.1.0")
    stock.untag("v1.1.0")
    foreign = stock.put(_manifest("foreign"), "v1.1.0")
    row = stock.rows()[foreign]
    assert row.keep
    assert row.role is Role.UNKNOWN
    assert "should name sha256:" in row.reasons[1]


def test_what_nobody_knows_is_kept_and_named() -> None:
    stock = Stock()
    stock.release("1.0.0")
    tagged, bare = stock.put(_manifest("x"), "experiment"), stock.put(_manifest("y"))
    damaged = stock.put(b"no manifest at all", "broken")
    orphan = stock.put(_manifest("z", digest(77)))
    rows = stock.rows()
    assert all(rows[one].keep for one in (tagged, bare, damaged, orphan))
    assert rows[bare].reasons == ("the ledger does not know it",)
    assert "no deletion is recorded" in rows[orphan].reasons[0]


def test_what_is_left_of_a_recorded_deletion_goes() -> None:
    stock = Stock()
    old = stock.release("1.0.0")
    stock.release("1.1.0")
    left = stock.prove(old)
    platform = stock.put(_manifest("platform of it"))
    removed = tuple(
        Removed(repository=REPOSITORY, digest=one, reason="old") for one in sorted((old, platform, *left))
    )
    stock.records.append(Retention(time=NOON, author="Ben", removed=removed))
    del stock.held[old]
    rows = stock.rows()
    assert not any(rows[one].keep for one in (*left, platform))
    assert rows[left[0]].reasons == (f"left over from sha256:{old.short}, deleted 2026-11-21",)
    assert rows[platform].reasons == ("recorded as deleted 2026-11-21, which was cut short",)


def test_a_forged_list_of_referrers_takes_nothing_with_it() -> None:
    """A list of an old release may name a kept one; what is named speaks for itself."""
    stock = Stock()
    old, new = stock.release("1.0.0"), stock.release("1.1.0")
    foreign = stock.put(_manifest("foreign"))
    named = [stock.held[one].data for one in (new, foreign)]
    listed = stock.put(_index(*named), fallback_tag(old))
    rows = stock.rows()
    assert rows[new].keep
    assert rows[foreign].keep
    assert not rows[listed].keep


def test_a_kept_image_is_not_lost_by_a_signature_tag_of_one_that_goes() -> None:
    stock = Stock()
    old, new = stock.release("1.0.0"), stock.release("1.1.0")
    for one, other in ((new, old), (old, new)):
        held = stock.held[one]
        stock.held[one] = dataclasses.replace(held, tags=(*held.tags, f"sha256-{other.hex}.sig"))
    rows = stock.rows()
    assert rows[new].keep
    assert rows[old].keep, "its tag says that it is the signature of what stays"


def test_signatures_of_one_another_are_kept_not_followed_forever() -> None:
    stock = Stock()
    stock.release("1.0.0")
    first, second = _manifest("first"), _manifest("second")
    stock.put(first, f"sha256-{digest_of(second).hex}.sig")
    stock.put(second, f"sha256-{digest_of(first).hex}.sig")
    chain = [digest_of(second)]
    for number in range(100):
        chain.append(stock.put(_manifest(str(number), chain[-1])))
    rows = stock.rows()
    assert all(rows[one].keep for one in chain)


def test_every_manifest_has_one_row_with_a_reason() -> None:
    stock = Stock()
    for number in range(4):
        stock.prove(stock.release(f"1.{number}.0", _manifest(f"p{number}")))
    rows = stock.rows()
    assert set(rows) == set(stock.held)
    assert all(row.reasons for row in rows.values())
    json.dumps([row.reasons for row in rows.values()])


@pytest.mark.parametrize(
    "value",
    [
        b"", b"[]", b"{}", b'{"subject":1}', b'{"subject":{"digest":"x"}}', b"\xff",
        b'{"manifests":[1,{"digest":"sha256:x"}]}',
    ],
)  # fmt: skip
def test_bytes_that_are_no_manifest_have_a_digest_and_nothing_else(value: bytes) -> None:
    one = held_of(value, ["a", "a"])
    assert (one.digest, one.tags) == (digest_of(value), ("a",))
    assert (one.children, one.blobs, one.subject) == ((), (), None)
