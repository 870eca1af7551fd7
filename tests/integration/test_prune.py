"""`pipeline prune` on a real registry and a shared ledger: what goes, what stays, killed anywhere, faults."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faultyregistry import Fault, FaultyRegistry
from ledgers import ledger
from records import deployment, reservation
from registries import registry_program
from retentionworld import LIMITS, World, copy_of, world
from rich.console import Console

from images import push, tiny_image
from pipeline.domain.artifact import fallback_tag
from pipeline.domain.hostcontrol.state import BootEntry, HostState, System
from pipeline.domain.image import Digest
from pipeline.domain.lineage import removed_of
from pipeline.domain.oci import digest_of
from pipeline.domain.release import Retention, Seal
from pipeline.domain.retention import HostsKnown, Limits
from pipeline.domain.retention_plan import PruneResult, Role, Row, in_order
from pipeline.errors import GateRefusedError, HostError, NotFoundError, RegistryError
from pipeline.render.progress import Mode
from pipeline.render.progress import make as progress
from pipeline.render.retention import prune_json, prune_table
from pipeline.verbs.prune import PruneOrder, ask_hosts

Made = tuple[World, FaultyRegistry]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def fresh(first: Made, tmp_path: Path) -> Iterator[Made]:
    """The same world for each test, which may spoil it."""
    with copy_of(*first, tmp_path) as made:
        yield made, first[1]
        first[1].faults.clear()


def seals(made: World) -> dict[str, Seal]:
    found = (one for one in made.ledger().read() if isinstance(one, Seal))
    return {f"{one.image} {one.version}": one for one in found}


def retentions(made: World) -> list[Retention]:
    return [one for one in made.ledger().read() if isinstance(one, Retention)]


def gone(made: World, result: PruneResult) -> bool:
    """Whether no manifest that was to go can be had, by digest or by tag."""
    for row in result.going:
        try:
            made.registry.resolve(row.repository.at(row.digest))
        except NotFoundError:
            continue
        return False
    return not {tag for row in result.going for tag in row.tags} & {
        tag for image in made.there().values() for tag in (one.split()[0] for one in image)
    } - {"v1"}


def whole(made: World, seal: Seal) -> None:
    """A release that stays has its image with all blobs, its signature, its evidence and its bundle."""
    repository, registry = seal.repository, made.registry
    assert registry.resolve(repository.tagged(f"v{seal.version}")).digest == seal.digest
    assert registry.resolve(repository.tagged(f"sha256-{seal.digest.hex}.sig"))
    listed = json.loads(registry.unparsed(repository.tagged(fallback_tag(seal.digest))))["manifests"]
    assert len(listed) == 3
    for entry in listed:
        manifest = json.loads(registry.manifest(repository.at(Digest(entry["digest"]))))
        for layer in manifest["layers"]:
            assert registry.blob(repository, Digest(layer["digest"]))
    image = json.loads(registry.manifest(repository.at(seal.digest)))
    for blob in (image["config"], *image["layers"]):
        assert registry.has_blob(repository, Digest(blob["digest"]))


def test_a_dry_run_tells_of_every_manifest_and_changes_nothing(fresh: Made) -> None:
    made, proxy = fresh
    before, tip = made.there(), len(made.ledger().read())
    proxy.requests.clear()
    result = made.prune()
    assert not result.deleted
    assert (made.there(), len(made.ledger().read())) == (before, tip)
    assert not proxy.count("^(DELETE|PUT|POST)")
    tagged = {f"{tag} {row.digest}" for row in result.rows for tag in row.tags}
    assert tagged == before["base"] | before["web-1"]
    assert all(row.reasons for row in result.rows)


def test_what_goes_is_gone_and_recorded_and_what_stays_is_whole(fresh: Made) -> None:
    made, _ = fresh
    old = _old_candidate(made)
    result = made.prune(apply=True)
    assert {(row.image, row.title) for row in result.going} == {
        ("debian/web-1", "v1.1.0"),
        ("debian/base", "v1.1.0"),
        ("debian/base", f"candidate {old.short}"),
    }
    # Nothing but the two releases' and the candidate's: platforms, list, signature, evidence, bundle.
    assert len(result.deleted) == (1 + 5) + (1 + 2 + 5) + (1 + 3)
    assert set(result.deleted) == set(result.going)
    assert gone(made, result)
    for seal in seals(made).values():
        if seal.version != "1.1.0":
            whole(made, seal)
    recorded = removed_of(made.ledger().read())
    assert set(recorded) == {(row.repository, row.digest) for row in result.deleted}
    again = made.prune(apply=True)
    assert (again.going, again.deleted) == ((), ())
    assert len(retentions(made)) == 2


def _old_candidate(made: World) -> Digest:
    sealed = {one.digest for one in seals(made).values()}
    return next(
        row.digest
        for row in made.prune().rows
        if row.role is Role.CANDIDATE and not row.keep and row.digest not in sealed
    )


def test_skopeo_still_copies_what_stays_and_no_longer_what_went(fresh: Made, tmp_path: Path) -> None:
    made, _ = fresh
    made.prune(apply=True)
    assert shutil.which("skopeo"), "skopeo is missing: apt-get install skopeo"
    for version, code in (("1.3.0", 0), ("1.1.0", 1)):
        done = subprocess.run(
            ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{made.repository('web-1')}:v{version}",
             f"dir:{tmp_path}/{version}"],
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr


def test_the_registrys_own_garbage_collection_frees_the_space_and_no_more(fresh: Made) -> None:
    made, _ = fresh
    storage = made.folder / "registry"
    before = _blobs(storage)
    result = made.prune(apply=True)
    done = subprocess.run(
        [registry_program(), "garbage-collect", str(storage / "config.yml")], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Older versions of a list of referrers have no tag, so nobody can delete them; they hold on to the few
    # hundred bytes of the manifests that they name, never to documents or layers.
    images = {row.digest.hex for row in result.deleted if row.role in (Role.RELEASE, Role.CANDIDATE)}
    sealed = [one.digest for one in seals(made).values() if one.version == "1.1.0"]
    documents = {digest_of(f'{{"sbom":"{one}"}}'.encode()).hex for one in sealed}
    assert images | documents <= before - _blobs(storage)
    for seal in seals(made).values():
        if seal.version != "1.1.0":
            whole(made, seal)


def _blobs(storage: Path) -> set[str]:
    return {path.parent.name for path in storage.glob("storage/docker/registry/v2/blobs/sha256/*/*/data")}


def test_one_image_is_pruned_and_the_other_left_alone(fresh: Made) -> None:
    made, _ = fresh
    result = made.prune(order=PruneOrder(limits=LIMITS, images=("debian/web-1",), apply=True))
    assert {row.image for row in result.rows} == {"debian/web-1"}
    assert {row.image for row in made.prune().going} == {"debian/base"}
    with pytest.raises(NotFoundError, match="web-2"):
        made.prune(order=PruneOrder(limits=LIMITS, images=("debian/web-2",)))


def test_what_a_host_just_said_keeps_an_old_release_and_its_base(fresh: Made) -> None:
    made, _ = fresh
    old = seals(made)["web-1 1.1.0"]
    state = HostState(system=System.BOOTC, booted=BootEntry(digest=old.digest))
    hosts = HostsKnown(states={"debian/web-1": state})
    result = made.prune(order=PruneOrder(limits=LIMITS, hosts=hosts, apply=True))
    assert {(row.image, row.role) for row in result.deleted if row.role is not Role.ATTACHED} == {
        ("debian/base", Role.CANDIDATE),
        ("debian/base", Role.LIST),
    }
    whole(made, old)


def test_a_host_that_does_not_answer_keeps_all_it_may_run(fresh: Made) -> None:
    made, _ = fresh
    told = HostState(system=System.BOOTC, booted=BootEntry(digest=seals(made)["web-1 1.3.0"].digest))

    def ask(host: str) -> HostState:
        if host == "web-1":
            return told
        raise HostError(f"{host} is silent", hint="see its console")

    noted = io.StringIO()
    reporter = progress(Mode.PLAIN, noted, clock=lambda: 0.0)
    known = ask_hosts(["debian/web-1", "debian/web-2"], ask, reporter)
    assert known == HostsKnown(states={"debian/web-1": told})
    assert "debian/web-2 does not tell what it runs" in noted.getvalue()
    one = Limits(releases=1, candidate_days=30)
    silent = made.prune(order=PruneOrder(limits=one))
    asked = made.prune(order=PruneOrder(limits=one, hosts=known))
    more = {(row.image, row.title) for row in asked.going} - {(row.image, row.title) for row in silent.going}
    assert more == {("debian/web-1", "v1.2.0"), ("debian/base", "v1.2.0")}


def test_foreign_tags_and_manifests_are_kept_and_named(fresh: Made) -> None:
    made, _ = fresh
    repository = made.repository("web-1")
    old = seals(made)["web-1 1.1.0"]
    foreign = push(made.registry, repository, tiny_image(text="somebody's"), "experiment")
    made.registry.put_manifest(repository, "frozen", made.registry.manifest(repository.at(old.digest)))
    result = made.prune(apply=True)
    rows = {row.digest: row for row in result.rows if row.repository == repository}
    assert rows[foreign].role is Role.UNKNOWN
    assert rows[old.digest].reasons == ("the ledger does not know its tag frozen",)
    whole(made, old)
    said = shown(result)
    assert "the ledger does not know it; the ledger does not know its tag experiment" in said
    assert "1 manifest that the ledger does not know" in said


def shown(result: PruneResult) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(prune_table(result))
    return console.export_text()


def test_the_table_and_the_json_name_every_manifest_with_its_reason(fresh: Made) -> None:
    made, _ = fresh
    result = made.prune()
    said, data = shown(result), prune_json(result)
    assert all(row.digest.short in said for row in result.rows)
    assert "would go" in said
    assert len(data["manifests"]) == len(result.rows)
    assert {one["digest"] for one in data["manifests"] if not one["keep"]} == {
        row.digest.value for row in result.going
    }
    assert all(one["reasons"] and not one["deleted"] for one in data["manifests"])
    json.dumps(data)


def test_killed_before_any_step_and_run_again_all_is_done_once(tmp_path: Path) -> None:
    """Nothing that must stay is touched, nothing is deleted without its record, and the end is the same."""
    (tmp_path / "first").mkdir()
    with world(tmp_path / "first", little=True) as (original, proxy):
        original.limits = Limits(releases=1, candidate_days=30)
        _kill_everywhere(original, proxy, tmp_path)


def _kill_everywhere(original: World, proxy: FaultyRegistry, tmp_path: Path) -> None:
    with copy_of(original, proxy, tmp_path / "whole") as made:
        plan = made.prune(apply=True)
        end = made.there()
        removed = set(removed_of(made.ledger().read()))
    at, killed = 0, True
    while killed:
        at += 1
        with copy_of(original, proxy, tmp_path / str(at)) as made:
            killed = made.prune_and_die(at)
            recorded = set(removed_of(made.ledger().read()))
            lost = _lost(made, plan)
            assert {(row.repository, row.digest) for row in lost} <= recorded, "deleted without a record"
            for row in plan.rows:
                if row.keep:
                    assert made.registry.resolve(row.repository.at(row.digest))
            made.prune(apply=True)
            assert made.there() == end
            assert gone(made, plan)
            assert set(removed_of(made.ledger().read())) == removed
            every = [(one.repository, one.digest) for record in retentions(made) for one in record.removed]
            assert len(every) == len(set(every)), "recorded twice"
        shutil.rmtree(tmp_path / str(at))
    assert len(plan.deleted) == (1 + 2 + 5) + (1 + 3)
    # Two repositories: asked, looked at again, recorded, done; and each manifest once.
    assert at == 2 * 4 + len(plan.deleted) + 1


def _lost(made: World, plan: PruneResult) -> list[Row]:
    found: list[Row] = []
    for row in plan.going:
        try:
            made.registry.resolve(row.repository.at(row.digest))
        except NotFoundError:
            found.append(row)
    return found


def test_a_host_that_moves_before_the_record_stops_the_deletion(fresh: Made) -> None:
    made, _ = fresh
    old = seals(made)["web-1 1.1.0"]
    other = ledger(made.clone, "origin")

    def step(name: str) -> None:
        if name.startswith("record") and "web-1" in name:
            other.append([deployment(old, why="back at three in the morning")])

    with pytest.raises(GateRefusedError, match=r"must stay by now.*the host web-1 runs it"):
        made.prune(apply=True, on_step=step)
    whole(made, old)
    assert all(one.names() == {"debian/base"} for one in retentions(made))


def test_a_tag_that_appears_before_the_second_look_is_respected(fresh: Made) -> None:
    made, _ = fresh
    repository = made.repository("web-1")
    old = seals(made)["web-1 1.1.0"]

    def step(name: str) -> None:
        if name.startswith("look again") and "web-1" in name:
            data = made.registry.manifest(repository.at(old.digest))
            made.registry.put_manifest(repository, "frozen", data)

    made.prune(apply=True, on_step=step)
    whole(made, old)
    assert (repository, old.digest) not in removed_of(made.ledger().read())


def test_a_reservation_that_appears_before_the_record_stops_the_deletion(fresh: Made) -> None:
    made, _ = fresh
    going = next(row for row in made.prune().going if row.role is Role.CANDIDATE)

    def step(name: str) -> None:
        if name.startswith("record") and "base" in name:
            made.ledger().append(
                [reservation("1.9.0", digest=going.digest, repository=going.repository, image="base")]
            )

    with pytest.raises(GateRefusedError, match=r"v1\.9\.0 is reserved for it"):
        made.prune(apply=True, on_step=step)
    assert made.registry.resolve(going.repository.at(going.digest))


def test_a_registry_that_deletes_nothing_is_told_of_before_anything_is_recorded(
    first: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_STORAGE_DELETE_ENABLED", "false")
    with copy_of(*first, tmp_path) as made:
        before = made.there()
        with pytest.raises(RegistryError, match=r"405.*nothing was recorded or deleted") as caught:
            made.prune(apply=True)
        assert "storage.delete.enabled" in caught.value.hint
        assert made.there() == before
        assert not retentions(made)


FAULTS = {
    "401": Fault(path="x", status=401),
    "404": Fault(path="x", status=404),
    "429": Fault(path="x", status=429, headers={"Retry-After": "0"}),
    "503": Fault(path="x", status=503),
    "dropped": Fault(path="x", drop="before"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("when", ["tags/list", "GET .*/manifests/v1.2.0", "DELETE"])
def test_a_registry_that_fails_ends_the_run_and_loses_nothing(fresh: Made, name: str, when: str) -> None:
    """404 is an answer: a repository, a tag or a manifest that is not there (any more)."""
    made, proxy = fresh
    before = made.there()
    proxy.faults.append(replace(FAULTS[name], path=when))
    if name == "404":
        made.prune(apply=True)
        proxy.faults.clear()
        for seal in seals(made).values():
            if seal.version != "1.1.0":
                whole(made, seal)
        return
    with pytest.raises(RegistryError):
        made.prune(apply=True)
    assert not retentions(made)
    proxy.faults.clear()
    assert made.there() == before, "nothing was deleted"


@pytest.mark.parametrize("name", ["401", "429", "503", "dropped"])
def test_a_registry_that_fails_between_two_deletions_is_finished_by_the_next_run(
    fresh: Made, name: str
) -> None:
    made, proxy = fresh
    plan = made.prune()
    third = in_order_of(plan)[2]
    proxy.faults.append(replace(FAULTS[name], path=f"DELETE .*{third}"))
    with pytest.raises(RegistryError, match=r"2 of 12 manifests of .*base were deleted before"):
        made.prune(apply=True)
    proxy.faults.clear()
    made.prune(apply=True)
    assert gone(made, plan)
    for seal in seals(made).values():
        if seal.version != "1.1.0":
            whole(made, seal)


def in_order_of(plan: PruneResult) -> list[str]:
    base = tuple(row for row in plan.going if row.image == "debian/base")
    return [row.digest.value for row in in_order(base)]


def test_an_answer_that_is_lost_after_the_deletion_is_no_failure(fresh: Made) -> None:
    made, proxy = fresh
    plan = made.prune()
    proxy.faults.append(Fault(path="DELETE", drop="after", every=3, times=4))
    made.prune(apply=True)
    assert gone(made, plan)
