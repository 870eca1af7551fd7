"""Rollbacks on a real registry and a real git remote: order of steps, crashes anywhere, faults, a fleet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from faultyregistry import Fault, faulty_registry
from hostmachine import TIMER, machine_state
from records import seal, yank
from registries import RunningRegistry, free_port, running_registry
from rollbackworld import WHY, Silent, World, in_a_process, instance

from images import index_of, push, tiny_image
from pipeline.domain.image import Digest, ImageRef
from pipeline.domain.oci import digest_of
from pipeline.domain.release import Deployment, Removed, Retention, Seal
from pipeline.errors import (
    GateRefusedError,
    HostError,
    LedgerRemoteError,
    NotFoundError,
    PipelineError,
    RegistryError,
)
from pipeline.verbs.hosts import HostDriver
from pipeline.verbs.rollback import Rolling, Unsafe, plan_rollback, require_moved
from pipeline.verbs.rollback_fleet import plan_fleet, require_done, rollback_fleet
from pipeline.verbs.rollback_target import Ways
from pipeline.verbs.rollout import Waves

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def begun(registry: RunningRegistry, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("alone") / "alone", registry.host).begin()


@pytest.fixture
def world(begun: World) -> World:
    return begun.again()


def planned(world: World, rolling: Rolling, version: str = "v2.0") -> Any:
    return plan_rollback(Ways(rolling.ledger.records).to("web1", version), rolling, why=WHY).plan


def unmoved(world: World, steps: tuple[str, ...] = ()) -> None:
    assert world.channel() == world.digest("2.1.0")
    assert world.steps() == list(steps)


def test_the_channel_goes_back_by_digest_and_each_step_is_recorded(world: World) -> None:
    done = world.roll("web1", "v2.0", world.rolling())
    assert done.moved
    assert world.channel() == world.digest("2.0.0")
    assert world.steps() == ["wanted v2.0.0", "channel v2.0.0"]
    first = next(one for one in world.ledger().read() if isinstance(one, Deployment))
    assert (first.why, first.before and first.before.version) == (WHY, "2.1.0")
    [hand, *_] = done.plan.by_hand.values()
    assert str(world.digest("2.0.0")) in hand[0]


def test_run_again_it_is_a_success_that_moves_and_records_nothing(world: World) -> None:
    world.roll("web1", "v2.0", world.rolling())
    again = world.roll("web1", "v2.0.0", world.rolling())
    assert not again.moved
    assert world.steps() == ["wanted v2.0.0", "channel v2.0.0"]


def test_a_channel_that_was_moved_behind_our_back_is_moved_and_recorded_anew(world: World) -> None:
    world.roll("web1", "v2.0", world.rolling())
    world.store().put_manifest(world.repository("web1"), "current", world.images["web1", "1.0.0"].manifest)
    assert world.roll("web1", "v2.0", world.rolling()).moved
    assert world.channel() == world.digest("2.0.0")
    assert world.steps() == ["wanted v2.0.0", "channel v2.0.0"] * 2


def test_a_host_that_can_be_reached_is_switched_and_proved(world: World) -> None:
    done = world.roll("web1", "v2.0", world.rolling(host=True))
    assert world.runs() == str(world.digest("2.0.0"))
    assert world.steps() == [f"{step} v2.0.0" for step in ("wanted", "channel", "staged", "booted")]
    assert [step.action.value for step in done.steps] == ["pause", "rollback", "reboot"]
    assert world.machine().state["timers"][TIMER]["active"], "the channel names what runs: updates may go on"
    again = world.roll("web1", "v2.0", world.rolling(host=True))
    assert (again.moved, again.steps) == (False, ())


def test_a_plan_changes_and_records_nothing(world: World) -> None:
    before = world.host_file("web1").read_text()
    plan = planned(world, world.rolling(host=True))
    assert [step.action.value for step in plan.steps] == ["pause", "rollback", "reboot"]
    assert plan.moves
    assert any("/var" in one for one in plan.warnings)
    assert "is gone" in plan.unknown, "a difference that cannot be had is told"
    assert "--no-diff" in planned(world, world.rolling(comparer=None)).unknown
    unmoved(world)
    state, now = json.loads(before), json.loads(world.host_file("web1").read_text())
    assert {**state, "log": 0} == {**now, "log": 0}


@pytest.mark.parametrize("host", [False, True], ids=["channel", "host"])
def test_killed_anywhere_the_same_command_completes_it(world: World, host: bool) -> None:  # noqa: FBT001
    moment = 6 if host else 0  # the first six are the same with and without a host
    while True:
        moment += 1
        first = in_a_process(world.again(), moment, host=host)
        if first != "killed":
            break
        assert world.channel() in (world.digest("2.1.0"), world.digest("2.0.0")), moment
        again = in_a_process(world, 0, host=host)
        assert again.endswith("moments"), (moment, again)
        assert world.channel() == world.digest("2.0.0"), moment
        steps = ["wanted", "channel", *(["staged", "booted"] if host else [])]
        assert world.steps() == [f"{step} v2.0.0" for step in steps], moment
        if host:
            assert world.runs() == str(world.digest("2.0.0")), moment
            assert world.machine().count("bootc", "rollback") == 1, moment
            assert world.machine().state["boots"] == 1, moment
    assert first == f"{moment - 1} moments"
    # Before and after each record, the tag, and each command that changes the host.
    assert moment - 1 == (16 if host else 6)


def test_a_release_that_does_not_verify_is_refused_unless_told(world: World) -> None:
    bad: Any = {"verifier": lambda _: ("the approval was withdrawn",)}
    with pytest.raises(GateRefusedError, match="the approval was withdrawn"):
        world.roll("web1", "v2.0", world.rolling(**bad))
    unmoved(world)
    done = world.roll("web1", "v2.0", world.rolling(**bad, unsafe=Unsafe(unverified=True)))
    assert done.plan.problems == ("the approval was withdrawn",)
    assert world.channel() == world.digest("2.0.0")


def test_a_verifier_that_fails_is_no_yes(world: World) -> None:
    def fails(_: Seal) -> tuple[str, ...]:
        raise RegistryError("the registry is on fire", hint="wait")

    with pytest.raises(GateRefusedError, match="on fire"):
        world.roll("web1", "v2.0", world.rolling(verifier=fails))
    unmoved(world)


def test_a_release_that_lost_a_blob_is_refused(world: World) -> None:
    [_, layer] = world.images["web1", "2.0.0"].blobs
    lost = Fault(path=f"HEAD .*/blobs/{digest_of(layer)}", status=404)
    with faulty_registry(world.registry, lost) as proxy:
        rolling = world.rolling(store=lambda _: Elsewhere(world.store(proxy.host), proxy.host))
        with pytest.raises(GateRefusedError, match=f"lacks the blob {digest_of(layer)}"):
            world.roll("web1", "v2.0", rolling)
    unmoved(world)


def test_an_index_counts_with_all_it_lists(world: World) -> None:
    arms = [tiny_image(architecture=name, text="many") for name in ("amd64", "arm64")]
    data = index_of(*arms)
    store, repository = world.store(), world.repository("web1")
    for one in arms:
        push(store, repository, one)
    made = instance("web1", 80, repository, digest=store.put_manifest(repository, "v1.5.0", data))
    world.ledger().append([made, seal("1.5.0", of=made)])
    store.put_manifest(repository, "current", world.images["web1", "2.1.0"].manifest)
    plan = planned(world, world.rolling(), "v1.5")
    assert not plan.problems
    store.delete_manifest(repository, arms[1].digest)
    assert (
        f"the registry lacks the manifest {arms[1].digest}"
        in planned(world, world.rolling(), "v1.5").problems
    )


def test_a_yank_between_the_look_and_the_record_is_noticed(world: World) -> None:
    rolling = world.rolling()
    world.ledger().append([yank(next(one for one in world.seals() if one.version == "2.0.0"))])
    with pytest.raises(GateRefusedError, match="was yanked"):
        world.roll("web1", "v2.0", rolling)
    unmoved(world)


def test_a_release_that_is_pruned_meanwhile_is_noticed(world: World) -> None:
    rolling = world.rolling()
    gone = next(one for one in world.seals() if one.version == "2.0.0")
    removed = Removed(repository=gone.repository, digest=gone.digest, reason="old")
    world.ledger().append([Retention(time=gone.time, author="ci", removed=(removed,))])
    with pytest.raises(GateRefusedError, match="deleted by `pipeline prune`"):
        world.roll("web1", "v2.0", rolling)
    unmoved(world)


def test_a_seal_that_moves_the_channel_at_the_same_time_is_told(world: World) -> None:
    def other(step: str) -> None:
        if step == "moved":
            manifest = world.images["web1", "1.0.0"].manifest
            world.store().put_manifest(world.repository("web1"), "current", manifest)

    with pytest.raises(RegistryError, match="current names"):
        world.roll("web1", "v2.0", world.rolling(on_step=other))
    assert world.roll("web1", "v2.0", world.rolling()).moved
    assert world.channel() == world.digest("2.0.0")


FAULTS = {
    "401": Fault(path="PUT .*/manifests/current", status=401),
    "404": Fault(path="GET .*/manifests/sha256", status=404),
    "429": Fault(path="PUT .*/manifests/current", status=429),
    "503": Fault(path="PUT .*/manifests/current", status=503),
    "dropped": Fault(path="PUT .*/manifests/current", drop="before"),
    "blob 503": Fault(path="HEAD .*/blobs/", status=503),
    "other bytes": Fault(path="GET .*/manifests/sha256", flip=True),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_registry_that_fails_ends_it_clearly_and_moves_nothing(world: World, fault: str) -> None:
    with faulty_registry(world.registry) as proxy:
        spoiled = FAULTS[fault]
        proxy.faults.append(
            Fault(**{key: getattr(spoiled, key) for key in ("path", "status", "drop", "flip")})
        )
        rolling = world.rolling(store=lambda _: Elsewhere(world.store(proxy.host), proxy.host))
        with pytest.raises((RegistryError, NotFoundError)) as told:
            world.roll("web1", "v2.0", rolling)
    assert told.value.hint
    wanted = ("wanted v2.0.0",) if "PUT" in spoiled.path else ()
    unmoved(world, wanted)
    world.roll("web1", "v2.0", world.rolling())
    assert world.steps() == ["wanted v2.0.0", "channel v2.0.0"], "the same command completes it"


class Elsewhere:
    """A registry reached through a proxy, under the name that the ledger has for it."""

    def __init__(self, store: Any, host: str) -> None:
        self._store, self._host = store, host

    def _there(self, repository: Any) -> Any:
        return type(repository)(registry=self._host, path=repository.path)

    def _ref(self, ref: ImageRef) -> ImageRef:
        return ImageRef(repository=self._there(ref.repository), tag=ref.tag, digest=ref.digest)

    def resolve(self, ref: ImageRef) -> Any:
        return self._store.resolve(self._ref(ref))

    def manifest(self, ref: ImageRef) -> bytes:
        data: bytes = self._store.manifest(self._ref(ref))
        return data

    def has_blob(self, repository: Any, digest: Digest) -> bool:
        return bool(self._store.has_blob(self._there(repository), digest))

    def put_manifest(self, repository: Any, reference: str | Digest, data: bytes) -> Digest:
        found: Digest = self._store.put_manifest(self._there(repository), reference, data)
        return found


def test_a_remote_that_is_down_stops_it_unless_told_and_records_wait(world: World) -> None:
    # One clone: what waits is kept in it.
    book = world.ledger()
    book.read()
    hidden = world.hub.with_name("away.git")
    world.hub.rename(hidden)
    with pytest.raises(LedgerRemoteError):
        world.rolling_with(book)
    rolling = world.rolling_with(book, offline=True)
    done = world.roll("web1", "v2.0", rolling)
    assert any("remote was not asked" in one for one in done.plan.warnings)
    assert world.channel() == world.digest("2.0.0")
    hidden.rename(world.hub)
    assert world.steps() == []
    book.append(book.kept())
    assert world.steps() == ["wanted v2.0.0", "channel v2.0.0"]


def test_where_the_registry_is_down_a_host_goes_back_to_what_it_has_only_when_told(world: World) -> None:
    dead = world.store(f"127.0.0.1:{free_port()}")
    down: Any = {"host": True, "store": lambda _: Elsewhere(dead, dead.host)}
    with pytest.raises(RegistryError):
        world.roll("web1", "v2.0", world.rolling(**down))
    assert world.steps() == []
    done = world.roll("web1", "v2.0", world.rolling(**down, unsafe=Unsafe(unverified=True)))
    assert (done.moved, world.runs()) == (False, str(world.digest("2.0.0")))
    with pytest.raises(RegistryError, match="its channel was not moved"):
        require_moved(done)
    assert any("cannot be asked" in one for one in done.plan.problems)
    assert not world.machine().state["timers"][TIMER]["active"], "the channel still names what was left"
    unmoved(world, tuple(f"{step} v2.0.0" for step in ("wanted", "staged", "booted")))
    assert world.roll("web1", "v2.0", world.rolling(host=True)).moved
    assert world.steps()[3:] == ["wanted v2.0.0", "channel v2.0.0", "booted v2.0.0"]
    assert world.machine().state["timers"][TIMER]["active"], "the channel names what runs: updates go on"
    assert world.machine().run(["systemctl", "show", TIMER])[1].count("UnitFileState=enabled") == 1
    assert world.roll("web1", "v2.0", world.rolling(host=True)).steps == ()


def test_a_host_that_fails_leaves_a_record_and_the_channel_where_it_goes(world: World) -> None:
    world.become("web1", machine_state("bootc", switch_fails=True), "2.1.0", "1.0.0")
    with pytest.raises(PipelineError, match="signature was required"):
        world.roll("web1", "v2.0", world.rolling(host=True))
    assert world.steps() == [f"{step} v2.0.0" for step in ("wanted", "channel", "failed")]
    world.become("web1", machine_state("bootc"), "2.1.0", "1.0.0")
    world.roll("web1", "v2.0", world.rolling(host=True))
    assert world.runs() == str(world.digest("2.0.0"))
    assert world.steps()[3:] == [f"{step} v2.0.0" for step in ("wanted", "staged", "booted")]


def test_a_pool_that_would_be_lost_refuses_before_the_channel_moves(world: World) -> None:
    pools = {"tank": {"from_the_future": "active"}}
    world.become("web1", machine_state("bootc", zpool=pools), "2.1.0", "2.0.0")
    with pytest.raises(HostError, match="from_the_future"):
        world.roll("web1", "v2.0", world.rolling(host=True))
    unmoved(world)
    world.roll("web1", "v2.0", world.rolling(host=True, unsafe=Unsafe(pools=True)))
    assert world.runs() == str(world.digest("2.0.0"))


@pytest.fixture(scope="module")
def many(registry: RunningRegistry, tmp_path_factory: pytest.TempPathFactory) -> World:
    hosts = tuple(f"web{number}" for number in range(1, 6))
    return World(tmp_path_factory.mktemp("many") / "many", registry.host, hosts).begin()


@pytest.fixture
def fleet(many: World) -> World:
    return many.again()


def roll_fleet(world: World, rolling: Rolling, waves: Waves, to: str | None = None) -> Any:
    ways, refused = Ways(rolling.ledger.records).from_release("v2.1", to)
    return rollback_fleet(ways, refused, rolling, why=WHY, waves=waves)


def test_a_fleet_goes_back_in_waves(fleet: World) -> None:
    rolling = fleet.rolling(host=True)
    ways, refused = Ways(rolling.ledger.records).from_release("v2.1", None)
    plan = plan_fleet(ways, refused, rolling, why=WHY, waves=Waves(first=1, size=3))
    assert (plan.waves, len(plan.plans), plan.refused) == ((1, 3, 1), 5, ())
    assert fleet.steps() == []
    done = roll_fleet(fleet, rolling, Waves(first=1, size=3))
    assert done.done
    require_done(done)
    for host in fleet.hosts:
        assert fleet.channel(host) == fleet.digest("2.0.0", host)
        assert fleet.runs(host) == str(fleet.digest("2.0.0", host))
        assert fleet.steps(host)[-1] == "booted v2.0.0"
    with pytest.raises(NotFoundError):
        Ways(fleet.ledger().read()).from_release("v2.1", None)


def test_a_fleet_stops_at_the_limit_and_goes_on_when_mended(fleet: World) -> None:
    fleet.become("web2", machine_state("bootc", boot_fails=True), "2.1.0", "1.0.0")
    rolling = fleet.rolling(host=True, reporter=Silent())
    done = roll_fleet(fleet, rolling, Waves(first=1, size=1))
    assert [one.name for one in done.failed] == ["debian/web2"]
    assert done.left == ("debian/web3", "debian/web4", "debian/web5")
    with pytest.raises(HostError, match="web3: not begun"):
        require_done(done)
    assert fleet.channel("web3") == fleet.digest("2.1.0", "web3")
    fleet.become("web2", machine_state("bootc"), "2.1.0", "1.0.0")
    again = roll_fleet(fleet, fleet.rolling(host=True), Waves(first=1, size=4))
    assert again.done
    assert len(again.outcomes) == 4, "web1 is done, web2 goes on though its channel is there already"
    assert fleet.runs("web2") == str(fleet.digest("2.0.0", "web2"))


def test_a_host_that_cannot_be_reached_is_its_own_failure(fleet: World) -> None:
    def reach(host: str) -> HostDriver:
        if host == "web3":
            raise HostError(f"{host} cannot be reached", hint="look")
        return fleet.reach(host)

    rolling = fleet.rolling(reach=reach)
    done = roll_fleet(fleet, rolling, Waves(first=2, size=3, failures=1))
    assert [one.name for one in done.failed] == ["debian/web3"]
    assert len(done.outcomes) == 4
    assert fleet.channel("web3") == fleet.digest("2.1.0", "web3"), "what cannot be planned moves nothing"
