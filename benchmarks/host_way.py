"""The whole way of a host: tree, layer, image in the registry, SBOM, signature, release tag.

Needs what `make demo` left: hosts are copies of its web-1 under other names, on its real base; the key is the
demo's. All sides come from one run and write into the demo's registry. Goal: under 60 ms a host.
  shell     buildah from, copy the same tree, commit to the registry, syft on the mounted container,
            cosign sign, skopeo copy to the release tag
  pipeline  assembled on the base, SBOM by inheritance, stored as an artifact that refers to the image; the
            signature that hosts verify; the release tag, read back
  proved    the same, and diff to the base, provenance and gate report, each stored likewise
Gates are asked on no side.

Run: . .pipeline/demo/env; .venv/bin/python benchmarks/host_way.py [demo] [--hosts 100] [--shell 3]
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
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
from pipeline.domain.evidence import Evidence, EvidenceKind  # noqa: E402
from pipeline.domain.gate import Finding, GateResult, Verdict  # noqa: E402
from pipeline.domain.image import ImageRef, Tier  # noqa: E402
from pipeline.domain.oci import OCI_MANIFEST, Descriptor  # noqa: E402
from pipeline.domain.sbom.inheritance import BaseSbom  # noqa: E402
from pipeline.domain.sbom.inheritance import load_base as load_sbom  # noqa: E402
from pipeline.verbs.assemble import Assembled, assemble, load_base  # noqa: E402
from pipeline.verbs.build_instances import host_order  # noqa: E402
from pipeline.verbs.candidates import require_parent  # noqa: E402
from pipeline.verbs.evidence import load_evidence, store_evidence  # noqa: E402
from pipeline.verbs.examination import Examined  # noqa: E402
from pipeline.verbs.host_proof import HostBatch, HostProof  # noqa: E402
from pipeline.verbs.proof import identity_of  # noqa: E402
from pipeline.verbs.render import render_host  # noqa: E402
from pipeline.verbs.sbom import inherited_sbom  # noqa: E402
from pipeline.verbs.signing import SignOrder, sign_images  # noqa: E402
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


SIGN = ("sign", "--yes", "--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=false")


def shell(base: str, registry: str, tree: Path, count: int) -> float:
    """Return seconds a host, the hand-written way."""
    syft = str(Path(sys.executable).with_name("syft"))
    cosign = str(TOP / ".tools/bin/cosign")
    start = time.perf_counter()
    for number in range(count):
        container = run("buildah", "from", "--pull-never", base)
        run("buildah", "copy", "--quiet", container, str(tree), "/")
        root = run("buildah", "mount", container)
        run(syft, "scan", f"dir:{root}", "-q", "-o", f"cyclonedx-json@1.6={tree.parent}/{number}.json")
        run("buildah", "umount", container)
        name = f"{registry}/benchmark/shell-{number}"
        run("buildah", "commit", "--quiet", "--tls-verify=false", container, f"docker://{name}:candidate")
        run("buildah", "rm", container)
        where = ("--key=env://PIPELINE_RELEASE_KEY", "--allow-http-registry=true")
        run(cosign, *SIGN, *where, f"{name}:candidate")
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        run("skopeo", "copy", "--quiet", *plain, f"docker://{name}:candidate", f"docker://{name}:v1.0.0")
    return (time.perf_counter() - start) / count


@dataclasses.dataclass(kw_only=True)
class Way:
    """What becomes of a host's image once it is pushed."""

    parts: Parts
    proof: HostProof
    whole: bool
    base: BaseSbom
    done: int = 0

    def __call__(self, made: Assembled, ref: ImageRef) -> None:
        subject = Descriptor(media_type=OCI_MANIFEST, digest=ref.pinned, size=len(made.image.manifest))
        created = dt.datetime.fromtimestamp(self.proof.batch.timestamp, dt.UTC)
        if self.whole:
            self.proof(made, ref)
        else:
            self._sbom(made, ref, subject, created)
        releasing = self.parts.releasing
        order = SignOrder(repository=ref.repository, subject=subject, created=created)
        sign_images([order], releasing.signer, releasing.signed_store, jobs=1)
        self.parts.registry.put_manifest(ref.repository, "v1.0.0", made.image.manifest)
        self.done += 1

    def _sbom(self, made: Assembled, ref: ImageRef, subject: Descriptor, created: dt.datetime) -> None:
        batch, workshop = self.proof.batch, self.proof.workshop
        facts = batch.facts(made)
        identity = identity_of(batch.candidate(made, ref, facts), facts, workshop, batch.records)
        sbom = inherited_sbom(self.base, made.placement.entries, identity, paths=batch.paths)
        if not isinstance(sbom, Evidence):
            sys.exit(f"the SBOM is not inherited: {sbom.reason}")
        store_evidence(workshop.store, ref.repository, subject, [sbom], created=created)


def ours(parts: Parts, hosts: list[Instance], jobs: int, *, whole: bool) -> tuple[float, float]:
    """Return seconds a host, and seconds of the first one, which pays for what is done once."""
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
        recorded = parent.evidence[EvidenceKind.SBOM.value]
        data = load_evidence(workshop.store, parent.repository, parent.digest, EvidenceKind.SBOM, recorded)
        ref = parent.repository.at(parent.digest)
        way = Way(
            parts=parts,
            proof=HostProof(workshop=workshop, batch=batch),
            whole=whole,
            base=load_sbom(data, ref, recorded=recorded),
        )
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
                prove=way,
            )
            for result in results:
                if result.error is not None:
                    raise result.error
            return time.perf_counter() - start

        first = built([0])
        rest = built(list(range(1, len(hosts))))
        if way.done != len(hosts):
            sys.exit("not every host went the whole way")
    return rest / (len(hosts) - 1), first


def main() -> None:
    """Run both sides and print the figures."""
    words = argparse.ArgumentParser()
    words.add_argument("demo", nargs="?", default="demo")
    words.add_argument("--hosts", type=int, default=100)
    words.add_argument("--shell", type=int, default=3)
    words.add_argument("--jobs", type=int, default=16)
    given = words.parse_args()
    os.chdir(given.demo)
    parts = Parts(parser().parse_args(["-q", "log"]), os.environ)
    line = parts.catalogue.line("debian")
    model = line.image("web-1")
    assert isinstance(model, Instance)
    mark = f"{time.time_ns():x}"[-8:]

    def hosts(kind: str) -> list[Instance]:
        return [dataclasses.replace(model, name=f"bench-{kind}-{mark}-{n}") for n in range(given.hosts)]

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
    host, once = ours(parts, hosts("goal"), given.jobs, whole=False)
    proved, first = ours(parts, hosts("proved"), given.jobs, whole=True)
    print(f"shell, one host after the other      {hand * 1000:8.1f} ms a host ({given.shell} hosts)")
    print(f"pipeline                             {host * 1000:8.1f} ms a host ({given.hosts - 1} hosts)")
    print(f"  the first host, once               {once * 1000:8.1f} ms")
    print(f"ratio                                {hand / host:8.1f} (goal: under 60 ms a host)")
    print(f"pipeline, with all evidence          {proved * 1000:8.1f} ms a host ({given.hosts - 1} hosts)")
    print(f"  the first host, once               {first * 1000:8.1f} ms")


if __name__ == "__main__":
    main()
