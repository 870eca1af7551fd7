#!/usr/bin/env python3
"""A fleet's images: assembled in the registry, against a loop over the engine. Both sides from one run.

    python benchmarks/fleet.py [--hosts 100] [--naive 5] [--best 20] [--json FILE]

Every side starts from the same host trees on disk and one 400 MB base, and ends with one image a host in the
same local registry:
  naive     podman build --no-cache with one COPY a kind of file, then podman push, one host after the other
  best      one COPY: buildah from, copy, commit straight to the registry; two workers
  assembly  pipeline.verbs.assemble, in a process of its own so that its peak memory is its own
The loops run on fewer hosts, because their time a host does not change; figures are told a host. The assembly
is told again with 30 ms added to every request, and its peak memory with a base of a tenth of the size.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Self

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP), str(TOP / "tests")]

from registries import free_port, running_registry  # noqa: E402

from pipeline.adapters.basepaths import BasePathCache  # noqa: E402
from pipeline.adapters.registry import Registry  # noqa: E402
from pipeline.domain.fleet import Outcome  # noqa: E402
from pipeline.domain.image import ImageRef, Repository  # noqa: E402
from pipeline.domain.placement import TreeEntry  # noqa: E402
from pipeline.domain.tree import FileType  # noqa: E402
from pipeline.verbs.assemble import HostOrder, assemble, load_base  # noqa: E402

KINDS = (
    "etc/hostname",
    "etc/containers",
    "etc/ssh",
    "etc/sudoers.d",
    "usr/lib/sysusers.d",
    "usr/lib/bootc",
    "usr/share/doc/persistence",
)
DELAY = 0.030


def host_files(name: str) -> dict[str, str]:
    """About thirty files, forty kilobytes: what a host's definition is rendered into."""
    files = {
        "etc/hostname/hostname": f"{name}\n",
        "etc/containers/policy.json": json.dumps({"default": [{"type": "reject"}], "host": name}),
        "etc/sudoers.d/operators": f"# {name}\n%operators ALL=(ALL) ALL\n",
        "usr/lib/bootc/kargs.d/10-host.toml": f'kargs = ["host={name}"]\n',
        "usr/share/doc/persistence/PERSISTENCE.md": f"{name}: what survives\n" * 200,
    }
    for number in range(8):
        user = f"{name}-service-{number}"
        files[f"etc/containers/systemd/users/{1000 + number}/{user}.container"] = "[Container]\n" * 40 + user
        files[f"etc/ssh/keys/{user}"] = (
            f"ssh-ed25519 {hashlib.sha256(user.encode()).hexdigest()} {user}\n" * 4
        )
        files[f"usr/lib/sysusers.d/{user}.conf"] = f"u {user} {1000 + number} - /var/home/{user}\n" * 10
    return files


def write_hosts(folder: Path, count: int) -> list[str]:
    names = [f"host-{number:03}" for number in range(count)]
    for name in names:
        for path, text in host_files(name).items():
            file = folder / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    return names


def read_tree(folder: Path) -> list[TreeEntry]:
    entries = []
    for top, folders, files in os.walk(folder):
        inside = top.removeprefix(str(folder))
        entries += [
            TreeEntry(path=f"{inside}/{name}", type=FileType.DIRECTORY, mode=0o755) for name in folders
        ]
        for name in files:
            with open(f"{top}/{name}", "rb") as source:  # noqa: PTH123 - pathlib alone costs a millisecond a host
                entries.append(TreeEntry(path=f"{inside}/{name}", type=FileType.FILE, content=source.read()))
    return entries


class Engine:
    """podman and buildah on a store of their own, so that other images neither slow them nor are touched."""

    def __init__(self, folder: Path) -> None:
        self.root, self.tmp = folder / "root", folder / "tmp"
        self.store = ["--root", str(self.root), "--runroot", str(folder / "run")]

    def podman(self, *arguments: str) -> None:
        # podman's own --tmpdir, too: without it the state in /run/libpod is shared with every other store.
        run(["podman", *self.store, "--tmpdir", str(self.tmp), "--runtime=runc", *arguments])

    def buildah(self, *arguments: str) -> str:
        return run(["buildah", *self.store, *arguments])

    def unmount(self) -> None:
        """Undo the store's own bind mount, so that its folder can be deleted; nothing else is touched."""
        overlay = str(self.root / "overlay")
        if any(line.split()[1] == overlay for line in Path("/proc/mounts").read_text().splitlines()):
            run(["umount", overlay])


