#!/usr/bin/env python3
"""Looking after releases: `audit` and `releases` against a loop of `skopeo inspect`. All sides from one run.

    python benchmarks/audit.py [--images 50] [--releases 20] [--sample 50] [--deep] [--json FILE]

Every side looks at the same releases in one registry on this machine, each with signature, attestations and
evidence, and with a ledger of the records that made them, shared through a git remote:
  skopeo    `skopeo inspect` of a tag after the other, which tells what a tag names and no more; done for a
            sample of the release tags, scaled once to all of them, once to all tags the audit looks at
  audit     tags, aliases, channels, signatures, attestations, evidence, keys of approvers, against the ledger
  releases  what is released, by the ledger alone
Audit and releases run in a process of their own (`audit_side.py`), so their times hold the start of the
interpreter, as the loop's hold the start of skopeo. Requests are counted in the client.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP), str(TOP / "tests")]

from records import candidate  # noqa: E402
from registries import running_registry  # noqa: E402
from releaseworld import GATES, ReleaseWorld, attests, documents_of  # noqa: E402
from sshkeys import PROCESSES  # noqa: E402

from images import push, tiny_image  # noqa: E402
from pipeline.adapters.referrers import SignedStore  # noqa: E402
from pipeline.adapters.sshsig import SshKey  # noqa: E402
from pipeline.domain.decision import Approval, Decided, Release  # noqa: E402
from pipeline.domain.image import Digest, Tier, candidate_tag  # noqa: E402
from pipeline.domain.lineage import aliases_of  # noqa: E402
from pipeline.domain.record import Candidate, Parent, SourceState  # noqa: E402
from pipeline.domain.release import Reservation, Seal  # noqa: E402
from pipeline.verbs.signing import SignOrder, sign_images  # noqa: E402

MINUTE = dt.timedelta(minutes=1)


class Fleet:
    """An upstream, a base and hosts on it, released again and again, each time all in one act."""

    def __init__(self, world: ReleaseWorld, images: int, jobs: int) -> None:
        self.world, self._jobs = world, jobs
        hosts = [(f"host-{number:03}", Tier.INSTANCE) for number in range(max(images - 2, 0))]
        self.images = [("upstream", Tier.UPSTREAM), ("base", Tier.BASE), *hosts][:images]
        self._newest: dict[str, Seal] = {}
        self._commit = world.commit("the definitions", "ada")
        world.push()

    def release(self, version: str) -> None:
        """Build, approve and seal every image, a tier after the other."""
        for tier in Tier:
            names = [name for name, one in self.images if one is tier]
            if names:
                self._tier(tier, names, version)

    def _tier(self, tier: Tier, names: Sequence[str], version: str) -> None:
        world = self.world
        world.now += MINUTE
        with ThreadPoolExecutor(self._jobs) as pool:
            built = list(pool.map(partial(self._built, tier, version), names))
        world.write(*(one for one, _ in built))
        approvals = [self._approval(name, [one for one, _ in built], version) for name in ("ben", "cleo")]
        world.write(*approvals)
        world.write(*(self._reserved(one, version, approvals) for one, _ in built))
        with ThreadPoolExecutor(self._jobs) as pool:
            orders = list(pool.map(lambda pair: self._order(pair[0], pair[1], approvals), built))
            store = SignedStore(world.registry, world.referrers)
            signed = sign_images(orders, world.signer, store, jobs=self._jobs)
            tags = (f"v{version}", *aliases_of(version, tier))
            list(pool.map(lambda pair: world.tagged(pair[0], *tags), built))
        world.now += MINUTE
        seals = [self._seal(one, version, approvals, signed[one.digest]) for one, _ in built]
        self._newest |= {seal.image: seal for seal in seals}
        world.write(*seals)

    def _built(self, tier: Tier, version: str, name: str) -> tuple[Candidate, dict[str, bytes]]:
        world = self.world
        tiny, repository = tiny_image(text=f"{name} {version}"), world.repository(name)
        push(world.registry, repository, tiny, candidate_tag(tiny.digest))
        above = {Tier.INSTANCE: "base", Tier.BASE: "upstream"}.get(tier)
        parent = None if above is None else self._newest[above]
        bare = candidate(
            1,
            time=world.now,
            author="Ada <ada@example.org>",
            image=name,
            tier=tier,
            repository=repository,
            digest=tiny.digest,
            tag=candidate_tag(tiny.digest),
            parent=None if parent is None else Parent(image=parent.name, digest=parent.digest),
            source=SourceState(commit=self._commit, clean=True),
            gates=GATES,
            started=world.now,
            finished=world.now,
            evidence={},
        )
        documents = documents_of(bare)
        evidence = world.stored(repository, tiny, documents)
        return dataclasses.replace(bare, evidence=evidence), documents

    def _before(self, one: Candidate) -> Release | None:
        seal = self._newest.get(one.image)
        return None if seal is None else Release(version=seal.version, digest=seal.digest)

    def _approval(self, name: str, built: Sequence[Candidate], version: str) -> Approval:
        decided = sorted((self._decided(one, version) for one in built), key=lambda one: one.name)
        draft = Approval(
            time=self.world.now,
            author=f"{name} <{name}@example.org>",
            decided=tuple(decided),
            what="a newer kernel",
            why="fixes the pool import",
            expires=self.world.now + dt.timedelta(days=7),
        )
        key = SshKey(PROCESSES, self.world.keys / name)
        return dataclasses.replace(draft, proof=key.sign(draft.statement(), f"{name}@example.org"))

    def _decided(self, one: Candidate, version: str) -> Decided:
        return Decided(
            line=one.line,
            image=one.image,
            tier=one.tier,
            repository=one.repository,
            digest=one.digest,
            candidate=one.id,
            version=version,
            predecessor=self._before(one),
            evidence=one.evidence,
        )

    def _reserved(self, one: Candidate, version: str, approvals: Sequence[Approval]) -> Reservation:
        return Reservation(
            time=self.world.now,
            author="Cleo <cleo@example.org>",
            line=one.line,
            image=one.image,
            repository=one.repository,
            digest=one.digest,
            version=version,
            approvals=tuple(sorted(approval.id for approval in approvals)),
        )

    def _order(self, one: Candidate, documents: dict[str, bytes], approvals: Sequence[Approval]) -> SignOrder:
        return SignOrder(
            repository=one.repository,
            subject=self.world.registry.resolve(one.repository.at(one.digest)),
            attestations=attests(documents, approvals),
            created=self.world.now,
        )

    def _seal(
        self, one: Candidate, version: str, approvals: Sequence[Approval], signatures: dict[str, Digest]
    ) -> Seal:
        parent = None if one.parent is None else self._newest[one.parent.image.partition("/")[2]]
        return Seal(
            time=self.world.now,
            author="Cleo <cleo@example.org>",
            line=one.line,
            image=one.image,
            repository=one.repository,
            digest=one.digest,
            version=version,
            tier=one.tier,
            candidate=one.id,
            approvals=tuple(sorted(approval.id for approval in approvals)),
            parent=None if parent is None else Release(version=parent.version, digest=parent.digest),
            predecessor=self._before(one),
            evidence=one.evidence,
            signatures=signatures,
            aliases=aliases_of(version, one.tier),
            what="a newer kernel",
            why="fixes the pool import",
            approvers=tuple(sorted({a.proof.identity for a in approvals if a.proof is not None})),
        )


def in_a_process(words: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Return the seconds that a side took with all it needs to start, and what it said."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, TOP / "benchmarks" / "audit_side.py", json.dumps(words)],
        stdout=subprocess.PIPE,
        check=True,
    )
    return time.perf_counter() - start, json.loads(done.stdout)


def inspect(refs: Sequence[str], *options: str) -> float:
    """Return the seconds of a loop of `skopeo inspect`, one reference."""
    assert shutil.which("skopeo"), "skopeo is missing: apt-get install skopeo"
    start = time.perf_counter()
    for ref in refs:
        argv = ["skopeo", "inspect", "--tls-verify=false", *options, f"docker://{ref}"]
        subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - start) / len(refs)


def measure(world: ReleaseWorld, fleet: Fleet, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of all sides."""
    refs = [
        f"{world.repository(name)}:v1.{number}.0"
        for name, _ in fleet.images
        for number in range(options.releases)
    ]
    sample = random.Random(1).sample(refs, min(options.sample, len(refs)))
    words = {"top": str(world.top), "host": world.host, "pem": world.signer.key.pem}
    sides = ["audit", "releases", *(["audit --deep"] if options.deep else [])]
    ours = {}
    for side in sides:
        took, said = in_a_process({**words, "side": side})
        assert said["releases"] == len(refs), f"{side} saw {said['releases']} of {len(refs)} releases"
        assert said.get("ok", True), f"{side} found faults in a good registry"
        ours[side] = {"seconds": took, "requests": said["asked"]}
    loops = {
        "skopeo inspect": inspect(sample),
        "skopeo inspect --no-tags": inspect(sample, "--no-tags"),
    }
    tags = ours["audit"]["requests"]["HEAD manifests/<release tag>"]
    counts = {"images": len(fleet.images), "releases": len(refs), "tags": tags, "sample": len(sample)}
    return {**counts, "ours": ours, "loops": loops}


