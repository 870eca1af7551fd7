"""The whole way of a host: tree, layer, image in the registry, SBOM, diff, provenance, all stored.

Needs what `make demo` left: hosts are copies of its web-1 under other names, on its real base. Both sides
come from one run and write into the demo's registry. Goal: under 60 ms a host.
  shell     buildah from, copy the same tree, commit to the registry, and syft on the mounted container: no
            provenance, no diff, nothing attached
  pipeline  assembled on the base, SBOM by inheritance, diff to the base, provenance, gate report; each stored
            as an artifact that refers to the image. Gates are not asked on either side.

Run: .venv/bin/python benchmarks/host_way.py [demo] [--hosts 100] [--shell 3]
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

from pipeline.adapters.tree_writer import FolderWriter  # noqa: E402
from pipeline.arguments import parser  # noqa: E402
from pipeline.domain.catalogue import Instance  # noqa: E402
from pipeline.domain.checks import CheckReport  # noqa: E402
from pipeline.domain.gate import Finding, GateResult, Verdict  # noqa: E402
from pipeline.domain.image import Tier  # noqa: E402
from pipeline.verbs.assemble import assemble, load_base  # noqa: E402
from pipeline.verbs.build_instances import host_order  # noqa: E402
from pipeline.verbs.candidates import require_parent  # noqa: E402
from pipeline.verbs.examination import Examined  # noqa: E402
from pipeline.verbs.host_proof import HostBatch, HostProof  # noqa: E402
from pipeline.verbs.render import render_host  # noqa: E402
from pipeline.wiring import Parts  # noqa: E402

REPORT = CheckReport(
    tier=Tier.INSTANCE,
    results=(GateResult(gate="none", finding=Finding(verdict=Verdict.PASS, summary="not asked here")),),
)


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)}\n{done.stderr}")
    return done.stdout.strip()


def shell(base: str, registry: str, tree: Path, count: int) -> float:
    """Return seconds a host, the hand-written way."""
    syft = str(Path(sys.executable).with_name("syft"))
    start = time.perf_counter()
    for number in range(count):
        container = run("buildah", "from", "--pull-never", base)
        run("buildah", "copy", "--quiet", container, str(tree), "/")
        root = run("buildah", "mount", container)
        run(syft, "scan", f"dir:{root}", "-q", "-o", f"cyclonedx-json@1.6={tree.parent}/{number}.json")
        run("buildah", "umount", container)
        target = f"docker://{registry}/benchmark/shell-{number}:candidate"
        run("buildah", "commit", "--quiet", "--tls-verify=false", container, target)
        run("buildah", "rm", container)
    return (time.perf_counter() - start) / count


def ours(parts: Parts, hosts: list[Instance], jobs: int) -> tuple[float, float]:
    """Return seconds a host, and seconds for what is done once: base's paths, SBOM and tables."""
    fleet = parts.fleet(jobs, boot=False)
    workshop = parts.proofs.workshop(frozenset())
    with parts.run() as opened:
        parent = require_parent(opened, hosts[0])
        base = load_base(parent.repository.at(parent.digest), parts.registry)
        batch = HostBatch(
            run=opened,
            base=parent,
            hosts={host.name: host for host in hosts},
            examined={host.name: Examined(report=REPORT, packages=None) for host in hosts},
            paths=fleet.paths.table(base),
            records=opened.ledger.read(),
            timestamp=1_700_000_000,
            started=opened.clock(),
        )
        proof = HostProof(workshop=workshop, batch=batch)
        orders = [host_order(opened, host, fleet.trust) for host in hosts]

        def built(some: list[int]) -> float:
            start = time.perf_counter()
            results = assemble(
                [orders[number] for number in some],
                base=base,
                store=parts.registry,
                paths=fleet.paths,
                timestamp=batch.timestamp,
                jobs=jobs,
                prove=proof,
            )
            for result in results:
                if result.error is not None:
                    raise result.error
            return time.perf_counter() - start

        first = built([0])
        rest = built(list(range(1, len(hosts))))
        if len(proof.done) != len(hosts):
            sys.exit("not every host was proved")
    return rest / (len(hosts) - 1), first


def main() -> None:
    """Run both sides and print the figures."""
    words = argparse.ArgumentParser()
    words.add_argument("demo", nargs="?", default="demo")
    words.add_argument("--hosts", type=int, default=100)
    words.add_argument("--shell", type=int, default=3)
    words.add_argument("--jobs", type=int, default=8)
    given = words.parse_args()
    os.chdir(given.demo)
    parts = Parts(parser().parse_args(["-q", "log"]), os.environ)
    line = parts.catalogue.line("debian")
    model = line.image("web-1")
    assert isinstance(model, Instance)
    mark = f"{time.time_ns():x}"[-8:]
    hosts = [dataclasses.replace(model, name=f"bench-{mark}-{number}") for number in range(given.hosts)]
    with tempfile.TemporaryDirectory(prefix="pipeline-benchmark-") as folder:
        tree = Path(folder) / "tree"
        fleet = parts.fleet(1, boot=False)
        render_host(
            parts.catalogue, line, "web-1", trust=fleet.trust, target=tree, write=FolderWriter(owners=True)
        )
        with parts.run() as opened:
            parent = require_parent(opened, model)
            base = opened.engine.pull(parent.repository.at(parent.digest))
        hand = shell(base, parts.registry.host, tree, given.shell)
    host, once = ours(parts, hosts, given.jobs)
    print(f"shell, one host after the other      {hand * 1000:8.1f} ms a host ({given.shell} hosts)")
    print(f"pipeline, with all its evidence      {host * 1000:8.1f} ms a host ({given.hosts - 1} hosts)")
    print(f"  what is done once, first host      {once * 1000:8.1f} ms")
    print(f"ratio                                {hand / host:8.1f} (goal: under 60 ms a host)")


if __name__ == "__main__":
    main()