def run(argv: list[str]) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)}\n{done.stderr}")
    return done.stdout.strip()


def push_base(engine: Engine, registry: str, folder: Path, megabytes: int) -> tuple[str, str]:
    """Make a base of files that hardly compress; return its local name and its digest reference."""
    tree = folder / f"base-{megabytes}"
    for merged in ("bin", "lib", "sbin"):
        (tree / "usr" / merged).mkdir(parents=True)
        (tree / merged).symlink_to(f"usr/{merged}")
    for path in ("etc/containers", "etc/ssh", "var", "tmp"):
        (tree / path).mkdir(parents=True)
    for number in range(megabytes * 25):
        content = hashlib.shake_128(str(number).encode()).digest(40_000)
        place = tree / f"usr/lib/part-{number // 100}"
        place.mkdir(exist_ok=True)
        (place / f"file-{number}").write_bytes(content)
    archive = folder / f"base-{megabytes}.tar"
    run(["tar", "-C", str(tree), "-cf", str(archive), "."])
    local, remote = f"localhost/fleet/base-{megabytes}", f"{registry}/fleet/base-{megabytes}"
    engine.podman("import", "--quiet", str(archive), local)
    digest = folder / f"base-{megabytes}.digest"
    engine.podman("push", "--quiet", "--tls-verify=false", f"--digestfile={digest}", local, f"{remote}:bench")
    archive.unlink()
    return local, f"{remote}@{digest.read_text().strip()}"


def naive(engine: Engine, base: str, registry: str, hosts: Path, names: list[str]) -> None:
    lines = [f"FROM {base}", *(f"COPY {kind} /{kind}" for kind in KINDS)]
    for name in names:
        file = hosts / f"{name}.Containerfile"
        file.write_text("\n".join(lines) + "\n")
        image = f"{registry}/fleet/naive/{name}:bench"
        engine.podman(
            "build",
            "--no-cache",
            "--network=host",
            "--quiet",
            "-f",
            str(file),
            "-t",
            image,
            str(hosts / name),
        )
        engine.podman("push", "--quiet", "--tls-verify=false", image)


def best(engine: Engine, base: str, registry: str, hosts: Path, names: list[str]) -> None:
    def one(name: str) -> None:
        container = engine.buildah("from", "--pull-never", base)
        engine.buildah("copy", "--quiet", container, str(hosts / name), "/")
        target = f"docker://{registry}/fleet/best/{name}:bench"
        engine.buildah("commit", "--quiet", "--tls-verify=false", container, target)
        engine.buildah("rm", container)

    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(one, names))


def assembly(registry: str, base: str, hosts: Path, folder: Path, jobs: int) -> dict[str, float]:
    """Run the assembly of all hosts in a process of its own; return its figures."""
    order = {"registry": registry, "base": base, "hosts": str(hosts), "folder": str(folder), "jobs": jobs}
    told: dict[str, float] = json.loads(run([sys.executable, __file__, "--worker", json.dumps(order)]))
    return told


def worker(order: dict[str, Any]) -> None:
    """The assembly's own process: prints seconds for path list, first run and second run, and peak KiB."""
    hosts = Path(order["hosts"])
    names = sorted(folder.name for folder in hosts.iterdir() if folder.is_dir())
    registry = Registry(order["registry"], insecure=True, connections=order["jobs"])
    paths = BasePathCache(Path(order["folder"]), registry)
    ref = ImageRef.parse(order["base"])
    repository = Repository(registry=order["registry"], path=ref.repository.path)
    base = load_base(repository.at(ref.pinned), registry)
    figures = {"paths": seconds(lambda: paths.table(base))}

    def all_hosts(expected: Outcome) -> None:
        orders = [
            HostOrder(
                host=name,
                repository=Repository(registry=order["registry"], path=f"{repository.path}-hosts/{name}"),
                tree=partial(read_tree, hosts / name),
            )
            for name in names
        ]
        results = assemble(
            orders, base=base, store=registry, paths=paths, timestamp=1_700_000_000, jobs=order["jobs"]
        )
        wrong = [result for result in results if result.outcome is not expected]
        if wrong:
            sys.exit(f"{wrong[0].host}: {wrong[0].outcome}, not {expected}: {wrong[0].error}")

    figures["built"] = seconds(lambda: all_hosts(Outcome.BUILT)) / len(names)
    figures["unchanged"] = seconds(lambda: all_hosts(Outcome.UNCHANGED)) / len(names)
    status = Path("/proc/self/status").read_text().splitlines()
    figures["peak_kib"] = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(json.dumps(figures))


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


