from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from faultyregistry import Fault, faulty_registry
from imagefiles import image_files
from registries import RunningRegistry, running_registry
from tarballs import rich_base

from images import index_of, layer, push, tiny_image
from pipeline.adapters.basepaths import BasePathCache
from pipeline.adapters.registry import Registry
from pipeline.adapters.transport import Patience
from pipeline.domain.append import BaseImage
from pipeline.domain.fleet import Outcome
from pipeline.domain.image import RELEASE_TAG, ImageRef, Repository, candidate_tag
from pipeline.domain.layer import layer_of
from pipeline.domain.oci import Platform, digest_of
from pipeline.domain.placement import TreeEntry, place
from pipeline.domain.tree import FileType
from pipeline.errors import InterruptedRunError, NotFoundError, RegistryError, StateError
from pipeline.verbs.assemble import HostOrder, HostResult, assemble, load_base

pytestmark = pytest.mark.engine
BASE = tiny_image("amd64", "base", *rich_base())
_numbers = itertools.count()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


class Fleet:
    """A base in a registry and hosts to put on it."""

    def __init__(self, host: str, folder: Path, *, attempts: int = 5) -> None:
        patience = Patience(attempts=attempts, first=0.001, longest=0.01)
        self.registry = Registry(host, insecure=True, patience=patience)
        self.name = f"fleet-{next(_numbers)}"
        self.base = Repository(registry=host, path=f"{self.name}/base")
        self.paths = BasePathCache(folder / "paths", self.registry)

    def push_base(self) -> BaseImage:
        digest = push(self.registry, self.base, BASE)
        return load_base(self.base.at(digest), self.registry)

    def order(self, host: str, *more: TreeEntry) -> HostOrder:
        return HostOrder(
            host=host,
            repository=Repository(registry=self.registry.host, path=f"{self.name}/hosts/{host}"),
            tree=lambda: [*tree(host), *more],
            labels={"host": host},
        )

    def run(
        self,
        base: BaseImage,
        orders: Sequence[HostOrder],
        *,
        jobs: int = 4,
        stop: threading.Event | None = None,
    ) -> tuple[HostResult, ...]:
        return assemble(
            orders,
            base=base,
            store=self.registry,
            paths=self.paths,
            timestamp=1_700_000_000,
            jobs=jobs,
            stop=stop,
        )


@contextlib.contextmanager
def fleet(host: str, folder: Path, *, attempts: int = 5) -> Iterator[Fleet]:
    made = Fleet(host, folder, attempts=attempts)
    try:
        yield made
    finally:
        made.registry.close()


def file(path: str, text: str = "x", mode: int = 0o644, uid: int = 0) -> TreeEntry:
    return TreeEntry(path=path, type=FileType.FILE, mode=mode, uid=uid, gid=uid, content=text.encode())


def folder(path: str, mode: int = 0o755) -> TreeEntry:
    return TreeEntry(path=path, type=FileType.DIRECTORY, mode=mode)


def tree(host: str) -> list[TreeEntry]:
    return [
        folder("/etc"),
        file("/etc/hostname", host + "\n"),
        folder("/etc/app", 0o750),
        file("/etc/app/tökén-" + "n" * 120, host, 0o600, 4711),
        folder("/lib"),
        folder("/lib/systemd"),
        file("/lib/systemd/host.service", f"# {host}\n"),
        folder("/tmp"),
        file("/usr/bin/tool", "#!/bin/sh\n", 0o4755),
        TreeEntry(path="/etc/localtime", type=FileType.SYMLINK, target="../usr/share/zoneinfo/CET"),
    ]


def outcomes(results: Sequence[HostResult]) -> list[str]:
    return [result.outcome.value for result in results]


def image(result: HostResult) -> ImageRef:
    assert result.image is not None, result.error
    return result.image


def test_a_hosts_image_is_the_base_and_its_tree(real: RunningRegistry, tmp_path: Path) -> None:
    with fleet(real.host, tmp_path) as hosts:
        base = hosts.push_base()
        results = hosts.run(base, [hosts.order("web-1"), hosts.order("db-1")])
        assert outcomes(results) == ["built", "built"]
        before = image_files(hosts.registry, base.ref)
        for name, result in zip(("web-1", "db-1"), results, strict=True):
            assert result.host == name
            assert image(result).tag == candidate_tag(image(result).pinned)
            assert not RELEASE_TAG.fullmatch(str(image(result).tag))
            after = image_files(hosts.registry, image(result))
            assert after == before | {
                "/etc/hostname": ("file", 0o644, 0, 0, f"{name}\n".encode()),
                "/etc/app": ("directory", 0o750, 0, 0, b""),
                "/etc/app/tökén-" + "n" * 120: ("file", 0o600, 4711, 4711, name.encode()),
                "/usr/lib/systemd/host.service": ("file", 0o644, 0, 0, f"# {name}\n".encode()),
                "/usr/bin/tool": ("file", 0o4755, 0, 0, b"#!/bin/sh\n"),
                "/etc/localtime": ("symlink", 0o777, 0, 0, "../usr/share/zoneinfo/CET"),
            }
            assert result.kept == ("/tmp",)


