"""Seals that were cut off after they moved tags, and then refused: hosts follow releases again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from faultyregistry import Fault, faulty_registry
from records import digest
from registries import RunningRegistry, running_registry
from rollbackworld import at_once
from sealworld import SealWorld, begin, end

from pipeline.domain.decision import Approval
from pipeline.domain.image import Digest, Repository, Tier
from pipeline.domain.lineage import CHANNEL
from pipeline.domain.record import Candidate, Record
from pipeline.domain.release import Reservation
from pipeline.domain.sealing import LEASE, Asked, TagOrder
from pipeline.errors import GateRefusedError, LedgerRemoteError, RegistryError, SealConflictError
from pipeline.verbs.reject import reject
from pipeline.verbs.rollback import Rolling, rollback
from pipeline.verbs.rollback_ledger import OpenLedger
from pipeline.verbs.rollback_target import Ways
from pipeline.verbs.seal_back import put_back, put_back_and_tell
from pipeline.verbs.seal_plan import Words, plan_seal
from pipeline.verbs.withdraw import withdraw

pytestmark = pytest.mark.engine
NAME = "debian/upstream"
WEB = "debian/web-1"
ALIAS = "v1"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def world(tmp_path: Path, running: RunningRegistry) -> Iterator[SealWorld]:
    made = SealWorld(tmp_path, running.host, path=tmp_path.name.replace("_", "-").lower().strip("-"))
    yield made
    made.close()


@pytest.fixture
def base(world: SealWorld) -> Candidate:
    """What hosts are built on."""
    return world.released(parent=world.top_down())


def built(world: SealWorld, version: str, base: Candidate | None = None, bump: str = "minor") -> Candidate:
    """A candidate that is approved: of a host on a base, or of the upstream."""
    name, tier = ("upstream", Tier.UPSTREAM) if base is None else ("web-1", Tier.INSTANCE)
    made = world.built(name, tier, parent=base, bump=bump)
    world.agree(made, version=version)
    return made


def first(world: SealWorld, base: Candidate | None = None) -> Candidate:
    """Release an image for the first time, in a process, and remember which moments that has."""
    one = built(world, "1.0.0", base)
    process, said = begin(world, [one])
    assert end(process, said) == "sealed"
    (world.folder / "moments").write_text(said.with_suffix(".moments").read_text())
    return one


def cut_off(world: SealWorld, one: Candidate, moment: str = "moved") -> None:
    """Kill the seal of an image at a moment after something has moved."""
    found = (world.folder / "moments").read_text().splitlines()
    at = max(place for place, seen in enumerate(found, start=1) if seen.split(":")[-1] == moment)
    process, said = begin(world, [one], at=at)
    assert end(process, said) == "killed"
    assert one.digest in world.names(one.image).values()
    assert not [seal for seal in world.seals() if seal.digest == one.digest]


def rejected(world: SealWorld, one: Candidate) -> None:
    reject([world.proposal(one)], world.deciding("dan"), why="it does not boot here")


def withdrawn(world: SealWorld, one: Candidate) -> None:
    mine = next(
        record
        for record in world.records()
        if isinstance(record, Approval) and record.decided[0].digest == one.digest
    )
    withdraw(mine.id, world.deciding("ben"), why="too early")


def expired(world: SealWorld, one: Candidate) -> None:
    del one
    world.now += dt.timedelta(days=60)


@pytest.mark.parametrize(("moment", "no"), [("moved", rejected), ("current", expired), ("v1", withdrawn)])
def test_a_seal_that_is_refused_when_it_is_run_again_leaves_hosts_on_the_release(
    world: SealWorld, base: Candidate, moment: str, no: Callable[[SealWorld, Candidate], None]
) -> None:
    kept = first(world, base)
    one = built(world, "1.1.0", base)
    cut_off(world, one, moment)
    no(world, one)
    with pytest.raises(GateRefusedError):
        plan_seal([one], Words(asked=Asked()), world.parts())
    assert world.names("web-1")["v1"] == one.digest, "a plan changes nothing"
    with pytest.raises(GateRefusedError):
        world.seal(one)
    found = world.names("web-1")
    assert {tag: found[tag] for tag in ("v1", CHANNEL)} == dict.fromkeys(("v1", CHANNEL), kept.digest)
    [said, left] = world.reporter.notes
    assert said.startswith(f"{WEB}: a seal of sha256:{one.digest.short} as v1.1.0 was begun and not finished")
    assert "v1 names v1.0.0 again" in said
    assert "v1.1 still name it" in left


def test_what_was_never_released_before_is_told(world: SealWorld) -> None:
    first(world)
    one = world.built("other", Tier.UPSTREAM)
    world.agree(one)
    cut_off(world, one)
    rejected(world, one)
    with pytest.raises(GateRefusedError):
        world.seal(one)
    [said] = world.reporter.notes
    assert "v1.0, v1 still name it, for no release ever had that tag" in said


def test_a_seal_of_another_image_puts_back_what_one_that_was_given_up_moved(world: SealWorld) -> None:
    first(world)
    one = built(world, "1.0.1", bump="patch")
    cut_off(world, one)
    other = built(world, "1.1.0")
    with pytest.raises(SealConflictError, match="is being sealed from"):
        world.seal(other)
    assert world.names("upstream")["v1.0"] == one.digest, "another run may be at work"
    world.now += LEASE
    world.seal(other)
    found = world.names("upstream")
    assert found.pop("v1.0.1") == one.digest, "a release tag never changes"
    assert found == world.lineage().tags(NAME)
    assert any("v1.0 names v1.0.0 again" in note for note in world.reporter.notes)


def rolling(world: SealWorld) -> Rolling:
    return Rolling(
        ledger=OpenLedger(world.ledger()),
        store=lambda _: world.registry(),
        verifier=lambda _: (),
        comparer=None,
        reach=None,
        waiting=at_once(),
        clock=lambda: world.now,
        author="Ada <ada@example.org>",
        reporter=world.reporter,
    )


def test_a_rollback_puts_back_the_aliases_too(world: SealWorld, base: Candidate) -> None:
    kept = first(world, base)
    one = built(world, "1.1.0", base)
    cut_off(world, one)
    world.now += LEASE
    parts = rolling(world)
    assert rollback(Ways(parts.ledger.records).to("web-1", "v1.0.0"), parts, why="2.1 loses mail").moved
    found = world.names("web-1")
    assert (found["v1"], found[CHANNEL]) == (kept.digest, kept.digest)


def test_what_the_ledger_does_not_tell_is_left_alone(world: SealWorld) -> None:
    first(world)
    stranger = world.built("upstream", Tier.UPSTREAM)
    registry, repository = world.registry(), world.repository("upstream")
    registry.put_manifest(repository, ALIAS, registry.manifest(repository.at(stranger.digest)))
    assert put_back({NAME}, world.records, lambda _: registry, now=world.now, refused={stranger.digest}) == ()
    assert world.names("upstream")[ALIAS] == stranger.digest


def test_what_is_recorded_meanwhile_has_the_last_word(world: SealWorld) -> None:
    first(world)
    one = built(world, "1.1.0")
    cut_off(world, one)
    registry = world.registry()

    class Slow:
        """A registry before whose first answer to a write the other run records its release."""

        resolve, manifest = registry.resolve, registry.manifest

        def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
            done = registry.put_manifest(repository, reference, data)
            if not [seal for seal in world.seals("upstream") if seal.digest == one.digest]:
                world.seal(one)
                registry.put_manifest(repository, reference, data)
            return done

    told = put_back({NAME}, world.records, lambda _: Slow(), now=world.now, refused={one.digest})
    assert told == ()
    assert world.names("upstream") == world.lineage().tags(NAME)
    assert world.names("upstream")[ALIAS] == one.digest


def test_a_release_whose_tags_were_put_back_before_its_record_moves_them_again(world: SealWorld) -> None:
    kept = first(world)
    one = built(world, "1.1.0")
    registry, repository = world.registry(), world.repository("upstream")

    def refused_elsewhere(step: str) -> None:
        if step == "moved":
            registry.put_manifest(repository, ALIAS, registry.manifest(repository.at(kept.digest)))

    [made] = world.seal(one, on_step=refused_elsewhere)
    assert made.new
    assert world.names("upstream") == world.lineage().tags(NAME)


def test_a_registry_that_does_not_answer_hides_no_refusal(world: SealWorld) -> None:
    first(world)
    one = built(world, "1.1.0")
    cut_off(world, one)

    class Dead:
        """A registry that is down."""

        def resolve(self, ref: object) -> object:
            raise RegistryError(f"{ref}: no route to host", hint="wait")

        manifest = put_manifest = resolve

    put_back_and_tell(
        {NAME}, world.records, lambda _: Dead(), world.reporter, now=world.now, refused={one.digest}  # type: ignore[arg-type, return-value]
    )  # fmt: skip
    [said] = world.reporter.notes
    assert said.startswith(f"{NAME}: whether an unfinished seal left its tags is not known")
    assert "no route to host" in said


class LateLedger:
    """A ledger whose first answer is as old as given."""

    def __init__(self, world: SealWorld, old: tuple[Record, ...]) -> None:
        self._book, self._answers = world.ledger(), [old]
        self.append = self._book.append

    def read(self) -> tuple[Record, ...]:
        return self._answers.pop() if self._answers else self._book.read()


def test_a_tag_of_another_seal_is_explained_by_the_ledger(world: SealWorld) -> None:
    one, other = (world.built("upstream", Tier.UPSTREAM) for _ in range(2))
    for candidate in (one, other):
        world.agree(candidate, version="1.0.0")
    before = world.records()
    world.seal(other, version="1.0.0")
    with pytest.raises(SealConflictError, match=r"debian/upstream v1\.0\.0 belongs to sha256:"):
        world.seal(one, version="1.0.0", ledger=LateLedger(world, before))


class OthersTags:
    """Git tags of which another seal writes one just before they are signed, if it `tells` the ledger."""

    def __init__(self, world: SealWorld, one: Candidate, *, tells: bool) -> None:
        self._world, self._one, self._tells = world, one, tells

    def require(self, orders: Sequence[TagOrder]) -> None:
        """Let them pass."""

    def sign(self, orders: Sequence[TagOrder]) -> None:
        one = self._one
        reservation = Reservation(
            time=self._world.now, author="Bob <bob@example.org>", line=one.line, image=one.image,
            repository=one.repository, digest=digest(66), version="1.0.0", approvals=(),
        )  # fmt: skip
        if self._tells:
            self._world.ledger().append([reservation])
        raise SealConflictError(f"there is a git tag {orders[0].name} on origin", hint="find out who made it")

    write = require


@pytest.mark.parametrize(("tells", "why"), [(True, "belongs to sha256:"), (False, "there is a git tag")])
def test_a_git_tag_of_another_seal_is_explained_where_it_can_be(
    world: SealWorld, tells: bool, why: str  # noqa: FBT001 - a table
) -> None:  # fmt: skip
    one = world.built("upstream", Tier.UPSTREAM)
    world.agree(one)
    with pytest.raises(SealConflictError, match=why):
        world.seal(one, tags=OthersTags(world, one, tells=tells))


def test_a_registry_that_fails_while_aliases_move_moves_none_of_them(
    tmp_path: Path, running: RunningRegistry
) -> None:
    with faulty_registry(running.host) as proxy:
        world = SealWorld(tmp_path, proxy.host, path=f"half/{tmp_path.name.replace('_', '-').strip('-')}")
        kept = built(world, "1.0.0")
        world.seal(kept)
        one = built(world, "1.0.1", bump="patch")
        proxy.faults.append(Fault(path="PUT .*/manifests/v1$", status=503))
        with pytest.raises(RegistryError):
            world.seal(one)
        proxy.faults.clear()
        found = world.names("upstream")
        assert found.pop("v1.0.1") == one.digest
        assert found == world.lineage().tags(NAME)
        assert any("v1.0 names v1.0.0 again" in note for note in world.reporter.notes)
        [made] = world.seal(one)
        assert made.seal.version == "1.0.1"
        assert world.names("upstream") == world.lineage().tags(NAME)
        world.close()


def test_a_ledger_that_is_away_when_it_is_to_be_recorded_is_told(world: SealWorld) -> None:
    world.seal(built(world, "1.0.0"))
    one = built(world, "1.1.0")
    away = world.hub.with_name("away.git")

    def unplug(step: str) -> None:
        if step == "moved":
            world.hub.rename(away)

    with pytest.raises(LedgerRemoteError):
        world.seal(one, on_step=unplug)
    assert any("whether an unfinished seal left its tags is not known" in one for one in world.reporter.notes)
    away.rename(world.hub)
    [made] = world.seal(one)
    assert made.new
    assert world.names("upstream") == world.lineage().tags(NAME)