class Delayed:
    """A TCP forwarder that holds back what the client sends: every request begins that much later."""

    def __init__(self, upstream: str, port: int) -> None:
        self.host = f"127.0.0.1:{port}"
        self._upstream, self._port = int(upstream.rpartition(":")[2]), port
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        serving = asyncio.start_server(self._client, "127.0.0.1", self._port, backlog=256)
        self._loop.run_until_complete(serving)
        self._up.set()
        self._loop.run_forever()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        back = asyncio.ensure_future(self._copy(up_reader, writer))
        while data := await reader.read(1 << 16):
            self._loop.call_later(DELAY, up_writer.write, data)
        await asyncio.sleep(2 * DELAY)
        up_writer.close()
        await back

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()


def report(figures: dict[str, float]) -> Iterator[str]:
    built, unchanged = figures["built"], figures["unchanged"]
    yield f"{'a host':34} {'ms':>9}   ratio to assembly"
    for name, key in (("naive: 7 COPY, build + push", "naive"), ("best: 1 COPY, commit, 2 workers", "best")):
        yield f"{name:34} {figures[key] * 1000:9.1f}   {figures[key] / built:.1f}x"
    yield f"{'assembly':34} {built * 1000:9.1f}"
    yield f"{'assembly, unchanged':34} {unchanged * 1000:9.1f}"
    yield f"{'assembly, +30 ms a request':34} {figures['distant'] * 1000:9.1f}"
    yield f"{'assembly, +30 ms, unchanged':34} {figures['distant_unchanged'] * 1000:9.1f}"
    yield ""
    yield f"path list of the base, once: {figures['paths']:.2f} s"
    yield (
        f"peak memory: {figures['peak_kib'] / 1024:.0f} MiB with the 400 MB base,"
        f" {figures['small_peak_kib'] / 1024:.0f} MiB with a 40 MB one"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--naive", type=int, default=5)
    parser.add_argument("--best", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=32)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(json.loads(options.worker))
        return
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        folder = Path(name)
        engine = Engine(folder / "engine")
        try:
            with running_registry(folder / "registry") as registry:
                figures = measure(engine, registry.host, folder, options)
        finally:
            engine.unmount()
    print("\n".join(report(figures)))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(engine: Engine, registry: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    hosts = folder / "hosts"
    names = write_hosts(hosts, options.hosts)
    local, base = push_base(engine, registry, folder, 400)
    _, small = push_base(engine, registry, folder, 40)
    first = assembly(registry, base, hosts, folder / "paths", options.jobs)
    slim = assembly(registry, small, hosts, folder / "paths", options.jobs)
    with Delayed(registry, free_port()) as far:
        # Another set of repositories, so that every blob has to travel again.
        moved = base.replace(registry, far.host)
        renamed = hosts.rename(folder / "hosts-far")
        for host in names:
            (renamed / host).rename(renamed / f"far-{host}")
        distant = assembly(far.host, moved, renamed, folder / "paths", options.jobs)
        for host in names:
            (renamed / f"far-{host}").rename(renamed / host)
        renamed.rename(hosts)
    slow = seconds(lambda: naive(engine, local, registry, hosts, names[: options.naive])) / options.naive
    quick = seconds(lambda: best(engine, local, registry, hosts, names[: options.best])) / options.best
    return first | {
        "naive": slow,
        "best": quick,
        "distant": distant["built"],
        "distant_unchanged": distant["unchanged"],
        "small_peak_kib": slim["peak_kib"],
    }


if __name__ == "__main__":
    main()
