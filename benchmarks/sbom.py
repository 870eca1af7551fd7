#!/usr/bin/env python3
"""SBOMs of a base and of a host, against syft as it is usually called. Both sides from one run.

    python benchmarks/sbom.py BASE@DIGEST HOST@DIGEST [--rounds 3] [--hosts 100] [--json FILE]

BASE and HOST are candidates in a registry on this machine that speaks HTTP; HOST is BASE and one layer.
  host   its SBOM by inheritance (base SBOM read once, then every host: layer, document, validation)
         against syft's scan of the host's image; the components of both compared with our own full scan
  base   syft on the engine's store over its API socket, as users call it (`syft podman:REF`)
         against our scan of the mounted tree: syft alone, and the whole SBOM with hashes and validation
Times are medians; a side that varies is told with its least and greatest. What differs is printed.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

from pipeline.adapters.process import Processes  # noqa: E402
from pipeline.adapters.registry import Registry  # noqa: E402
from pipeline.adapters.syft import Syft  # noqa: E402
from pipeline.adapters.tree import MountedTree  # noqa: E402
from pipeline.domain.basepaths import PathTable, table_of  # noqa: E402
from pipeline.domain.gate import CommandResult  # noqa: E402
from pipeline.domain.image import ImageRef  # noqa: E402
from pipeline.domain.oci import Manifest, digest_of, parse  # noqa: E402
from pipeline.domain.packages import read_packages  # noqa: E402
from pipeline.domain.placement import TreeEntry  # noqa: E402
from pipeline.domain.sbom.document import Identity, ParentImage  # noqa: E402
from pipeline.domain.sbom.inheritance import Inherited, inherit, load_base  # noqa: E402
from pipeline.domain.sbom.part import Organisation  # noqa: E402
from pipeline.domain.tree import FileType  # noqa: E402
from pipeline.verbs.sbom import OpenedImage, evidence_of, take  # noqa: E402

PODMAN = ("podman", "--runtime", "runc")
SYFT = Path(sys.executable).with_name("syft")
SUPPLIER = Organisation(name="Benchmark", url="https://example.org")
OWN = ("device-driver", "firmware", "file", "container")
"""Kinds of components that syft does not tell."""


def run(*argv: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=env
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)}\n{done.stderr}")
    return done.stdout.strip()


def timed(rounds: int, job: Callable[[], Any]) -> tuple[list[float], Any]:
    times, result = [], None
    for _ in range(rounds):
        begin = time.perf_counter()
        result = job()
        times.append(time.perf_counter() - begin)
    return times, result


@contextmanager
def mounted(ref: ImageRef) -> Iterator[Path]:
    run(*PODMAN, "pull", "--quiet", "--tls-verify=false", str(ref))
    yield Path(run(*PODMAN, "image", "mount", str(ref)))
    run(*PODMAN, "image", "unmount", str(ref))


@contextmanager
def engine_socket() -> Iterator[str]:
    """Podman's API, which `syft podman:` speaks to."""
    with tempfile.TemporaryDirectory(prefix="pipeline-bench-") as folder:
        address = f"unix://{folder}/podman.sock"
        service = subprocess.Popen(
            [*PODMAN, "system", "service", "--time=0", address], stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + 20
            while not Path(folder, "podman.sock").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            yield address
        finally:
            service.terminate()
            service.wait(20)


def usual(ref: ImageRef, address: str) -> dict[str, Any]:
    """Call syft as its manual says, on an image in the engine's store."""
    environment = {**os.environ, "CONTAINER_HOST": address, "SYFT_CHECK_FOR_APP_UPDATE": "false"}
    said = run(str(SYFT), "scan", f"podman:{ref}", "-q", "-o", "cyclonedx-json@1.6", env=environment)
    found: dict[str, Any] = json.loads(said)
    return found


def nothing_inside(argv: object, *, stdin: str = "", timeout: float = 0.0) -> CommandResult:  # noqa: ARG001
    return CommandResult(code=127, stdout="", stderr="")


def identity(ref: ImageRef, parent: ImageRef | None = None) -> Identity:
    return Identity(
        name=ref.repository.path,
        ref=ref,
        supplier=SUPPLIER,
        timestamp=0,
        tool_version="benchmark",
        parent=None if parent is None else ParentImage(name=parent.repository.path, ref=parent),
    )


def whole(root: Path, who: Identity) -> bytes:
    """Make the whole SBOM: scan, hashes, modules, document, validation."""
    tree = MountedTree(root)
    image = OpenedImage(root=root, tree=tree, inside=nothing_inside, packages=read_packages(tree))
    scanner = Syft(Processes(environment=dict(os.environ)))
    return evidence_of(take(image, scanner, origins={}, supplier=SUPPLIER), who).data


def top_layer(ref: ImageRef) -> tuple[TreeEntry, ...]:
    registry = Registry(ref.repository.registry, insecure=True)
    manifest = parse(registry.manifest(ref))
    assert isinstance(manifest, Manifest)
    data = gzip.decompress(registry.blob(ref.repository, manifest.layers[-1].digest))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tuple(entry(tar, member) for member in tar)


def entry(tar: tarfile.TarFile, member: tarfile.TarInfo) -> TreeEntry:
    kind = FileType.DIRECTORY if member.isdir() else FileType.SYMLINK if member.issym() else FileType.FILE
    source = tar.extractfile(member) if member.isfile() else None
    return TreeEntry(
        path=f"/{member.name}",
        type=kind,
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        content=source.read() if source is not None else b"",
        target=member.linkname,
    )


def names(document: dict[str, Any], *, ours: bool) -> set[tuple[str, str, str]]:
    """Return name, version and purl of components, without those only we tell."""
    return {
        (one["name"], one.get("version", ""), one.get("purl", ""))
        for one in document["components"]
        if not (ours and one["type"] in OWN) and one["type"] != "file"
    }


def told(times: list[float]) -> str:
    return f"{statistics.median(times):8.3f} s ({min(times):.3f} to {max(times):.3f})"


def compare(what: str, one: set[Any], other: set[Any]) -> bool:
    print(f"  {what}: {'equal' if one == other else 'DIFFERENT'} ({len(one)} and {len(other)})")
    for sign, found in (("-", one - other), ("+", other - one)):
        for item in sorted(found):
            print(f"    {sign} {item}")
    return one == other


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", type=ImageRef.parse)
    parser.add_argument("host", type=ImageRef.parse)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    base, host, rounds = options.base, options.host, options.rounds
    result: dict[str, Any] = {"base": str(base), "host": str(host)}
    with mounted(base) as base_root, mounted(host) as host_root, engine_socket() as address:
        scanner = Syft(Processes(environment=dict(os.environ)))
        store, plain = timed(rounds, lambda: usual(base, address))
        tree, ours = timed(rounds, lambda: scanner.scan(base_root))
        complete, data = timed(rounds, lambda: whole(base_root, identity(base)))
        host_store, _ = timed(rounds, lambda: usual(host, address))
        full = json.loads(whole(host_root, identity(host, base)))
        print("base")
        print(f"  syft on the engine's store        {told(store)}")
        print(f"  syft as we call it                {told(tree)}")
        print(f"  the whole SBOM                    {told(complete)}")
        ratio, whole_ratio = (statistics.median(store) / statistics.median(it) for it in (tree, complete))
        print(f"  syft as we call it is {ratio:.1f} times faster; the whole SBOM {whole_ratio:.1f} times")
        same = compare("components", names(plain, ours=False), names(ours, ours=False))
        same &= compare("in the SBOM", names(plain, ours=False), names(json.loads(data), ours=True))

        entries = top_layer(host)
        paths = PathTable(table_of(MountedTree(base_root).walk("/")))
        begin = time.perf_counter()
        known = load_base(data, base, recorded=digest_of(data))
        loading = time.perf_counter() - begin
        first, _ = timed(1, lambda: inherit(known, entries, identity(host, base), paths=paths))
        each, found = timed(options.hosts, lambda: inherit(known, entries, identity(host, base), paths=paths))
        assert isinstance(found, Inherited)
        if found.reason:
            sys.exit(f"the host's SBOM cannot be inherited: {found.reason}")
        print("host")
        print(f"  syft on the engine's store        {told(host_store)}")
        print(f"  by inheritance                    {told(each)}")
        print(f"  once for all: reading the base's SBOM {loading:.3f} s, first host {first[0]:.3f} s")
        host_ratio = statistics.median(host_store) / statistics.median(each)
        print(f"  inheritance is {host_ratio:.0f} times faster")
        same &= compare(
            "components, full scan and inherited",
            names(full, ours=False) | modules(full),
            names(json.loads(found.data), ours=False) | modules(json.loads(found.data)),
        )
    result |= {
        "base_ms": {"store": ms(store), "syft": ms(tree), "whole": ms(complete)},
        "host_ms": {"store": ms(host_store), "inherited": ms(each), "first": ms(first)},
        "ratios": {"base": round(ratio, 1), "base_whole": round(whole_ratio, 1), "host": round(host_ratio)},
        "equal": same,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def modules(document: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Return what only we tell, by reference."""
    return {(one["type"], one["bom-ref"], "") for one in document["components"] if one["type"] in OWN}


def ms(times: list[float]) -> int:
    return round(statistics.median(times) * 1000)


if __name__ == "__main__":
    main()
