"""What no seal lets pass: forged approvals, edited candidates, and registries that fail or lie."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from approvalworld import SETTINGS
from faultyregistry import Fault, FaultyRegistry, faulty_registry
from ledgers import git
from records import digest
from registries import RunningRegistry
from sealagain import SealAgain
from sealworld import RULES, SealWorld
from sshkeys import PROCESSES, listed

from pipeline.adapters.sshsig import SshKey
from pipeline.domain.decision import Approval, Method, Proof
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Digest, Repository, Tier
from pipeline.domain.oci import Manifest, parse
from pipeline.domain.record import Candidate, GateRecord
from pipeline.domain.release import Reservation
from pipeline.errors import GateRefusedError, NotFoundError, PipelineError, RegistryError, UsageError
from pipeline.verbs.reject import reject
from pipeline.verbs.withdraw import withdraw

pytestmark = pytest.mark.engine
GOOD = (GateRecord(gate="one-kernel", verdict=Verdict.PASS, summary="one kernel"),)
BAD = (GateRecord(gate="one-kernel", verdict=Verdict.FAIL, summary="two kernels"),)


@pytest.fixture
def running(seals: SealAgain) -> RunningRegistry:
    return seals.running


@pytest.fixture
def world(seals: SealAgain) -> SealAgain:
    return seals.again()


@pytest.fixture
def one(world: SealAgain) -> Candidate:
    """A candidate that Cleo approved: one more good approval, and it may be released."""

    def make() -> Candidate:
        made = world.built("upstream", Tier.UPSTREAM)
        world.agree(made, by=("cleo",))
        return made

    return world.beginning("one", make)


def drafted(world: SealWorld, one: Candidate) -> Approval:
    decided = (world.proposal(one).decided,)
    return Approval(
        time=world.now,
        author="x",
        decided=decided,
        what="w",
        why="y",
        expires=world.now + dt.timedelta(days=7),
    )


def signed(world: SealWorld, name: str, draft: Approval, identity: str = "", namespace: str = "") -> Approval:
    """An approval as a person with a key could make it by hand, past every check of `approve`."""
    draft = dataclasses.replace(draft, proof=None)
    key, who = SshKey(PROCESSES, world.keys / name), identity or f"{name}@example.org"
    if not namespace:
        return dataclasses.replace(draft, proof=key.sign(draft.statement(), who))
    file = world.folder / "statement"
    file.write_bytes(draft.statement())
    file.with_name("statement.sig").unlink(missing_ok=True)
    PROCESSES.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(world.keys / name), str(file)]
    )
    text = "".join(file.with_name("statement.sig").read_text().split("\n")[1:-2])
    proof = Proof(method=Method.SSH, identity=who, key=key.fingerprint(), text=text)
    return dataclasses.replace(draft, proof=proof)


def another_digest(world: SealWorld, one: Candidate) -> Approval:
    draft = drafted(world, one)
    other = dataclasses.replace(draft.decided[0], digest=digest(66))
    return signed(world, "ben", dataclasses.replace(draft, decided=(other,)))


def edited(world: SealWorld, one: Candidate) -> Approval:
    good = signed(world, "ben", drafted(world, one))
    return dataclasses.replace(good, expires=good.expires + dt.timedelta(days=1))


def another_namespace(world: SealWorld, one: Candidate) -> Approval:
    return signed(world, "ben", drafted(world, one), namespace="git")


def removed_key(world: SealWorld, one: Candidate) -> Approval:
    made = signed(world, "ben", drafted(world, one))
    world.signers(*(listed(world.keys / name) for name in ("cleo", "dan")))
    world.commit("ben left", "ada")
    world.push()
    return made


def by_the_builder(world: SealWorld, one: Candidate) -> Approval:
    return signed(world, "ada", drafted(world, one))


def expired(world: SealWorld, one: Candidate) -> Approval:
    draft = dataclasses.replace(drafted(world, one), expires=world.now + dt.timedelta(seconds=60))
    made = signed(world, "ben", draft)
    world.now += dt.timedelta(seconds=60)
    return made


def of_another_image(world: SealWorld, one: Candidate) -> Approval:
    draft = drafted(world, one)
    twin = Repository(registry=world.host, path=f"{world.path}/debian/twin")
    other = dataclasses.replace(draft.decided[0], image="twin", repository=twin)
    return signed(world, "ben", dataclasses.replace(draft, decided=(other,)))


def twice_by_one_person(world: SealWorld, one: Candidate) -> Approval:
    both = listed(world.keys / "cleo", "cleo@example.org", "dan@old.example.org")
    world.signers(*(listed(world.keys / name) for name in ("ben", "dan")), both)
    world.commit("cleo has two addresses", "ada")
    world.push()
    return signed(world, "cleo", drafted(world, one), identity="dan@old.example.org")


def by_somebody_unknown(world: SealWorld, one: Candidate) -> Approval:
    return signed(world, "eve", drafted(world, one))


def withdrawn(world: SealWorld, one: Candidate) -> Approval:
    [made] = world.agree(one, by=("ben",))
    withdraw(made.id, world.deciding("ben"), why="too early")
    return dataclasses.replace(made, author="somebody else")


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (another_digest, "it is for another digest: got "),
        (edited, "incorrect signature"),
        (another_namespace, "its signature is not good"),
        (removed_key, r"speaks for nobody on the list of signers, not for ben@example\.org"),
        (by_the_builder, r"ada@example\.org built it"),
        (expired, "it expired at 2026-11-21T14:01:00Z"),
        (of_another_image, r"got 1 \(cleo@example\.org\)"),
        (twice_by_one_person, "are 1 by their keys and names"),
        (by_somebody_unknown, "speaks for nobody on the list"),
        (withdrawn, "it was withdrawn"),
    ],
)
def test_an_approval_that_does_not_count(
    world: SealWorld, one: Candidate, forge: Callable[[SealWorld, Candidate], Approval], why: str
) -> None:
    world.ledger().append([forge(world, one)])
    with pytest.raises(GateRefusedError, match=why):
        world.seal(one)
    assert world.names("upstream") == {}
    assert not any(isinstance(record, Reservation) for record in world.records())


def test_a_good_one_beside_it_is_enough(world: SealWorld, one: Candidate) -> None:
    world.ledger().append([another_digest(world, one), signed(world, "ben", drafted(world, one))])
    [made] = world.seal(one)
    assert made.seal.approvers == ("ben@example.org", "cleo@example.org")


def test_a_list_of_signers_that_came_with_the_change(world: SealWorld) -> None:
    first = world.top_down()
    world.signers(*(listed(world.keys / name) for name in ("ada", "ben", "cleo", "dan", "eve")))
    text = SETTINGS.format(rule=RULES, more="").replace(
        'robot = ["robot@example.org"]', 'robot = ["robot@example.org"]\neve = ["eve@example.org"]'
    )
    world.settings(text.replace('"dan", "robot"]', '"dan", "eve"]'))
    world.commit("let eve in", "ada")
    world.push()
    second = world.built("upstream", Tier.UPSTREAM)
    world.agree(second, by=("cleo",))
    [kept] = [seal for seal in world.seals() if seal.digest == first.digest]
    draft = drafted(world, second)
    decided = dataclasses.replace(draft.decided[0], predecessor=kept.predecessor, version="1.1.0")
    later = dataclasses.replace(draft, decided=(decided,))
    world.ledger().append([signed(world, "eve", later)])
    with pytest.raises(GateRefusedError, match="signed with a key that came with this very change"):
        world.seal(second)


def test_a_candidate_that_was_rejected(world: SealWorld, one: Candidate) -> None:
    world.agree(one, by=("ben",))
    reject([world.proposal(one)], world.deciding("dan"), why="it does not boot here")
    with pytest.raises(GateRefusedError, match="it does not boot here"):
        world.seal(one)


def test_a_candidate_whose_gates_were_edited(world: SealWorld) -> None:
    built = world.built("upstream", Tier.UPSTREAM, gates=BAD)
    edited_one = dataclasses.replace(built, gates=GOOD)
    with pytest.raises(GateRefusedError, match="one-kernel fail, expected all pass"):
        world.seal(built)
    with pytest.raises(NotFoundError, match=r"has no candidate debian/upstream .* as it is given"):
        world.seal(edited_one)
    other = world.built("upstream", Tier.UPSTREAM, gates=(*GOOD, dataclasses.replace(GOOD[0], gate="policy")))
    world.ledger().append([signed(world, name, drafted(world, other)) for name in ("ben", "cleo")])
    with pytest.raises(GateRefusedError, match="gate policy: got pass in the record, expected not asked"):
        world.seal(other)


@pytest.mark.parametrize("kind", [EvidenceKind.SBOM, EvidenceKind.DIFF, EvidenceKind.GATES])
def test_evidence_that_was_never_recorded(world: SealWorld, kind: EvidenceKind) -> None:
    one = world.built("upstream", Tier.UPSTREAM, without=[kind])
    world.ledger().append([signed(world, name, drafted(world, one)) for name in ("ben", "cleo")])
    with pytest.raises(GateRefusedError, match=f"also {kind.value}"):
        world.seal(one)


def test_what_is_named_twice_or_not_at_all(world: SealWorld, one: Candidate) -> None:
    with pytest.raises(UsageError, match="at least one image, and each image once"):
        world.seal(one, one)
    with pytest.raises(UsageError, match="at least one image"):
        world.seal()


@pytest.fixture
def before(running: RunningRegistry) -> Iterator[FaultyRegistry]:
    """A proxy before the registry; worlds that speak to it have its address in their names."""
    with faulty_registry(running.host) as proxy:
        yield proxy


class Distant(SealWorld):
    """A world that speaks to its registry through a proxy that fails on order."""

    proxy: FaultyRegistry


@pytest.fixture
def distant(tmp_path: Path, before: FaultyRegistry) -> Iterator[Distant]:
    made = Distant(tmp_path, before.host, path=f"faults/{tmp_path.name.replace('_', '-').strip('-')}")
    made.proxy = before
    yield made
    made.close()


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        (EvidenceKind.SBOM, "evidence in the registry: got sbom missing or changed"),
        (EvidenceKind.DIFF, r"the diff sha256:.* is not in the registry"),
        (EvidenceKind.GATES, "the gates' document: got none"),
        (None, "the candidate cannot be pulled: the registry lacks the blob"),
    ],
)
def test_a_registry_that_lost_a_blob(distant: Distant, lost: EvidenceKind | None, why: str) -> None:
    one = distant.built("upstream", Tier.UPSTREAM)
    distant.agree(one)
    wanted = one.evidence[lost.value] if lost else layer_of(distant, one)
    distant.proxy.faults.append(Fault(path=f"(GET|HEAD) .*/blobs/{wanted}", status=404))
    with pytest.raises(GateRefusedError, match=why):
        distant.seal(one)
    assert distant.names("upstream") == {}
    assert not any(isinstance(record, Reservation) for record in distant.records())


def layer_of(world: SealWorld, one: Candidate) -> Digest:
    parsed = parse(world.registry().manifest(one.repository.at(one.digest)))
    assert isinstance(parsed, Manifest)
    return parsed.layers[0].digest


FAULTS = {
    "401": Fault(path="", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}),
    "403": Fault(path="", status=403),
    "404": Fault(path="", status=404),
    "429": Fault(path="", status=429, headers={"Retry-After": "0"}),
    "503": Fault(path="", status=503),
    "dropped": Fault(path="", drop="before"),
    "another digest": Fault(path="", headers={"Docker-Content-Digest": digest(5).value}),
}
WHERE = {
    "everything": "",
    "release tags are written": r"PUT .*/manifests/v",
    "release tags are read": r"(HEAD|GET) .*/manifests/v",
    "signatures are read": r"GET .*/manifests/sha256-[0-9a-f]+\.sig",
    "signatures are written": r"PUT .*/manifests/sha256-[0-9a-f]+\.sig",
}


@pytest.mark.parametrize(
    ("fault", "where"),
    # What a registry says of what it was just sent is not believed: the tag is read again.
    [
        (one, place)
        for one in FAULTS
        for place in WHERE
        if (one, place.split()[-1]) != ("another digest", "written")
    ],
)
def test_a_registry_that_fails(distant: Distant, fault: str, where: str) -> None:
    world, proxy = distant, distant.proxy
    one = world.built(f"image-{world.number}", Tier.UPSTREAM)
    world.agree(one)
    records, tags = world.records(), world.git_tags()
    proxy.faults.append(dataclasses.replace(FAULTS[fault], path=WHERE[where]))
    try:
        with pytest.raises(PipelineError) as error:
            world.seal(one)
        assert error.value.exit_code in {RegistryError.exit_code, NotFoundError.exit_code, 1, 14}
        assert len(error.value.message) > 20
        assert error.value.hint
    finally:
        proxy.faults.clear()
    assert set(world.names(one.image)) <= {"v1.0.0"}
    assert world.git_tags() == tags
    assert not [seal for seal in world.seals() if seal.digest == one.digest]
    assert world.records()[: len(records)] == records
    [made] = world.seal(one)
    assert made.new
    assert world.names(one.image) == dict.fromkeys(("v1.0.0", "v1.0", "v1"), one.digest)


def test_a_remote_that_is_gone_in_the_middle(world: SealWorld) -> None:
    one = world.built("upstream", Tier.UPSTREAM)
    world.agree(one)
    moved = world.hub.with_name("moved.git")

    def unplug(step: str) -> None:
        if step == "signed":
            world.hub.rename(moved)

    with pytest.raises(PipelineError, match="does not answer or refuses"):
        world.seal(one, on_step=unplug)
    moved.rename(world.hub)
    assert set(world.names("upstream")) == {"v1.0.0"}
    assert world.ledger().kept() == ()
    [made] = world.seal(one)
    assert made.seal.version == "1.0.0"
    assert git(world.hub, "tag", "--list") == "debian/upstream/v1.0.0"
