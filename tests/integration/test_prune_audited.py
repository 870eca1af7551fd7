"""Real releases, signed and attested: copied they have all of it, pruned the audit is clean."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from records import deployment
from registries import running_registry
from releaseworld import ReleaseWorld
from retentionworld import SILENT

from pipeline.adapters.ocilayout import OciLayout
from pipeline.adapters.referrers import Referrers, SignedStore
from pipeline.adapters.registry import Registry
from pipeline.domain.image import Repository, Tier
from pipeline.domain.parcel import FOLDER, parcels_of
from pipeline.domain.retention import Limits
from pipeline.errors import NotFoundError
from pipeline.verbs.audit import audit
from pipeline.verbs.copy import copy
from pipeline.verbs.copy_folder import parcels_in
from pipeline.verbs.copy_parts import CopyParts, CopySource, CopyTarget
from pipeline.verbs.prune import PruneOrder, PruneParts, prune
from pipeline.verbs.signing import read_signed
from pipeline.verbs.verify import verify_release

pytestmark = pytest.mark.engine
WEB = "debian/web-1"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReleaseWorld]:
    """An upstream, two bases and three releases of a host that ran the last two."""
    folder = tmp_path_factory.mktemp("world")
    with running_registry(folder / "registry") as running:
        (folder / "project").mkdir()
        made = ReleaseWorld(folder / "project", running.host)
        upstream = made.release("upstream", Tier.UPSTREAM)
        base = made.release("base", Tier.BASE, on=upstream)
        made.release("web-1", Tier.INSTANCE, on=base)
        base = made.release("base", Tier.BASE, "1.1.0", on=upstream)
        for version in ("1.1.0", "1.2.0"):
            seal = made.release("web-1", Tier.INSTANCE, version, on=base)
            made.write(deployment(seal))
        yield made


def copied(parcels: object, source: CopySource, target: CopyTarget, host: str) -> None:
    def place(name: str) -> Repository:
        return Repository(registry=host, path=name if host == FOLDER else f"site/{name}")

    parts = CopyParts(
        source=source, target=target, place=place, yanked=lambda _name: frozenset(), reporter=SILENT
    )
    copy(parcels, parts)  # type: ignore[arg-type]


def test_copies_of_real_releases_are_signed_and_attested_over_there(
    world: ReleaseWorld, tmp_path: Path
) -> None:
    records = world.ledger().read()
    parcels = parcels_of(records, WEB, (), every=True, parents=True)
    assert all(len(one.signatures) > 3 for one in parcels), "the seals name what has to be copied"
    parents = {(one.name, one.tag): one.parent for one in parcels if one.parent is not None}
    copied(parcels, world.registry, OciLayout(tmp_path / "stick", parents=parents, create=True), FOLDER)
    stick = OciLayout(tmp_path / "stick")
    out = parcels_in(stick, WEB, (), every=True, parents=True)
    assert [(one.name, one.version) for one in out] == [(one.name, one.version) for one in parcels]
    with running_registry(tmp_path / "far") as far:
        there = Registry(far.host, insecure=True)
        copied(out, stick, there, far.host)
        store = SignedStore(there, Referrers(there, jitter=lambda: 0.5, pause=lambda _: None))
        for seal in world.seals.values():
            target = Repository(registry=far.host, path=f"site/debian/{seal.image}")
            signed = read_signed(store, target, seal.digest, (world.signer.key,), seal.signatures)
            assert sorted(signed.attestations) == sorted(set(seal.signatures) - {"signature"})
            for digest in seal.signatures.values():
                assert there.resolve(target.at(digest))


def test_after_prune_the_audit_is_clean_and_what_stays_verifies(world: ReleaseWorld) -> None:
    parts = PruneParts(
        store=world.registry,
        ledger=world.ledger(),
        reporter=SILENT,
        author="Ben",
        clock=lambda: world.now + dt.timedelta(days=100),
    )
    order = PruneOrder(limits=Limits(releases=1, candidate_days=30), apply=True)
    result = prune(order, parts)
    assert {(row.image, row.title) for row in result.deleted} == {(WEB, "v1.0.0"), ("debian/base", "v1.0.0")}
    assert not [row for row in result.rows if row.role.value == "unknown"]
    with pytest.raises(NotFoundError):
        world.registry.resolve(world.repository("web-1").tagged("v1.0.0"))
    checks = world.verify_parts()
    report = audit(world.audit_parts(), deep=lambda _: partial(verify_release, parts=checks))
    assert [one.text for one in report.findings] == []
    for name, seal in world.seals.items():
        kept = name not in ("web-1 1.0.0", "base 1.0.0")
        assert verify_release(seal, checks).ok is kept
