"""A fleet's run without an engine: what becomes of each host, what is recorded, and in which order."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from buildkit import NOW, World, make_yard, sha
from hosttrees import KEY, make_tree, write
from rich.console import Console
from trees import MemoryTree

from images import TinyImage, layer, tiny_image
from pipeline.adapters.definitions import load
from pipeline.domain.basepaths import PathLookup
from pipeline.domain.catalogue import Catalogue, Instance
from pipeline.domain.fleet import FleetResult, InstanceResult, Outcome
from pipeline.domain.gate import CommandResult, Inside
from pipeline.domain.gates.registry import all_gates
from pipeline.domain.image import Digest, ImageRef, Repository, Tier
from pipeline.domain.oci import OCI_MANIFEST, Descriptor, digest_of
from pipeline.domain.record import Candidate, Record, SourceState
from pipeline.domain.trust import Trust
from pipeline.errors import GateRefusedError, InterruptedRunError, NotFoundError, RegistryError, StateError
from pipeline.render.instances import instance_table, instances_json
from pipeline.verbs.assemble import Assembled
from pipeline.verbs.build_instances import Fleet, build_instances, require_hosts
from pipeline.verbs.examination import PROOF
from pipeline.verbs.host_proof import HostBatch
from pipeline.verbs.ports import Run

TRUST = Trust(registry="registry.example.org/os", keys={"release.pub": KEY})
BASE_TREE = {"/usr/lib/os-release": "ID=debian\n", "/usr/sbin/visudo": "", "/bin/x": ""}
HOSTS = ("a-1", "b-1", "c-1")


class FakeHostProof:
    """Proves hosts with hashes of nothing, as the real one does with documents."""

    def __init__(self, batch: HostBatch) -> None:
        self._batch = batch
        self.done: dict[str, Candidate] = {}

    def __call__(self, made: Assembled, ref: ImageRef) -> None:
        if made.order.host not in self._batch.examined:
            return
        found = self._batch.candidate(made, ref, self._batch.facts(made))
        evidence = {**found.evidence, **{kind.value: sha(kind.value) for kind in PROOF}}
        self.done[made.order.host] = dataclasses.replace(found, evidence=evidence)


class MemoryRegistry:
    """Manifests and blobs in dicts; `full` names repositories that take nothing."""

    def __init__(self, base: TinyImage, repository: Repository) -> None:
        self.manifests = {(repository.path, str(base.digest)): base.manifest}
        self.blobs = {(repository.path, digest_of(blob)): blob for blob in base.blobs}
        self.full: set[str] = set()
        self.missing: RegistryError | None = None
        self.heads: list[str] = []
        self.lock = threading.Lock()

    def resolve(self, ref: ImageRef) -> Descriptor:
        name = ref.repository.path.rpartition("/")[2]
        with self.lock:
            self.heads.append(name)
        data = self.manifests.get((ref.repository.path, ref.tag or str(ref.digest)))
        if data is None:
            raise NotFoundError(f"no {ref}", hint="push it")
        return Descriptor(media_type=OCI_MANIFEST, digest=digest_of(data), size=len(data))

    def manifest(self, ref: ImageRef) -> bytes:
        if self.missing is not None:
            raise self.missing
        return self.manifests[ref.repository.path, str(ref.digest)]

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        if repository.path.rpartition("/")[2] in self.full:
            raise RegistryError(f"{repository} is full", hint="make room")
        self.manifests[repository.path, str(reference)] = data
        return digest_of(data)

    def blob(self, repository: Repository, digest: Digest) -> bytes:
        return self.blobs[repository.path, digest]

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        return (repository.path, digest) in self.blobs

    def mount_blob(self, repository: Repository, digest: Digest, source: Repository) -> bool:
        self.blobs[repository.path, digest] = self.blobs[source.path, digest]
        return True

    def put_blob(self, repository: Repository, data: bytes) -> Digest:
        self.blobs[repository.path, digest_of(data)] = data
        return digest_of(data)

    def stream_blob(self, repository: Repository, digest: Digest) -> Iterator[bytes]:
        yield self.blobs[repository.path, digest]

    def put_stream(
        self, repository: Repository, digest: Digest, size: int, chunks: Callable[[], Iterable[bytes]]
    ) -> None:
        self.blobs[repository.path, digest] = b"".join(chunks())

    def tags(self, host: str) -> list[str]:
        return [tag for path, tag in self.manifests if path.endswith(f"/{host}")]


class CountingLedger:
    """The world's ledger; keeps how many records each commit had."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.commits: list[int] = []

    def read(self, *, offline: bool = False) -> tuple[Record, ...]:
        return self._world.read(offline=offline)

    def append(self, records: Sequence[Record]) -> str:
        self.commits.append(len(records))
        return self._world.append(records)