def test_the_same_input_is_the_same_digest_over_runs_threads_and_registries(
    real: RunningRegistry, tmp_path: Path
) -> None:
    names = [f"host-{number}" for number in range(12)]
    digests = []
    for jobs in (1, 8):
        with fleet(real.host, tmp_path / str(jobs)) as hosts:
            # The base's repository is part of the manifest's annotations: give both runs the same.
            hosts.name = "stable"
            hosts.base = Repository(registry=real.host, path="stable/base")
            base = hosts.push_base()
            orders = [hosts.order(name) for name in names]
            orders = orders if jobs == 1 else orders[::-1]
            results = hosts.run(base, orders, jobs=jobs)
            digests.append({result.host: image(result).digest for result in results})
    assert digests[0] == digests[1]
    assert len(set(digests[0].values())) == len(names)


def test_an_unchanged_host_costs_one_request(real: RunningRegistry, tmp_path: Path) -> None:
    with faulty_registry(real.host) as proxy, fleet(proxy.host, tmp_path) as hosts:
        base = hosts.push_base()
        orders = [hosts.order(f"host-{number}") for number in range(5)]
        first = hosts.run(base, orders)
        proxy.requests.clear()
        again = hosts.run(base, [*orders, hosts.order("new")])
        assert outcomes(again) == ["unchanged"] * 5 + ["built"]
        assert [result.image for result in again[:5]] == [result.image for result in first]
        for number in range(5):
            assert proxy.count(f"hosts/host-{number}/") == 1
            assert proxy.count(f"^HEAD .*hosts/host-{number}/manifests/candidate-") == 1


def test_one_hosts_failure_is_its_own(real: RunningRegistry, tmp_path: Path) -> None:
    def broken() -> list[TreeEntry]:
        raise ZeroDivisionError("a fault in a template")

    with fleet(real.host, tmp_path) as hosts:
        base = hosts.push_base()
        bad = hosts.order("bad", file("/home/me/.profile"))
        worse = HostOrder(host="worse", repository=bad.repository, tree=broken)
        results = hosts.run(base, [hosts.order("good"), bad, worse, hosts.order("fine")])
        assert outcomes(results) == ["built", "failed", "failed", "built"]
        assert results[1].error is not None
        assert "/var/home/me" in results[1].error.message
        assert results[2].error is not None
        assert "ZeroDivisionError" in results[2].error.message
        with pytest.raises(NotFoundError):
            hosts.registry.tags(bad.repository)


@pytest.mark.parametrize("status", [202, 403, 404, 405])
def test_a_registry_that_refuses_mounts_gets_copies(
    real: RunningRegistry, tmp_path: Path, status: int
) -> None:
    fault = Fault(path="mount=", status=status)
    with faulty_registry(real.host, fault) as proxy, fleet(proxy.host, tmp_path) as hosts:
        base = hosts.push_base()
        (result,) = hosts.run(base, [hosts.order("web-1")])
        assert result.outcome is Outcome.BUILT, result.error
        assert image_files(hosts.registry, image(result))["/etc/hostname"][4] == b"web-1\n"


def test_every_tenth_connection_dropped(real: RunningRegistry, tmp_path: Path) -> None:
    with faulty_registry(real.host) as proxy, fleet(proxy.host, tmp_path, attempts=8) as hosts:
        base = hosts.push_base()
        proxy.faults = [Fault(path=".", every=10, drop=drop) for drop in ("before", "after")]
        orders = [hosts.order(f"host-{number}") for number in range(10)]
        results = hosts.run(base, orders)
        assert outcomes(results) == ["built"] * 10
        assert proxy.faults[0].seen >= 20
        proxy.faults = []
        for result in results:
            assert (
                image_files(hosts.registry, image(result))["/etc/hostname"][4] == f"{result.host}\n".encode()
            )