def report(figures: dict[str, Any]) -> Iterator[str]:
    """Yield the figures as text."""
    count, tags, loops = figures["releases"], figures["tags"], figures["loops"]
    yield f"{count} releases of {figures['images']} images under {tags} tags, one registry on this machine"
    yield f"loops: {figures['sample']} tags each, scaled"
    yield ""
    yield f"{'loop':26} {'ms/tag':>9} {f'{count} releases':>16} {f'{tags} tags':>14}"
    for name, each in loops.items():
        yield f"{name:26} {each * 1000:9.1f} {each * count:14.1f} s {each * tags:12.1f} s"
    yield ""
    yield f"{'side':26} {'seconds':>9} {'requests':>9} {'a release':>10}"
    for name, one in figures["ours"].items():
        requests = sum(one["requests"].values())
        yield f"{name:26} {one['seconds']:9.2f} {requests:9} {requests / count:10.2f}"
        for loop, each in loops.items():
            by_release, by_tag = each * count / one["seconds"], each * tags / one["seconds"]
            yield f"  {by_release:.1f}x as quick as `{loop}` of the releases, {by_tag:.1f}x of the same tags"
    for name, one in figures["ours"].items():
        yield from ("", f"requests of {name}:") if one["requests"] else ()
        for kind, times in sorted(one["requests"].items(), key=lambda pair: -pair[1]):
            yield f"  {times:7}  {kind}"


def main() -> None:
    """Make the releases, measure every side and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--releases", type=int, default=20, help="of each image")
    parser.add_argument("--sample", type=int, default=50, help="tags the loops inspect")
    parser.add_argument("--jobs", type=int, default=16, help="threads that make the releases")
    parser.add_argument("--deep", action="store_true", help="measure `audit --deep`, too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="audit-") as name:
        folder = Path(name)
        (folder / "world").mkdir()
        with running_registry(folder / "registry") as registry:
            world = ReleaseWorld(folder / "world", registry.host)
            fleet = Fleet(world, options.images, options.jobs)
            start = time.perf_counter()
            for number in range(options.releases):
                fleet.release(f"1.{number}.0")
            print(f"made in {time.perf_counter() - start:.0f} s", file=sys.stderr)
            figures = measure(world, fleet, options)
    print("\n".join(report(figures)))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
