"""Seals with a real registry, a real git remote and signed approvals: what a release is made of."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
from collections.abc import Callable

import pytest
from approvalworld import START
from ledgers import git
from records import yank
from registries import RunningRegistry
from rich.console import Console
from sealagain import SealAgain
from sealworld import KeysPull, SealWorld

from pipeline.domain.image import Tier
from pipeline.domain.lineage import CHANNEL
from pipeline.domain.predicates import APPROVALS, SBOM, VSA
from pipeline.domain.release import Reservation, Seal
from pipeline.domain.sealing import LEASE, Asked
from pipeline.errors import (
    GateRefusedError,
    SealConflictError,
    StateError,
    UsageError,
)
from pipeline.render.seal import plan_json, sealed_json, show_plan, show_sealed
from pipeline.verbs.reject import reject
from pipeline.verbs.seal_plan import Words, plan_seal
from pipeline.verbs.signing import read_signed

pytestmark = pytest.mark.engine


@pytest.fixture
def running(seals: SealAgain) -> RunningRegistry:
    return seals.running


@pytest.fixture
def world(seals: SealAgain) -> SealWorld:
    return seals.again()


def test_a_line_is_released_from_the_top(world: SealWorld) -> None:
    upstream = world.top_down()
    base = world.released(parent=upstream)
    host = world.built("web-1", Tier.INSTANCE, parent=base)
    approvals = world.agree(host)
    [made] = world.seal(host)
    seal = made.seal
    assert made.new
    assert (seal.name, seal.version, seal.digest) == ("debian/web-1", "1.0.0", host.digest)
    assert seal.approvals == tuple(sorted(one.id for one in approvals))
    assert seal.approvers == ("ben@example.org", "cleo@example.org")
    assert (seal.what, seal.why) == ("a newer kernel", "fixes the pool import")
    assert seal.parent is not None
    assert (seal.parent.version, seal.parent.digest) == ("1.0.0", base.digest)
    assert seal.evidence == host.evidence
    assert set(seal.signatures) == {"signature", "sbom", "provenance", "boot-test", "approval"}
    assert world.names("web-1") == dict.fromkeys(("v1.0.0", "v1.0", "v1", CHANNEL), host.digest)
    assert CHANNEL not in world.names("base")
    kinds = [record.kind.value for record in world.records() if "debian/web-1" in record.names()]
    assert kinds == ["candidate", "approval", "approval", "reservation", "seal"]
    assert world.lineage().tags("debian/web-1") == world.names("web-1")


@pytest.mark.parametrize("signatures", ["none", "claimed"])
def test_a_parent_s_release_that_somebody_wrote_into_the_ledger_is_none(
    world: SealWorld, signatures: str
) -> None:
    upstream = world.top_down()
    base = world.built(parent=upstream)
    [real] = world.seals("upstream")
    forged = dataclasses.replace(
        real,
        image=base.image,
        tier=base.tier,
        repository=base.repository,
        digest=base.digest,
        candidate=base.id,
        signatures=real.signatures if signatures == "claimed" else {},
    )
    registry = world.registry()
    registry.put_manifest(base.repository, "v1.0.0", registry.manifest(base.repository.at(base.digest)))
    world.ledger().append([forged])
    host = world.built("web-1", Tier.INSTANCE, parent=base)
    world.agree(host)
    with pytest.raises(
        GateRefusedError, match=r"its parent debian/base v1\.0\.0 (was released|does not verify)"
    ):
        world.seal(host)
    assert world.names("web-1") == {}


def test_what_is_attested_can_be_checked_with_the_key_alone(world: SealWorld) -> None:
    upstream = world.top_down()
    [seal] = world.seals("upstream")
    parts = world.parts()
    found = read_signed(parts.signed, seal.repository, seal.digest, world.keys_trusted, seal.signatures)
    assert found.problems == ()
    sbom, approval = found.attestations["sbom"], found.attestations["approval"]
    assert (sbom.predicate_type, sbom.predicate["bomFormat"]) == (SBOM, "CycloneDX")
    assert approval.predicate_type == VSA
    assert approval.subjects == (upstream.digest,)
    assert [one["id"] for one in approval.predicate[APPROVALS]] == sorted(
        seal.approvals, key=[one.id for one in world.records()].index
    )
    assert approval.predicate["verificationResult"] == "PASSED"


def test_the_git_tag_is_signed_annotated_and_tells_the_change(world: SealWorld) -> None:
    upstream = world.top_down()
    text = world.verified("debian/upstream/v1.0.0")
    for line in (
        "debian/upstream v1.0.0",
        "What: a newer kernel",
        "Why: fixes the pool import",
        "Approved-by: ben@example.org, cleo@example.org",
        f"Image: {upstream.repository}@{upstream.digest}",
        "- package zfs 2.3.1 → 2.3.2",
    ):
        assert line in text
    assert git(world.hub, "rev-parse", "debian/upstream/v1.0.0^{commit}") == upstream.source.commit
    assert git(world.top, "status", "--porcelain") == ""


def test_a_second_release_goes_on_from_the_first(world: SealWorld) -> None:
    upstream = world.top_down()
    first = world.released(parent=upstream)
    second = world.built(parent=upstream)
    world.agree(second)
    parts = world.parts()
    assert isinstance(parts.host_pull, KeysPull)
    [made] = world.seal(second, host_pull=parts.host_pull)
    assert made.seal.version == "1.1.0"
    assert made.seal.predecessor is not None
    assert made.seal.predecessor.digest == first.digest
    consumers = [(consumer.digest, wanted.digest) for consumer, wanted in parts.host_pull.asked]
    assert consumers == [(first.digest, second.digest), (second.digest, second.digest)]
    assert world.names() == {
        "v1.0.0": first.digest, "v1.0": first.digest,
        "v1.1.0": second.digest, "v1.1": second.digest, "v1": second.digest,
    }  # fmt: skip


def test_what_is_released_is_released_and_nothing_is_done(world: SealWorld) -> None:
    one = world.top_down()
    before = (world.records(), world.names("upstream"), git(world.hub, "rev-parse", "debian/upstream/v1.0.0"))
    [again] = world.seal(one)
    assert not again.new
    assert again.seal.version == "1.0.0"
    after = (world.records(), world.names("upstream"), git(world.hub, "rev-parse", "debian/upstream/v1.0.0"))
    assert before == after


def test_many_hosts_are_one_act_and_few_calls_of_the_signer(world: SealWorld) -> None:
    base = world.released(parent=world.top_down())
    hosts = [world.built(f"web-{number}", Tier.INSTANCE, parent=base) for number in range(26)]
    world.agree(*hosts)
    world.signer.calls.clear()
    commits = int(git(world.hub, "rev-list", "--count", "pipeline-ledger"))
    made = world.seal(*hosts)
    assert len(made) == 26
    assert len(world.signer.calls) == 2
    assert int(git(world.hub, "rev-list", "--count", "pipeline-ledger")) == commits + 2
    assert len([one for one in world.git_tags() if "/web-" in one]) == 26
    assert all(world.names(one.image)[CHANNEL] == one.digest for one in hosts)
    text = world.verified("debian/web-7/v1.0.0")
    assert "On: debian/base v1.0.0" in text


def test_a_dry_run_writes_nothing_and_shows_the_plan(world: SealWorld) -> None:
    one = world.built("upstream", Tier.UPSTREAM)
    world.agree(one)
    before = (world.records(), world.names("upstream"), world.git_tags())
    plan = plan_seal([one], Words(), world.parts())
    assert (world.records(), world.names("upstream"), world.git_tags()) == before
    console = Console(file=io.StringIO(), width=200)
    show_plan(plan.summary, console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "debian/upstream" in text
    assert "v1.0.0" in text
    assert "ben@example.org, cleo@example.org" in text
    data = json.loads(json.dumps(plan_json(plan.summary)))
    assert data["plan"][0]["tags"] == ["v1.0.0", "v1.0", "v1"]


def test_what_was_made_is_shown_with_its_warnings(world: SealWorld) -> None:
    one = world.top_down()
    made = world.seal(one)
    console = Console(file=io.StringIO(), width=200)
    show_sealed(made, ["UNSAFE: \x1b[31mred"], console=console)
    show_sealed([dataclasses.replace(made[0], new=True)], [], console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "is already released as v1.0.0" in text
    assert "UNSAFE: \\x1b[31mred" in text
    assert "debian/upstream/v1.0.0" in text
    data = json.loads(json.dumps(sealed_json(made, [])))
    assert (data["seals"][0]["id"], data["new"]) == (made[0].seal.id, [])


class TestVersions:
    """Only upwards."""

    def test_a_person_may_raise(self, world: SealWorld) -> None:
        one = world.built("upstream", Tier.UPSTREAM)
        world.agree(one)
        [made] = world.seal(one, version="2.5.0")
        assert made.seal.version == "2.5.0"
        two = world.built("upstream", Tier.UPSTREAM, bump="patch")
        world.agree(two)
        [made] = world.seal(two, bump="major")
        assert made.seal.version == "3.0.0"

    def test_a_person_may_not_lower(self, world: SealWorld) -> None:
        world.top_down()
        two = world.built("upstream", Tier.UPSTREAM)
        world.agree(two)
        with pytest.raises(GateRefusedError, match=r"would be v1\.0\.1, lower than v1\.1\.0"):
            world.seal(two, bump="patch")
        three = world.built("upstream", Tier.UPSTREAM, bump="patch")
        world.agree(three, version="1.4.0")
        with pytest.raises(GateRefusedError, match=r"would be v1\.0\.1, lower than v1\.4\.0"):
            world.seal(three, version="1.0.1")
        [made] = world.seal(three)
        assert made.seal.version == "1.4.0"

    @pytest.mark.parametrize("version", ["1.0.0", "0.9.0"])
    def test_what_was_given_is_not_given_again(self, world: SealWorld, version: str) -> None:
        world.top_down()
        two = world.built("upstream", Tier.UPSTREAM)
        world.agree(two)
        with pytest.raises(SealConflictError, match=r"belongs to|is not above"):
            world.seal(two, version=version)
        assert world.names("upstream").keys() == {"v1.0.0", "v1.0", "v1"}

    @pytest.mark.parametrize("version", ["1.0", "v1.0.0", "1.0.0-rc1", "1.0.0+x", "../1"])
    def test_what_is_no_version_is_refused(self, version: str) -> None:
        with pytest.raises(UsageError, match="is no release version"):
            Asked(version=version)

    def test_a_version_is_for_one(self, world: SealWorld) -> None:
        found = [world.built(name, Tier.UPSTREAM) for name in ("one", "two")]
        with pytest.raises(UsageError, match="--version is for one"):
            world.seal(*found, version="1.0.0")
        with pytest.raises(UsageError, match="both a bump and a version"):
            Asked(version="1.0.0", bump="major")

    def test_a_tag_that_somebody_else_wrote_is_not_moved(self, world: SealWorld) -> None:
        one, other = world.built("upstream", Tier.UPSTREAM), world.built("upstream", Tier.UPSTREAM)
        registry = world.registry()
        registry.put_manifest(one.repository, "v1.0.0", registry.manifest(other.repository.at(other.digest)))
        world.agree(one)
        with pytest.raises(SealConflictError, match=rf"v1\.0\.0 is {other.digest}, not {one.digest}"):
            world.seal(one)
        assert world.names("upstream") == {"v1.0.0": other.digest}
        assert not any(isinstance(record, Reservation | Seal) for record in world.records())
        [made] = world.seal(one, version="1.0.1")
        assert world.names("upstream")["v1"] == made.seal.digest == one.digest
        assert world.names("upstream")["v1.0.0"] == other.digest


def stops_at(wanted: str) -> Callable[[str], None]:
    """What ends a seal when it has done a step."""

    def stop(step: str) -> None:
        if step == wanted:
            raise StateError("the power went", hint="none")

    return stop


class TestAnotherSeal:
    """Of two seals of one image, one wins."""

    def reserved(self, world: SealWorld, number: int = 0) -> tuple[Reservation, ...]:
        return tuple(one for one in world.records() if isinstance(one, Reservation))

    def test_one_that_is_under_way_keeps_others_away_for_a_while(self, world: SealWorld) -> None:
        first, second = world.built("upstream", Tier.UPSTREAM), world.built("upstream", Tier.UPSTREAM)
        world.agree(first)
        world.agree(second)

        with pytest.raises(StateError):
            world.seal(first, on_step=stops_at("reserved"))
        with pytest.raises(SealConflictError, match=r"v1\.0\.0 is being sealed from sha256:"):
            world.seal(second)
        world.now += LEASE
        [made] = world.seal(second)
        assert made.seal.version == "1.1.0"
        with pytest.raises(GateRefusedError, match=r"the last release is v1\.1\.0"):
            world.seal(first)
        world.agree(first)
        [made] = world.seal(first)
        assert made.seal.version == "1.2.0"
        assert [one.version for one in self.reserved(world)] == ["1.0.0", "1.1.0", "1.2.0"]

    def test_its_own_reservation_is_used_and_renewed(self, world: SealWorld) -> None:
        one = world.built("upstream", Tier.UPSTREAM)
        world.agree(one)

        with pytest.raises(StateError):
            world.seal(one, on_step=stops_at("tagged"))
        with pytest.raises(SealConflictError, match=r"v1\.0\.0 is reserved for debian/upstream"):
            world.seal(one, version="2.0.0")
        world.now += LEASE
        plan = plan_seal([one], Words(), world.parts())
        assert plan.summary.planned[0].reserved
        world.seal(one)
        assert [one.version for one in self.reserved(world)] == ["1.0.0", "1.0.0"]
        assert [one.version for one in world.seals()] == ["1.0.0"]

    def test_a_decision_that_comes_while_it_runs_stops_it(self, world: SealWorld) -> None:
        one = world.built("upstream", Tier.UPSTREAM)
        world.agree(one)

        def say_no(step: str) -> None:
            if step == "verified":
                reject([world.proposal(one)], world.deciding("dan"), why="stop")

        with pytest.raises(GateRefusedError, match="stop, expected none that stands"):
            world.seal(one, on_step=say_no)
        assert set(world.names("upstream")) == {"v1.0.0"}
        assert world.seals() == []

    def test_a_decision_that_comes_at_the_very_end_moves_the_channel_back(self, world: SealWorld) -> None:
        base = world.released(parent=world.top_down())
        first = world.released("web-1", Tier.INSTANCE, parent=base)
        second = world.built("web-1", Tier.INSTANCE, parent=base)
        world.agree(second)

        def say_no(step: str) -> None:
            if step == "moved":
                proposal = world.proposal(second, "1.1.0")
                reject([proposal], world.deciding("dan"), why="stop")

        with pytest.raises(GateRefusedError, match="stop, expected none that stands"):
            world.seal(second, on_step=say_no)
        names = world.names("web-1")
        assert (names[CHANNEL], names["v1"], names["v1.0"]) == (first.digest,) * 3
        assert [one.version for one in world.seals("web-1")] == ["1.0.0"]

    def test_what_another_run_released_meanwhile_is_told(self, world: SealWorld) -> None:
        found = [world.built(name, Tier.UPSTREAM) for name in ("one", "two")]
        world.agree(*found)
        done: list[str] = []

        def first(step: str) -> None:
            if step == "verified" and not done:
                done.append(step)
                world.clone("elsewhere").seal(found[0])

        made = world.seal(*found, on_step=first)
        assert [(one.seal.image, one.new) for one in made] == [("one", False), ("two", True)]
        assert len(world.seals()) == 2


class TestWayBackAndParent:
    """Seals go from the top, and the way back is open first."""

    def test_a_parent_that_is_not_released(self, world: SealWorld) -> None:
        upstream = world.built("upstream", Tier.UPSTREAM)
        base = world.built(parent=upstream)
        world.agree(base)
        with pytest.raises(GateRefusedError, match=r"its parent debian/upstream sha256:.* is not released"):
            world.seal(base)

    def test_a_base_without_a_parent(self, world: SealWorld) -> None:
        one = world.built()
        world.agree(one)
        with pytest.raises(GateRefusedError, match="its record names no parent"):
            world.seal(one)

    def test_a_parent_that_was_yanked(self, world: SealWorld) -> None:
        upstream = world.top_down()
        base = world.built(parent=upstream)
        world.agree(base)
        world.ledger().append([yank(world.seals("upstream")[0], time=world.now)])
        with pytest.raises(GateRefusedError, match=r"its parent debian/upstream v1\.0\.0 was yanked: zfs"):
            world.seal(base)
        with pytest.raises(GateRefusedError, match=r"it was released as v1\.0\.0 and yanked"):
            world.seal(upstream)

    def test_a_way_back_that_is_gone(self, world: SealWorld, running: RunningRegistry) -> None:
        upstream = world.top_down()
        first = world.released(parent=upstream)
        second = world.built(parent=upstream)
        world.agree(second)
        seal = world.seals("base")[0]
        registry = world.registry()
        other = registry.manifest(second.repository.at(second.digest))
        registry.put_manifest(first.repository, "v1.0.0", other)
        with pytest.raises(GateRefusedError, match=rf"no way back: v1\.0\.0 was released as {first.digest}"):
            world.seal(second)
        registry.put_manifest(
            first.repository, "v1.0.0", registry.manifest(first.repository.at(first.digest))
        )
        registry.delete_manifest(first.repository, seal.signatures["signature"])
        with pytest.raises(GateRefusedError, match=r"no way back: v1\.0\.0 does not verify: signature"):
            world.seal(second)
        registry.delete_manifest(first.repository, first.digest)
        with pytest.raises(GateRefusedError, match=r"no way back: v1\.0\.0 has lost its tag"):
            world.seal(second)
        assert set(world.names("base")) == set()


def test_an_approval_that_expired_between_two_runs(world: SealWorld) -> None:
    one = world.built("upstream", Tier.UPSTREAM)
    world.agree(one)

    with pytest.raises(StateError):
        world.seal(one, on_step=stops_at("signed"))
    world.now = START + dt.timedelta(days=8)
    with pytest.raises(GateRefusedError, match="it expired at"):
        world.seal(one)
    world.agree(one)
    [made] = world.seal(one)
    assert made.seal.version == "1.0.0"
    assert isinstance(world.records()[-1], Seal)