def test_a_full_registry_fails_clearly_and_the_next_run_ends_it(
    real: RunningRegistry, tmp_path: Path
) -> None:
    with faulty_registry(real.host) as proxy, fleet(proxy.host, tmp_path) as hosts:
        base = hosts.push_base()
        orders = [hosts.order(f"host-{number}") for number in range(6)]
        proxy.faults = [Fault(path=r"^PUT .*host-[135]/blobs", status=507)]
        results = hosts.run(base, orders)
        assert outcomes(results) == ["built", "failed"] * 3
        error = results[1].error
        assert isinstance(error, RegistryError)
        assert "507" in error.message
        assert "full" in error.hint
        for order in orders[1::2]:
            with pytest.raises(NotFoundError):
                hosts.registry.tags(order.repository)
        proxy.faults = []
        assert outcomes(hosts.run(base, orders)) == ["unchanged", "built"] * 3


def test_a_manifest_that_is_refused_leaves_no_tag(real: RunningRegistry, tmp_path: Path) -> None:
    with faulty_registry(real.host) as proxy, fleet(proxy.host, tmp_path) as hosts:
        base = hosts.push_base()
        proxy.faults = [Fault(path="^PUT .*manifests", status=401)]
        orders = [hosts.order(f"host-{number}") for number in range(3)]
        results = hosts.run(base, orders)
        assert outcomes(results) == ["failed"] * 3
        proxy.faults = []
        for order in orders:
            with pytest.raises(NotFoundError):
                hosts.registry.tags(order.repository)


def test_an_interrupted_run_ends_and_the_next_one_finishes(real: RunningRegistry, tmp_path: Path) -> None:
    with faulty_registry(real.host, delay=0.02) as proxy, fleet(proxy.host, tmp_path) as hosts:
        base = hosts.push_base()
        orders = [hosts.order(f"host-{number}") for number in range(20)]
        stop = threading.Event()
        ended: list[HostResult] = []

        def on_result(result: HostResult) -> None:
            ended.append(result)
            stop.set()

        with pytest.raises(InterruptedRunError):
            assemble(
                orders,
                base=base,
                store=hosts.registry,
                paths=hosts.paths,
                timestamp=1_700_000_000,
                jobs=3,
                stop=stop,
                on_result=on_result,
            )
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]
        assert ended
        again = hosts.run(base, orders)
        assert set(outcomes(again)) == {"built", "unchanged"}


def test_a_failing_listener_ends_the_run(real: RunningRegistry, tmp_path: Path) -> None:
    def ctrl_c(_: HostResult) -> None:
        raise KeyboardInterrupt

    with fleet(real.host, tmp_path) as hosts:
        base = hosts.push_base()
        orders = [hosts.order(f"host-{number}") for number in range(20)]
        with pytest.raises(KeyboardInterrupt):
            assemble(
                orders,
                base=base,
                store=hosts.registry,
                paths=hosts.paths,
                timestamp=1,
                jobs=2,
                on_result=ctrl_c,
            )
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]


def test_an_index_needs_a_platform(real: RunningRegistry, tmp_path: Path) -> None:
    with fleet(real.host, tmp_path) as hosts:
        other = tiny_image("arm64", "base")
        push(hosts.registry, hosts.base, BASE)
        push(hosts.registry, hosts.base, other)
        digest = hosts.registry.put_manifest(hosts.base, "multi", index_of(BASE, other))
        ref = hosts.base.at(digest)
        with pytest.raises(RegistryError, match="is an index"):
            load_base(ref, hosts.registry)
        arm = load_base(ref, hosts.registry, Platform(os="linux", architecture="arm64"))
        assert arm.ref.digest == other.digest
        (result,) = hosts.run(arm, [hosts.order("pi-1")])
        assert result.outcome is Outcome.BUILT


def test_the_path_list_is_made_once_and_checked_when_read(real: RunningRegistry, tmp_path: Path) -> None:
    with faulty_registry(real.host) as proxy, fleet(proxy.host, tmp_path) as hosts:
        base = hosts.push_base()
        layers = len(BASE.blobs) - 1
        table = list(hosts.paths.table(base))
        assert proxy.count("GET .*blobs") == layers + 1  # the config, too
        assert list(hosts.paths.table(base)) == table
        assert proxy.count("GET .*blobs") == layers + 1
        (kept,) = (tmp_path / "paths").iterdir()
        for damage in (b"", kept.read_bytes()[:-1], kept.read_bytes().replace(b"hostname", b"hostnome")):
            kept.write_bytes(damage)
            assert list(hosts.paths.table(base)) == table
        assert proxy.count("GET .*blobs") == 4 * layers + 1
        assert [file.name for file in (tmp_path / "paths").iterdir()] == [kept.name]


