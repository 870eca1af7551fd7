"""Images really built twice: one digest from other folders at other times, and what is found where not."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from buildkit import NOW, make_yard
from registries import RunningRegistry, running_registry
from tarballs import rich_base

from images import push, tiny_image
from pipeline.adapters.basepaths import BasePathCache
from pipeline.adapters.engine import Engine, detect_profile, registries_conf
from pipeline.adapters.process import Processes
from pipeline.adapters.registry import Registry
from pipeline.adapters.snapshots import Snapshots
from pipeline.adapters.toc import TocStore
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.placement import TreeEntry
from pipeline.domain.provenance import BuildFacts
from pipeline.domain.reproducible import Cause, Comparison
from pipeline.domain.tree import FileType
from pipeline.errors import AssemblyError
from pipeline.verbs.assemble import HostOrder, assemble, load_base
from pipeline.verbs.built import Built
from pipeline.verbs.ports import Run
from pipeline.verbs.reproduce import assemble_again, build_again
from pipeline.verbs.stages import EngineStage, run_engine
from pipeline.wiring import container_limits

pytestmark = pytest.mark.engine
TIMESTAMP = 1_700_000_000
STEADY = "/bin/busybox mkdir -p /etc/app && echo always the same > /etc/app/config"
RESTLESS = (
    "/bin/busybox mkdir -p /var/log /etc/ssh && /bin/busybox cat /proc/uptime > /var/log/install.log"
    " && /bin/busybox head -c 16 /dev/urandom > /etc/ssh/ssh_host_ed25519_key && echo same > /etc/same"
)


def busybox() -> Path:
    found = shutil.which("busybox")
    if found is None:
        pytest.fail("busybox is not installed; install it: apt-get install busybox-static (Fedora: busybox)")
    return Path(found)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


class Bench:
    """Builds one Containerfile twice with the real engine, each time in a folder of its own."""

    def __init__(self, folder: Path, host: str) -> None:
        self.folder = folder
        self.host = host
        conf = folder / "registries.conf"
        conf.write_text(registries_conf(host), encoding="utf-8")
        processes = Processes(environment=os.environ)
        profile = detect_profile(
            processes,
            program="podman",
            runtime="auto",
            network="host",
            limits=container_limits(),
            registries_conf=conf,
        )
        self.engine = Engine(processes, profile)
        yard = make_yard(folder / "yard")
        self.run = dataclasses.replace(yard.run, engine=self.engine, timestamp=TIMESTAMP)
        self.image = yard.base
        self.repository = Repository(registry=host, path=f"twice/{secrets.token_hex(4)}")
        self.tags: list[str] = []
        self.snapshots = Snapshots(
            TocStore(folder / "tables"),
            Registry(host, insecure=True),
            processes=processes,
            engine=["podman", *(["--runtime", profile.runtime] if profile.runtime else [])],
        )

    def make(self, command: str) -> Built:
        number = len(self.tags) + 1
        context = self.folder / f"context-{number}"
        (context / "bin").mkdir(parents=True)
        shutil.copyfile(busybox(), context / "bin/busybox")
        (context / "bin/busybox").chmod(0o755)
        (context / "Containerfile").write_text(
            f'FROM scratch\nCOPY bin /bin\nRUN ["/bin/busybox", "sh", "-c", "{command}"]\n', encoding="utf-8"
        )
        tag = f"localhost/pipeline-test/{secrets.token_hex(8)}:{number}"
        self.tags.append(tag)
        stage = EngineStage(
            name=f"build {number}",
            context=context,
            file=context / "Containerfile",
            arguments={},
            tag=tag,
            squash=True,
        )
        run_engine(self.run, stage)
        return Built(
            image=self.image,
            local=tag,
            kernel=None,
            started=NOW,
            facts=BuildFacts(definition="", timestamp=0),
        )

    def push(self, _: Run, built: Built) -> ImageRef:
        ref = self.repository.tagged(f"candidate-{built.local.rpartition(':')[2]}")
        digest = self.engine.push(built.local, ref, digest_file=self.folder / "digest")
        return dataclasses.replace(ref, digest=digest)

    def twice(self, command: str) -> Comparison:
        first = self.make(command)
        pushed = self.push(self.run, first)
        return build_again(
            self.run,
            first,
            pushed.pinned,
            make=lambda _: self.make(command),
            push=self.push,
            images=self.snapshots,
        )

    def close(self) -> None:
        for tag in self.tags:
            self.engine.remove(tag)


@pytest.fixture
def bench(tmp_path: Path, registry: RunningRegistry) -> Iterator[Bench]:
    made = Bench(tmp_path, registry.host)
    yield made
    made.close()


def test_a_steady_build_gives_the_same_manifest(bench: Bench) -> None:
    found = bench.twice(STEADY)
    assert found.same, found
    assert found.manifests[0] == found.manifests[1]
    assert found.configs[0] == found.configs[1]


def test_a_restless_build_is_told_path_by_path(bench: Bench) -> None:
    found = bench.twice(RESTLESS)
    assert not found.same
    assert found.manifests[1] is None
    (layer,) = found.layers
    assert layer.number == 1
    assert [(one.path, one.what, one.cause) for one in layer.paths] == [
        ("/etc/ssh/ssh_host_ed25519_key", ("content",), Cause.HOST_KEY),
        ("/var/log/install.log", ("content",), Cause.LOG),
    ]
    assert found.settings == ()


# --- hosts ---------------------------------------------------------------------------------------------


class Hosts:
    """A base and hosts on it, in a real registry; `restless` ones render other bytes each time."""

    def __init__(self, folder: Path, host: str) -> None:
        self.registry = Registry(host, insecure=True)
        path = f"hosts/{secrets.token_hex(4)}"
        base = Repository(registry=host, path=f"{path}/base")
        image = tiny_image("amd64", "base", *rich_base())
        self.base = load_base(base.at(push(self.registry, base, image)), self.registry)
        self.path = path
        self.paths = BasePathCache(folder / "paths", self.registry)

    def order(self, name: str, *, restless: bool = False, path: str = "/etc/app") -> HostOrder:
        def tree() -> list[TreeEntry]:
            content = secrets.token_bytes(8) if restless else b"always the same"
            return [TreeEntry(path=path, type=FileType.FILE, content=content)]

        return HostOrder(
            host=name,
            repository=Repository(registry=self.registry.host, path=f"{self.path}/{name}"),
            tree=tree,
            labels={"org.opencontainers.image.title": f"debian/{name}"},
        )

    def built(self, *orders: HostOrder) -> dict[str, Digest]:
        results = assemble(orders, **self.given())
        return {one.host: one.image.pinned for one in results if one.image is not None}

    def given(self) -> dict[str, Any]:
        return {"base": self.base, "store": self.registry, "paths": self.paths, "timestamp": TIMESTAMP}


@pytest.fixture
def hosts(tmp_path: Path, registry: RunningRegistry) -> Iterator[Hosts]:
    made = Hosts(tmp_path, registry.host)
    yield made
    made.registry.close()


def test_hosts_come_out_the_same_and_are_not_pushed_again(hosts: Hosts, registry: RunningRegistry) -> None:
    orders = [hosts.order("web-1"), hosts.order("db-1"), hosts.order("new-1")]
    recorded = hosts.built(*orders[:2])
    found = assemble_again(orders, recorded, **hosts.given())
    assert [(one.image, one.same) for one in found] == [("debian/web-1", True), ("debian/db-1", True)]
    stored = {path.name for path in registry.storage.rglob("repositories/*/*/*")}
    assert "web-1" in stored
    assert "new-1" not in stored


def test_a_host_that_renders_otherwise_each_time_is_told(hosts: Hosts) -> None:
    orders = [hosts.order("web-1"), hosts.order("odd-1", restless=True)]
    steady, restless = assemble_again(orders, hosts.built(*orders), **hosts.given())
    assert steady.same
    assert not restless.same
    (layer,) = restless.layers
    assert layer.number == 3
    assert [(one.path, one.what) for one in layer.paths] == [("/etc/app", ("content",))]


def test_a_host_whose_definition_changed_since_is_not_called_the_same(hosts: Hosts) -> None:
    recorded = hosts.built(hosts.order("web-1"))
    (found,) = assemble_again([hosts.order("web-1", path="/etc/other")], recorded, **hosts.given())
    assert not found.same
    assert found.layers[0].paths == ()
    assert "no path" in found.verdict


def test_a_host_that_no_longer_fits_its_base_is_an_error(hosts: Hosts) -> None:
    recorded = hosts.built(hosts.order("web-1"))
    with pytest.raises(AssemblyError):
        assemble_again([hosts.order("web-1", path="/usr/bin")], recorded, **hosts.given())