class TreePaths:
    """The base's path list, from its tree."""

    def table(self, base: object) -> PathLookup:
        return MemoryTree(BASE_TREE)


class FakeOverlays:
    """Containers in which visudo refuses rules of somebody called `broken`."""

    def __init__(self) -> None:
        self.opened_with: list[bytes] = []
        self.on_open: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def opened(self, image: str, layer: bytes) -> Iterator[Inside]:
        self.opened_with.append(layer)
        self.on_open()

        def inside(argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
            if argv[0] == "/usr/sbin/visudo":
                return CommandResult(code=int(b"broken" in layer), stdout="", stderr="syntax error")
            return CommandResult(code=127, stdout="", stderr="")

        yield inside


class FleetYard:
    """Three hosts on one base that has a candidate; all gates are waived but the one on sudo rules."""

    def __init__(self, folder: Path) -> None:
        yard = make_yard(folder / "yard")
        self.world: World = yard.world
        self.images = make_tree(folder / "line")
        base = "".join(
            f'[gates.waivers.{gate.name}]\nreason = "no real image"\nexpires = 2030-01-01\n'
            for gate in all_gates()
            if gate.name != "sudoers"
        )
        path = self.images / "debian/base/base.toml"
        path.write_text(path.read_text() + base)
        (self.images / "debian/hosts/web-1.toml").unlink()
        for name in HOSTS:
            self.define(name)
        self.overlays = FakeOverlays()
        self.run: Run = dataclasses.replace(yard.run, catalogue=self.catalogue())
        self.repository = Repository(registry="registry.example.org", path="os/debian/base")
        self.store = MemoryRegistry(self.base(), self.repository)
        self.stop = threading.Event()
        self.record_base()

    @staticmethod
    def base() -> TinyImage:
        return tiny_image("amd64", "base", layer({"etc/issue": "base"}))

    def define(self, name: str, more: str = "") -> None:
        text = f'from = "base"\nhostname = "{name}"\n{more}'
        write(self.images / f"debian/hosts/{name}.toml", text)

    def catalogue(self) -> Catalogue:
        return load(self.images)

    def record_base(self) -> None:
        digest = self.base().digest
        self.world.trees[digest.hex] = MemoryTree(BASE_TREE)
        self.world.records.append(
            Candidate(
                time=NOW,
                author="Ada",
                run="run-0",
                line="debian",
                image="base",
                tier=Tier.BASE,
                repository=self.repository,
                digest=digest,
                tag=f"candidate-{digest.hex[:16]}",
                source=SourceState(commit="a" * 40, clean=True),
                builder=self.run.builder,
                started=NOW,
                finished=NOW,
            )
        )

    def build(self) -> FleetResult:
        catalogue = self.catalogue()
        fleet = Fleet(
            store=self.store,
            paths=TreePaths(),
            overlays=self.overlays,
            trust=TRUST,
            jobs=2,
            stop=self.stop,
            prover=FakeHostProof,
        )
        run = dataclasses.replace(self.run, catalogue=catalogue)
        return build_instances(run, catalogue.line().instances, fleet)

    def recorded(self) -> list[str]:
        return [one.image for one in self.world.records if one.tier is Tier.INSTANCE]


@pytest.fixture
def yard(tmp_path: Path) -> FleetYard:
    return FleetYard(tmp_path)


BROKEN = '[files."/etc/sudoers.d/90"]\ncontent = "broken"\nmode = "0440"\n'


def outcomes(result: FleetResult) -> dict[str, str]:
    return {one.host.name: one.outcome.value for one in result.hosts}


def of(result: FleetResult, host: str) -> InstanceResult:
    return next(one for one in result.hosts if one.host.name == host)


def test_all_hosts_are_built_and_recorded_in_one_commit(yard: FleetYard) -> None:
    ledger = CountingLedger(yard.world)
    yard.run = dataclasses.replace(yard.run, ledger=ledger)
    result = yard.build()
    assert outcomes(result) == dict.fromkeys(HOSTS, "built")
    assert ledger.commits == [3]
    require_hosts(result)
    one = result.candidates[0]
    assert one.parent is not None
    assert (one.parent.image, one.parent.digest) == ("debian/base", yard.base().digest)
    assert one.ok
    assert yard.store.tags("a-1") == [one.tag]


def test_a_second_run_changes_and_examines_nothing(yard: FleetYard) -> None:
    yard.build()
    yard.overlays.opened_with.clear()
    yard.store.heads.clear()
    yard.world.happened.clear()
    result = yard.build()
    assert outcomes(result) == dict.fromkeys(HOSTS, "unchanged")
    assert yard.overlays.opened_with == []
    assert sorted(yard.store.heads) == sorted(HOSTS)
    assert yard.world.happened == []
    assert yard.recorded() == list(HOSTS)


def test_a_refused_host_stops_no_other_and_nothing_of_it_is_visible(yard: FleetYard) -> None:
    yard.define("b-1", BROKEN)
    result = yard.build()
    assert outcomes(result) == {"a-1": "built", "b-1": "failed", "c-1": "built"}
    assert isinstance(of(result, "b-1").error, GateRefusedError)
    assert yard.store.tags("b-1") == []
    assert not [path for path, _ in yard.store.blobs if path.endswith("/b-1")]
    assert yard.recorded() == ["a-1", "c-1"]
    with pytest.raises(GateRefusedError, match="1 of 3 hosts failed: b-1"):
        require_hosts(result)


def test_a_mended_host_is_built_while_the_others_are_unchanged(yard: FleetYard) -> None:
    yard.define("b-1", BROKEN)
    yard.build()
    yard.define("b-1")
    assert outcomes(yard.build()) == {"a-1": "unchanged", "b-1": "built", "c-1": "unchanged"}


def test_a_registry_that_refuses_one_host_leaves_the_others(yard: FleetYard) -> None:
    yard.store.full.add("c-1")
    result = yard.build()
    assert outcomes(result) == {"a-1": "built", "b-1": "built", "c-1": "failed"}
    assert of(result, "c-1").report is not None
    assert yard.recorded() == ["a-1", "b-1"]
    yard.store.full.clear()
    assert outcomes(yard.build()) == {"a-1": "unchanged", "b-1": "unchanged", "c-1": "built"}


def test_an_image_that_was_pushed_but_never_recorded_is_examined_and_recorded(yard: FleetYard) -> None:
    yard.build()
    kept = [one for one in yard.world.records if one.image != "a-1"]
    yard.world.records[:] = kept
    result = yard.build()
    assert outcomes(result) == {"a-1": "built", "b-1": "unchanged", "c-1": "unchanged"}
    assert len(yard.overlays.opened_with) == 4
    assert yard.recorded() == ["b-1", "c-1", "a-1"]


def test_going_back_to_an_earlier_definition_is_a_new_candidate(yard: FleetYard) -> None:
    yard.build()
    yard.define("a-1", 'timezone = "Etc/UTC"\n')
    yard.build()
    yard.define("a-1")
    result = yard.build()
    assert outcomes(result)["a-1"] == "built"
    assert yard.recorded() == [*HOSTS, "a-1", "a-1"]


def test_a_candidate_that_lacks_a_gate_is_examined_again(yard: FleetYard) -> None:
    yard.build()
    for place, one in enumerate(yard.world.records):
        if one.image == "b-1":
            yard.world.records[place] = dataclasses.replace(one, gates=one.gates[:-1])
    assert outcomes(yard.build()) == {"a-1": "unchanged", "b-1": "built", "c-1": "unchanged"}


def test_a_waiver_that_has_expired_since_is_asked_about_again(yard: FleetYard) -> None:
    yard.build()
    later = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    yard.run = dataclasses.replace(yard.run, clock=lambda: later)
    assert outcomes(yard.build()) == dict.fromkeys(HOSTS, "unchanged")
    yard.run = dataclasses.replace(yard.run, clock=lambda: later + dt.timedelta(days=1))
    assert outcomes(yard.build()) == dict.fromkeys(HOSTS, "failed")


def test_without_a_base_every_host_fails_with_the_reason(yard: FleetYard) -> None:
    yard.world.records.clear()
    result = yard.build()
    assert outcomes(result) == dict.fromkeys(HOSTS, "failed")
    assert isinstance(of(result, "a-1").error, NotFoundError)
    assert result.candidates == ()


def test_an_interrupted_run_records_nothing_and_the_next_one_finishes(yard: FleetYard) -> None:
    yard.overlays.on_open = yard.stop.set
    with pytest.raises(InterruptedRunError):
        yard.build()
    assert yard.recorded() == []
    yard.overlays.on_open = lambda: None
    yard.stop.clear()
    assert outcomes(yard.build()) == dict.fromkeys(HOSTS, "built")


def test_the_digest_does_not_depend_on_the_run(yard: FleetYard) -> None:
    first = [one.digest for one in yard.build().candidates]
    yard.world.records[1:] = []
    yard.run = dataclasses.replace(yard.run, timestamp=1, source=SourceState(commit="b" * 40, clean=True))
    assert [one.digest for one in yard.build().candidates] == first


def test_a_host_with_a_containerfile_goes_through_the_engine(yard: FleetYard) -> None:
    folder = yard.images.parent / "Containerfiles/debian"
    write(folder / "own.Containerfile", "ARG BASE\nFROM ${BASE}\n# pipeline:files\nRUN true\n")
    yard.define("b-1", 'containerfile = "own.Containerfile"\n')
    result = yard.build()
    # The engine of this world makes an image without visudo, and keeps what it was given.
    assert outcomes(result) == dict.fromkeys(HOSTS, "built")
    text, files = yard.world.contexts[-1]
    assert text == "ARG BASE\nFROM ${BASE}\nADD host.tar /\nRUN true\n"
    assert "host.tar" in files
    assert yard.world.arguments[-1] == {"BASE": yard.base().digest.hex}
    for left in yard.world.work.glob("context-*"):
        shutil.rmtree(left)
    assert outcomes(yard.build()) == dict.fromkeys(HOSTS, "unchanged")


def test_a_build_that_cannot_be_prepared_fails_its_host_alone(yard: FleetYard) -> None:
    write(yard.images.parent / "Containerfiles/debian/own.Containerfile", "# pipeline:files\n")
    yard.define("b-1", 'containerfile = "own.Containerfile"\n')
    (yard.world.work / "context-debian-b-1").mkdir()
    result = yard.build()
    assert outcomes(result) == {"a-1": "built", "b-1": "failed", "c-1": "built"}
    assert isinstance(of(result, "b-1").error, StateError)


def test_a_base_that_cannot_be_read_fails_its_hosts_and_records_nothing(yard: FleetYard) -> None:
    yard.store.manifests.clear()
    yard.store.missing = RegistryError("the registry is away", hint="start it")
    result = yard.build()
    assert outcomes(result) == dict.fromkeys(HOSTS, "failed")
    assert yard.recorded() == []


def test_a_containerfile_without_the_marker_fails_its_host_alone(yard: FleetYard) -> None:
    write(yard.images.parent / "Containerfiles/debian/own.Containerfile", "FROM x\n")
    yard.define("b-1", 'containerfile = "own.Containerfile"\n')
    result = yard.build()
    assert outcomes(result) == {"a-1": "built", "b-1": "failed", "c-1": "built"}
    assert "pipeline:files" in str(of(result, "b-1").error)


def test_table_and_document_say_what_became_of_each_host(yard: FleetYard) -> None:
    yard.define("b-1", BROKEN)
    result = yard.build()
    console = Console(width=200)
    with console.capture() as text:
        console.print(instance_table(result))
    assert "debian/b-1" in text.get()
    assert "sudoers: fail" in text.get()
    document = instances_json(result)
    assert [one["outcome"] for one in document["hosts"]] == ["built", "failed", "built"]
    assert document["hosts"][1]["error"]["code"] == GateRefusedError.exit_code
    assert document["hosts"][0]["image"].endswith(str(result.candidates[0].digest))
    assert [one["image"] for one in document["candidates"]] == ["a-1", "c-1"]


def test_an_unchanged_host_has_no_gates_in_the_document(yard: FleetYard) -> None:
    yard.build()
    document = instances_json(yard.build())
    assert [one["gates"] for one in document["hosts"]] == [None, None, None]
    assert document["candidates"] == []


def test_every_outcome_has_a_colour(yard: FleetYard) -> None:
    host = yard.catalogue().line().instances[0]
    assert isinstance(host, Instance)
    for outcome in Outcome:
        result = FleetResult(hosts=(InstanceResult(host=host, outcome=outcome),), candidates=())
        assert instance_table(result).row_count == 1