def test_a_spoiled_layer_gives_no_path_list(real: RunningRegistry, tmp_path: Path) -> None:
    with faulty_registry(real.host) as proxy, fleet(proxy.host, tmp_path) as hosts:
        base = hosts.push_base()
        proxy.faults = [Fault(path="GET .*blobs", flip=True)]
        with pytest.raises(RegistryError):
            hosts.run(base, [hosts.order("web-1")])
        assert not (tmp_path / "paths").exists()


@pytest.mark.parametrize("blob", [b"no gzip", layer({"../climbs": "x"}), layer({"a": "b"})[:-20], b""])
def test_a_base_with_a_broken_layer_is_refused(real: RunningRegistry, tmp_path: Path, blob: bytes) -> None:
    with fleet(real.host, tmp_path) as hosts:
        broken = tiny_image("amd64", "broken", layer({"a": "b"}))
        manifest = json.loads(broken.manifest)
        manifest["layers"][0] |= {"digest": digest_of(blob).value, "size": len(blob)}
        hosts.registry.put_blob(hosts.base, blob)
        hosts.registry.put_blob(hosts.base, broken.blobs[0])
        digest = hosts.registry.put_manifest(hosts.base, "broken", json.dumps(manifest).encode())
        base = load_base(hosts.base.at(digest), hosts.registry)
        with pytest.raises(RegistryError):
            hosts.paths.table(base)


def test_a_folder_that_cannot_be_written(real: RunningRegistry, tmp_path: Path) -> None:
    (tmp_path / "paths").write_text("a file")
    with fleet(real.host, tmp_path) as hosts, pytest.raises(StateError, match="cannot be kept"):
        hosts.run(hosts.push_base(), [hosts.order("web-1")])


def test_the_engine_sees_what_was_assembled(real: RunningRegistry, tmp_path: Path) -> None:
    # What lies in a directory of the base with a mode of its own must not change that mode.
    inside = [file(f"{path}/inside") for path in ("/tmp", "/var/mail", "/etc/emptied")]
    with fleet(real.host, tmp_path) as hosts:
        base = hosts.push_base()
        (result,) = hosts.run(base, [hosts.order("web-1", *inside)])
        wanted = image_files(hosts.registry, image(result))
        ref = f"{image(result).repository}@{image(result).digest}"
        podman("pull", "--quiet", "--tls-verify=false", ref)
        try:
            mounted = Path(podman("image", "mount", ref).strip())
            found = dict(read_tree(mounted))
            podman("image", "unmount", ref)
        finally:
            podman("rmi", "--force", ref)
        assert found == wanted


def test_an_engine_that_adds_the_layer_gives_the_same_tree(real: RunningRegistry, tmp_path: Path) -> None:
    inside = [*tree("web-1"), file("/tmp/inside"), file("/var/mail/inside")]
    with fleet(real.host, tmp_path) as hosts:
        base = hosts.push_base()
        (result,) = hosts.run(base, [hosts.order("web-1", *inside[-2:])])
        wanted = image_files(hosts.registry, image(result))
        layer = layer_of(place(inside, hosts.paths.table(base)).entries, timestamp=1)
        (tmp_path / "layer.tar").write_bytes(gzip.decompress(layer.data))
        (tmp_path / "Containerfile").write_text(f"FROM {base.ref}\nADD layer.tar /\n")
        name = f"localhost/{hosts.name}:engine"
        podman("build", "--quiet", "--no-cache", "--tls-verify=false", f"--tag={name}", str(tmp_path))
        try:
            found = dict(read_tree(Path(podman("image", "mount", name).strip())))
            podman("image", "unmount", name)
        finally:
            podman("rmi", "--force", name)
            podman("rmi", "--force", str(base.ref))
    assert found == wanted


def podman(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["podman", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.fail("podman is not installed; install it: apt-get install podman")
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_tree(top: Path) -> Iterator[tuple[str, tuple[str, int, int, int, bytes | str]]]:
    for file in sorted(top.rglob("*")):
        state = file.lstat()
        owner = (state.st_mode & 0o7777, state.st_uid, state.st_gid)
        held: tuple[str, bytes | str]
        if file.is_symlink():
            held = ("symlink", str(file.readlink()))
        elif file.is_dir():
            held = ("directory", b"")
        else:
            held = ("file", file.read_bytes())
        yield "/" + str(file.relative_to(top)), (held[0], *owner, held[1])
